//! A trial as a file: what was asked, told and read, one JSON object a line, so that it can be judged again, elsewhere, and by
//! others' checkers. What is asked comes before what is read.
//!
//! `{"op":{"deed":{"write":[{"serial":1,"series":3,"time":5,"fields":31}]},"began":1,"ended":2,"told":"acked","witnesses":[…]}}`
//! or `{"read":{"scope":{"measurement":0,"series":null,"range":{…}},"asked":3,"answered":4,"seen":[[series,time,field,value],…]}}`.
//! An answer that no write can have made is `{"foreign":"what it was"}`, and `"end"` ends a trial that was held to its end.
//! Points of order (`began`, `asked` and so on) are counted, not timed. A series' tags and a row's values follow from its numbers:
//! see [`Series`] and [`Field`]. A value is a text: its type's first letter, and then the value as Rust writes it.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

use meridian_types::{TimeError, TimeRange, Value};
use serde::{Deserialize, Serialize};

use crate::history::{Deed, History, Op};
use crate::registers::{Broken, Read, Registers, Scope, Violation};
use crate::rows::{Delete, Field, Place, Series};
use crate::witness;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Op(Op),
    Read {
        scope: Scope,
        asked: u64,
        answered: u64,
        seen: Vec<(Series, i64, Field, String)>,
    },
    /// An answer that no write of a trial can have made.
    Foreign(String),
    /// Everything was read back.
    End,
}

/// Writes all operations.
pub(crate) fn write_history(out: &mut dyn Write, history: &History) -> io::Result<()> {
    history.ops.iter().try_for_each(|op| line(out, &Line::Op(op.clone())))
}

/// Writes one answer.
pub(crate) fn write_read(out: &mut dyn Write, read: &Read) -> io::Result<()> {
    let Read { scope, asked, answered, seen } = read;
    let seen = seen.iter().map(|(place, value)| (place.series, place.time, place.field, text(value))).collect();
    line(out, &Line::Read { scope: *scope, asked: *asked, answered: *answered, seen })
}

/// Writes an answer that could not even be read.
pub(crate) fn write_foreign(out: &mut dyn Write, violation: &Violation) -> io::Result<()> {
    line(out, &Line::Foreign(violation.to_string()))
}

/// Ends the file of a trial that was held to its end.
pub(crate) fn end(out: &mut dyn Write) -> io::Result<()> {
    line(out, &Line::End)?;
    out.flush()
}

fn line(out: &mut dyn Write, line: &Line) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

/// What a file held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judged {
    /// Operations.
    pub ops: usize,
    /// Answers.
    pub reads: usize,
    /// Values in them.
    pub values: usize,
}

/// Judges a trial from its file: its answers, and the entries that acknowledgements name. What replicas and routers said of each
/// other is not in it; a trial that failed by that, or broke off, has no end, and is not judged.
pub fn judge_file(file: impl BufRead) -> Result<Judged, Broken> {
    let (mut history, mut registers) = (History::default(), None);
    let (mut judged, mut is_whole) = (Judged::default(), false);
    for (number, text) in (1..).zip(file.lines()) {
        let bad = |what: &dyn std::fmt::Display| Broken::Harness(format!("line {number}: {what}"));
        let line: Line = serde_json::from_str(&text?).map_err(|error| bad(&error))?;
        match line {
            Line::Op(_) if registers.is_some() => return Err(bad(&"an operation comes after an answer")),
            Line::Op(op) => {
                if let Deed::Delete(Delete { range, .. }) = &op.deed {
                    check_range(*range).map_err(|error| bad(&error))?;
                }
                history.ops.push(op);
            }
            Line::Foreign(what) => return Err(Violation::Other(what).into()),
            Line::End => is_whole = true,
            Line::Read { scope, asked, answered, seen } => {
                let value = |(series, time, field, text): (Series, i64, Field, String)| {
                    let value = value(&text).ok_or_else(|| bad(&format_args!("{text:?} is not a value")))?;
                    Ok((Place { series, time, field }, value))
                };
                check_range(scope.range).map_err(|error| bad(&error))?;
                let seen = seen.into_iter().map(value).collect::<Result<BTreeMap<_, _>, Broken>>()?;
                (judged.reads, judged.values) = (judged.reads + 1, judged.values + seen.len());
                let registers = registers.get_or_insert_with(|| Registers::of(&history));
                registers.check(&Read { scope, asked, answered, seen })?;
            }
        }
    }
    if !is_whole {
        return Err(Broken::Harness("the file has no end: the trial failed or broke off".into()));
    }
    witness::check(&history.ops)?;
    judged.ops = history.ops.len();
    Ok(judged)
}

/// What was deserialised as a range did not pass through `TimeRange::new`, and may end before it starts.
fn check_range(range: TimeRange) -> Result<(), TimeError> {
    TimeRange::new(range.start(), range.end()).map(drop)
}

fn text(value: &Value) -> String {
    match value {
        Value::F64(v) => format!("f{v:?}"),
        Value::I64(v) => format!("i{v}"),
        Value::U64(v) => format!("u{v}"),
        Value::Bool(v) => format!("b{v}"),
        Value::Str(v) => format!("s{v}"),
    }
}

fn value(text: &str) -> Option<Value> {
    let mut rest = text.chars();
    let (kind, rest) = (rest.next()?, rest.as_str());
    match kind {
        'f' => rest.parse().ok().map(Value::F64),
        'i' => rest.parse().ok().map(Value::I64),
        'u' => rest.parse().ok().map(Value::U64),
        'b' => rest.parse().ok().map(Value::Bool),
        's' => Some(Value::Str(rest.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::witness::Witness;

    fn trial(change: impl FnOnce(&mut BTreeMap<Place, Value>)) -> Vec<u8> {
        let mut history = History::default();
        let op = history.begin(Deed::Write(vec![Row::new(7, Series(2), 10, Field::ALL)]));
        history.acked(op, vec![Witness { shard: 1, incarnation: 1, index: 5 }]);
        let mut seen: BTreeMap<_, _> = Row::new(7, Series(2), 10, Field::ALL).values().collect();
        change(&mut seen);
        let scope = Scope { measurement: Series(2).measurement(), series: None, range: TimeRange::ALL };
        let mut file = Vec::new();
        write_history(&mut file, &history).expect("memory takes it");
        write_read(&mut file, &Read::at_the_end(scope, seen)).expect("memory takes it");
        end(&mut file).expect("memory takes it");
        file
    }

    #[test]
    fn a_trial_is_judged_from_its_file() {
        assert_eq!(judge_file(&trial(|_| {})[..]), Ok(Judged { ops: 1, reads: 1, values: 5 }));
        let lost = judge_file(&trial(|seen| seen.clear())[..]);
        assert!(matches!(lost, Err(Broken::Safety(_))), "{lost:?}");
        let torn = judge_file(&trial(|seen| drop(seen.pop_first()))[..]);
        assert!(matches!(torn, Err(Broken::Safety(_))), "{torn:?}");
    }

    #[test]
    fn what_is_no_trial_is_named_by_its_line() {
        let mut file = trial(|_| {});
        let first = file.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        file.extend_from_within(..first);
        let twisted = judge_file(&file[..]);
        assert_eq!(twisted, Err(Broken::Harness("line 4: an operation comes after an answer".into())));
        let cut = trial(|_| {});
        let no_end = judge_file(&cut[..cut.len() - "\"end\"\n".len()]);
        assert_eq!(no_end, Err(Broken::Harness("the file has no end: the trial failed or broke off".into())));
        let range = serde_json::to_string(&TimeRange::ALL).expect("a range is written");
        let whole = String::from_utf8(trial(|_| {})).expect("text");
        let backwards = judge_file(whole.replace(&range, r#"{"start":5,"end":1}"#).as_bytes());
        assert!(matches!(&backwards, Err(Broken::Harness(why)) if why.starts_with("line 2: ")), "{backwards:?}");
        let foreign = judge_file(&b"{\"op\":3}\n"[..]);
        assert!(matches!(&foreign, Err(Broken::Harness(why)) if why.starts_with("line 1: ")), "{foreign:?}");
    }

    #[test]
    fn values_come_back_bit_for_bit() {
        for float in [0.5, -0.0, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY] {
            assert_eq!(value(&text(&Value::F64(float))), Some(Value::F64(float)));
        }
        for v in [Value::I64(i64::MIN), Value::U64(u64::MAX), Value::Bool(true), Value::Str("a \"é\"".into())] {
            assert_eq!(value(&text(&v)), Some(v));
        }
        assert_eq!((value("x1"), value(""), value("bno")), (None, None, None));
    }
}
