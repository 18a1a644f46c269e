//! Summaries as text and JSON, one of each way to end.

use meridian_proto::v1;
use meridian_types::{Code, Failure};

use super::*;
use crate::write::batch::{Batch, Batcher};
use crate::write::ledger::{End, Part};

/// `len` lines from `first` on, the ones in `bad` refused.
fn batch(first: usize, len: usize, bad: &[usize]) -> Batch {
    let mut batcher = Batcher::new(usize::MAX);
    for line in first..first + len {
        let verdict = match bad.contains(&line) {
            true => Err("the line has no fields: add one, such as value=1".to_owned()),
            false => Ok(v1::Row::default()),
        };
        assert!(batcher.push((line, verdict)).is_none());
    }
    batcher.finish().expect("some lines")
}

fn stored(points: u64) -> End {
    End::Answered(v1::FrameReply { points, ..Default::default() })
}

fn ledger(ends: Vec<(Batch, Option<End>)>) -> Ledger {
    let mut ledger = Ledger::default();
    ends.iter().for_each(|(batch, _)| ledger.begin(batch));
    for (batch, end) in ends {
        if let Some(end) = end {
            ledger.settle(vec![Part { batch, end }]);
        }
    }
    ledger.abandon();
    ledger
}

#[test]
fn summaries_of_every_end() {
    let bad: Vec<usize> = (3..15).collect();
    let unknown = || Failure::new(Code::Unknown, "127.0.0.1:7171 did not answer within 30s");
    let runs = [
        ("whole", ledger(vec![(batch(1, 5_000, &[]), Some(stored(10_000)))]), None),
        ("nothing", Ledger::default(), None),
        ("refused in part", ledger(vec![(batch(1, 100, &bad), Some(stored(88)))]), None),
        (
            "failed",
            ledger(vec![
                (batch(1, 10, &[2]), Some(stored(9))),
                (batch(11, 10, &[]), Some(End::Failed(unknown()))),
                (batch(21, 10, &[]), Some(stored(10))),
                (batch(31, 10, &[]), Some(End::Failed(Failure::new(Code::NoLeader, "s1 has no leader")))),
            ]),
            Some(Stop::Failed(unknown())),
        ),
        (
            "interrupted",
            ledger(vec![(batch(1, 10, &[]), Some(stored(10))), (batch(11, 1, &[]), None)]),
            Some(Stop::Interrupted),
        ),
        ("interrupted at once", Ledger::default(), Some(Stop::Interrupted)),
    ];
    let mut found = String::new();
    for (name, ledger, stop) in runs {
        let summary = Summary::new(&ledger, stop.as_ref(), 0.5);
        found +=
            &format!("--- {name}\n{}--- json\n{}--- of write\n{}", summary.text(), summary.json(), summary.short());
    }
    assert_eq!(found, include_str!("../../../testdata/import.txt"));
}
