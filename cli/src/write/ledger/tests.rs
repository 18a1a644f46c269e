//! Every line is counted once, in whatever order its request is answered.

use proptest::prelude::*;

use super::*;
use crate::write::batch::Batcher;

/// Lines from `first` on, each good or bad.
fn batch(first: usize, good: &[bool]) -> Batch {
    let mut batcher = Batcher::new(usize::MAX);
    for (i, good) in good.iter().enumerate() {
        let verdict = if *good { Ok(v1::Row::default()) } else { Err("bad".to_owned()) };
        assert!(batcher.push((first + i, verdict)).is_none());
    }
    batcher.finish().expect("some lines")
}

fn answered(points: u64, refused: &[(u64, &str)], total: u64) -> End {
    let rejection = |(row, text): &(u64, &str)| v1::Rejection { row: *row, text: (*text).into(), ..<_>::default() };
    let rejected = refused.iter().map(rejection).collect();
    End::Answered(v1::FrameReply { points, rejected, rejected_total: total, ..<_>::default() })
}

fn failed(code: Code) -> End {
    End::Failed(Failure::new(code, "why"))
}

fn lines(runs: &[Lines]) -> Vec<(usize, usize)> {
    runs.iter().map(|lines| (lines.first, lines.last)).collect()
}

/// A ledger with one batch, and what came of it.
fn settled(batch: Batch, end: End) -> (Ledger, Settled) {
    let mut ledger = Ledger::default();
    ledger.begin(&batch);
    let settled = ledger.settle(vec![Part { batch, end }]);
    (ledger, settled)
}

#[test]
fn refusals_are_named_in_the_order_of_lines() {
    let (ledger, settled) =
        settled(batch(1, &[true, false, true, true]), answered(1, &[(2, "a float"), (0, "too old")], 2));
    let refused: Vec<_> = settled.refused.iter().map(|(number, reason)| (*number, &**reason)).collect();
    assert_eq!(refused, [(1, "too old"), (2, "bad"), (4, "a float")]);
    assert_eq!((ledger.lines, ledger.points, ledger.refused), (4, 1, 3));
    assert_eq!(ledger.refusal().expect("a refusal").code, Code::PartlyRefused);
    assert_eq!(lines(&ledger.runs(Fate::Settled)), [(1, 4)]);
}

#[test]
fn refusals_that_the_reply_does_not_name_are_counted() {
    let first: Vec<_> = (0..100).map(|row| (row, "no")).collect();
    let (ledger, settled) = settled(batch(1, &[true; 200]), answered(0, &first, 200));
    assert_eq!((settled.refused.len(), settled.unnamed), (100, 100));
    assert_eq!(ledger.first_refused.keys().copied().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let refusal = ledger.refusal().expect("a refusal");
    assert_eq!((refusal.code, &*refusal.message), (Code::BadRequest, "all 200 lines refused"));
    assert_eq!(Ledger::default().refusal(), None);
}

#[test]
fn the_first_refusals_are_first_however_late_they_come() {
    let mut ledger = Ledger::default();
    let batches: Vec<_> = (0..4).map(|i| batch(10 * i + 1, &[false; 6])).collect();
    batches.iter().for_each(|batch| ledger.begin(batch));
    for batch in batches.into_iter().rev() {
        ledger.settle(vec![Part { batch, end: answered(0, &[], 0) }]);
    }
    let named: Vec<_> = ledger.first_refused.keys().copied().collect();
    assert_eq!(named, [1, 2, 3, 4, 5, 6, 11, 12, 13, 14]);
    assert_eq!(ledger.refused, 24);
}

#[test]
fn each_failure_says_what_is_known_of_its_lines() {
    let known = |code| {
        let (ledger, settled) = settled(batch(1, &[true, false, true]), failed(code));
        assert_eq!(settled.failure.expect("the failure").code, code);
        assert_eq!((ledger.refused, ledger.points), (1, 0), "a bad line is refused whatever came of the others");
        assert_eq!(ledger.doubt.is_some(), ledger.unknown > 0);
        (ledger.unknown, ledger.not_stored)
    };
    for code in [Code::Unknown, Code::SessionExpired, Code::Internal, Code::PartlyRefused] {
        assert_eq!(known(code), (2, 0), "{code:?}");
    }
    for code in [Code::NoLeader, Code::Overloaded, Code::NoDatabase, Code::BadRequest] {
        assert_eq!(known(code), (0, 2), "{code:?}");
    }
}

#[test]
fn parts_of_a_batch_have_each_their_fate() {
    let whole = batch(1, &[true; 6]);
    let mut ledger = Ledger::default();
    ledger.begin(&whole);
    ledger.begin(&batch(7, &[true; 2]));
    let parts = [(1, 2, answered(2, &[], 0)), (3, 2, failed(Code::Unknown)), (5, 2, End::NotSent)];
    let part = |(first, len, end)| Part { batch: batch(first, &vec![true; len]), end };
    ledger.settle(parts.into_iter().map(part).collect());
    assert_eq!(lines(&ledger.runs(Fate::Settled)), [(1, 2)]);
    assert_eq!(lines(&ledger.runs(Fate::Unknown)), [(3, 4)]);
    assert_eq!(lines(&ledger.runs(Fate::NotStored)), [(5, 6)]);
    assert_eq!(lines(&ledger.runs(Fate::UnderWay)), [(7, 8)]);
    ledger.abandon();
    assert_eq!((ledger.unknown, ledger.not_stored), (4, 2));
    assert_eq!(lines(&ledger.runs(Fate::Unknown)), [(3, 4), (7, 8)]);
}

proptest! {
    #[test]
    fn runs_join_in_any_order(order in Just((0..30).collect::<Vec<usize>>()).prop_shuffle(), settled in 0_usize..30) {
        let mut ledger = Ledger::default();
        let batches: Vec<_> = (0..30).map(|i| batch(3 * i + 1, &[true; 3])).collect();
        batches.iter().for_each(|batch| ledger.begin(batch));
        let mut batches: Vec<_> = batches.into_iter().map(Some).collect();
        for i in &order[..settled] {
            let batch = batches[*i].take().expect("each is answered once");
            ledger.settle(vec![Part { batch, end: answered(3, &[], 0) }]);
        }
        ledger.abandon();
        let runs = |fate| ledger.runs(fate).iter().map(|run| run.last - run.first + 1).sum::<usize>();
        prop_assert_eq!(runs(Fate::Settled), 3 * settled);
        prop_assert_eq!(runs(Fate::Unknown), 3 * (30 - settled));
        prop_assert_eq!(ledger.points + ledger.unknown, ledger.lines);
        if settled == 30 {
            prop_assert_eq!(lines(&ledger.runs(Fate::Settled)), [(1, 90)]);
        }
    }
}
