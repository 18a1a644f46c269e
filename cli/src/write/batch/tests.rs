//! Lines keep their numbers however the input is cut, and batches are bounded.

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

/// All batches of these lines.
fn batches(verdicts: Vec<Verdict>, rows_max: usize) -> Vec<Batch> {
    let mut batcher = Batcher::new(rows_max);
    let mut batches: Vec<_> = verdicts.into_iter().filter_map(|verdict| batcher.push(verdict)).collect();
    batches.extend(batcher.finish());
    batches
}

#[test]
fn batches_are_bounded() {
    let small = |n: usize| (1..=n).map(|i| (i, Ok(v1::Row::default()))).collect();
    let sizes = |verdicts| batches(verdicts, 100).iter().map(Batch::lines).collect::<Vec<_>>();
    assert_eq!(sizes(small(201)), [100, 100, 1]);
    assert_eq!(sizes(small(100)), [100]);
    assert!(sizes(vec![]).is_empty());
    let large = || v1::Row { measurement: "x".repeat(BATCH_BYTES_MAX / 2), ..Default::default() };
    assert_eq!(sizes((1..=5).map(|i| (i, Ok(large()))).collect()), [2, 2, 1]);
    assert_eq!(sizes((1..=150).map(|i| (i, Err("bad".to_owned()))).collect()), [100, 50], "bad lines take memory too");
}

#[test]
fn a_batch_knows_its_first_and_last_line() {
    let (row, bad) = (|| Ok(v1::Row::default()), || Err("bad".to_owned()));
    let span = |verdicts| batches(verdicts, 100).remove(0).span();
    assert_eq!(span(vec![(2, row()), (5, row())]), (2, 5));
    assert_eq!(span(vec![(2, bad()), (5, row()), (7, bad())]), (2, 7));
    assert_eq!(span(vec![(3, bad())]), (3, 3));
}

#[test]
fn halves_have_all_lines_in_order() {
    let row = || Ok(v1::Row::default());
    let bad = || Err("bad".to_owned());
    let verdicts = vec![(1, bad()), (2, row()), (3, bad()), (4, row()), (5, row()), (6, bad())];
    let (first, second) = batches(verdicts, 100).remove(0).halves();
    let lines = |batch: &Batch| (batch.numbers.clone(), batch.refused.iter().map(|(n, _)| *n).collect::<Vec<_>>());
    assert_eq!(lines(&first), (vec![2], vec![1, 3]));
    assert_eq!(lines(&second), (vec![4, 5], vec![6]));
    assert_eq!((first.rows.len(), second.rows.len()), (1, 2));
}

#[test]
fn only_rows_without_a_time_are_given_one() {
    let rows = [Some(5), None].map(|time| Ok(v1::Row { time, ..Default::default() }));
    let mut batch = batches(rows.into_iter().enumerate().collect(), 100).remove(0);
    batch.give_times(Timestamp::new(9).expect("in range"));
    assert_eq!(batch.rows.iter().map(|row| row.time).collect::<Vec<_>>(), [Some(5), Some(9)]);
}
