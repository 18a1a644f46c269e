//! Golden verdicts, limits, and properties over any input. No case depends on another.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;

use meridian_types::{Code, Value};
use proptest::prelude::*;

use super::*;

mod quick;

/// A good line that outlives the next.
#[derive(Clone, PartialEq, Debug)]
struct Read {
    number: usize,
    series: Series,
    time: Option<Timestamp>,
    fields: Vec<(String, Value)>,
}

type Verdict = Result<Read, BadLine>;

impl From<Line<'_, Series>> for Read {
    fn from(Line { number, series, time, fields, .. }: Line<'_, Series>) -> Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_value())).collect();
        Self { number, series, time, fields }
    }
}

fn lines_with(heads: &mut impl Heads<Series = Series>, body: &[u8], precision: Precision) -> Vec<Verdict> {
    let (mut verdicts, mut shapes) = (Vec::new(), BTreeMap::new());
    let read = read(body, precision, heads, |line| -> Result<(), Infallible> {
        if let Ok(Line { fields, shape: shape @ 1.., .. }) = line {
            let of_line: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.field_type())).collect();
            assert_eq!(*shapes.entry(shape).or_insert_with(|| of_line.clone()), of_line, "of shape {shape}");
        }
        verdicts.push(line.map(Read::from));
        Ok(())
    });
    read.expect("nothing fails here");
    verdicts
}

fn lines(body: &[u8], precision: Precision) -> Vec<Verdict> {
    lines_with(&mut Forgetful, body, precision)
}

fn first(body: &[u8]) -> Verdict {
    lines(body, Precision::Nanos).into_iter().next().expect("a line")
}

fn number(verdict: Verdict) -> usize {
    verdict.map_or_else(|bad| bad.number, |line| line.number)
}

/// Every case of `testdata/line_protocol.txt`; its head explains the notation.
#[test]
fn golden() {
    let mut precision = Precision::Nanos;
    let (mut cases, mut wrong) = (0, String::new());
    for block in include_str!("../../testdata/line_protocol.txt").split("\n\n") {
        let rows = || block.lines().filter(|l| !l.starts_with('#'));
        if let Some(unit) = rows().find_map(|l| l.strip_prefix("precision ")) {
            precision = Precision::from_v1(unit).expect("a unit");
        }
        let Some(input) = rows().find_map(|l| l.strip_prefix('>')).map(str::trim_start) else { continue };
        let expected: Vec<_> = rows().filter(|l| l.contains(": ") && !l.starts_with('>')).map(repeats).collect();
        let found: Vec<_> = lines(&bytes(&repeats(input)), precision).into_iter().map(verdict).collect();
        cases += 1;
        if found != expected {
            writeln!(wrong, "> {input}\n{}\n", found.join("\n")).expect("a string takes all");
        }
    }
    assert!(wrong.is_empty(), "found instead:\n{wrong}");
    assert!(cases > 200, "only {cases} cases were read");
}

fn verdict(line: Result<Read, BadLine>) -> String {
    let line = match line {
        Ok(line) => line,
        Err(bad) => return format!("{}: {} {}", bad.number, bad.reason.code(), bad.reason),
    };
    let time = line.time.map_or("now".into(), |t| t.nanos().to_string());
    let mut text = format!("{}: {:?} {:?}", line.number, line.series.measurement, line.series.key);
    for (name, value) in &line.fields {
        write!(text, " {name:?}={value:?}").expect("a string takes all");
    }
    text + " @" + &time
}

/// Writes `{3*t#=v,}` out as `t0=v,t1=v,t2=v,`.
fn repeats(text: &str) -> String {
    let Some((before, rest)) = text.split_once('{') else { return text.to_owned() };
    let part = rest.split_once('}').and_then(|(part, behind)| Some((part.split_once('*')?, behind)));
    match part.and_then(|((count, part), behind)| Some((count.parse::<usize>().ok()?, part, behind))) {
        Some((count, part, behind)) => {
            let written: String = (0..count).map(|i| part.replace('#', &i.to_string())).collect();
            format!("{before}{written}{}", repeats(behind))
        }
        None => format!("{before}{{{}", repeats(rest)),
    }
}

/// Reads `\n \r \t \0 \\ \xff \u{202e}`.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        bytes.extend(before.as_bytes());
        let (escape, tail) = behind.split_at(1);
        rest = tail;
        match escape {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "0" => bytes.push(0),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&tail[..2], 16).expect("hexadecimal"));
                rest = &tail[2..];
            }
            "u" => {
                let (code, tail) = tail[1..].split_once('}').expect("closed");
                let code = u32::from_str_radix(code, 16).expect("hexadecimal");
                bytes.extend(char::from_u32(code).expect("a character").to_string().as_bytes());
                rest = tail;
            }
            other => panic!("no escape \\{other} in this notation"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

#[test]
fn limits_are_reached_and_not_passed() {
    let one = |body: &str| first(body.as_bytes()).map(|line| (line.series.key, line.fields.len()));
    let tags = |n| repeats(&format!("m{{{n}*,t#=v}} v=1"));
    assert_eq!(one(&tags(limits::TAGS_MAX)).expect("in the limit").0.tags().count(), limits::TAGS_MAX);
    assert_eq!(one(&tags(limits::TAGS_MAX + 1)).expect_err("over").reason.code(), Code::OverLimit);
    let fields = |n| repeats(&format!("m v=1{{{n}*,f#=1}}"));
    assert_eq!(one(&fields(limits::FIELDS_MAX - 1)).expect("in the limit").1, limits::FIELDS_MAX);
    assert_eq!(one(&fields(limits::FIELDS_MAX)).expect_err("over").reason, LineError::TooManyFields(1_025));
}

#[test]
fn a_plain_line_borrows() {
    let body = b"cpu,host=a usage=\"x\"";
    let read = read(body, Precision::Nanos, &mut Forgetful, |line| {
        let [(name, ValueRef::Str(text))] = line.expect("good").fields else { panic!("one string is there") };
        assert_eq!((*name, *text), ("usage", "x"));
        assert!([name, text].into_iter().all(|part| body.as_ptr_range().contains(&part.as_ptr())));
        Err("seen")
    });
    assert_eq!(read, Err("seen"));
}

#[test]
fn messages_stay_short_whatever_was_sent() {
    let long = "k".repeat(60_000);
    for body in
        [format!("m,{long} v=1"), format!("m,{long}=1,{long}=1 v=1"), format!("m {long}=x"), format!("m v={long}")]
    {
        let bad = first(body.as_bytes()).expect_err("bad");
        assert!(bad.to_string().len() < 300, "{} bytes", bad.to_string().len());
    }
}

#[test]
fn one_timestamp_a_million_times_is_a_million_lines() {
    let body = "m v=1i 7\n".repeat(1_000_000);
    let read = lines(body.as_bytes(), Precision::Nanos);
    assert!(read.iter().flatten().all(|line| line.time.map(Timestamp::nanos) == Some(7)));
    assert!(read.into_iter().map(number).eq(1..=1_000_000));
}

/// Bodies that would take hours if the search for a closing quote began anew on every line.
#[test]
fn hostile_quotes_take_linear_time() {
    for line in ["m s=\"a\\\"\n", "m s=\"a\n", "m s=\" 1,\n", "m \"=\"\"\\\n", "\"\\\n"] {
        let body = line.repeat(200_000);
        assert!(lines(body.as_bytes(), Precision::Nanos).iter().all(Result::is_err), "{line:?}");
    }
    let body = format!("m s=\"{}", "\\\"\nm s=1,".repeat(200_000));
    assert_eq!(lines(body.as_bytes(), Precision::Nanos).len(), 200_001);
}

/// A row as a client means it.
#[derive(Clone, Debug)]
struct Row {
    measurement: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Value)>,
    time: Option<i64>,
}

impl Row {
    fn write(&self) -> String {
        let mut line = escape(&self.measurement, &[',', ' ']);
        for (name, value) in &self.tags {
            write!(line, ",{}={}", escape(name, &[',', '=', ' ']), escape(value, &[',', '=', ' '])).expect("fits");
        }
        for (i, (name, value)) in self.fields.iter().enumerate() {
            write!(line, "{}{}=", if i == 0 { ' ' } else { ',' }, escape(name, &[',', '=', ' '])).expect("fits");
            match value {
                Value::F64(v) => write!(line, "{v:?}"),
                Value::I64(v) => write!(line, "{v}i"),
                Value::U64(v) => write!(line, "{v}u"),
                Value::Bool(v) => write!(line, "{v}"),
                Value::Str(v) => write!(line, "\"{}\"", escape(v, &['"', '\\'])),
            }
            .expect("fits");
        }
        line + &self.time.map_or(String::new(), |t| format!(" {t}")) + "\n"
    }

    fn assert_is(&self, line: &Read) {
        let mut tags: Vec<_> = self.tags.iter().map(|(k, v)| (&**k, &**v)).collect();
        tags.sort_unstable();
        assert_eq!(line.series.measurement, self.measurement);
        assert_eq!(line.series.key.tags().collect::<Vec<_>>(), tags);
        assert_eq!(line.time.map(Timestamp::nanos), self.time);
        assert_eq!(line.fields, self.fields);
    }
}

fn escape(text: &str, special: &[char]) -> String {
    text.chars().flat_map(|c| special.contains(&c).then_some('\\').into_iter().chain([c])).collect()
}

/// Any name that line protocol can write: no newline, no NUL, and no backslash at its end.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof!["[^\\x00\\n]{1,8}", "[a\"\\\\,= #]{1,6}"]
        .prop_filter("ends in a backslash", |name| !name.ends_with('\\'))
}

/// A name that does not look like the end of a string on the line before.
fn plain_name() -> impl Strategy<Value = String> {
    "[a-z][a-z,= ]{0,5}"
}

fn any_value(text: impl Strategy<Value = String> + 'static) -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Value::F64),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<bool>().prop_map(Value::Bool),
        text.prop_map(Value::Str),
    ]
}

fn row<N: Strategy<Value = String> + 'static>(
    name: fn() -> N,
    text: impl Strategy<Value = String> + 'static,
) -> impl Strategy<Value = Row> {
    let measurement = name().prop_filter("a comment or a blank", |m| !m.starts_with(['#', '\t', '\u{feff}']));
    let tags = proptest::collection::btree_map(name(), name(), 0..4).prop_map(|tags| tags.into_iter().rev().collect());
    let fields = proptest::collection::btree_map(name(), any_value(text), 1..20).prop_map(|f| f.into_iter().collect());
    let time = proptest::option::of(Timestamp::MIN.nanos()..Timestamp::END.nanos());
    (measurement, tags, fields, time).prop_map(|(measurement, tags, fields, time)| Row {
        measurement,
        tags,
        fields,
        time,
    })
}

/// Lines that a broken client sends, each of which is refused and must harm no other.
const BAD: &[&[u8]] = &[
    b"m\n",
    b"m s=\"abc\n",
    b"m s=\"C:\\dir\\\"\n",
    b"m s=\"a\"b\n",
    b"m s=\"ab\\\n",
    b"m a=\"x\ny\",b=1,b=\"x\nm v=1\"\n",
    b"m,t=\\ v=1\n",
    b"m v=1 x\n",
    b"\xff v=1\n",
    b"m s=\"a\nb\xc0\xaf\nc\" 1\r\n",
    b"\0 v=1\n",
    b",\n",
    b"\"\\\n",
];

proptest! {
    #[test]
    fn a_written_line_reads_back(row in row(any_name, any::<String>())) {
        let body = row.write();
        let read = lines(body.as_bytes(), Precision::Nanos);
        prop_assert_eq!(read.len(), 1, "{:?} gave {:?}", body, read);
        row.assert_is(read[0].as_ref().expect("good"));
    }

    #[test]
    fn good_lines_around_bad_ones_survive(
        rows in proptest::collection::vec((row(plain_name, "([a-z\"\\\\][a-z\"\\\\,=\n 1]{0,6})?"), 0..BAD.len() * 2), 1..8),
    ) {
        let mut body = Vec::new();
        for (row, bad) in &rows {
            body.extend(row.write().as_bytes());
            body.extend(BAD.get(*bad).copied().unwrap_or_default());
        }
        let read = lines(&body, Precision::Nanos);
        let good: Vec<_> = read.iter().flatten().collect();
        prop_assert_eq!(good.len(), rows.len(), "{:?}", String::from_utf8_lossy(&body));
        rows.iter().zip(&good).for_each(|((row, _), line)| row.assert_is(line));
        let bad = rows.iter().filter(|(_, bad)| BAD.get(*bad).is_some()).count();
        prop_assert_eq!(read.len() - good.len(), bad);
    }

    #[test]
    fn any_bytes_get_verdicts_in_order(body: Vec<u8>) {
        let mut last = 0;
        for verdict in lines(&body, Precision::Seconds) {
            let number = number(verdict);
            prop_assert!(number > last);
            last = number;
        }
        prop_assert!(last <= 1 + body.iter().filter(|b| **b == b'\n').count());
    }

    #[test]
    fn any_syntax_gets_verdicts_in_order(body in "[m,= \"\\\\\n\r\t#1i.e-]{0,60}") {
        let numbers = lines(body.as_bytes(), Precision::Hours).into_iter().map(number);
        prop_assert!(numbers.collect::<Vec<_>>().is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn without_quotes_each_line_gets_one_verdict(body in "[m,= \\\\\n\r\t#1i.e-]{0,60}") {
        let numbers = lines(body.as_bytes(), Precision::Hours).into_iter().map(number);
        let expected = body.split('\n').zip(1..).filter(|(line, _)| {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']);
            !line.is_empty() && !line.starts_with('#')
        });
        prop_assert_eq!(numbers.collect::<Vec<_>>(), expected.map(|(_, number)| number).collect::<Vec<_>>());
    }
}
