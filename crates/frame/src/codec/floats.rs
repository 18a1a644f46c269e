//! Floats, bit for bit: as decimals where that pays, else by the bits in which neighbours differ.

use super::input::Input;
use super::pack::{Packed, Plan};
use super::{CodecError, Encoding, VALUES_MAX, all_or_nothing, assert_count, decimals, runs};
use crate::reader::words;

/// Above a share of the plain bytes of one in so many, it is worth looking at the bits too.
const DECIMAL_SHARE: usize = 4;

/// Appends `values`, at most [`VALUES_MAX`], and says how.
pub fn encode_f64(values: &[f64], out: &mut Vec<u8>) -> Encoding {
    assert_count(values.len());
    let Some((first, later)) = values.split_first() else { return Encoding::Plain };
    let changes: usize = values.iter().zip(later).map(|(a, b)| usize::from(a.to_bits() != b.to_bits())).sum();
    if changes == 0 {
        out.extend_from_slice(&first.to_le_bytes());
        Encoding::Constant
    } else if runs::may_pay(changes + 1, values.len()) {
        runs::encode_shorter(values, out, encode_directly, encode_directly)
    } else {
        encode_directly(values, out)
    }
}

/// Appends `values`, of which not all are the same, but not as runs.
fn encode_directly(values: &[f64], out: &mut Vec<u8>) -> Encoding {
    let start = out.len();
    let plain = 8 * values.len();
    let decimals = decimals::encode(values, out);
    let bytes = out.len() - start;
    if let Some(encoding) = decimals
        && bytes * DECIMAL_SHARE <= plain
    {
        return encoding;
    }
    let mut words = [0; VALUES_MAX];
    let differences = Differences::of(values, &mut words);
    match decimals {
        Some(encoding) if bytes <= plain.min(differences.bytes()) => return encoding,
        _ => out.truncate(start),
    }
    if differences.bytes() < plain {
        out.extend_from_slice(&values[0].to_le_bytes());
        differences.put(out);
        Encoding::Xor
    } else {
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        Encoding::Plain
    }
}

/// Reads back `count` values of [`encode_f64`], behind those in `out`.
pub fn decode_f64(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    all_or_nothing(count, out, |out| match Encoding::from_stored(encoding) {
        Some(Encoding::Runs) => runs::decode(bytes, count, out, decode_directly),
        _ => decode_directly(encoding, bytes, count, out),
    })
}

fn decode_directly(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut input = Input::new(bytes);
    match Encoding::from_stored(encoding) {
        Some(Encoding::Plain) => out.extend(words(input.take(8 * count)?).map(f64::from_le_bytes)),
        Some(Encoding::Constant) => out.resize(out.len() + count, f64::from_bits(input.u64()?)),
        Some(Encoding::Decimal) => return decimals::decode(bytes, count, out),
        Some(Encoding::Exceptions) => return decimals::decode_with_exceptions(bytes, count, out),
        Some(Encoding::Xor) => take_differences(&mut input, count, out)?,
        _ => return Err(CodecError::Encoding { encoding, values: "floats" }),
    }
    input.end()
}

/// Which bits of each value differ from the value before it.
struct Differences<'a> {
    /// Lower bits in which no value differs, and which are left out.
    shift: u32,
    words: &'a [u64],
    plan: Plan,
}

impl<'a> Differences<'a> {
    fn of(values: &[f64], words: &'a mut [u64; VALUES_MAX]) -> Self {
        let words = &mut words[..values.len().saturating_sub(1)];
        let pairs = values.iter().zip(values.iter().skip(1));
        words.iter_mut().zip(pairs).for_each(|(word, (a, b))| *word = a.to_bits() ^ b.to_bits());
        let shift = words.iter().fold(0, |all, word| all | word).trailing_zeros().min(u64::BITS - 1);
        words.iter_mut().for_each(|word| *word >>= shift);
        Self { shift, plan: Plan::of(words), words }
    }

    /// What they take, with the first value in front.
    fn bytes(&self) -> usize {
        8 + 1 + self.plan.bytes
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.shift as u8); // at most 63
        self.plan.pack(self.words, out);
    }
}

fn take_differences(input: &mut Input<'_>, count: usize, out: &mut Vec<f64>) -> Result<(), CodecError> {
    let mut bits = input.u64()?;
    let shift = input.u8()?;
    if u32::from(shift) >= u64::BITS {
        return Err(CodecError::Malformed("a shift of 64 bits or more"));
    }
    let differences = count.checked_sub(1).ok_or(CodecError::Malformed("differences of no value"))?;
    // One difference more than there are: what it leads to is not handed out.
    Packed::take(input, differences)?.blocks(count, |block, count| {
        for word in block.iter_mut() {
            let difference = *word << shift;
            *word = bits;
            bits ^= difference;
        }
        out.extend(block[..count].iter().map(|word| f64::from_bits(*word)));
    });
    Ok(())
}
