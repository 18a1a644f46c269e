//! What a delete covers, as people name it, as routers send it to nodes and as a shard's log keeps it for ever. Pure, and
//! total: any bytes are a selection or an error.
//!
//! A selection decides in `apply`, so that it must mean the same on every replica and in every later version. It compares
//! texts for equality and nothing else: what a pattern matches is the business of a library and of its tables of Unicode,
//! which change.
//!
//! ```text
//! version:u8 has_measurement:u8 measurement:str? start:i64 end:i64 matchers:[tag:str op:u8 value:str]
//! ```
//! Little-endian; `str` is `len:u32` and UTF-8, `[…]` is `count:u32` and the items; flags are 0 or 1.

use meridian_types::{Code, SeriesKey, TimeRange, limits, name_is_valid};

use crate::plan_bytes::{put_matchers, put_range, read_matcher, read_range};
use crate::wire::{DecodeError, Reader, put_bytes};
use crate::{MATCHERS_MAX, MatchOp, Matcher};

const VERSION: u8 = 1;

/// One selection as bytes. Shards keep it as long as older points may stand on a disk.
pub const SELECTION_BYTES_MAX: usize = 256 << 10;

const _: () = assert!(
    limits::NAME_BYTES_MAX + limits::SERIES_KEY_BYTES_MAX + 16 * MATCHERS_MAX < SELECTION_BYTES_MAX,
    "every series can be named by its measurement and all of its tags"
);
const _: () = assert!(SELECTION_BYTES_MAX <= limits::PROPOSAL_BYTES_MAX, "a selection fits a proposal");

/// The rows that a delete covers, with all of their fields. Made by [`Selection::builder`] or [`Selection::decode`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Selection {
    /// The measurement; all of the database if there is none.
    pub measurement: Option<String>,
    /// Conditions on tags, `=` and `!=` only; all must hold. None covers all series.
    pub matchers: Vec<Matcher>,
    /// The half-open range of data time.
    pub range: TimeRange,
}

impl Selection {
    /// Starts a selection that covers all series of all measurements in a range.
    pub fn builder(range: TimeRange) -> SelectionBuilder {
        SelectionBuilder(Self { measurement: None, matchers: Vec::new(), range })
    }

    /// Refuses comparisons that no selection can have: of a pattern, before it is compiled.
    pub fn check_op(tag: &str, op: MatchOp) -> Result<(), SelectionError> {
        if is_plain(op) { Ok(()) } else { Err(SelectionError::Pattern { tag: tag.to_owned(), op }) }
    }

    /// Whether rows of this measurement may be covered.
    pub fn is_of(&self, measurement: &str) -> bool {
        self.measurement.as_ref().is_none_or(|name| name == measurement)
    }

    /// Whether rows of this series are covered, where their time is in the range.
    pub fn matches(&self, measurement: &str, key: &SeriesKey) -> bool {
        self.is_of(measurement) && self.matchers.iter().all(|m| m.matches(key))
    }

    /// The selection as bytes for [`Selection::decode`]. Equal selections have equal bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, self.measurement.is_some().into()];
        if let Some(measurement) = &self.measurement {
            put_bytes(&mut out, measurement.as_bytes());
        }
        put_range(&mut out, self.range);
        put_matchers(&mut out, &self.matchers);
        out
    }

    /// Reads what [`Selection::encode`] wrote; any other bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes, VERSION)?;
        let has_measurement = reader.flag("the measurement")?;
        let measurement = if has_measurement { Some(reader.str("the measurement")?.to_owned()) } else { None };
        let range = read_range(reader)?;
        let matchers = reader.list("the matchers", MATCHERS_MAX, |reader| {
            let (tag, op, value) = read_matcher(reader)?;
            // Before it is made: a pattern would be compiled.
            let plain = reader.check(is_plain(op).then_some(op), "a matcher's comparison")?;
            reader.check(Matcher::new(tag, plain, value).ok(), "a matcher")
        })?;
        reader.end("the selection")?;
        let built = Self::builder(range).measurement(measurement).matchers(matchers).build();
        reader.check(built.ok(), "the selection")
    }
}

/// A selection in the making; see [`Selection`] for what its parts mean.
#[derive(Clone, Debug)]
pub struct SelectionBuilder(Selection);

impl SelectionBuilder {
    /// Sets the measurement.
    #[must_use]
    pub fn measurement(mut self, measurement: Option<String>) -> Self {
        self.0.measurement = measurement;
        self
    }

    /// Adds conditions on tags.
    #[must_use]
    pub fn matchers(mut self, matchers: impl IntoIterator<Item = Matcher>) -> Self {
        self.0.matchers.extend(matchers);
        self
    }

    /// The selection, if it is one; else the first thing wrong with it.
    pub fn build(self) -> Result<Selection, SelectionError> {
        let selection = self.0;
        if let Some(name) = selection.measurement.as_ref().filter(|name| !name_is_valid(name)) {
            return Err(SelectionError::BadName(name.clone()));
        }
        if selection.matchers.len() > MATCHERS_MAX {
            return Err(SelectionError::TooMany { count: selection.matchers.len() });
        }
        for matcher in &selection.matchers {
            Selection::check_op(matcher.tag(), matcher.op())?;
            let bytes = matcher.value().len();
            if bytes > limits::TAG_VALUE_BYTES_MAX {
                return Err(SelectionError::ValueTooLong { tag: matcher.tag().to_owned(), bytes });
            }
        }
        let bytes = selection.encode().len();
        if bytes > SELECTION_BYTES_MAX {
            return Err(SelectionError::TooLarge { bytes });
        }
        Ok(selection)
    }
}

/// Whether a comparison means the same for ever.
fn is_plain(op: MatchOp) -> bool {
    matches!(op, MatchOp::Eq | MatchOp::NotEq)
}

/// Why something is no selection.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectionError {
    /// A name that no measurement can have.
    #[error("{0:?} is no name for measurements: names have 1 to 65535 bytes of UTF-8 without NUL")]
    BadName(String),
    /// Too many conditions.
    #[error("{count} matchers are over the limit of {MATCHERS_MAX} a delete: delete in several steps")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A pattern.
    #[error(
        "the condition on tag {tag:?} has {op}, and a delete takes = and != only: ask with a query which values match, and \
         delete those"
    )]
    Pattern {
        /// The tag.
        tag: String,
        /// The comparison.
        op: MatchOp,
    },
    /// A value that no tag can have.
    #[error("the value for tag {tag:?} has {bytes} bytes, over the limit of {max} a tag: name one that is stored", max = limits::TAG_VALUE_BYTES_MAX)]
    ValueTooLong {
        /// The tag.
        tag: String,
        /// Size of the value.
        bytes: usize,
    },
    /// Too much in all.
    #[error(
        "the selection has {bytes} bytes, over the limit of {SELECTION_BYTES_MAX}: use fewer or shorter conditions"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

impl SelectionError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::TooMany { .. } | Self::ValueTooLong { .. } | Self::TooLarge { .. } => Code::OverLimit,
            Self::BadName(_) | Self::Pattern { .. } => Code::BadRequest,
        }
    }
}

#[cfg(test)]
mod tests;
