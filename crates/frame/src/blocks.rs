//! Columns of any length: the codecs' blocks, one after another, each with its encoding and its length.
//!
//! Total where it reads. Never takes memory for more values than the caller asks for, who has bounded them.

use crate::codec::{self, CodecError, Encoding};

/// Encoding and length before the bytes of a block.
const HEAD_BYTES: usize = 3;

const _: () = assert!(8 * codec::VALUES_MAX <= u16::MAX as usize, "a block's length fits its two bytes");

/// What a column of so many values takes for its blocks, beside the values: those never take more than they do plain.
pub(crate) fn heads_bytes(values: usize) -> usize {
    HEAD_BYTES * values.div_ceil(codec::VALUES_MAX)
}

/// A type of values that the codecs have.
pub(crate) trait Coded: Copy + 'static {
    fn encode(values: &[Self], out: &mut Vec<u8>) -> Encoding;
    fn decode(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<Self>) -> Result<(), CodecError>;
}

macro_rules! coded {
    ($values:ty, $encode:path, $decode:path) => {
        impl Coded for $values {
            fn encode(values: &[Self], out: &mut Vec<u8>) -> Encoding {
                $encode(values, out)
            }

            fn decode(encoding: u8, bytes: &[u8], count: usize, out: &mut Vec<Self>) -> Result<(), CodecError> {
                $decode(encoding, bytes, count, out)
            }
        }
    };
}

coded!(f64, codec::encode_f64, codec::decode_f64);
coded!(i64, codec::encode_i64, codec::decode_i64);
coded!(u64, codec::encode_u64, codec::decode_u64);
coded!(bool, codec::encode_bool, codec::decode_bool);

/// Appends `values` as blocks.
pub(crate) fn put<T: Coded>(values: &[T], out: &mut Vec<u8>) {
    for block in values.chunks(codec::VALUES_MAX) {
        let head = out.len();
        out.extend_from_slice(&[0; HEAD_BYTES]);
        let encoding = T::encode(block, out);
        let bytes = u16::try_from(out.len() - head - HEAD_BYTES).expect("never more than plain");
        out[head] = encoding as u8;
        out[head + 1..head + HEAD_BYTES].copy_from_slice(&bytes.to_le_bytes());
    }
}

/// Takes `count` values off the front of `bytes`, and gives what is behind them.
pub(crate) fn take<T: Coded>(mut bytes: &[u8], count: usize) -> Result<(Vec<T>, &[u8]), CodecError> {
    const SHORT: CodecError = CodecError::Malformed("a column is cut short");
    let mut values = Vec::with_capacity(count);
    while values.len() < count {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(SHORT)?;
        let length = usize::from(u16::from_le_bytes([head[1], head[2]]));
        let (block, rest) = rest.split_at_checked(length).ok_or(SHORT)?;
        T::decode(head[0], block, (count - values.len()).min(codec::VALUES_MAX), &mut values)?;
        bytes = rest;
    }
    Ok((values, bytes))
}
