//! That haste changes nothing: each line of any body is what it is when it is read alone, carefully, and with a head that
//! nobody has seen.

use super::*;

/// Remembers all.
#[derive(Default, Debug)]
struct Mindful(BTreeMap<String, Series>);

impl Heads for Mindful {
    type Series = Series;

    fn known(&mut self, head: &str) -> Option<Series> {
        self.0.get(head).cloned()
    }

    fn learn(&mut self, head: &str, measurement: &str, key: SeriesKey) -> Series {
        let series = Forgetful.learn(head, measurement, key);
        assert_eq!(self.0.insert(head.to_owned(), series.clone()), None, "{head:?} was known");
        series
    }
}

/// The verdicts without anything that is there for speed only.
fn careful_lines(body: &[u8], precision: Precision) -> Vec<Verdict> {
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let (mut verdicts, mut number) = (Vec::new(), 1);
    while !rest.is_empty() {
        let (line, newlines, behind) = split::first_line(rest);
        let read = read_carefully(number, line, precision, &mut Forgetful, &mut |line| -> Result<(), Infallible> {
            verdicts.push(line.map(Read::from));
            Ok(())
        });
        read.expect("nothing fails here");
        number += newlines;
        rest = behind;
    }
    verdicts
}

fn assert_haste_changes_nothing(body: &[u8], precision: Precision) {
    let expected = careful_lines(body, precision);
    let shown = || String::from_utf8_lossy(body);
    assert_eq!(lines(body, precision), expected, "quick: {:?}", shown());
    let mut heads = Mindful::default();
    assert_eq!(lines_with(&mut heads, body, precision), expected, "cold: {:?}", shown());
    let learned = heads.0.clone();
    assert_eq!(lines_with(&mut heads, body, precision), expected, "warm: {:?}", shown());
    assert_eq!(heads.0, learned, "a second reading taught something: {:?}", shown());
}

/// A head, the fields, the time, or the end of a line: mostly good, and every other one of few, so that lines look alike.
fn part(good: &'static [&'static str], other: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => proptest::sample::select(good), 1 => proptest::sample::select(other)]
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let head = part(
        &["cpu,host=a", "cpu,host=b", "cpu", "m\\ n,t\\,=\\=", "cpu,b=1,a=\u{e9}"],
        &[
            "",
            ",",
            "cpu,",
            "cpu,host",
            "cpu,host=",
            "cpu,a=1,a=2",
            "\0",
            "cpu,a=\0",
            "cpu\\",
            " cpu",
            "#",
            "cpu,a==",
            "\"",
        ],
    );
    let name = part(
        &["a", "usage_user", "usage_system", "b", "long_name_of_a_field", "long_name_of_a_fiel2", "\u{fc}"],
        &["", "a\\ b", "a b", "a\0", "\"", "a=", "a\\", ",", "\r", "\n"],
    );
    let value = part(
        &["1", "0i", "58i", "-3i", "7u", "12.5", "-0", "t", "\"\"", "\"x\"", "1e3", "123456789i", "0.1", "99999999.99"],
        &[
            "",
            "+1",
            "1.",
            ".5",
            ".",
            "-",
            "-1u",
            "12345678901234567890",
            "18446744073709551615u",
            "9223372036854775808i",
            "-9223372036854775808i",
            "1e400",
            "\"a\\\"b\"",
            "\"a\nb\"",
            "\"",
            "\"a\"b",
            "1\\,2",
            "\"\r\"",
            "1ii",
            "NaN",
            "x",
            "9007199254740993",
            "0.30000000000000004",
            "123456789012345678.9",
        ],
    );
    let time = part(
        &["", " 1", " 1700000000000000000", " -5"],
        &[" ", " x", " 1 2", "  7", " 9223372036854775807", " 1.5", "\t", " 12345678901234567890", " -"],
    );
    let end = part(&["\n", "\r\n"], &["", "\r", "\r\r\n", " \n", "\n\n", "\n \n", "\n#x\n"]);
    let fields = proptest::collection::vec((name, value), 1..5);
    (head, part(&[" "], &["", "  "]), fields, time, end, 0..40_u8).prop_map(|(head, gap, fields, time, end, broken)| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut line = format!("{head}{gap}{}{time}{end}", fields.join(",")).into_bytes();
        if broken == 0 {
            line.insert(line.len() / 2, 0xff);
        }
        line
    })
}

#[test]
fn names_of_other_lines_change_no_verdict() {
    for body in [
        "m a=1,b=2\nm b=1,a=2\nm a=1\nm a=1,b=2,c=3\nm a=1,b=2,a=3\nm a=1,a=2\nm a=1,b=2",
        "m a=1,b=2\nm a=1,b=x\nm a=1,b=2,\nm a=1,,b=2\nm a=1,b=\nm a=1,b\nm a=1,b=2=3\nm a=1,bb=2\nm aa=1,b=2",
        "m a\\ b=1,c=2\nm a\\ b=1,c=2\nm a b=1,c=2\nm a=1,c\\==2\nm a=1,c\\=2",
        "m a=1,b=2\nm c=1,c=2\nm a=1,c=2\nm a=1,b=2\nm b=1,b=2",
    ] {
        assert_haste_changes_nothing(body.as_bytes(), Precision::Nanos);
    }
}

#[test]
fn the_longest_line_is_in_its_limit_and_no_longer_one() {
    for over in 0..3 {
        let line = format!("m,t=a s=\"{}\"", "x".repeat(limits::LINE_BYTES_MAX - 10 + over));
        for body in [line.clone(), line.clone() + "\n", line + "\r\nm v=1"] {
            assert_haste_changes_nothing(body.as_bytes(), Precision::Nanos);
        }
    }
    let fields: Vec<_> = (0..=limits::FIELDS_MAX).map(|i| format!("f{i}=1")).collect();
    let (most, over) = (fields[1..].join(","), fields.join(","));
    assert_haste_changes_nothing(format!("m {most}\nm {over}\nm {most}\nm {most},f0=1").as_bytes(), Precision::Nanos);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn likely_lines(body in proptest::collection::vec(any_line(), 1..12)) {
        assert_haste_changes_nothing(&body.concat(), Precision::Nanos);
    }

    #[test]
    fn any_bytes(body: Vec<u8>) {
        assert_haste_changes_nothing(&body, Precision::Micros);
    }

    #[test]
    fn any_syntax(body in "[m,= \"\\\\\n\r\t#1i.e-]{0,60}") {
        assert_haste_changes_nothing(body.as_bytes(), Precision::Hours);
    }

    #[test]
    fn any_syntax_of_fields(lines in proptest::collection::vec("m [ab]{1,2}=[-.0-9iue\"]{1,3}(,[ab]=[1,=\"\\\\\n ]{0,5}){0,2}\r?\n", 1..4)) {
        assert_haste_changes_nothing(lines.concat().as_bytes(), Precision::Millis);
    }

    #[test]
    fn numbers_are_what_std_makes_of_them(text in "-?[0-9]{0,22}(\\.[0-9]{0,22})?[iu]?") {
        assert_haste_changes_nothing(format!("m v={text}\n").as_bytes(), Precision::Nanos);
    }

    #[test]
    fn short_decimals_are_what_std_makes_of_them(mantissa in 0..1_u64 << 54, point in 0..=17_usize) {
        let digits = format!("{mantissa:018}");
        let text = format!("{}.{}", &digits[..point], &digits[point..]);
        let read = first(format!("m v={text},w=-{text}").as_bytes()).expect("good");
        let expected: f64 = text.parse().expect("a float");
        prop_assert_eq!(&read.fields[0].1, &Value::F64(expected));
        prop_assert_eq!(&read.fields[1].1, &Value::F64(-expected));
    }

    #[test]
    fn times_are_read_whole(time: i64, digits in "-?[0-9]{1,22}") {
        let body = format!("m v=1 {time}\nm v=1 {digits}\nm v=1 {}", time / 1_000_000);
        assert_haste_changes_nothing(body.as_bytes(), Precision::Nanos);
        assert_haste_changes_nothing(body.as_bytes(), Precision::Millis);
    }
}
