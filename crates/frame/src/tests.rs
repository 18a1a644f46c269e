//! What a frame promises: what goes in comes out, nothing else is taken for a frame, and a cut loses nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_types::{Code, FieldType, KeyError, SeriesKey, SeriesNumber, ShardId, Timestamp, Value, ValueRef, limits};
use proptest::prelude::*;

use crate::codec::Encoding;
use crate::size::HEADER_BYTES;
use crate::{Frame, FrameBuilder, FrameError, PushError, SeriesRef, SplitError, Table, write};

/// A row as tests speak of it: measurement, host, time, fields sorted by name.
type Row = (String, String, i64, Vec<(String, Value)>);

fn key(host: &str) -> SeriesKey {
    SeriesKey::from_tags(&mut [("host", host)]).expect("a valid key")
}

fn time(nanos: i64) -> Timestamp {
    Timestamp::new(nanos).expect("in range")
}

fn push(builder: &mut FrameBuilder, (measurement, host, nanos, fields): &Row) -> Result<(), PushError> {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
    builder.push(measurement, &key(host), time(*nanos), &fields)
}

fn build(rows: &[Row]) -> FrameBuilder {
    let mut builder = FrameBuilder::new();
    rows.iter().for_each(|row| push(&mut builder, row).expect("a valid row"));
    builder
}

fn rows_of(frame: &Frame) -> Vec<Row> {
    let mut rows = Vec::new();
    for table in frame.tables() {
        for run in table.runs() {
            let SeriesRef::Key(key) = &run.series else { panic!("series by key") };
            for row in run.rows.clone() {
                let fields = table.fields().iter().filter_map(|f| Some((f.name.clone(), f.get(row)?.to_value())));
                let host = key.tag("host").to_owned();
                rows.push((table.measurement().to_owned(), host, table.times()[row], fields.collect()));
            }
        }
    }
    rows
}

/// The rows as a frame keeps them: by measurement, then by series in the order of their first rows, in the order in which
/// they came.
fn grouped(mut rows: Vec<Row>) -> Vec<Row> {
    let mut first = BTreeMap::new();
    for (at, (measurement, host, ..)) in rows.iter().enumerate() {
        first.entry((measurement.clone(), host.clone())).or_insert(at);
    }
    rows.sort_by_key(|(measurement, host, ..)| (measurement.clone(), first[&(measurement.clone(), host.clone())]));
    rows
}

/// By measurement and host, in the order in which they came.
fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|(measurement, host, ..)| (measurement.clone(), host.clone()));
    rows
}

/// Fields whose types never conflict: the name begins with the type.
fn any_field() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        any::<u64>().prop_map(|bits| Value::F64(f64::from_bits(bits))),
        prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::NEG_INFINITY)].prop_map(Value::F64),
        prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)].prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<bool>().prop_map(Value::Bool),
        ".{0,12}".prop_map(Value::Str),
    ];
    (0..3_u8, value).prop_map(|(n, value)| (format!("{}{n}", value.field_type()), value))
}

fn any_row() -> impl Strategy<Value = Row> {
    let nanos = Timestamp::MIN.nanos()..Timestamp::END.nanos();
    let fields = proptest::collection::vec(any_field(), 1..6);
    let fields = fields.prop_map(|fields| BTreeMap::from_iter(fields).into_iter().collect());
    ("[a-c]", "[a-e]", nanos, fields)
}

fn any_rows() -> impl Strategy<Value = Vec<Row>> {
    proptest::collection::vec(any_row(), 1..200)
}

fn owner(measurement: &str, key: &SeriesKey) -> ShardId {
    ShardId(1 + (measurement.len() + usize::from(key.tag("host").as_bytes()[0])) as u32 % 3)
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(rows in any_rows()) {
        let builder = build(&rows);
        let (bound, points) = (builder.bytes(), builder.points());
        let bytes = builder.finish();
        prop_assert!(bytes.len() <= bound, "{} bytes, announced {bound}", bytes.len());
        let frame = Frame::check(bytes).expect("what the builder makes is a frame");
        prop_assert_eq!((frame.rows(), frame.points()), (rows.len(), points));
        prop_assert_eq!(rows_of(&frame), grouped(rows));
    }

    /// Each row comes twice, so that there are neighbours of one shape, and a row that is refused comes between some.
    #[test]
    fn a_shape_changes_nothing_but_the_cost(rows in any_rows()) {
        let rows: Vec<Row> = rows.into_iter().flat_map(|row| [row.clone(), row]).collect();
        let (mut shaped, mut places, mut shapes) = (FrameBuilder::new(), BTreeMap::new(), BTreeMap::new());
        for (n, (measurement, host, nanos, fields)) in rows.iter().enumerate() {
            let new = || shaped.by_key(measurement, key(host)).expect("a name");
            let place = *places.entry((measurement, host)).or_insert_with(new);
            let mut row: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_ref())).collect();
            let of_row: Vec<_> = fields.iter().map(|(name, value)| (name, value.field_type())).collect();
            let next = shapes.len() as u64 + 1;
            let shape = *shapes.entry(of_row).or_insert(next);
            shaped.push_shaped(place, time(*nanos), &row, shape).expect("a valid row");
            if n % 3 == 0 {
                row.extend([("new", ValueRef::Bool(true)), row[0]]);
                shaped.push_shaped(place, time(*nanos), &row, 1_000 + n as u64).expect_err("a field twice");
            }
        }
        prop_assert_eq!(shaped.finish(), build(&rows).finish());
    }

    #[test]
    fn a_cut_keeps_every_row_in_its_order(rows in any_rows(), bytes_max in 500_usize..4_000) {
        let frame = Frame::check(build(&rows).finish()).expect("a frame");
        let parts = frame.split(bytes_max, owner).expect("a row of at most five short fields fits 500 bytes");
        prop_assert!(parts.is_sorted_by_key(|(shard, _)| *shard));
        let mut seen = Vec::new();
        for (shard, bytes) in &parts {
            prop_assert!(bytes.len() <= bytes_max);
            let part = rows_of(&Frame::check(bytes.clone()).expect("a part is a frame"));
            prop_assert!(part.iter().all(|(measurement, host, ..)| owner(measurement, &key(host)) == *shard));
            seen.extend(part);
        }
        prop_assert_eq!(sorted(seen), sorted(rows));
        prop_assert_eq!(parts, frame.split(bytes_max, owner).expect("as before"));
    }

    #[test]
    fn random_bytes_are_refused(body: Vec<u8>) {
        prop_assert!(Frame::check(Bytes::from(body.clone())).is_err());
        prop_assert!(sealed(&body).is_err());
    }

    /// With the checksum made good, what damage leaves is a frame or an error: and a frame can be read and cut.
    #[test]
    fn damage_behind_a_good_checksum_never_panics(rows in any_rows(), damage: Vec<(prop::sample::Index, u8)>) {
        let mut body = build(&rows).finish()[HEADER_BYTES..].to_vec();
        damage.iter().for_each(|(at, byte)| *at.get_mut(&mut body) = *byte);
        if let Ok(frame) = sealed(&body) {
            prop_assert_eq!(frame.tables().iter().map(|table| table.rows()).sum::<usize>(), frame.rows());
            let cells = |t: &Table| (0..t.rows()).map(|r| t.fields().iter().filter_map(|f| f.get(r)).count()).sum::<usize>();
            prop_assert_eq!(frame.tables().iter().map(cells).sum::<usize>(), frame.points());
            let _ = frame.split(500, |_, _| ShardId(1));
        }
    }
}

/// Checks `body` as if its sender had meant it.
fn sealed(body: &[u8]) -> Result<Frame, FrameError> {
    let mut out = write::start();
    out.extend_from_slice(body);
    Frame::check(write::finish(out))
}

fn example() -> Bytes {
    let mut builder = FrameBuilder::new();
    let mut push = |measurement: &str, host: &str, nanos, fields: &[(&str, ValueRef<'_>)]| {
        builder.push(measurement, &key(host), time(nanos), fields).expect("a valid row");
    };
    push("mem", "a", -1, &[("free", ValueRef::U64(u64::MAX))]);
    push("cpu", "b", 3, &[("up", ValueRef::Bool(true)), ("load", ValueRef::F64(-0.0))]);
    push("cpu", "a", 2, &[("note", ValueRef::Str("né")), ("up", ValueRef::Bool(false))]);
    push("cpu", "b", 1, &[("n", ValueRef::I64(-2)), ("note", ValueRef::Str("")), ("up", ValueRef::Bool(true))]);
    builder.finish()
}

#[test]
fn the_example_has_its_golden_bytes() {
    let text = include_str!("../testdata/frame_v2.hex");
    let digits: String = text.lines().flat_map(|line| line.split('#').next()).flat_map(str::split_whitespace).collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    let golden: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
    let hex: String = example().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, digits);
    assert_eq!(rows_of(&Frame::check(golden.into()).expect("a frame")).len(), 4);
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let bytes = example();
    for at in 0..bytes.len() {
        assert!(Frame::check(bytes.slice(..at)).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = bytes.to_vec();
            flipped[at] ^= 1 << bit;
            assert!(Frame::check(flipped.into()).is_err(), "bit {bit} of byte {at}");
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(Frame::check(longer.into()), Err(FrameError::Length { .. })));
    for at in HEADER_BYTES..bytes.len() {
        assert!(sealed(&bytes[HEADER_BYTES..at]).map_or(true, |frame| frame.rows() == 3), "cut within a table at {at}");
    }
}

#[test]
fn refusals_say_what_the_sender_must_do() {
    let code = |bytes: Bytes| Frame::check(bytes).expect_err("refused").code();
    assert_eq!(Frame::check(FrameBuilder::new().finish()).err(), Some(FrameError::Empty));
    assert_eq!(code(Bytes::from_static(b"MFR")), Code::BadRequest);
    assert_eq!(code(Bytes::from_static(b"MFR\x01")), Code::WrongVersion);
    assert_eq!(code(vec![0; limits::FRAME_BYTES_MAX + 1].into()), Code::OverLimit);
}

/// A table "m" of one series and one row whose parts a test may replace.
struct Crafted {
    keys: u32,
    numbers: u32,
    series: Vec<u8>,
    runs: Vec<u8>,
    times: Vec<u8>,
    fields: Vec<Vec<u8>>,
    rows: u32,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A column of one block of plain bytes.
fn plain(bytes: &[u8]) -> Vec<u8> {
    block(Encoding::Plain as u8, bytes)
}

fn block(encoding: u8, bytes: &[u8]) -> Vec<u8> {
    let head = [words(&[3 + bytes.len() as u32]), vec![encoding], (bytes.len() as u16).to_le_bytes().to_vec()];
    [&head.concat(), bytes].concat()
}

/// A column that says `value` so many times, a few bytes for each 1,024.
fn same(value: u64, count: u32) -> Vec<u8> {
    let one = [&[Encoding::Constant as u8, 8, 0][..], &value.to_le_bytes()].concat();
    let blocks = one.repeat(count.div_ceil(1_024) as usize);
    [words(&[blocks.len() as u32]), blocks].concat()
}

fn field(name: &[u8], field_type: u8, presence: &[u8], column: &[u8]) -> Vec<u8> {
    [&[name.len() as u8, 0], name, &[field_type], presence, column].concat()
}

impl Default for Crafted {
    fn default() -> Self {
        Self {
            keys: 1,
            numbers: 0,
            series: words(&[0]),
            runs: plain(&1_u64.to_le_bytes()),
            times: plain(&[0; 8]),
            fields: vec![field(b"f", 1, &[0], &plain(&[0; 8]))],
            rows: 1,
        }
    }
}

impl Crafted {
    fn table(&self, measurement: &[u8]) -> Vec<u8> {
        let fields = (self.fields.len() as u16).to_le_bytes();
        let head = [&[measurement.len() as u8, 0], measurement, &words(&[self.rows]), &fields].concat();
        let counts = words(&[self.keys, self.numbers]);
        [head, counts, self.series.clone(), self.runs.clone(), self.times.clone(), self.fields.concat()].concat()
    }

    fn error(&self) -> FrameError {
        sealed(&self.table(b"m")).expect_err("refused")
    }

    fn malformed(&self, why: &str) {
        let error = self.error();
        assert!(error.to_string().contains(why), "{error} instead of {why}");
        assert_eq!(error.code(), Code::BadRequest);
    }
}

#[test]
fn crafted_tables_are_refused() {
    let crafted = Crafted::default();
    assert_eq!(sealed(&crafted.table(b"m")).map(|frame| frame.points()), Ok(1), "as it stands it is good");
    for (first, second) in [(b"m", b"m"), (b"n", b"m")] {
        let error = sealed(&[crafted.table(first), crafted.table(second)].concat()).expect_err("refused");
        assert!(error.to_string().contains("sorted by measurement"), "{error}");
    }
    for name in [&b""[..], b"\0", b"\xff"] {
        assert!(sealed(&crafted.table(name)).is_err(), "{name:?}");
    }
    let of = |lengths: &[u64]| plain(&lengths.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>());
    Crafted { rows: 0, ..Crafted::default() }.malformed("more series than rows");
    Crafted { rows: 2, ..Crafted::default() }.malformed("add up");
    Crafted { runs: of(&[0]), ..Crafted::default() }.malformed("add up");
    Crafted { runs: of(&[u64::MAX]), ..Crafted::default() }.malformed("add up");
    Crafted { runs: of(&[1, 1]), ..Crafted::default() }.malformed("left over");
    Crafted { runs: of(&[]), ..Crafted::default() }.malformed("cut short");
    Crafted { keys: 0, series: Vec::new(), runs: words(&[0]), ..Crafted::default() }.malformed("add up");
    Crafted { keys: u32::MAX, ..Crafted::default() }.malformed("more series than rows");
    Crafted { numbers: 1, ..Crafted::default() }.malformed("more series than rows");
    Crafted { times: plain(&[0; 7]), ..Crafted::default() }.malformed("cut short");
    Crafted { times: plain(&[0; 16]), ..Crafted::default() }.malformed("left over");
    Crafted { times: [words(&[12]), plain(&[0; 8])[4..].to_vec(), vec![0]].concat(), ..Crafted::default() }
        .malformed("more bytes than values");
    Crafted { fields: Vec::new(), ..Crafted::default() }.malformed("a row has no value");
    let large = [of(&[1 << 32]), words(&[0])].concat();
    Crafted { keys: 0, numbers: 1, series: large, ..Crafted::default() }.malformed("over 32 bits");
}

#[test]
fn crafted_fields_are_refused() {
    let malformed = |bytes: Vec<u8>, why: &str| Crafted { fields: vec![bytes], ..Crafted::default() }.malformed(why);
    malformed(field(b"", 1, &[0], &plain(&[0; 8])), "a name is empty");
    malformed(field(b"f", 0, &[0], &plain(&[0; 8])), "no known type");
    malformed(field(b"f", 6, &[0], &plain(&[0; 8])), "no known type");
    malformed(field(b"f", 1, &[2], &plain(&[0; 8])), "which rows have a value");
    malformed(field(b"f", 1, &[1, 0], &plain(&[])), "a field has no value");
    malformed(field(b"f", 1, &[1, 3], &plain(&[0; 16])), "beyond the last row");
    malformed(field(b"f", 1, &[0], &plain(&[0; 7])), "cut short");
    malformed(field(b"f", 1, &[0], &plain(&[0; 16])), "left over");
    malformed(field(b"f", 4, &[0], &plain(&[2])), "truth values");
    let text = |length: u64, text: &[u8]| {
        let blocks = [&plain(&length.to_le_bytes())[4..], text].concat();
        field(b"f", 5, &[0], &[&words(&[blocks.len() as u32])[..], &blocks].concat())
    };
    malformed(field(b"f", 5, &[0], &plain(&[0; 3])), "cut short");
    malformed(text(1, b""), "do not fill");
    malformed(text(0, b"x"), "do not fill");
    malformed(text(1, b"\xff"), "not UTF-8");
    let (one, two) = (field(b"a", 1, &[0], &plain(&[0; 8])), field(b"b", 1, &[0], &plain(&[0; 8])));
    for fields in [vec![one.clone(), one.clone()], vec![two, one]] {
        Crafted { fields, ..Crafted::default() }.malformed("sorted by name");
    }
    let unknown = Crafted { fields: vec![field(b"f", 1, &[0], &block(99, &[0; 8]))], ..Crafted::default() }.error();
    assert_eq!((unknown.code(), unknown.to_string().contains("encoding 99")), (Code::WrongVersion, true), "{unknown}");
}

/// Two texts whose lengths cut one character: UTF-8 as a whole, but not each.
#[test]
fn a_text_cut_within_a_character_is_refused() {
    let blocks = [&same(1, 2)[4..], "é".as_bytes()].concat();
    let fields = vec![field(b"f", 5, &[0], &[&words(&[blocks.len() as u32])[..], &blocks].concat())];
    Crafted { runs: same(2, 1), times: same(0, 2), rows: 2, fields, ..Crafted::default() }.malformed("do not fill");
}

#[test]
fn what_is_over_a_limit_is_refused_before_it_is_held() {
    let over = |crafted: Crafted| assert_eq!(crafted.error().code(), Code::OverLimit);
    over(Crafted { rows: u32::MAX, ..Crafted::default() });
    let many = (0..=limits::FIELDS_MAX).map(|i| field(format!("{i:04}").as_bytes(), 1, &[0], &plain(&[0; 8])));
    over(Crafted { fields: many.collect(), ..Crafted::default() });
    let max = limits::STRING_VALUE_BYTES_MAX;
    let blocks = [&same(max as u64 + 1, 1)[4..], &vec![b'x'; max + 1]].concat();
    let long = [words(&[blocks.len() as u32]), blocks].concat();
    over(Crafted { fields: vec![field(b"f", 5, &[0], &long)], ..Crafted::default() });
    let late = Crafted { times: plain(&Timestamp::END.nanos().to_le_bytes()), ..Crafted::default() }.error();
    assert_eq!(late.code(), Code::TimeOutOfRange);

    // A million rows of a thousand fields that are absent: each field costs its bitmap, and the first is refused.
    let rows = 400_000_u32;
    let absent = [vec![1], vec![0; rows.div_ceil(8) as usize]].concat();
    let fields = vec![field(b"f", 1, &absent, &words(&[0]))];
    let (runs, times) = (same(rows.into(), 1), same(0, rows));
    Crafted { runs, times, rows, fields, ..Crafted::default() }.malformed("a field has no value");

    // Ten fields with a value in each of 200,000 rows are two million points in a few bytes a thousand.
    let rows = 200_000_u32;
    let fields = (b'a'..=b'j').map(|name| field(&[name], 1, &[0], &same(0, rows))).collect();
    let (runs, times) = (same(rows.into(), 1), same(0, rows));
    over(Crafted { runs, times, rows, fields, ..Crafted::default() });

    // As many rows, one table behind the other.
    let half = |measurement| {
        let rows = limits::REQUEST_POINTS_MAX as u32 / 2 + 1;
        let fields = vec![field(b"f", 1, &[0], &same(0, rows))];
        let (runs, times) = (same(rows.into(), 1), same(0, rows));
        Crafted { runs, times, rows, fields, ..Crafted::default() }.table(measurement)
    };
    assert_eq!(sealed(&half(b"a")).map(|frame| frame.rows()), Ok(limits::REQUEST_POINTS_MAX / 2 + 1));
    assert_eq!(sealed(&[half(b"a"), half(b"b")].concat()).expect_err("too many").code(), Code::OverLimit);
}

#[test]
fn a_bad_series_key_is_refused_as_a_key() {
    let bytes = b"\x01\0b\x01\x001\x01\0a\x01\x001";
    let series = [&words(&[bytes.len() as u32])[..], bytes].concat();
    let error = Crafted { series, ..Crafted::default() }.error();
    assert!(matches!(error, FrameError::Series { error: KeyError::Malformed(6), .. }), "{error}");
}

#[test]
fn series_by_number_stand_behind_those_by_key_and_are_not_split() {
    let mut builder = FrameBuilder::new();
    let check = |host| crate::series_check(&key(host));
    let numbered = builder.by_number("m", SeriesNumber(7), check("a")).expect("a name");
    let keyed = builder.by_key("m", key("b")).expect("a name");
    builder.by_number("m", SeriesNumber(8), check("c")).expect("a name");
    let other = builder.by_number("m", SeriesNumber(u32::MAX), check("d")).expect("a name");
    for (place, n) in [(numbered, 1), (keyed, 2), (other, 3), (numbered, 4)] {
        builder.push_at(place, time(n), &[("n", ValueRef::I64(n))]).expect("a row");
    }
    let (bound, bytes) = (builder.bytes(), builder.finish());
    assert!(bytes.len() <= bound);
    let frame = Frame::check(bytes).expect("a frame");
    let table = &frame.tables()[0];
    let series: Vec<_> = table.runs().iter().map(|run| (run.series.clone(), run.rows.clone())).collect();
    let number = |n| SeriesRef::Number(SeriesNumber(n));
    let without_the_empty = [(SeriesRef::Key(key("b")), 0..1), (number(7), 1..3), (number(u32::MAX), 3..4)];
    assert_eq!((series, table.times()), (without_the_empty.to_vec(), &[2, 1, 4, 3][..]));
    assert_eq!(table.numbers_check(), crate::series_check_after(crate::series_check_after(0, check("a")), check("d")));
    assert_eq!(frame.split(1 << 20, owner), Err(SplitError::Numbered));
}

/// A row of ten small integers of a series by number takes little more than its bits.
#[test]
fn numbered_rows_are_small() {
    let mut builder = FrameBuilder::new();
    let names: Vec<String> = (0..10).map(|n| format!("usage_{n}")).collect();
    for row in 0..1_000_u32 {
        let place = builder.by_number("cpu", SeriesNumber(row * 7), row).expect("a name");
        let value = |i: u32| ValueRef::I64(((row * 31 + i) % 101).into());
        let fields: Vec<_> = names.iter().zip(0..).map(|(name, i)| (&**name, value(i))).collect();
        builder.push_at(place, time(1_700_000_000_000_000_000), &fields).expect("a row");
    }
    let bytes = builder.finish().len();
    assert!(bytes <= 10_000, "{bytes} bytes of 10,000 points");
}

#[test]
fn a_frame_of_one_shard_is_its_own_part() {
    let frame = Frame::check(example()).expect("a frame");
    let parts = frame.split(frame.bytes().len(), |_, _| ShardId(4)).expect("it fits");
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].0, parts[0].1.as_ptr()), (ShardId(4), frame.bytes().as_ptr()), "the same bytes, not a copy");
    let parts = frame.split(frame.bytes().len() - 1, |_, _| ShardId(4)).expect("each row fits");
    assert_eq!(parts.len(), 2);
    assert!(matches!(frame.split(60, owner), Err(SplitError::RowTooLarge { bytes_max: 60, .. })));
}

#[test]
fn a_refused_row_changes_nothing() {
    let mut builder = FrameBuilder::new();
    let (one, host) = (ValueRef::F64(1.0), key("a"));
    let mut refuse = |measurement: &str, nanos: Timestamp, fields: &[(&str, ValueRef<'_>)]| {
        let error = builder.push(measurement, &host, nanos, fields).expect_err("refused");
        assert!(matches!((builder.rows(), builder.points()), (0, 0) | (1, 1)), "{error}");
        if builder.is_empty() {
            assert_eq!(builder.bytes(), HEADER_BYTES);
            builder.push("m", &host, time(0), &[("a", one)]).expect("good");
        }
        error
    };
    assert_eq!(refuse("m", time(0), &[("new", one), ("new", one)]), PushError::FieldTwice("new".into()));
    assert_eq!(refuse("m", time(0), &[("a", one), ("a", one)]), PushError::FieldTwice("a".into()));
    assert_eq!(refuse("m", time(0), &[]), PushError::NoField);
    assert_eq!(refuse("", time(0), &[("a", one)]).code(), Code::BadRequest);
    assert_eq!(refuse("m", time(0), &[("b", one), ("\0", one)]).code(), Code::BadRequest);
    assert_eq!(refuse("m", time(0).saturating_add(i64::MAX), &[("a", one)]).code(), Code::TimeOutOfRange);
    let error = refuse("m", time(0), &[("b", one), ("a", ValueRef::U64(1))]);
    assert!(matches!(error, PushError::Type { earlier: FieldType::F64, seen: FieldType::U64, .. }), "{error}");
    let long = "x".repeat(limits::STRING_VALUE_BYTES_MAX + 1);
    assert_eq!(refuse("m", time(0), &[("b", ValueRef::Str(&long))]).code(), Code::OverLimit);
    let names: Vec<_> = (0..limits::FIELDS_MAX).map(|i| format!("f{i}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), one)).collect();
    assert!(matches!(refuse("m", time(0), &many), PushError::TooManyFields { fields: 1_025, .. }));
    let long = &long[1..];
    let large: Vec<_> = names[..16].iter().map(|name| (name.as_str(), ValueRef::Str(long))).collect();
    assert!(matches!(refuse("m", time(0), &large), PushError::RowTooLarge(_)));
    let frame = Frame::check(builder.finish()).expect("a frame");
    assert_eq!((frame.rows(), frame.tables()[0].fields().len()), (1, 1));
}

#[test]
fn a_full_frame_says_so_and_is_a_frame() {
    let text = "x".repeat(limits::STRING_VALUE_BYTES_MAX);
    let mut builder = FrameBuilder::new();
    let error = loop {
        if let Err(error) = builder.push("m", &key("a"), time(0), &[("text", ValueRef::Str(&text))]) {
            break error;
        }
    };
    assert!(matches!(error, PushError::FrameFull { bytes, points: 64 } if bytes > limits::FRAME_BYTES_MAX), "{error}");
    let frame = Frame::check(builder.finish()).expect("what is in it is good");
    assert_eq!(frame.rows(), 63);
    let parts = frame.split(limits::PROPOSAL_BYTES_MAX, owner).expect("each row fits");
    assert_eq!(parts.len(), 5, "15 rows of 64 KiB and their heads fit into 1 MiB");
}

/// Sparse fields cost bits in the frame and nothing a row in memory.
#[test]
fn rows_that_share_no_field_round_trip() {
    let row = |i: i64| ("m".to_owned(), "a".to_owned(), i, vec![(format!("f{:04}", i % 1_000), Value::I64(i))]);
    let rows: Vec<_> = (0..3_000).map(row).collect();
    let frame = Frame::check(build(&rows).finish()).expect("a frame");
    assert_eq!(rows_of(&frame), rows);
    assert_eq!(frame.tables()[0].fields()[999].values.points(), 3);
}
