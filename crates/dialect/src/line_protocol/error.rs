//! Why a line is refused. Messages quote at most the start of what a client sent, and never all of it.

use meridian_types::{Code, KeyError, limits};

use super::Precision;

/// One refused line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {number}: {reason}")]
pub struct BadLine {
    /// Where it begins: lines of the body are counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub reason: LineError,
}

/// What is wrong with a line.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LineError {
    /// More bytes than a line may have.
    #[error("the line has {0} bytes, over the limit of {max}: send shorter strings or fewer fields a line", max = limits::LINE_BYTES_MAX)]
    TooLong(usize),
    /// Bytes that are no text, from this byte of the line on, counted from 1 after leading blanks.
    #[error("the line is not UTF-8 at its byte {0}: send text as UTF-8")]
    NotUtf8(usize),
    /// The line begins with a comma or a space.
    #[error("the line has no measurement before its tags or fields: begin it with a name")]
    NoMeasurement,
    /// NUL in the name of a measurement or a field.
    #[error("name {0:?} has a NUL byte: leave it out")]
    NulInName(String),
    /// A comma where a tag should follow.
    #[error("no tag follows a comma: write ,name=value and escape a comma inside a name or value as \\,")]
    NoTag,
    /// A tag without `=`.
    #[error("tag {0:?} has no value: write name=value")]
    TagWithoutValue(String),
    /// `=` inside a tag value.
    #[error("the value of tag {0:?} has an equals sign: escape it as \\=")]
    EqualsInTagValue(String),
    /// The tags are no series key.
    #[error(transparent)]
    Key(KeyError),
    /// Nothing but a measurement and tags.
    #[error("the line has no field: write name=value after the measurement and its tags, with a space between")]
    NoField,
    /// A comma where a field should follow.
    #[error("no field follows a comma: write ,name=value and escape a comma inside a name as \\,")]
    NoFieldAfterComma,
    /// A field without a name.
    #[error("a field has an empty name")]
    EmptyFieldName,
    /// A field without `=`, or with nothing after it.
    #[error("field {0:?} has no value: write name=value")]
    FieldWithoutValue(String),
    /// A value that none of the five types can hold.
    #[error("value {value:?} of field {field:?} {problem}")]
    Value {
        /// Which field.
        field: String,
        /// How its value begins.
        value: String,
        /// What is wrong with the value.
        problem: ValueError,
    },
    /// A string without its closing quote.
    #[error(
        "the string of field {0:?} is not closed: end it with \" and write a quote inside as \\\" and a backslash as \\\\"
    )]
    OpenString(String),
    /// A string that is followed by neither a comma, a space nor the end.
    #[error("text follows the closing quote of field {0:?}: write a quote inside a string as \\\"")]
    AfterString(String),
    /// The same field twice.
    #[error("field {0:?} is given twice")]
    DuplicateField(String),
    /// More fields than a measurement may have.
    #[error("{0} fields are over the limit of {max} a measurement: use more measurements", max = limits::FIELDS_MAX)]
    TooManyFields(usize),
    /// A timestamp that is no whole number.
    #[error("timestamp {0:?} is no whole number: send one, in a finer precision if need be")]
    NotATime(String),
    /// A timestamp that can not be stored.
    #[error("timestamp {time} in {precision} is outside 1678-01-01 to 2262-01-01: check the precision of the request")]
    TimeOutOfRange {
        /// How it begins.
        time: String,
        /// The request's precision.
        precision: Precision,
    },
    /// More than a timestamp at the end.
    #[error("text follows the timestamp: {0:?}; escape a space inside a name or tag as \"\\ \"")]
    AfterTime(String),
}

impl LineError {
    /// The public code of this refusal; its kind is always `Fix`.
    pub fn code(&self) -> Code {
        match self {
            Self::TooLong(_)
            | Self::TooManyFields(_)
            | Self::Key(KeyError::TooMany(_) | KeyError::ValueTooLong { .. } | KeyError::KeyTooLong(_)) => {
                Code::OverLimit
            }
            Self::TimeOutOfRange { .. } => Code::TimeOutOfRange,
            _ => Code::BadRequest,
        }
    }
}

/// What is wrong with an unquoted value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ValueError {
    /// NaN or an infinity.
    #[error("is not finite: leave the field out")]
    NotFinite,
    /// Over the largest float.
    #[error("is outside the floats, -{max:e} to {max:e}", max = f64::MAX)]
    FloatRange,
    /// Outside the signed integers.
    #[error("is outside the integers, {min} to {max}: use a float or an unsigned integer (1u) field", min = i64::MIN, max = i64::MAX)]
    IntegerRange,
    /// Outside the unsigned integers.
    #[error("is outside the unsigned integers, 0 to {max}: use an integer (1i) or a float field", max = u64::MAX)]
    UnsignedRange,
    /// `0x10`.
    #[error("is hexadecimal: write it in decimal")]
    Hexadecimal,
    /// `1_000`.
    #[error("has an underscore: write digits only")]
    Underscore,
    /// `+1`.
    #[error("has a plus sign: leave it out")]
    PlusSign,
    /// None of the five types.
    #[error("is no float (1.5), integer (1i), unsigned integer (1u), boolean (true) or string (\"text\")")]
    NoValue,
}

/// The start of a text, short enough for a message.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same refusal with the start of the name that it quotes.
pub(super) fn clip_key(error: KeyError) -> LineError {
    LineError::Key(match error {
        KeyError::EmptyValue(name) => KeyError::EmptyValue(clip(&name)),
        KeyError::Duplicate(name) => KeyError::Duplicate(clip(&name)),
        KeyError::Nul(name) => KeyError::Nul(clip(&name)),
        KeyError::ValueTooLong { name, bytes } => KeyError::ValueTooLong { name: clip(&name), bytes },
        other => other,
    })
}
