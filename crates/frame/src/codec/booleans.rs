//! Truth values.

use super::{CodecError, Encoding, all_or_nothing, assert_count};
use crate::reader::{are_bits, bits};

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

/// Reads back `count` values of [`encode_bool`], behind those in `out`.
pub fn decode_bool(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<bool>) -> Result<(), CodecError> {
    all_or_nothing(count, out, |out| match (Encoding::from_stored(encoding), bytes) {
        (Some(Encoding::Plain), bytes) if are_bits(bytes, count) => {
            out.extend(bits(bytes, count));
            Ok(())
        }
        (Some(Encoding::Constant), [value @ 0..=1]) => {
            out.resize(out.len() + count, *value == 1);
            Ok(())
        }
        (Some(Encoding::Plain | Encoding::Constant), _) => Err(CodecError::Malformed("other bytes than truth values")),
        _ => Err(CodecError::Encoding { encoding, values: "truth values" }),
    })
}
