//! Integers.
//!
//! All arithmetic wraps, so that extremes cost room and nothing else. Unsigned integers are encoded as the signed ones
//! with the same bits: what is read back is the same, and only values on both sides of 2^63 could be packed better.

use super::bits::{BLOCK, Block, bytes_of};
use super::factor::Factor;
use super::input::Input;
use super::pack::{Packed, Plan, bit_length, factor_bytes, put_factor};
use super::{CodecError, Encoding, VALUES_MAX, all_or_nothing, assert_count, runs};

/// Columns whose differences or values have fewer bits are not looked at a second time.
const OUTLIER_BITS_MIN: u32 = 8;
/// Offsets with fewer bits are not divided: escapes make them as small.
const FACTOR_BITS_MIN: u32 = 3;
/// One value in so many may lie far below all others.
const OUTLIERS_ONE_IN: usize = 64;
/// So many values that all differ take more by their levels than by one difference.
const REGULAR_MIN: usize = 64;

/// Appends `values`, at most [`VALUES_MAX`], and says how.
pub fn encode_i64(values: &[i64], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let mut words = [0; VALUES_MAX];
    let words = &mut words[..values.len()];
    words.iter_mut().zip(values).for_each(|(word, value)| *word = value.cast_unsigned());
    encode_u64(words, out)
}

/// Appends `values`, at most [`VALUES_MAX`], and says how.
pub fn encode_u64(values: &[u64], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let mut steps = [0; VALUES_MAX];
    let steps = differences(values, &mut steps);
    let changes: usize = steps.iter().map(|step| usize::from(*step != 0)).sum();
    if !runs::may_pay(changes + 1, values.len()) {
        return encode_directly(values, steps, out);
    }
    runs::encode_shorter(values, out, |values, out| encode_directly(values, steps, out), encode_words)
}

/// Appends `values`, but not as runs.
pub(super) fn encode_words(values: &[u64], out: &mut Vec<u8>) -> Encoding {
    let mut steps = [0; VALUES_MAX];
    let steps = differences(values, &mut steps);
    encode_directly(values, steps, out)
}

/// Appends `values`, of which the differences are `steps`, but not as runs.
fn encode_directly(values: &[u64], steps: &[u64], out: &mut Vec<u8>) -> Encoding {
    let Some(first) = values.first() else { return Encoding::Plain };
    let (low, high) = range(steps);
    if (low, high) == (0, 0) {
        out.extend_from_slice(&first.to_le_bytes());
        return Encoding::Constant;
    }
    let steps = (Framed::within(low, high, usize::MAX, steps), steps);
    if low == high && values.len() >= REGULAR_MIN {
        return put_delta(*first, steps, out);
    }
    let (low, high) = range(values);
    let (plain, delta) = (8 * values.len(), 8 + steps.0.bytes());
    let level = Framed::within(low, high, delta, values);
    let packed = level.bytes();
    if plain <= packed.min(delta) {
        put_plain(values, out);
        Encoding::Plain
    } else if packed <= delta {
        level.put(values, out);
        Encoding::Packed
    } else {
        put_delta(*first, steps, out)
    }
}

fn put_plain(values: &[u64], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn put_delta(first: u64, (framed, steps): (Framed, &[u64]), out: &mut Vec<u8>) -> Encoding {
    out.extend_from_slice(&first.to_le_bytes());
    framed.put(steps, out);
    Encoding::Delta
}

/// What is added to each value to get the next.
fn differences<'a>(values: &[u64], steps: &'a mut [u64; VALUES_MAX]) -> &'a [u64] {
    let Some((_, later)) = values.split_first() else { return &[] };
    let steps = &mut steps[..later.len()];
    steps.iter_mut().zip(values.iter().zip(later)).for_each(|(step, (a, b))| *step = b.wrapping_sub(*a));
    steps
}

/// The least and the greatest, taken as signed; 0 without any.
fn range(words: &[u64]) -> (u64, u64) {
    let Some(first) = words.first() else { return (0, 0) };
    let start = (first.cast_signed(), first.cast_signed());
    let (low, high) = words.iter().fold(start, |(low, high), word| {
        let word = word.cast_signed();
        (low.min(word), high.max(word))
    });
    (low.cast_unsigned(), high.cast_unsigned())
}

/// Reads back `count` values of [`encode_u64`], or the bits of as many of [`encode_i64`], behind those in `out`.
pub fn decode_u64(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<u64>) -> Result<(), CodecError> {
    all_or_nothing(count, out, |out| match Encoding::from_stored(encoding) {
        Some(Encoding::Runs) => runs::decode(bytes, count, out, decode_directly),
        _ => decode_directly(encoding, bytes, count, out),
    })
}

/// Reads back `count` values of [`encode_i64`], behind those in `out`.
pub fn decode_i64(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<(), CodecError> {
    let directly = |encoding, bytes: &[u8], count, out: &mut Vec<i64>| {
        decode_blocks(encoding, bytes, count, |block, count| {
            out.extend(block[..count].iter().map(|word| word.cast_signed()));
        })
    };
    all_or_nothing(count, out, |out| match Encoding::from_stored(encoding) {
        Some(Encoding::Runs) => runs::decode(bytes, count, out, directly),
        _ => directly(encoding, bytes, count, out),
    })
}

fn decode_directly(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<u64>) -> Result<(), CodecError> {
    decode_blocks(encoding, bytes, count, |block, count| out.extend_from_slice(&block[..count]))
}

/// Hands out what [`encode_words`] appended block by block, with how many of the block there are.
#[inline(always)]
pub(super) fn decode_blocks(
    encoding: u8,
    bytes: &[u8],
    count: usize,
    mut each: impl FnMut(&mut Block, usize),
) -> Result<(), CodecError> {
    let mut input = Input::new(bytes);
    match Encoding::from_stored(encoding) {
        Some(Encoding::Plain) => {
            for words in input.take(8 * count)?.as_chunks().0.chunks(BLOCK) {
                let mut block = [0; BLOCK];
                block.iter_mut().zip(words).for_each(|(slot, word)| *slot = u64::from_le_bytes(*word));
                each(&mut block, words.len());
            }
        }
        Some(Encoding::Constant) => {
            let value = input.u64()?;
            (0..count).step_by(BLOCK).for_each(|start| each(&mut [value; BLOCK], (count - start).min(BLOCK)));
        }
        Some(Encoding::Packed) => {
            let base = input.u64()?;
            Packed::take(&mut input, count)?.blocks(count, |block, count| {
                block.iter_mut().for_each(|word| *word = word.wrapping_add(base));
                each(block, count);
            });
        }
        Some(Encoding::Delta) => {
            let (mut value, base) = (input.u64()?, input.u64()?);
            let steps = count.checked_sub(1).ok_or(CodecError::Malformed("differences of no value"))?;
            // One step more than there are: what it leads to is not handed out.
            Packed::take(&mut input, steps)?.blocks(count, |block, count| {
                for word in block.iter_mut() {
                    let step = word.wrapping_add(base);
                    *word = value;
                    value = value.wrapping_add(step);
                }
                each(block, count);
            });
        }
        _ => return Err(CodecError::Encoding { encoding, values: "integers" }),
    }
    input.end()
}

/// Words as offsets from a base.
struct Framed {
    base: u64,
    /// What all offsets are multiples of, if it pays to divide by it.
    factor: Option<Factor>,
    /// Of what is left of them.
    plan: Plan,
}

impl Framed {
    /// Takes the least value for the base; or, if a few values lie far below all others, the least of the others. The
    /// offsets of the few then wrap and are patched. A counter that starts again is such a case, by its differences.
    /// Offsets from the least value that are multiples of one number are divided by it.
    ///
    /// What takes more than `limit` need not be the best.
    fn within(low: u64, high: u64, limit: usize, words: &[u64]) -> Self {
        let plan = Plan::within(low, bit_length(high.wrapping_sub(low)), words);
        let mut best = Self { base: low, factor: None, plan };
        for other in [lifted(low, &plan, words), divided(low, high, limit, &plan, words)].into_iter().flatten() {
            if other.bytes() < best.bytes() {
                best = other;
            }
        }
        best
    }

    /// What [`Framed::put`] appends.
    fn bytes(&self) -> usize {
        8 + self.plan.bytes + self.factor.map_or(0, |factor| factor_bytes(factor.get()))
    }

    fn put(&self, words: &[u64], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base.to_le_bytes());
        let Some(factor) = self.factor else { return self.plan.pack(words, out) };
        let mut times = [0; VALUES_MAX];
        let times = &mut times[..words.len()];
        let misfit = factor.divide(self.base, words, times);
        assert_eq!(misfit, None, "no multiple of {factor:?}");
        put_factor(factor.get(), out);
        self.plan.pack(times, out);
    }
}

/// The least of most `words` for the base, if a few lie far below. `plan` is the one over the least of all.
fn lifted(low: u64, plan: &Plan, words: &[u64]) -> Option<Framed> {
    let top_bit = plan.widest.checked_sub(1).filter(|_| plan.widest >= OUTLIER_BITS_MIN)?;
    let high = words.iter().fold(0, |high, word| high + (word.wrapping_sub(low) >> top_bit));
    if words.len() - high as usize > words.len() / OUTLIERS_ONE_IN {
        return None;
    }
    let top = 1 << top_bit;
    let above = words.iter().map(|word| word.wrapping_sub(low)).filter(|offset| *offset >= top);
    let base = low.wrapping_add(above.min().unwrap_or(top));
    Some(Framed { base, factor: None, plan: Plan::over(base, words) })
}

/// The offsets over what all of them are multiples of, unless that will hardly take less than `limit`. `plan` is the one
/// of the offsets themselves.
fn divided(low: u64, high: u64, limit: usize, plan: &Plan, words: &[u64]) -> Option<Framed> {
    if plan.widest < FACTOR_BITS_MIN {
        return None;
    }
    let guess = Factor::guess(low, words)?;
    let head = factor_bytes(guess);
    // No word gets shorter by more than this, which is seen before anything is divided.
    let saved = bytes_of(words.len(), bit_length(guess));
    if saved <= head || 8 + head + plan.bytes.saturating_sub(saved) > limit {
        return None;
    }
    let mut times = [0; VALUES_MAX];
    let (factor, times) = Factor::of(guess, low, words, &mut times)?;
    let widest = bit_length(high.wrapping_sub(low) / factor.get());
    Some(Framed { base: low, factor: Some(factor), plan: Plan::within(0, widest, times) })
}

/// Appends `words` as [`take_framed`] reads them.
pub(super) fn put_framed(words: &[u64], out: &mut Vec<u8>) {
    let (low, high) = range(words);
    Framed::within(low, high, usize::MAX, words).put(words, out);
}

/// Takes words of [`put_framed`], as many as `words` has room for.
pub(super) fn take_framed(input: &mut Input<'_>, words: &mut [u64]) -> Result<(), CodecError> {
    let base = input.u64()?;
    Packed::take(input, words.len())?.write(words);
    words.iter_mut().for_each(|word| *word = word.wrapping_add(base));
    Ok(())
}
