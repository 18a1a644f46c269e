//! Lines keep their numbers however the input is cut, and replies read well.

use proptest::prelude::*;

use super::*;

/// All verdicts of an input that comes in pieces of `chunk` bytes.
fn in_chunks(input: &[u8], chunk: usize, margin: usize) -> Vec<Verdict> {
    let (mut body, mut lines_before, mut verdicts) = (Vec::new(), 0, Vec::new());
    let mut pieces = input.chunks(chunk).peekable();
    loop {
        body.extend_from_slice(pieces.next().unwrap_or_default());
        let is_end = pieces.peek().is_none();
        let front = front(&body, Precision::Nanos, lines_before, (!is_end).then_some(margin));
        body.drain(..front.bytes);
        lines_before = front.lines_before;
        verdicts.extend(front.verdicts);
        if is_end {
            return verdicts;
        }
    }
}

proptest! {
    #[test]
    fn cuts_change_nothing(
        lines in prop::collection::vec(prop::sample::select(vec![
            "m,host=a f=1i 1", "m f=1", "", "# comment \"", "bad", "m f=\"two\nlines\" 5", "m f=\"a\n\nb=\\\"c\" 5",
            "\u{feff}m f=2", "  m f=3  \r", "m,a= f=1",
        ]), 0..40),
        chunk in 1_usize..200,
        margin in 40_usize..100,
    ) {
        let input = lines.join("\n");
        let whole = front(input.as_bytes(), Precision::Nanos, 0, None);
        prop_assert_eq!(whole.bytes, input.len());
        prop_assert_eq!(in_chunks(input.as_bytes(), chunk, margin), whole.verdicts);
    }
}

#[test]
fn what_can_be_judged_is_not_held_back() {
    let input = "m f=1\n".repeat(100);
    let front = front(input.as_bytes(), Precision::Nanos, 7, Some(60));
    assert_eq!(front.verdicts.len(), 90);
    assert_eq!(front.verdicts[0].0, 8);
    assert_eq!(front.bytes, 90 * 6 - 1, "the rest begins at a newline");
}

#[test]
fn a_line_becomes_a_row() {
    let line = b"m,z=1,a=2 f=1.5,i=-1i,u=2u,b=t,s=\"x\" 5";
    let front = front(line, Precision::Seconds, 0, None);
    let row = front.verdicts[0].1.as_ref().expect("good");
    assert_eq!(row.measurement, "m");
    assert_eq!(row.time, Some(5_000_000_000));
    let tags: Vec<_> = row.tags.iter().map(|tag| (&*tag.key, &*tag.value)).collect();
    assert_eq!(tags, [("a", "2"), ("z", "1")]);
    let fields: Vec<_> = row.fields.iter().map(|f| (&*f.name, f.value_ref().expect("a value").to_value())).collect();
    use meridian_types::Value::{Bool, F64, I64, Str, U64};
    assert_eq!(fields, [("f", F64(1.5)), ("i", I64(-1)), ("u", U64(2)), ("b", Bool(true)), ("s", Str("x".into()))]);
}

#[test]
fn batches_are_bounded() {
    let small = |n: usize| (1..=n).map(|i| (i, Ok(v1::Row::default()))).collect();
    let sizes = |verdicts| batches(verdicts).iter().map(|b| b.rows.len()).collect::<Vec<_>>();
    assert_eq!(sizes(small(2 * BATCH_ROWS_MAX + 1)), [BATCH_ROWS_MAX, BATCH_ROWS_MAX, 1]);
    let large = || v1::Row { measurement: "x".repeat(BATCH_BYTES_MAX / 2), ..Default::default() };
    assert_eq!(sizes((1..=5).map(|i| (i, Ok(large()))).collect()), [2, 2, 1]);
}

#[test]
fn refusals_are_named_in_the_order_of_lines() {
    let row = || Ok(v1::Row::default());
    let verdicts = vec![(1, row()), (3, Err("bad".to_owned())), (4, row()), (9, row())];
    let rejection = v1::Rejection { row: 1, text: "field \"f\" is a float".into(), ..Default::default() };
    let early = v1::Rejection { row: 0, text: "too old".into(), ..Default::default() };
    let reply = v1::FrameReply { points: 1, rejected: vec![rejection, early], ..Default::default() };
    let mut totals = Totals::default();
    let batch = batches(verdicts).remove(0);
    assert_eq!(batch.span(), (1, 9));
    let text = totals.count(batch, reply);
    assert_eq!(text, "line 1: too old\nline 3: bad\nline 4: field \"f\" is a float\n");
    assert_eq!(totals.summary(), "4 lines: 1 point stored, 3 lines refused\n");
    assert_eq!(totals.refusal().expect("a refusal").code, Code::PartlyRefused);
}

#[test]
fn refusals_that_the_reply_does_not_name_are_counted() {
    let verdicts = (1..=200).map(|i| (i, Ok(v1::Row::default()))).collect();
    let rejected = (0..100).map(|row| v1::Rejection { row, text: "no".into(), ..Default::default() }).collect();
    let reply = v1::FrameReply { rejected, rejected_total: 200, ..Default::default() };
    let mut totals = Totals::default();
    let text = totals.count(batches(verdicts).remove(0), reply);
    assert!(text.ends_with("line 100: no\nand 100 lines more of the same request refused\n"), "{text}");
    let refusal = totals.refusal().expect("a refusal");
    assert_eq!((refusal.code, &*refusal.message), (Code::BadRequest, "all 200 lines refused"));
    assert_eq!(Totals::default().refusal(), None);
}

#[test]
fn halves_have_all_lines_in_order() {
    let row = || Ok(v1::Row::default());
    let bad = || Err("bad".to_owned());
    let verdicts = vec![(1, bad()), (2, row()), (3, bad()), (4, row()), (5, row()), (6, bad())];
    let (first, second) = batches(verdicts).remove(0).halves();
    let lines = |batch: &Batch| (batch.numbers.clone(), batch.refused.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    assert_eq!(lines(&first), (vec![2], vec![1, 3]));
    assert_eq!(lines(&second), (vec![4, 5], vec![6]));
    assert_eq!((first.rows.len(), second.rows.len()), (1, 2));
}

#[test]
fn only_rows_without_a_time_are_given_one() {
    let rows = [Some(5), None].map(|time| Ok(v1::Row { time, ..Default::default() }));
    let mut batch = batches(rows.into_iter().enumerate().collect()).remove(0);
    batch.give_times(Timestamp::new(9).expect("in range"));
    assert_eq!(batch.rows.iter().map(|row| row.time).collect::<Vec<_>>(), [Some(5), Some(9)]);
}
