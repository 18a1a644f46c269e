//! Copies and holes, and the bytes that a group keeps, against a list of entries.

use proptest::prelude::*;

use super::*;

fn entry(index: u64, size: usize) -> LogEntry {
    LogEntry { index, head: Bytes::new(), payload: Bytes::from(vec![0; size]) }
}

fn at(segment: u64) -> Option<Location> {
    Some(Location { segment, offset: 0 })
}

fn purge(upto: u64) -> Record {
    Record::Purge { upto, id: Bytes::new() }
}

/// A group whose older entries are known from a checkpoint alone: of 0 to 9, those up to 4 are purged.
fn with_hole() -> GroupIndex {
    GroupIndex::from_points(Points { purged: Some((4, Bytes::new())), next: 10, ..Points::default() })
}

#[test]
fn copies_fill_the_hole_that_a_removed_segment_leaves() {
    let mut group = with_hole();
    assert_eq!(group.missing(), Some(5..=9));
    for index in [7, 6, 9] {
        group.step(&Record::Copy(entry(index, 1)), 0, at(3)).expect("it was there");
    }
    assert_eq!(group.missing(), Some(5..=5));
    assert_eq!(group.first(), 10, "what comes before a hole is not here yet");
    group.step(&Record::Entry(entry(10, 1)), 0, at(3)).expect("the next one");
    group.step(&purge(5), 0, None).expect("purged");
    assert_eq!(group.missing(), Some(8..=8));
    group.step(&Record::Truncate { next: 8 }, 0, None).expect("truncated");
    assert_eq!(group.missing(), None, "8 to 10 are gone, copied or not");
    group.step(&Record::Entry(entry(8, 1)), 0, at(3)).expect("the next one");
    group.step(&Record::Copy(entry(8, 1)), 0, at(4)).expect("it is there");
    group.settle();
    let found: Vec<_> = group.slots(0, 99).map(|(index, slot)| (index, slot.location)).collect();
    assert_eq!(found, [(6, at(3)), (7, at(3)), (8, at(4))]);
    assert_eq!(group.bytes(), 3 * 30);
}

#[test]
fn what_is_not_there_cannot_be_copied() {
    let mut group = with_hole();
    for index in [4, 10, u64::MAX] {
        let copied = group.step(&Record::Copy(entry(index, 1)), 0, at(3)).map(drop);
        assert_eq!(copied, Err(StepError::CopyOfNothing { index, kept: 5, next: 10 }));
    }
}

#[test]
fn a_copy_moves_an_entry_once_it_is_written() {
    let mut group = GroupIndex::default();
    group.step(&Record::Entry(entry(0, 9)), 1, at(1)).expect("the first one");
    group.step(&Record::Copy(entry(0, 9)), 7, None).expect("it is there");
    assert_eq!(group.slot(0).map(|slot| slot.location), Some(at(1)), "until then the old place serves");
    assert!(group.slot_mut(0, 1).is_none(), "whoever knew it as another one need not care any more");
    group.slot_mut(0, 7).expect("the copy").location = at(2);
    let freed = group.step(&purge(0), 8, None).expect("purged");
    assert_eq!(freed, [(2, Amount::one(38))]);
}

#[test]
fn a_checkpoint_that_no_records_add_up_to_is_refused() {
    for (purged, next, is_possible) in [(3, 4, true), (4, 4, false), (u64::MAX, u64::MAX, false), (9, 4, false)] {
        let points = Points { purged: Some((purged, Bytes::new())), next, ..Points::default() };
        assert_eq!(points.check().is_ok(), is_possible, "{purged}, {next}");
    }
}

proptest! {
    #[test]
    fn bytes_and_index_keeping_are_those_of_the_entries(
        steps in proptest::collection::vec((0_u8..10, 0_usize..50, any::<proptest::sample::Index>()), 0..60),
        bytes in 0_u64..1500,
    ) {
        let mut group = GroupIndex::default();
        let mut model: Vec<(u64, u64)> = Vec::new();
        for (what, size, place) in steps {
            let (kept, next) = (group.points.first_kept(), group.points.next);
            let some = kept + place.index((next - kept + 1) as usize) as u64;
            let record = match what {
                0 => Record::Truncate { next: some },
                1 => purge(some),
                _ => Record::Entry(entry(next, size)),
            };
            let freed = group.step(&record, 0, at(some % 2)).expect("it fits");
            let before = model.len() as u64;
            match what {
                0 => model.retain(|(index, _)| *index < some),
                1 => model.retain(|(index, _)| *index > some),
                _ => model.push((next, size as u64 + 29)),
            }
            let freed: u64 = freed.iter().map(|(_, amount)| amount.entries).sum();
            prop_assert_eq!(freed, before.saturating_sub(model.len() as u64));
        }
        prop_assert_eq!(group.bytes(), model.iter().map(|(_, len)| len).sum::<u64>());
        let behind = |index: u64| model.iter().filter(|(i, _)| *i > index).map(|(_, len)| len).sum::<u64>();
        let expected = model.iter().map(|(index, _)| *index).rfind(|index| behind(*index) >= bytes);
        prop_assert_eq!(group.index_keeping(bytes), expected);
    }
}
