//! Codecs of columns: up to [`VALUES_MAX`] values of one type become a byte that names an encoding, and bytes. What is
//! smallest of a few cheap candidates is taken, anew for every column. Layout: `docs/formats/block.md`.
//!
//! Both ways append to a buffer of the caller, so that a column of many pieces is read into one; all that is needed
//! between lies on the stack. Pure, and total: any bytes give values or a [`CodecError`], which leaves the buffer as it
//! was, and no memory is taken for more values than the caller asked for, or for more text than the bytes hold. It never
//! knows what the values mean or where they are stored: a block uses it, and a frame could.

// In reading order: what everything is packed with, then one file for each family of types.
mod input;

mod bits;

mod pack;

mod escapes;

mod factor;

mod runs;

mod integers;

mod booleans;

mod decimals;

mod floats;

mod texts;

pub use booleans::{decode_bool, encode_bool};
pub use floats::{decode_f64, encode_f64};
pub use integers::{decode_i64, decode_u64, encode_i64, encode_u64};
pub use texts::{Span, Texts, decode_str, encode_str};

/// Values of one column that are encoded together.
pub const VALUES_MAX: usize = 1_024;

/// How the values of a column are laid out. Numbers are stored: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Encoding {
    /// One after another, as in a frame.
    Plain = 0,
    /// One value for all rows.
    Constant = 1,
    /// Packed bits over a base; of texts, their lengths.
    Packed = 2,
    /// The first value and the packed differences of neighbours.
    Delta = 3,
    /// Floats as whole numbers over one power of ten.
    Decimal = 4,
    /// The first value and, packed, which bits of a float differ from the one before.
    Xor = 5,
    /// Each distinct text once, and packed places in that list.
    Dictionary = 6,
    /// The value and the length of each run of equal values.
    Runs = 7,
    /// Decimals, and the bits of the few values that are none.
    Exceptions = 8,
}

impl Encoding {
    /// All encodings, in stored order.
    pub const ALL: [Self; 9] = [
        Self::Plain,
        Self::Constant,
        Self::Packed,
        Self::Delta,
        Self::Decimal,
        Self::Xor,
        Self::Dictionary,
        Self::Runs,
        Self::Exceptions,
    ];

    /// The encoding with this stored number, if there is one.
    pub fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|encoding| *encoding as u8 == number)
    }
}

/// Why bytes are no column.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CodecError {
    /// More values than are ever encoded together.
    #[error("{0} values were asked for, and at most {VALUES_MAX} are encoded together")]
    TooMany(usize),
    /// An encoding that this type does not have.
    #[error("encoding {encoding} is none for {values}")]
    Encoding {
        /// The encoding.
        encoding: u8,
        /// What was to be decoded.
        values: &'static str,
    },
    /// Bytes that mean nothing.
    #[error("the values are malformed: {0}")]
    Malformed(&'static str),
}

/// Refuses to make room for more values than there can be.
fn check_count(count: usize) -> Result<(), CodecError> {
    if count <= VALUES_MAX { Ok(()) } else { Err(CodecError::TooMany(count)) }
}

/// Makes room for `count` values in `out` and appends them by `decode`; after an error `out` has what it had before.
#[inline(always)]
fn all_or_nothing<T>(
    count: usize,
    out: &mut Vec<T>,
    decode: impl FnOnce(&mut Vec<T>) -> Result<(), CodecError>,
) -> Result<(), CodecError> {
    check_count(count)?;
    let start = out.len();
    out.reserve(count);
    let decoded = decode(out);
    if decoded.is_err() {
        out.truncate(start);
    }
    decoded
}

/// What is asserted before anything is encoded.
fn assert_count(count: usize) {
    assert!(count <= VALUES_MAX, "{count} values in one column, {VALUES_MAX} are encoded together at most");
}

#[cfg(test)]
mod tests;
