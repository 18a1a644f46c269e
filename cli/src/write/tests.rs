//! The exit code of a run tells the worst of it.

use super::*;
use crate::write::batch::Batcher;
use crate::write::ledger::{End, Part};

/// A ledger of ten lines, `bad` of them refused, whose one request ended like this.
fn ledger(bad: usize, end: End) -> Ledger {
    let mut batcher = Batcher::new(usize::MAX);
    for line in 1..=10 {
        let verdict = if line <= bad { Err("bad".to_owned()) } else { Ok(v1::Row::default()) };
        assert!(batcher.push((line, verdict)).is_none());
    }
    let batch = batcher.finish().expect("ten lines");
    let mut ledger = Ledger::default();
    ledger.begin(&batch);
    ledger.settle(vec![Part { batch, end }]);
    ledger
}

fn exit(ledger: &Ledger, stop: Option<Stop>) -> (u8, String) {
    match outcome(ledger, stop, "metrics") {
        Ok(()) => (0, String::new()),
        Err(error) => (error.exit_code(), error.render()),
    }
}

#[test]
fn a_run_ends_with_the_code_of_the_worst() {
    let stored = || End::Answered(v1::FrameReply::default());
    let (clean, refused, all) = (ledger(0, stored()), ledger(3, stored()), ledger(10, stored()));
    let doubt = |code| ledger(3, End::Failed(Failure::new(code, "why")));
    let failed = |code| Some(Stop::Failed(Failure::new(code, "database \"metrics\" does not exist")));
    assert_eq!(exit(&clean, None).0, 0);
    assert_eq!(exit(&refused, None).0, 9);
    assert_eq!(exit(&all, None).0, 3);
    assert_eq!(exit(&doubt(Code::Unknown), failed(Code::Unknown)).0, 8);
    assert_eq!(exit(&doubt(Code::Internal), failed(Code::Internal)).0, 8, "part of it may be stored");
    assert_eq!(exit(&doubt(Code::Unknown), failed(Code::NoLeader)).0, 8, "whatever stopped it first");
    assert_eq!(exit(&doubt(Code::Unknown), Some(Stop::Interrupted)), (130, "interrupted\n".to_owned()));
    assert_eq!(exit(&refused, failed(Code::NoLeader)).0, 6);
    let (code, text) = exit(&refused, failed(Code::NoDatabase));
    assert_eq!(code, 4);
    assert!(text.ends_with("help: meridian db create metrics\n"), "{text}");
    assert_eq!(exit(&refused, Some(Stop::Unreadable(CliError::usage("cut off", "mend it")))).0, 2);
}

#[test]
fn refused_lines_are_named_by_write() {
    let settled = Settled { refused: vec![(3, "no fields".into())], unnamed: 2, failure: None };
    assert_eq!(named(&settled), "line 3: no fields\nand 2 lines more of the same request refused\n");
}
