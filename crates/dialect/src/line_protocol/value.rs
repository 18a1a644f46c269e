//! Unquoted values and timestamps. std's exact parsers decide what a number is worth; what counts as a number is decided
//! here, because std takes more spellings (`+1`, `inf`) than line protocol has.

use meridian_types::{Timestamp, ValueRef};

use super::error::clip;
use super::{LineError, Precision, ValueError};

/// Reads a value that does not begin with a quote.
pub(super) fn unquoted(text: &str) -> Result<ValueRef<'static>, ValueError> {
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => return Ok(ValueRef::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => return Ok(ValueRef::Bool(false)),
        _ => {}
    }
    if let Some(digits) = text.strip_suffix('i').filter(|digits| is_integer(digits)) {
        return digits.parse().map(ValueRef::I64).map_err(|_| ValueError::IntegerRange);
    }
    if let Some(digits) = text.strip_suffix('u').filter(|digits| is_integer(digits)) {
        return digits.parse().map(ValueRef::U64).map_err(|_| ValueError::UnsignedRange);
    }
    if !is_float(text) {
        return Err(why_no_number(text));
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(ValueRef::F64(value)),
        Ok(_) => Err(ValueError::FloatRange),
        Err(_) => Err(ValueError::NoValue),
    }
}

/// Reads a timestamp.
pub(super) fn time(text: &str, precision: Precision) -> Result<Timestamp, LineError> {
    if !is_integer(text) {
        return Err(LineError::NotATime(clip(text)));
    }
    let nanos = text.parse::<i64>().ok().and_then(|units| units.checked_mul(precision.nanos()));
    let time = nanos.and_then(|nanos| Timestamp::new(nanos).ok());
    time.ok_or_else(|| LineError::TimeOutOfRange { time: clip(text), precision })
}

/// `-?[0-9]+`
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// `-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let (whole, rest) = take_digits(text.strip_prefix('-').unwrap_or(text));
    let (fraction, rest) = take_digits(rest.strip_prefix('.').unwrap_or(rest));
    if whole + fraction == 0 || rest.is_empty() {
        return whole + fraction > 0;
    }
    let Some(exponent) = rest.strip_prefix(['e', 'E']) else { return false };
    let (digits, rest) = take_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent));
    digits > 0 && rest.is_empty()
}

/// How many digits `text` begins with, and what is behind them.
fn take_digits(text: &str) -> (usize, &str) {
    let count = text.bytes().take_while(u8::is_ascii_digit).count();
    (count, &text[count..])
}

/// The most helpful reason to refuse what is no number of line protocol but may be one elsewhere.
fn why_no_number(text: &str) -> ValueError {
    let is_number = |text: &str| is_float(text) || text.strip_suffix(['i', 'u']).is_some_and(is_integer);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if ["nan", "inf", "infinity"].iter().any(|name| unsigned.eq_ignore_ascii_case(name)) {
        ValueError::NotFinite
    } else if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
        ValueError::Hexadecimal
    } else if text.contains('_') && is_number(&text.replace('_', "")) {
        ValueError::Underscore
    } else if text.starts_with('+') && is_number(unsigned) {
        ValueError::PlusSign
    } else {
        ValueError::NoValue
    }
}
