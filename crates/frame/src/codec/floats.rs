//! Floats, bit for bit.
//!
//! Most floats that people store are decimals with few digits: as whole numbers they pack like integers. Only a column of
//! which every value comes back with the same bits is stored so, which leaves out NaN, infinities and -0.0.

use super::input::Input;
use super::integers::{decode_u64, encode_u64};
use super::pack::{self, Plan};
use super::{CodecError, Encoding, assert_count, check_count};
use crate::reader::words;

/// The powers of ten by which a column may be scaled. All are exact, so that a division rounds once.
const POWERS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// 1.5 * 2^52: a number of less than 2^51 that is added to it is rounded to a whole one.
const ROUNDING: f64 = 6_755_399_441_055_744.0;
/// 2^51: from here on the whole numbers would not be exact.
const WHOLE_END: i64 = 1 << 51;
/// Values that are looked at together, so that the compiler can do so.
const STRIDE: usize = 64;
/// Above a share of the plain bytes of one in so many, it is worth looking at the bits too.
const DECIMAL_SHARE: usize = 4;

/// Appends `values`, at most [`super::VALUES_MAX`], and says how.
pub fn encode_f64(values: &[f64], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let Some(first) = values.first() else { return Encoding::Plain };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        out.extend_from_slice(&first.to_le_bytes());
        return Encoding::Constant;
    }
    let start = out.len();
    let plain = 8 * values.len();
    if let Some(exponent) = exponent(values) {
        put_decimal(values, exponent, out);
        if (out.len() - start) * DECIMAL_SHARE <= plain {
            return Encoding::Decimal;
        }
    }
    let decimal = if out.len() > start { out.len() - start } else { usize::MAX };
    let differences = Differences::of(values);
    if decimal <= plain.min(differences.bytes()) {
        return Encoding::Decimal;
    }
    out.truncate(start);
    if differences.bytes() < plain {
        out.extend_from_slice(&first.to_le_bytes());
        differences.put(out);
        Encoding::Xor
    } else {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Encoding::Plain
    }
}

/// Reads back `count` values of [`encode_f64`].
pub fn decode_f64(encoding: u8, bytes: &[u8], count: usize) -> Result<Vec<f64>, CodecError> {
    check_count(count)?;
    let mut input = Input::new(bytes);
    let values = match Encoding::from_stored(encoding) {
        Some(Encoding::Plain) => words(input.take(8 * count)?).map(f64::from_le_bytes).collect(),
        Some(Encoding::Constant) => vec![f64::from_bits(input.u64()?); count],
        Some(Encoding::Decimal) => return decode_decimal(input, count),
        Some(Encoding::Xor) => {
            let first = input.u64()?;
            let rest = count.checked_sub(1).ok_or(CodecError::Malformed("differences of no value"))?;
            take_differences(&mut input, first, rest)?
        }
        _ => return Err(CodecError::Encoding { encoding, values: "floats" }),
    };
    input.end()?;
    Ok(values)
}

/// The value as a whole number over `power`, and whether that gives the same bits back.
fn scaled(value: f64, power: f64) -> (u64, bool) {
    let rounded = value * power + ROUNDING;
    let whole = rounded - ROUNDING;
    let is_exact = whole.abs() < WHOLE_END as f64 && (whole / power).to_bits() == value.to_bits();
    (rounded.to_bits().wrapping_sub(ROUNDING.to_bits()), is_exact)
}

/// The least power of ten with which all values are whole.
fn exponent(values: &[f64]) -> Option<usize> {
    let mut exponent = 0;
    // Each round ends with a higher exponent, because the value that does not fit says which is the next that could.
    loop {
        let power = POWERS[exponent];
        let fit = |some: &&[f64]| some.iter().fold(true, |all, value| all & scaled(*value, power).1);
        let Some(some) = values.chunks(STRIDE).find(|some| !fit(some)) else { return Some(exponent) };
        let unfit = *some.iter().find(|value| !scaled(**value, power).1)?;
        exponent = (exponent + 1..POWERS.len()).find(|next| scaled(unfit, POWERS[*next]).1)?;
    }
}

fn put_decimal(values: &[f64], exponent: usize, out: &mut Vec<u8>) {
    let whole: Vec<u64> = values.iter().map(|value| scaled(*value, POWERS[exponent]).0).collect();
    out.push(exponent as u8); // below 15
    let encoding_at = out.len();
    out.push(0);
    out[encoding_at] = encode_u64(&whole, out) as u8;
}

fn decode_decimal(mut input: Input<'_>, count: usize) -> Result<Vec<f64>, CodecError> {
    let power = POWERS.get(usize::from(input.u8()?)).ok_or(CodecError::Malformed("a power of ten over 14"))?;
    let encoding = input.u8()?;
    let whole = decode_u64(encoding, input.rest(), count)?;
    let fits = |word: &u64| word.wrapping_add(WHOLE_END.cast_unsigned()) < 2 * WHOLE_END.cast_unsigned();
    if !whole.iter().fold(true, |all, word| all & fits(word)) {
        return Err(CodecError::Malformed("a decimal of 2^51 or more"));
    }
    Ok(whole.into_iter().map(|word| word.cast_signed() as f64 / power).collect())
}

/// Which bits of each value differ from the value before it.
struct Differences {
    /// Lower bits in which no value differs, and which are left out.
    shift: u32,
    words: Vec<u64>,
    plan: Plan,
}

impl Differences {
    fn of(values: &[f64]) -> Self {
        let mut words: Vec<u64> = values.array_windows().map(|[a, b]| a.to_bits() ^ b.to_bits()).collect();
        let shift = words.iter().fold(0, |all, word| all | word).trailing_zeros().min(u64::BITS - 1);
        words.iter_mut().for_each(|word| *word >>= shift);
        Self { shift, plan: Plan::of(&words), words }
    }

    /// What they take, with the first value in front.
    fn bytes(&self) -> usize {
        8 + 1 + self.plan.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.shift as u8); // at most 63
        self.plan.pack(&self.words, out);
    }
}

/// The value with the bits `first` and the `rest` values after it.
fn take_differences(input: &mut Input<'_>, first: u64, rest: usize) -> Result<Vec<f64>, CodecError> {
    let shift = input.u8()?;
    if u32::from(shift) >= u64::BITS {
        return Err(CodecError::Malformed("a shift of 64 bits or more"));
    }
    let mut values = Vec::with_capacity(rest + 1);
    values.push(f64::from_bits(first));
    values.extend(pack::unpack(input, rest)?.into_iter().scan(first, |value, difference| {
        *value ^= difference << shift;
        Some(f64::from_bits(*value))
    }));
    Ok(values)
}
