//! A checker that cannot fail checks nothing: each lie is told once, and every truth passes.

use super::*;
use crate::history::OpId;
use crate::rows::Row;

const SERIES: Series = Series(4);

fn range(start: i64, end: i64) -> TimeRange {
    let at = |nanos| Timestamp::new(nanos).expect("in range");
    TimeRange::new(at(start), at(end)).expect("not empty")
}

fn scope() -> Scope {
    Scope { measurement: 0, series: None, range: TimeRange::ALL }
}

fn place(field: Field, time: i64) -> Place {
    Place { series: SERIES, time, field }
}

fn write(history: &mut History, serial: i64, time: i64) -> OpId {
    history.begin(Deed::Write(vec![Row::new(serial, SERIES, time, [Field::Serial, Field::Text])]))
}

fn write_told(history: &mut History, serial: i64, time: i64, told: Told) {
    let op = write(history, serial, time);
    history.told(op, told);
}

fn delete(history: &mut History, start: i64, end: i64) -> OpId {
    history.begin(Deed::Delete(Delete { measurement: 0, series: Some(SERIES), range: range(start, end) }))
}

/// An answer at the end that shows whole rows, each as (serial, time).
fn shows(rows: &[(i64, i64)]) -> Read {
    let values = rows.iter().flat_map(|(serial, time)| {
        [Field::Serial, Field::Text].map(|field| (place(field, *time), field.value(*serial)))
    });
    Read::at_the_end(scope(), values.collect())
}

fn check(history: &History, read: &Read) -> Result<(), Violation> {
    Registers::of(history).check(read)
}

#[test]
fn what_was_told_is_what_is_there() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    write_told(&mut history, 2, 20, Told::Refused);
    write_told(&mut history, 3, 30, Told::Unknown);
    write(&mut history, 4, 40);
    for unknown in [&[][..], &[(3, 30)], &[(4, 40)], &[(3, 30), (4, 40)]] {
        assert_eq!(check(&history, &shows(&[&[(1, 10)], unknown].concat())), Ok(()));
    }
    let at = |time| place(Field::Serial, time);
    assert_eq!(check(&history, &shows(&[])), Err(Violation::Lost(at(10), 1)));
    assert_eq!(check(&history, &shows(&[(1, 10), (2, 20)])), Err(Violation::Refused(at(20), 2)));
    assert_eq!(check(&history, &shows(&[(1, 10), (5, 50)])), Err(Violation::Phantom(at(50), Value::I64(5))));
    assert_eq!(check(&history, &shows(&[(3, 10)])), Err(Violation::Phantom(at(10), Value::I64(3))));
    let mut other_type = shows(&[(1, 10)]);
    other_type.seen.insert(at(10), Value::U64(1));
    assert_eq!(check(&history, &other_type), Err(Violation::Phantom(at(10), Value::U64(1))));
}

#[test]
fn the_last_acked_write_wins_and_concurrent_ones_may_go_either_way() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    let (two, three) = (write(&mut history, 2, 10), write(&mut history, 3, 10));
    history.told(two, Told::Acked);
    history.told(three, Told::Acked);
    assert_eq!(check(&history, &shows(&[(2, 10)])), Ok(()));
    assert_eq!(check(&history, &shows(&[(3, 10)])), Ok(()));
    let at = place(Field::Serial, 10);
    assert_eq!(check(&history, &shows(&[(1, 10)])), Err(Violation::Overwritten(at, 1, 3)));
    assert_eq!(check(&history, &shows(&[])), Err(Violation::Lost(at, 3)));
    // One of unknown outcome may come last even if others began later.
    write(&mut history, 4, 10);
    write_told(&mut history, 5, 10, Told::Acked);
    assert_eq!(check(&history, &shows(&[(4, 10)])), Ok(()));
    assert_eq!(check(&history, &shows(&[(2, 10)])), Err(Violation::Overwritten(at, 2, 5)));
}

#[test]
fn a_delete_is_a_write_of_nothing() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    write_told(&mut history, 2, 20, Told::Acked);
    let first = delete(&mut history, 5, 20);
    history.told(first, Told::Acked);
    let at = place(Field::Serial, 10);
    assert_eq!(check(&history, &shows(&[(2, 20)])), Ok(()), "a range's end is not in it");
    assert_eq!(check(&history, &shows(&[(1, 10), (2, 20)])), Err(Violation::Undeleted(at, 1)));
    write_told(&mut history, 3, 10, Told::Acked);
    assert_eq!(check(&history, &shows(&[(3, 10), (2, 20)])), Ok(()));
    assert_eq!(check(&history, &shows(&[(2, 20)])), Err(Violation::Lost(at, 3)), "the write came after the delete");
    let unknown = delete(&mut history, 0, 100);
    history.told(unknown, Told::Unknown);
    for rows in [&[][..], &[(3, 10)], &[(3, 10), (2, 20)]] {
        assert_eq!(check(&history, &shows(rows)), Ok(()), "a delete of unknown outcome");
    }
    let refused = delete(&mut history, 0, 100);
    history.told(refused, Told::Refused);
    assert_eq!(check(&history, &shows(&[(1, 10)])), Err(Violation::Overwritten(at, 1, 3)));
}

#[test]
fn a_delete_covers_its_series_or_the_whole_measurement_and_nothing_else() {
    let mut history = History::default();
    let others = [Series(5), Series(6)];
    for (serial, series) in (1..).zip(others) {
        let op = history.begin(Deed::Write(vec![Row::new(serial, series, 10, [Field::Serial])]));
        history.told(op, Told::Acked);
    }
    let op = history.begin(Deed::Delete(Delete { measurement: 0, series: None, range: range(0, 100) }));
    history.told(op, Told::Acked);
    let seen = |series: &[usize]| {
        let value = |i: &usize| {
            let place = Place { series: others[*i], time: 10, field: Field::Serial };
            (place, Value::I64(*i as i64 + 1))
        };
        series.iter().map(value).collect::<BTreeMap<_, _>>()
    };
    let registers = Registers::of(&history);
    let disk = Scope { measurement: 1, ..scope() };
    assert_eq!(registers.check(&Read::at_the_end(disk, seen(&[0]))), Ok(()));
    assert!(matches!(registers.check(&Read::at_the_end(disk, seen(&[]))), Err(Violation::Lost(_, 1))));
    assert_eq!(registers.check(&Read::at_the_end(scope(), seen(&[]))), Ok(()));
    assert!(matches!(registers.check(&Read::at_the_end(scope(), seen(&[1]))), Err(Violation::Undeleted(_, 2))));
}

#[test]
fn an_answer_in_the_midst_sees_what_was_acked_before_it_was_asked() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    let asked = history.tick();
    let two = write(&mut history, 2, 10);
    let answered = history.tick();
    history.told(two, Told::Acked);
    write_told(&mut history, 3, 10, Told::Acked);
    let read = |rows: &[(i64, i64)]| Read { asked, answered, ..shows(rows) };
    assert_eq!(check(&history, &read(&[(1, 10)])), Ok(()));
    assert_eq!(check(&history, &read(&[(2, 10)])), Ok(()));
    let at = place(Field::Serial, 10);
    assert_eq!(check(&history, &read(&[])), Err(Violation::Lost(at, 1)));
    assert_eq!(check(&history, &read(&[(3, 10)])), Err(Violation::Early(at, 3)));
    let late = Read { asked: answered + 10, answered: answered + 11, ..shows(&[(1, 10)]) };
    assert_eq!(check(&history, &late), Err(Violation::Overwritten(at, 1, 3)), "a stale answer");
}

#[test]
fn a_row_is_there_as_a_whole() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Unknown);
    let mut half = shows(&[(1, 10)]);
    half.seen.remove(&place(Field::Text, 10));
    assert_eq!(check(&history, &half), Ok(()), "nobody was told yet that the field exists");
    write_told(&mut history, 3, 30, Told::Acked);
    half.seen.extend(shows(&[(3, 30)]).seen);
    let torn = Violation::Torn(place(Field::Serial, 10), 1, Field::Text);
    assert_eq!(check(&history, &half), Err(torn.clone()));
    delete(&mut history, 0, 100);
    assert_eq!(check(&history, &half), Err(torn), "a delete takes all of a row");
}

/// An answer at the end that shows these serial numbers in two fields of one row.
fn mixed(serial: i64, text: Option<i64>) -> Read {
    let text = text.map(|text| (place(Field::Text, 10), Field::Text.value(text)));
    let serial = (place(Field::Serial, 10), Field::Serial.value(serial));
    Read::at_the_end(scope(), [serial].into_iter().chain(text).collect())
}

#[test]
fn a_row_is_not_made_of_two_writes() {
    let torn = |serial| Err(Violation::Torn(place(Field::Serial, 10), serial, Field::Text));
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    write(&mut history, 2, 10);
    assert_eq!(check(&history, &mixed(2, Some(1))), torn(2), "the first ended before the second began");
    let only_text = history.begin(Deed::Write(vec![Row::new(3, SERIES, 10, [Field::Text])]));
    assert_eq!(check(&history, &mixed(2, Some(3))), Ok(()));
    history.told(only_text, Told::Acked);
    assert_eq!(check(&history, &mixed(2, Some(3))), Ok(()));
    let mut overlapping = History::default();
    let (one, two) = (write(&mut overlapping, 1, 10), write(&mut overlapping, 2, 10));
    overlapping.told(one, Told::Acked);
    overlapping.told(two, Told::Acked);
    assert_eq!(check(&overlapping, &mixed(2, Some(1))), torn(2), "whichever came last has both");
}

#[test]
fn no_delete_takes_half_of_a_row() {
    for told in [Told::Acked, Told::Refused] {
        let mut history = History::default();
        write_told(&mut history, 3, 10, Told::Acked);
        let gone = delete(&mut history, 5, 15);
        history.told(gone, told);
        write(&mut history, 1, 10);
        assert!(check(&history, &mixed(1, None)).is_err());
        assert!(check(&history, &shows(&[(1, 10)])).is_ok());
    }
}

#[test]
fn nothing_is_there_outside_of_the_question() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Acked);
    let mut read = shows(&[(1, 10)]);
    read.scope.range = range(100, 200);
    assert!(matches!(check(&history, &read), Err(Violation::Foreign(_))));
}

/// A repetition without a request id is an operation of its own: it may overwrite what came between.
#[test]
fn one_row_may_be_sent_by_two_operations() {
    let mut history = History::default();
    write_told(&mut history, 1, 10, Told::Unknown);
    write_told(&mut history, 1, 10, Told::Acked);
    write_told(&mut history, 2, 10, Told::Acked);
    assert_eq!(check(&history, &shows(&[(1, 10)])), Ok(()));
    assert_eq!(check(&history, &shows(&[(2, 10)])), Ok(()));
}

#[test]
fn ranges_cover_all_of_time() {
    let mut history = History::default();
    assert_eq!(Registers::of(&history).ranges(5), [TimeRange::ALL]);
    for serial in 0..50 {
        write_told(&mut history, serial, serial / 3, Told::Acked);
    }
    let ranges = Registers::of(&history).ranges(10);
    assert!(ranges.len() >= 5, "{ranges:?}");
    assert_eq!(ranges[0].start(), Timestamp::MIN);
    assert_eq!(ranges[ranges.len() - 1].end(), Timestamp::END);
    assert!(ranges.windows(2).all(|pair| pair[0].end() == pair[1].start()));
}
