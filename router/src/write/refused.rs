//! What of a request is not stored, and why: row by row, the first ones by name.

use meridian_dialect::line_protocol::LineError;
use meridian_frame::PushError;
use meridian_proto::ConvertError;
use meridian_types::{Code, Duration, FieldType, KeyError, TimeError, Timestamp, limits};

use crate::front::clip;

/// Bytes of one reason: names may be long, and a reply names a hundred rows.
const REASON_BYTES_MAX: usize = 512;

/// One refused row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// Lines are counted from 1, rows of gRPC from 0.
    pub(crate) number: u64,
    /// The field that is to blame, if one is.
    pub(crate) field: String,
    pub(crate) code: Code,
    pub(crate) reason: String,
}

/// The refused rows of a request.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Refused {
    first: Vec<Refusal>,
    total: u64,
}

impl Refused {
    pub(crate) fn add(&mut self, number: u64, error: &RowError) {
        self.total += 1;
        if self.first.len() < limits::REJECTIONS_NAMED_MAX {
            let text = error.to_string();
            let reason = clip(&text, REASON_BYTES_MAX).to_owned();
            let field = clip(error.field(), REASON_BYTES_MAX).to_owned();
            self.first.push(Refusal { number, field, code: error.code(), reason });
        }
    }

    /// The first, in the order of the request; 100 at most.
    pub(crate) fn first(&self) -> &[Refusal] {
        &self.first
    }

    /// How many of the request's rows are refused and which is the first, if any is; `what` names a row.
    pub(crate) fn counted(&self, what: &str, rows: u64) -> Option<String> {
        let Refusal { number, reason, .. } = self.first.first()?;
        let (total, were) = (self.total, if self.total == 1 { "was" } else { "were" });
        Some(format!("{total} of {rows} {what}s {were} refused; the first is {what} {number}: {reason}"))
    }

    /// How many there are.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

/// Why a row is not stored.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum RowError {
    /// No line of line protocol.
    #[error(transparent)]
    Line(#[from] LineError),
    /// Tags that are no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A message that lacks a part.
    #[error(transparent)]
    Part(#[from] ConvertError),
    /// A time that cannot be stored.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// A time that is too far ahead.
    #[error(
        "timestamp {time} is after {latest}, the last that the database's `future` setting allows now: check the precision and the clock"
    )]
    Ahead { time: Timestamp, latest: Timestamp },
    /// A time that is too far back.
    #[error(
        "timestamp {time} is older than the retention of {retention} of database {database:?}: check the precision, or write it to a database that keeps points for longer"
    )]
    Old { time: Timestamp, retention: Duration, database: String },
    /// No time in a row of a request that may be repeated.
    #[error("the row has no time: a request with an id must give times, so that its repetition is the same request")]
    NoTime,
    /// A field of another type.
    #[error(
        "field {field:?} of measurement {measurement:?} is {stored}, not {seen}: send {stored}, or use another name"
    )]
    Type { measurement: String, field: String, stored: FieldType, seen: FieldType },
    /// A field for which the measurement has no room.
    #[error("measurement {measurement:?} has no room for field {field:?}: {max} fields are the limit", max = limits::FIELDS_MAX)]
    NoRoom { measurement: String, field: String },
    /// What no frame can hold.
    #[error(transparent)]
    Push(#[from] PushError),
}

impl RowError {
    fn code(&self) -> Code {
        match self {
            Self::Line(error) => error.code(),
            Self::Key(KeyError::TooMany(_) | KeyError::ValueTooLong { .. } | KeyError::KeyTooLong(_))
            | Self::NoRoom { .. } => Code::OverLimit,
            Self::Time(_) | Self::Ahead { .. } | Self::Old { .. } => Code::TimeOutOfRange,
            Self::Type { .. } => Code::TypeConflict,
            Self::Push(error) => error.code(),
            Self::Key(_) | Self::Part(_) | Self::NoTime => Code::BadRequest,
        }
    }

    fn field(&self) -> &str {
        match self {
            Self::Type { field, .. } | Self::NoRoom { field, .. } => field,
            _ => "",
        }
    }
}
