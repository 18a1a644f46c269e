//! What a delete by gRPC names, as a selection. Pure.

use meridian_proto::{ConvertError, v1};
use meridian_query::{MATCHERS_MAX, Matcher, PlanError, Selection, SelectionError};
use meridian_types::{Failure, TimeRange};

use crate::front::clip;
use crate::read::match_op;

/// Bytes of a refusal's text: names may be long.
const TEXT_BYTES_MAX: usize = 1_024;

/// Why a message names nothing that can be deleted.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
enum AskedError {
    #[error(transparent)]
    Part(#[from] ConvertError),
    #[error(transparent)]
    Matcher(#[from] PlanError),
    #[error(transparent)]
    Selection(#[from] SelectionError),
}

/// The selection that a message names. Whatever has a limit is counted before anything is made of it.
pub(crate) fn selection(request: &v1::DeleteRequest) -> Result<Selection, Failure> {
    checked(request).map_err(|error| {
        let mut failure = match error {
            AskedError::Part(error) => error.into(),
            AskedError::Matcher(error) => Failure::new(error.code(), error.to_string()),
            AskedError::Selection(error) => Failure::new(error.code(), error.to_string()),
        };
        failure.message.truncate(clip(&failure.message, TEXT_BYTES_MAX).len());
        failure
    })
}

fn checked(request: &v1::DeleteRequest) -> Result<Selection, AskedError> {
    let count = request.matchers.len();
    if count > MATCHERS_MAX {
        return Err(SelectionError::TooMany { count }.into());
    }
    // A range that was forgotten must not become all of time.
    let range = TimeRange::try_from(request.range.ok_or(ConvertError::Missing("range"))?)?;
    let matchers = request.matchers.iter().map(plain).collect::<Result<Vec<_>, _>>()?;
    Ok(Selection::builder(range).measurement(request.measurement.clone()).matchers(matchers).build()?)
}

/// Refuses patterns before they are compiled.
fn plain(matcher: &v1::Matcher) -> Result<Matcher, AskedError> {
    let op = match_op(matcher)?;
    Selection::check_op(&matcher.tag, op)?;
    Ok(Matcher::new(&matcher.tag, op, &matcher.value)?)
}

#[cfg(test)]
mod tests {
    use meridian_types::{Code, Timestamp};

    use super::*;

    fn matcher(tag: &str, op: v1::MatchOp, value: &str) -> v1::Matcher {
        v1::Matcher { tag: tag.into(), op: op.into(), value: value.into() }
    }

    fn request(matchers: Vec<v1::Matcher>) -> v1::DeleteRequest {
        let range = Some(v1::TimeRange { start: 1, end: 5 });
        v1::DeleteRequest {
            database: "d".into(),
            measurement: Some("cpu".into()),
            matchers,
            range,
            ..Default::default()
        }
    }

    #[test]
    fn a_message_becomes_a_selection() {
        use v1::MatchOp::{Eq, NotEq};
        let found = selection(&request(vec![matcher("host", Eq, "a"), matcher("az", NotEq, "")])).expect("valid");
        assert_eq!(found.measurement.as_deref(), Some("cpu"));
        assert_eq!((found.range.start().nanos(), found.range.end().nanos()), (1, 5));
        let matchers: Vec<_> = found.matchers.iter().map(|m| format!("{}{}{}", m.tag(), m.op(), m.value())).collect();
        assert_eq!(matchers, ["host=a", "az!="]);
        let all = v1::TimeRange { start: i64::MIN, end: i64::MAX };
        let found = selection(&v1::DeleteRequest { range: Some(all), ..Default::default() }).expect("valid");
        assert_eq!((found.measurement, found.range.end()), (None, Timestamp::END));
    }

    #[test]
    fn what_names_nothing_is_refused() {
        let refused = |request: &v1::DeleteRequest, code, part: &str| {
            let failure = selection(request).expect_err("refused");
            assert_eq!(failure.code, code, "{failure}");
            assert!(failure.message.contains(part), "{failure}");
        };
        refused(&v1::DeleteRequest { range: None, ..request(vec![]) }, Code::BadRequest, "range is missing");
        let empty = Some(v1::TimeRange { start: 5, end: 5 });
        refused(&v1::DeleteRequest { range: empty, ..request(vec![]) }, Code::BadRequest, "is empty");
        refused(&request(vec![matcher("a", v1::MatchOp::Re, "(")]), Code::BadRequest, "takes = and != only");
        refused(&request(vec![matcher("a", v1::MatchOp::Unspecified, "b")]), Code::BadRequest, "matcher");
        refused(&request(vec![matcher("", v1::MatchOp::Eq, "b")]), Code::BadQuery, "no name for tags");
        refused(&request(vec![matcher("a", v1::MatchOp::Re, "("); 65]), Code::OverLimit, "65 matchers");
        let long = v1::DeleteRequest { measurement: Some("m".repeat(70_000)), ..request(vec![]) };
        let failure = selection(&long).expect_err("refused");
        assert!(failure.message.len() <= TEXT_BYTES_MAX, "{}", failure.message.len());
    }
}
