//! Conversions between wire messages and the words of the domain. Total: what cannot be converted is an error.

use meridian_types::{
    Code, Failure, FieldType, Incarnation, LogIndex, RequestId, SessionId, ShardId, Stamp, TimeError, TimeRange,
    Timestamp, Value, ValueRef, Witness,
};

use crate::v1;

/// A message that lacks a part or holds one that cannot be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConvertError {
    /// A part that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A number that names nothing.
    #[error("{0} has no meaning here: {1}")]
    Unknown(&'static str, i64),
    /// Lists that must be as long as each other, or point into each other, and are not.
    #[error("{0} do not fit together")]
    Uneven(&'static str),
    /// A time that cannot be.
    #[error(transparent)]
    Time(#[from] TimeError),
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        Self::new(Code::BadRequest, error.to_string())
    }
}

impl From<Failure> for v1::Error {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code as u32, text: failure.message, retry_after_ms: failure.retry_after_ms, leader: None }
    }
}

impl From<v1::Error> for Failure {
    fn from(error: v1::Error) -> Self {
        let known = u16::try_from(error.code).ok().and_then(Code::from_number);
        // A newer peer's code that this version does not know: the safe reading is that the outcome is not known.
        Self { code: known.unwrap_or(Code::Unknown), message: error.text, retry_after_ms: error.retry_after_ms }
    }
}

/// The request id of a message that must have one.
pub fn request_id(id: Option<&v1::RequestId>) -> Result<RequestId, ConvertError> {
    let id = id.ok_or(ConvertError::Missing("request id"))?;
    let session = id.session.as_ref().ok_or(ConvertError::Missing("request id's session"))?;
    Ok(RequestId { session: SessionId { birth: Timestamp::new(session.birth)?, nonce: session.nonce }, seq: id.seq })
}

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> Self {
        let session = v1::SessionId { birth: id.session.birth.nanos(), nonce: id.session.nonce };
        Self { session: Some(session), seq: id.seq }
    }
}

impl From<Witness> for v1::Witness {
    fn from(witness: Witness) -> Self {
        Self {
            shard: witness.shard.0,
            incarnation: witness.incarnation.0,
            index: witness.index.0,
            stamp: witness.stamp.0,
        }
    }
}

impl From<v1::Witness> for Witness {
    fn from(witness: v1::Witness) -> Self {
        Self {
            shard: ShardId(witness.shard),
            incarnation: Incarnation(witness.incarnation),
            index: LogIndex(witness.index),
            stamp: Stamp(witness.stamp),
        }
    }
}

impl From<FieldType> for v1::FieldType {
    fn from(field_type: FieldType) -> Self {
        match field_type {
            FieldType::F64 => Self::Float,
            FieldType::I64 => Self::Integer,
            FieldType::U64 => Self::Unsigned,
            FieldType::Bool => Self::Boolean,
            FieldType::Str => Self::String,
        }
    }
}

impl TryFrom<v1::FieldType> for FieldType {
    type Error = ConvertError;

    fn try_from(field_type: v1::FieldType) -> Result<Self, ConvertError> {
        match field_type {
            v1::FieldType::Unspecified => Err(ConvertError::Unknown("field type", 0)),
            v1::FieldType::Float => Ok(Self::F64),
            v1::FieldType::Integer => Ok(Self::I64),
            v1::FieldType::Unsigned => Ok(Self::U64),
            v1::FieldType::Boolean => Ok(Self::Bool),
            v1::FieldType::String => Ok(Self::Str),
        }
    }
}

impl From<TimeRange> for v1::TimeRange {
    fn from(range: TimeRange) -> Self {
        Self { start: range.start().nanos(), end: range.end().nanos() }
    }
}

impl TryFrom<v1::TimeRange> for TimeRange {
    type Error = ConvertError;

    fn try_from(range: v1::TimeRange) -> Result<Self, ConvertError> {
        Ok(Self::new(clamp(range.start), clamp(range.end))?)
    }
}

/// The nearest instant that can be stored, or the end: a range's end is exclusive, so it may be that.
fn clamp(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).unwrap_or(if nanos < 0 { Timestamp::MIN } else { Timestamp::END })
}

impl From<Option<Value>> for v1::Cell {
    fn from(value: Option<Value>) -> Self {
        use v1::cell::Value as Cell;
        let value = value.map(|value| match value {
            Value::F64(v) => Cell::F64(v),
            Value::I64(v) => Cell::I64(v),
            Value::U64(v) => Cell::U64(v),
            Value::Bool(v) => Cell::Boolean(v),
            Value::Str(v) => Cell::Text(v),
        });
        Self { value }
    }
}

impl From<v1::Cell> for Option<Value> {
    fn from(cell: v1::Cell) -> Self {
        use v1::cell::Value as Cell;
        cell.value.map(|value| match value {
            Cell::F64(v) => Value::F64(v),
            Cell::I64(v) => Value::I64(v),
            Cell::U64(v) => Value::U64(v),
            Cell::Boolean(v) => Value::Bool(v),
            Cell::Text(v) => Value::Str(v),
        })
    }
}

impl v1::Field {
    /// The value that the message carries.
    pub fn value_ref(&self) -> Result<ValueRef<'_>, ConvertError> {
        use v1::field::Value as Field;
        Ok(match self.value.as_ref().ok_or(ConvertError::Missing("field value"))? {
            Field::F64(v) => ValueRef::F64(*v),
            Field::I64(v) => ValueRef::I64(*v),
            Field::U64(v) => ValueRef::U64(*v),
            Field::Boolean(v) => ValueRef::Bool(*v),
            Field::Text(v) => ValueRef::Str(v),
        })
    }
}
