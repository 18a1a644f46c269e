//! Integers and truth values.
//!
//! All arithmetic wraps, so that extremes cost room and nothing else. Unsigned integers are encoded as the signed ones
//! with the same bits: what is read back is the same, and only values on both sides of 2^63 could be packed better.

use super::input::Input;
use super::pack::{self, Plan};
use super::{CodecError, Encoding, assert_count, check_count};
use crate::reader::{are_bits, bits, words};

/// Columns whose differences or values have fewer bits are not looked at a second time.
const OUTLIER_BITS_MIN: u32 = 8;
/// One value in so many may lie far below all others.
const OUTLIERS_ONE_IN: usize = 64;

/// Appends `values`, at most [`super::VALUES_MAX`], and says how.
pub fn encode_i64(values: &[i64], out: &mut Vec<u8>) -> Encoding {
    let words: Vec<u64> = values.iter().map(|value| value.cast_unsigned()).collect();
    encode_u64(&words, out)
}

/// Reads back `count` values of [`encode_i64`].
pub fn decode_i64(encoding: u8, bytes: &[u8], count: usize) -> Result<Vec<i64>, CodecError> {
    let words = decode_u64(encoding, bytes, count)?;
    Ok(words.into_iter().map(u64::cast_signed).collect())
}

/// Appends `values`, at most [`super::VALUES_MAX`], and says how.
pub fn encode_u64(values: &[u64], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let Some(first) = values.first() else { return Encoding::Plain };
    if values.iter().all(|value| value == first) {
        out.extend_from_slice(&first.to_le_bytes());
        return Encoding::Constant;
    }
    let differences: Vec<u64> = values.array_windows().map(|[a, b]| b.wrapping_sub(*a)).collect();
    let (level, steps) = (Framed::of(values), Framed::of(&differences));
    let (plain, packed, delta) = (8 * values.len(), level.bytes(), 8 + steps.bytes());
    if plain <= packed.min(delta) {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Encoding::Plain
    } else if packed <= delta {
        level.put(out);
        Encoding::Packed
    } else {
        out.extend_from_slice(&first.to_le_bytes());
        steps.put(out);
        Encoding::Delta
    }
}

/// Reads back `count` values of [`encode_u64`], or the bits of as many of [`encode_i64`].
pub fn decode_u64(encoding: u8, bytes: &[u8], count: usize) -> Result<Vec<u64>, CodecError> {
    check_count(count)?;
    let mut input = Input::new(bytes);
    let values = match Encoding::from_stored(encoding) {
        Some(Encoding::Plain) => words(input.take(8 * count)?).map(u64::from_le_bytes).collect(),
        Some(Encoding::Constant) => vec![input.u64()?; count],
        Some(Encoding::Packed) => take_framed(&mut input, count)?,
        Some(Encoding::Delta) => {
            let first = input.u64()?;
            let steps = count.checked_sub(1).ok_or(CodecError::Malformed("differences of no value"))?;
            let steps = take_framed(&mut input, steps)?;
            let mut values = Vec::with_capacity(count);
            values.push(first);
            values.extend(steps.into_iter().scan(first, |value, step| {
                *value = value.wrapping_add(step);
                Some(*value)
            }));
            values
        }
        _ => return Err(CodecError::Encoding { encoding, values: "integers" }),
    };
    input.end()?;
    Ok(values)
}

/// Appends `values`, at most [`super::VALUES_MAX`], and says how.
pub fn encode_bool(values: &[bool], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    match values.first() {
        Some(first) if values.iter().all(|value| value == first) => {
            out.push(u8::from(*first));
            Encoding::Constant
        }
        _ => {
            let byte = |eight: &[bool]| eight.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
            out.extend(values.chunks(8).map(byte));
            Encoding::Plain
        }
    }
}

/// Reads back `count` values of [`encode_bool`].
pub fn decode_bool(encoding: u8, bytes: &[u8], count: usize) -> Result<Vec<bool>, CodecError> {
    check_count(count)?;
    match (Encoding::from_stored(encoding), bytes) {
        (Some(Encoding::Plain), bytes) if are_bits(bytes, count) => Ok(bits(bytes, count).collect()),
        (Some(Encoding::Constant), [value @ 0..=1]) => Ok(vec![*value == 1; count]),
        (Some(Encoding::Plain | Encoding::Constant), _) => Err(CodecError::Malformed("other bytes than truth values")),
        _ => Err(CodecError::Encoding { encoding, values: "truth values" }),
    }
}

/// Words as offsets from a base.
struct Framed {
    base: u64,
    offsets: Vec<u64>,
    plan: Plan,
}

impl Framed {
    /// Takes the least value for the base; or, if a few values lie far below all others, the least of the others. The
    /// offsets of the few then wrap and are patched. A counter that starts again is such a case, by its differences.
    fn of(words: &[u64]) -> Self {
        let base = words.iter().map(|word| word.cast_signed()).min().unwrap_or_default().cast_unsigned();
        let framed = Self::over(base, words);
        let top = match framed.plan.widest {
            OUTLIER_BITS_MIN.. => 1 << (framed.plan.widest - 1),
            _ => return framed,
        };
        let above = || framed.offsets.iter().copied().filter(|offset| *offset >= top);
        if words.len() - above().count() > words.len() / OUTLIERS_ONE_IN {
            return framed;
        }
        let lifted = Self::over(base.wrapping_add(above().min().unwrap_or(top)), words);
        if lifted.plan.bytes < framed.plan.bytes { lifted } else { framed }
    }

    fn over(base: u64, words: &[u64]) -> Self {
        let offsets: Vec<u64> = words.iter().map(|word| word.wrapping_sub(base)).collect();
        Self { base, plan: Plan::of(&offsets), offsets }
    }

    /// What [`Framed::put`] appends.
    fn bytes(&self) -> usize {
        8 + self.plan.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.to_le_bytes());
        self.plan.pack(&self.offsets, out);
    }
}

/// Reads back `count` words of [`Framed::put`].
fn take_framed(input: &mut Input<'_>, count: usize) -> Result<Vec<u64>, CodecError> {
    let base = input.u64()?;
    let mut words = pack::unpack(input, count)?;
    words.iter_mut().for_each(|word| *word = word.wrapping_add(base));
    Ok(words)
}
