//! Runs: a value that stays is kept once, with how often it comes.
//!
//! Layout: `runs:u16`, packed (length − 1) of each run, `encoding:u8`, the value of each run in that encoding of their
//! type. The values of runs must never be runs themselves: nothing nests.

use super::input::Input;
use super::pack::{Packed, Plan};
use super::{CodecError, Encoding, VALUES_MAX};

/// Above one run in so many values they are not tried: a value and a length take as much as that many values otherwise.
const RUNS_ONE_IN: usize = 4;

/// Whether it is worth trying. One run is a constant, which is shorter.
pub(super) fn may_pay(runs: usize, values: usize) -> bool {
    runs > 1 && runs * RUNS_ONE_IN <= values
}

/// Appends what is shorter: `values` as `directly` does, or their runs, whose values `encode` appends.
pub(super) fn encode_shorter<T: Copy + Default + Bits>(
    values: &[T],
    out: &mut Vec<u8>,
    directly: impl FnOnce(&[T], &mut Vec<u8>) -> Encoding,
    encode: impl FnOnce(&[T], &mut Vec<u8>) -> Encoding,
) -> Encoding {
    let start = out.len();
    let encoding = directly(values, out);
    let middle = out.len();
    put(values, out, encode);
    if out.len() - middle < middle - start {
        out.drain(start..middle);
        Encoding::Runs
    } else {
        out.truncate(middle);
        encoding
    }
}

/// What two values of a run have in common.
pub(super) trait Bits {
    /// The bits, which alone decide: NaN is as good as any value, and -0.0 is not 0.0.
    fn bits(self) -> u64;
}

impl Bits for u64 {
    fn bits(self) -> u64 {
        self
    }
}

impl Bits for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

fn put<T: Copy + Default + Bits>(values: &[T], out: &mut Vec<u8>, encode: impl FnOnce(&[T], &mut Vec<u8>) -> Encoding) {
    let (mut of_run, mut lengths) = ([T::default(); VALUES_MAX], [0; VALUES_MAX]);
    let mut runs = 0;
    for run in values.chunk_by(|a, b| a.bits() == b.bits()) {
        of_run[runs] = run[0];
        lengths[runs] = run.len() as u64 - 1;
        runs += 1;
    }
    out.extend_from_slice(&(runs as u16).to_le_bytes()); // at most VALUES_MAX
    Plan::of(&lengths[..runs]).pack(&lengths[..runs], out);
    let encoding_at = out.len();
    out.push(0);
    out[encoding_at] = encode(&of_run[..runs], out) as u8;
}

/// Appends `count` values, whose runs `decode` appends.
pub(super) fn decode<T: Copy + Default>(
    bytes: &[u8],
    count: usize,
    out: &mut Vec<T>,
    decode: impl FnOnce(u8, &[u8], usize, &mut Vec<T>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    let mut input = Input::new(bytes);
    let runs = usize::from(input.u16()?);
    if runs > count {
        return Err(CodecError::Malformed("more runs than values"));
    }
    let mut lengths = [0; VALUES_MAX];
    let lengths = &mut lengths[..runs];
    Packed::take(&mut input, runs)?.write(lengths);
    lengths.iter_mut().for_each(|length| *length = length.saturating_add(1));
    if lengths.iter().fold(0, |all: u64, length| all.saturating_add(*length)) != count as u64 {
        return Err(CodecError::Malformed("runs of another length than the values"));
    }
    let encoding = input.u8()?;
    let start = out.len();
    decode(encoding, input.rest(), runs, out)?;
    // In place and from the back: a run never begins before the place of its own value.
    out.resize(start + count, T::default());
    let values = &mut out[start..];
    let mut end = count;
    for (run, length) in lengths.iter().enumerate().rev() {
        let begin = end - *length as usize; // all together are `count`
        let value = values[run];
        values[begin..end].fill(value);
        end = begin;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_never_hold_runs() {
        let bytes = [1, 0, 0, Encoding::Runs as u8, 1, 0, 0, Encoding::Constant as u8, 0, 0, 0, 0, 0, 0, 0, 0];
        let refused = super::super::decode_u64(Encoding::Runs as u8, &bytes, 1, &mut Vec::new());
        assert_eq!(refused, Err(CodecError::Encoding { encoding: 7, values: "integers" }));
    }
}
