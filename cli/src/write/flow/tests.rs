//! A cluster that answers as it is told, on paused time: how many requests are under way, what ends a run, and what is known
//! then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use meridian_env::Rng;
use meridian_env::sim::SimHost;

use super::*;
use crate::write::batch::Batcher;
use crate::write::ledger::Fate;

/// Says nothing, and counts what it is told.
#[derive(Default)]
struct Silent {
    settled: usize,
    stopping: Vec<usize>,
}

impl Face for Silent {
    fn settled(&mut self, _settled: &Settled) {
        self.settled += 1;
    }

    fn look(&mut self, _now: Instant, _ledger: &Ledger) -> Option<Instant> {
        None
    }

    fn stopping(&mut self, under_way: usize) {
        self.stopping.push(under_way);
    }
}

fn env() -> Env {
    SimHost::new("cli", &Rng::from_seed(1)).env_inline()
}

/// `count` batches of `len` good lines each.
fn input(count: usize, len: usize) -> mpsc::Receiver<Result<Batch, CliError>> {
    let (sender, receiver) = mpsc::channel(count.max(1));
    let mut batcher = Batcher::new(len);
    for line in 1..=count * len {
        if let Some(batch) = batcher.push((line, Ok(v1::Row::default()))) {
            sender.try_send(Ok(batch)).expect("there is room");
        }
    }
    receiver
}

fn ok(request: &v1::WriteRequest) -> Result<v1::FrameReply, Failure> {
    Ok(v1::FrameReply { points: request.rows.len() as u64, ..Default::default() })
}

fn nobody() -> mpsc::Receiver<()> {
    mpsc::channel(1).1
}

async fn run(
    parallel: usize,
    input: mpsc::Receiver<Result<Batch, CliError>>,
    interrupts: mpsc::Receiver<()>,
    send: impl AsyncFn(&v1::WriteRequest) -> Result<v1::FrameReply, Failure>,
) -> (Ledger, Option<Stop>, Silent) {
    let env = env();
    let flow = Flow { env: &env, session: Session::begin(&env), database: "db".into(), parallel, send };
    let mut face = Silent::default();
    let (ledger, stop) = flow.run(input, interrupts, &mut face).await;
    (ledger, stop, face)
}

fn lines(ledger: &Ledger, fate: Fate) -> Vec<(usize, usize)> {
    ledger.runs(fate).iter().map(|run| (run.first, run.last)).collect()
}

#[tokio::test(start_paused = true)]
async fn as_many_are_under_way_as_allowed_each_with_its_own_id() {
    for parallel in [1, 4] {
        let (now, most, ids) = (Cell::new(0), Cell::new(0), RefCell::new(BTreeSet::new()));
        let clock = env().clock;
        let send = async |request: &v1::WriteRequest| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            let id = request.request.expect("an id");
            assert!(ids.borrow_mut().insert(id.seq), "no id is used twice");
            assert!(request.rows.iter().all(|row| row.time.is_some()), "a repetition must be the same request");
            clock.sleep(Duration::from_millis(10 + id.seq % 3)).await;
            now.set(now.get() - 1);
            ok(request)
        };
        let (ledger, stop, face) = run(parallel, input(20, 5), nobody(), send).await;
        assert!(stop.is_none());
        assert_eq!((most.get(), face.settled, ledger.lines, ledger.points), (parallel, 20, 100, 100));
        assert_eq!(lines(&ledger, Fate::Settled), [(1, 100)]);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_nothing_new_is_sent_and_the_rest_is_waited_for() {
    let clock = env().clock;
    let send = async |request: &v1::WriteRequest| {
        let seq = request.request.expect("an id").seq;
        clock.sleep(Duration::from_millis(if seq == 2 { 1 } else { 50 })).await;
        if seq == 2 { Err(Failure::new(Code::Unknown, "late")) } else { ok(request) }
    };
    let (ledger, stop, _) = run(4, input(20, 5), nobody(), send).await;
    assert!(matches!(stop, Some(Stop::Failed(failure)) if failure.code == Code::Unknown));
    assert_eq!(lines(&ledger, Fate::Settled), [(1, 10), (16, 20)]);
    assert_eq!(lines(&ledger, Fate::Unknown), [(11, 15)]);
    assert_eq!((ledger.lines, ledger.points, ledger.unknown), (20, 15, 5));
}

#[tokio::test(start_paused = true)]
async fn an_input_that_breaks_off_ends_the_run_behind_what_was_read() {
    let (sender, input_then_error) = mpsc::channel(4);
    let mut whole = input(2, 5);
    while let Ok(batch) = whole.try_recv() {
        sender.try_send(batch).expect("there is room");
    }
    sender.try_send(Err(CliError::usage("cut off", "mend it"))).expect("there is room");
    let (ledger, stop, _) = run(1, input_then_error, nobody(), async |request: &v1::WriteRequest| ok(request)).await;
    assert!(matches!(stop, Some(Stop::Unreadable(_))));
    assert_eq!(lines(&ledger, Fate::Settled), [(1, 10)]);
}

/// Runs until `presses` of ctrl-C have come, the first when the third request is sent.
async fn interrupted(presses: usize) -> (Ledger, Option<Stop>, Silent) {
    let (sender, interrupts) = mpsc::channel(2);
    let clock = env().clock;
    let send = async |request: &v1::WriteRequest| {
        let seq = request.request.expect("an id").seq;
        if seq == 2 {
            (0..presses).for_each(|_| sender.try_send(()).expect("there is room"));
        }
        clock.sleep(Duration::from_millis(50 + seq)).await;
        ok(request)
    };
    run(2, input(20, 5), interrupts, send).await
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_waits_for_what_is_under_way() {
    let (ledger, stop, face) = interrupted(1).await;
    assert!(matches!(stop, Some(Stop::Interrupted)));
    assert_eq!(face.stopping, [2]);
    assert_eq!(lines(&ledger, Fate::Settled), [(1, 15)], "two were under way, and none is sent after them");
    assert_eq!(ledger.unknown, 0);
}

#[tokio::test(start_paused = true)]
async fn ctrl_c_again_leaves_it_unknown() {
    let (ledger, stop, _) = interrupted(2).await;
    assert!(matches!(stop, Some(Stop::Interrupted)));
    assert_eq!(lines(&ledger, Fate::Settled), [(1, 5)]);
    assert_eq!(lines(&ledger, Fate::Unknown), [(6, 15)]);
    assert_eq!((ledger.points, ledger.unknown), (5, 10));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_goes_in_halves_and_a_line_that_still_is_is_refused() {
    let ids = RefCell::new(BTreeSet::new());
    let send = async |request: &v1::WriteRequest| {
        assert!(ids.borrow_mut().insert(request.request.expect("an id").seq), "a half is a request of its own");
        if request.rows.len() > 2 || request.rows[0].measurement == "large" {
            return Err(Failure::new(Code::OverLimit, "too much"));
        }
        ok(request)
    };
    let (sender, batches) = mpsc::channel(1);
    let mut batcher = Batcher::new(9);
    for line in 1..=9 {
        let measurement = if line == 5 { "large" } else { "m" }.to_owned();
        if let Some(batch) = batcher.push((line, Ok(v1::Row { measurement, ..Default::default() }))) {
            sender.try_send(Ok(batch)).expect("there is room");
        }
    }
    drop(sender);
    let (ledger, stop, _) = run(1, batches, nobody(), send).await;
    assert!(stop.is_none());
    assert_eq!((ledger.lines, ledger.points, ledger.refused), (9, 8, 1));
    assert_eq!(ledger.first_refused, [(5, "too much".to_owned())].into());
    assert_eq!(lines(&ledger, Fate::Settled), [(1, 9)]);
}

#[tokio::test(start_paused = true)]
async fn behind_a_half_that_failed_the_other_is_not_sent() {
    let sent = Cell::new(0);
    let send = async |request: &v1::WriteRequest| {
        sent.set(sent.get() + 1);
        match request.rows.len() {
            4 => Err(Failure::new(Code::OverLimit, "too much")),
            _ => Err(Failure::new(Code::NoLeader, "not now")),
        }
    };
    let (ledger, _, _) = run(1, input(3, 4), nobody(), send).await;
    assert_eq!((sent.get(), ledger.not_stored, ledger.unknown), (2, 4, 0));
    assert_eq!(lines(&ledger, Fate::NotStored), [(1, 4)]);
}
