//! Data time: nanoseconds UTC, half-open ranges, durations, and the forms in which people write them.
//!
//! Data time only: for waiting, `env` has its own instants.

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01 UTC, from 1678-01-01 to 2262-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1678-01-01T00:00:00Z, the first instant that can be stored.
    pub const MIN: Self = Self(-9_214_560_000_000_000_000);
    /// 2262-01-01T00:00:00Z, the end: the first instant that can not be stored.
    pub const END: Self = Self(9_214_646_400_000_000_000);

    /// The timestamp with these nanoseconds, if it can be stored.
    pub fn new(nanos: i64) -> Result<Self, TimeError> {
        let time = Self(nanos);
        if (Self::MIN..Self::END).contains(&time) { Ok(time) } else { Err(TimeError::OutOfRange(nanos)) }
    }

    /// Nanoseconds since 1970-01-01 UTC.
    pub fn nanos(self) -> i64 {
        self.0
    }

    /// This time moved by `nanos`, kept within what can be stored.
    #[must_use]
    pub fn saturating_add(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos).clamp(Self::MIN.0, Self::END.0))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(i128::from(self.0)).map_err(|_| std::fmt::Error)?;
        write!(f, "{time}")
    }
}

impl std::fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What is wrong with a time that someone wrote.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TimeError {
    /// Not within 1678 to 2262.
    #[error("timestamp {0} ns is outside 1678-01-01 to 2262-01-01")]
    OutOfRange(i64),
    /// Not a time.
    #[error("{0:?} is no time: use RFC 3339 (2026-01-31T12:00:00Z), an epoch with unit (1700000000s) or -1h")]
    NoTime(String),
    /// Not a duration.
    #[error("{0:?} is no duration: use a whole number and one of ns us ms s m h d w, such as 90s")]
    NoDuration(String),
    /// A range whose end is not after its start.
    #[error("the range [{start}, {end}) is empty: its end must be after its start")]
    EmptyRange {
        /// Its start.
        start: Timestamp,
        /// Its end.
        end: Timestamp,
    },
}

/// Half-open `[start, end)`, never empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct TimeRange {
    start: Timestamp,
    end: Timestamp,
}

impl TimeRange {
    /// All that can be stored.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::END };

    /// The range `[start, end)`; refuses an empty one.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self, TimeError> {
        if start < end { Ok(Self { start, end }) } else { Err(TimeError::EmptyRange { start, end }) }
    }

    /// The first instant inside.
    pub fn start(self) -> Timestamp {
        self.start
    }

    /// The first instant after.
    pub fn end(self) -> Timestamp {
        self.end
    }

    /// Whether `time` is inside.
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether some instant is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A span of data time in nanoseconds, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Duration(i64);

impl Duration {
    /// The span of this many nanoseconds, if that is not negative.
    pub fn from_nanos(nanos: i64) -> Option<Self> {
        (nanos >= 0).then_some(Self(nanos))
    }

    /// Nanoseconds.
    pub fn nanos(self) -> i64 {
        self.0
    }
}

impl std::fmt::Display for Duration {
    /// The largest unit that divides it: `90s`, `1h`, `0s`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, nanos) = UNITS.iter().rev().find(|(_, n)| self.0 % n == 0).unwrap_or(&UNITS[0]);
        write!(f, "{}{unit}", self.0 / nanos)
    }
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Reads `90s`, `1h30m`, `7d`; plain `0` is the empty span.
pub fn parse_duration(text: &str) -> Result<Duration, TimeError> {
    let bad = || TimeError::NoDuration(text.to_owned());
    if text == "0" {
        return Ok(Duration(0));
    }
    let (mut rest, mut sum) = (text, 0_i64);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let nanos = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(bad)?.1;
        let number: i64 = number.parse().map_err(|_| bad())?;
        sum = number.checked_mul(nanos).and_then(|n| sum.checked_add(n)).ok_or_else(bad)?;
        rest = tail;
    }
    if text.is_empty() { Err(bad()) } else { Ok(Duration(sum)) }
}

/// Reads RFC 3339, an epoch with unit (`1700000000s`), `now`, or a time before now (`-1h`).
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, TimeError> {
    let bad = |_| TimeError::NoTime(text.to_owned());
    if text == "now" {
        return Ok(now);
    }
    if let Some(back) = text.strip_prefix('-')
        && let Ok(span) = parse_duration(back)
    {
        return Ok(now.saturating_add(-span.nanos()));
    }
    if text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Timestamp::new(parse_duration(text).map_err(bad)?.nanos());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| TimeError::NoTime(text.to_owned()))?;
    let nanos = i64::try_from(time.as_nanosecond()).map_err(|_| TimeError::NoTime(text.to_owned()))?;
    Timestamp::new(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_print_as_the_contract_says() {
        assert_eq!(Timestamp::MIN.to_string(), "1678-01-01T00:00:00Z");
        assert_eq!(Timestamp::END.to_string(), "2262-01-01T00:00:00Z");
        assert!(Timestamp::new(Timestamp::END.nanos()).is_err());
    }

    #[test]
    fn times_and_durations_as_people_write_them() {
        let now = Timestamp::new(10_000_000_000_000).expect("in range");
        assert_eq!(parse_time("-1h", now).map(Timestamp::nanos), Ok(6_400_000_000_000));
        assert_eq!(parse_time("1700000000s", now).map(Timestamp::nanos), Ok(1_700_000_000_000_000_000));
        assert_eq!(parse_time("2023-11-14T22:13:20Z", now), parse_time("1700000000s", now));
        assert_eq!(parse_time("1969-12-31T23:59:59.5Z", now).map(Timestamp::nanos), Ok(-500_000_000));
        assert!(parse_time("yesterday", now).is_err());
        assert!(parse_time("1700000000", now).is_err(), "an epoch needs its unit");
        assert_eq!(parse_duration("1h30m").map(|d| d.to_string()), Ok("90m".into()));
        for bad in ["", "5", "h", "5 m", "-5m", "9223372036854775807w", "5y"] {
            assert!(parse_duration(bad).is_err(), "{bad:?}");
        }
    }
}
