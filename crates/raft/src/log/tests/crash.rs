//! Drawn calls over a log with a budget, a disk that is full at times, a power cut or a dead process after a drawn number of
//! disk calls, and again: what is found must be the state after some call that came no earlier than the last acked one, and
//! the files must come back into the budget.

use std::time::Duration;

use super::*;

/// What one life of the log was asked, and what it has acked.
struct Life {
    rng: Rng,
    log: Log,
    /// State after each record that was queued; the first is what was found.
    history: Vec<BTreeMap<(GroupId, Incarnation), Held>>,
    /// The last record in `history` that was acked.
    acked: Arc<Mutex<usize>>,
    /// Which life it is.
    round: u64,
}

impl Life {
    fn push(&mut self, key: (GroupId, Incarnation), change: impl FnOnce(&mut Held)) {
        let mut state = self.history.last().expect("never empty").clone();
        change(state.entry(key).or_default());
        state.retain(|_, held| *held != Held::default());
        self.history.push(state);
    }

    fn ack(&self) -> impl FnOnce(Result<(), Halt>) + Send + 'static {
        let (number, acked) = (self.history.len() - 1, Arc::clone(&self.acked));
        move |result| {
            let mut acked = acked.lock();
            if result.is_ok() {
                assert!(*acked <= number, "acked {number} after {acked}");
                *acked = number;
            }
        }
    }

    /// Watches a call that was queued.
    fn watch(&self, call: impl Future<Output = Result<(), Halt>> + Send + 'static) {
        let (number, acked) = (self.history.len() - 1, Arc::clone(&self.acked));
        drop(tokio::spawn(async move {
            if call.await.is_ok() {
                let mut acked = acked.lock();
                *acked = (*acked).max(number);
            }
        }));
    }

    fn text(&self, size: u64) -> Bytes {
        let size = self.rng.below(size) as usize;
        let byte = self.rng.below(256) as u8;
        Bytes::from(vec![byte; size])
    }

    fn append(&mut self, key: (GroupId, Incarnation), group: &GroupLog) {
        let next = group.state().last.map_or(0, |last| last + 1);
        let size = if self.rng.chance(0.1) { 6000 } else { 300 };
        let entries: Vec<LogEntry> = (next..next + self.rng.below(5))
            .map(|index| LogEntry { index, head: self.text(20), payload: self.text(size) })
            .collect();
        for entry in &entries {
            self.push(key, |held| {
                held.next = entry.index + 1;
                held.entries.insert(entry.index, entry.clone());
            });
        }
        group.append(entries, Box::new(self.ack()));
    }

    fn step(&mut self) {
        let key = (GroupId(self.rng.below(3) as u32), Incarnation(1));
        let group = self.log.group(key.0, key.1);
        let GroupState { purged, last, .. } = group.state();
        let (kept, next) = (purged.map_or(0, |(index, _)| index + 1), last.map_or(0, |last| last + 1));
        match self.rng.below(100) {
            0..60 => self.append(key, &group),
            60..75 => {
                let vote = self.text(30);
                self.push(key, |held| held.vote = Some(vote.clone()));
                self.watch(group.save_vote(vote));
            }
            75..83 => {
                let next = kept + self.rng.below(next - kept + 1);
                self.push(key, |held| {
                    held.next = next;
                    held.entries.retain(|index, _| *index < next);
                });
                self.watch(group.truncate_after(next.checked_sub(1)));
            }
            83..89 => {
                let (upto, id) = (kept + self.rng.below(next - kept + 3), self.text(20));
                self.push(key, |held| {
                    held.purged = Some((upto, id.clone()));
                    held.next = held.next.max(upto + 1);
                    held.entries.retain(|index, _| *index > upto);
                });
                self.watch(group.purge(upto, id));
            }
            89..98 => {
                let note = [self.round, self.history.len() as u64 - 1].map(u64::to_le_bytes).concat();
                group.save_committed(Bytes::from(note));
            }
            _ => {
                self.push(key, |held| *held = Held::default());
                self.watch(self.log.remove_group(key.0, key.1));
            }
        }
    }

    /// What the owner of a log does that is over its budget: purge the group that it names.
    fn relieve(&mut self) {
        let Some((group, incarnation, _)) = self.log.pinned() else { return };
        let (key, id) = ((group, incarnation), self.text(20));
        let group = self.log.group(group, incarnation);
        let upto = group.index_keeping(0).expect("it has entries, or it would need nothing");
        self.push(key, |held| {
            held.purged = Some((upto, id.clone()));
            held.entries.retain(|index, _| *index > upto);
        });
        self.watch(group.purge(upto, id));
    }

    /// Whatever was queued can be read at once, wherever it is by now; a log that has failed gives nothing.
    async fn check_reads(&self) {
        for (key, held) in self.history.last().expect("never empty") {
            let group = self.log.group(key.0, key.1);
            let (from, to) = (self.rng.below(held.next + 1), self.rng.below(held.next + 3));
            let expected = held.entries.iter().filter(|(index, _)| (from..to).contains(*index));
            if let Ok(entries) = group.read(from, to, usize::MAX).await {
                assert!(entries.iter().eq(expected.map(|(_, entry)| entry)), "[{from}, {to}) of {key:?}: {entries:?}");
            }
        }
    }

    /// What is found after the crash: one of the states of the history, and no note from after it.
    async fn judge(self, found: &Log, context: &str) -> BTreeMap<(GroupId, Incarnation), Held> {
        let state = held(found).await;
        let acked = *self.acked.lock();
        let at = self.history.iter().rposition(|known| *known == state).filter(|at| *at >= acked);
        let at = at.unwrap_or_else(|| panic!("{context}: found no state from record {acked} on, but {state:#?}"));
        for key in found.groups() {
            let note = found.group(key.0, key.1).state().committed;
            let note = note.map(|note| [0, 8].map(|i| u64::from_le_bytes(note[i..i + 8].try_into().expect("8 bytes"))));
            let is_known = note.is_none_or(|[round, number]| round < self.round || number <= at as u64);
            assert!(is_known, "{context}: the note {note:?} is from after record {at}");
        }
        state
    }
}

/// Opens the log; the power may go meanwhile, too.
async fn reopen(host: &SimHost, settings: &LogSettings, rng: &Rng) -> (Log, Arc<Meter>, Env) {
    while rng.chance(0.3) {
        let env = Meter::new(rng.below(9) as i64).on(host.env());
        let halted = Log::open(&env, &dir(), settings.clone()).await;
        // The writer gets some way, or none.
        env.clock.sleep(Duration::from_millis(rng.below(10))).await;
        host.crash();
        if let Err(halt) = halted {
            assert!(halt.reason.contains("the power goes"), "{halt}");
        }
    }
    let meter = Meter::new(i64::MAX);
    let env = meter.on(if rng.chance(0.5) { host.env() } else { host.env_inline() });
    let log = Log::open(&env, &dir(), settings.clone()).await.expect("the log opens, full disk or not");
    (log, meter, env)
}

/// Calls until the meter runs out or there have been enough.
async fn live(life: &mut Life, host: &SimHost, env: &Env) {
    let rng = life.rng.clone();
    for _ in 0..rng.below(80) {
        life.step();
        if rng.chance(0.3) {
            life.relieve();
        }
        match rng.below(50) {
            0 => host.disk().set_faults(Faults { capacity_bytes: Some(rng.below(40_000)), ..Faults::default() }),
            1..5 => host.disk().set_faults(Faults::default()),
            5..17 => env.clock.sleep(Duration::from_micros(rng.below(2000))).await,
            17..20 => env.clock.sleep(Duration::from_millis(rng.below(1500))).await,
            20..35 => life.check_reads().await,
            35..45 => tokio::task::yield_now().await,
            _ => {}
        }
    }
}

/// With space on the disk and an owner that does its part, the log comes back into its budget.
async fn check_bounded(life: &mut Life, host: &SimHost, env: &Env, settings: &LogSettings, context: &str) {
    host.disk().set_faults(Faults::default());
    let (mut quiet, mut bytes) = (0, 0);
    for _ in 0..2000 {
        life.relieve();
        env.clock.sleep(Duration::from_millis(20)).await;
        let now = life.log.bytes();
        quiet = if now == bytes && life.log.pinned().is_none() { quiet + 1 } else { 0 };
        bytes = now;
        // A full disk is looked at every second.
        if quiet > 60 {
            break;
        }
    }
    assert!(quiet > 60, "{context}: it never comes to rest");
    // The segment that is written, which one large record may have made to grow, and the one that is made ahead.
    let slack = 4 * settings.segment_bytes;
    assert!(bytes <= settings.bytes_max.saturating_add(slack), "{context}: {bytes} bytes");
    assert!(!*life.log.full().borrow(), "{context}: there is space");
    let names = env.disk.list(&dir()).expect("listed");
    let len = |name: &String| env.disk.open(&dir().join(name), Open::Read).and_then(|file| file.len()).expect("opened");
    assert_eq!(names.iter().map(len).sum::<u64>(), bytes, "{context}: what the log says of its files");
    life.check_reads().await;
}

/// How many segments were removed and entries copied, as far as the files tell.
async fn lives(seed: u64) -> (u64, u64) {
    let rng = Rng::from_seed(seed);
    let host = SimHost::new("n1", &rng.child("host"));
    let rng = rng.child("calls");
    let bytes_max = [12 << 10, 24 << 10, 40 << 10, u64::MAX][rng.below(4) as usize];
    let settings = LogSettings { bytes_max, cache_bytes: rng.below(4096) as usize, ..small() };
    let (mut state, mut wear) = (BTreeMap::new(), (0, 0));
    let (mut log, mut meter, mut env) = reopen(&host, &settings, &rng).await;
    for round in 0..6 {
        let context = format!("seed {seed}, round {round}");
        meter.left.store(if rng.chance(0.5) { rng.below(60) as i64 } else { i64::MAX }, Ordering::Relaxed);
        let (history, acked) = (vec![state], Arc::default());
        let mut life = Life { rng: rng.clone(), log, history, acked, round };
        live(&mut life, &host, &env).await;
        if meter.left.load(Ordering::Relaxed) > 1 << 40 && rng.chance(0.5) {
            check_bounded(&mut life, &host, &env, &settings, &context).await;
        }
        if rng.chance(0.3) {
            life.log.clone().close().await;
        }
        if rng.chance(0.3) {
            // The process dies and the power stays: what it wrote is found, synced or not, and must last from then on.
            meter.left.store(0, Ordering::Relaxed);
        } else {
            host.crash();
        }
        (log, meter, env) = reopen(&host, &settings, &rng).await;
        state = life.judge(&log, &context).await;
        let files = inspect_log(&*env.disk, &dir()).expect("listed");
        wear.0 += files.first().map_or(0, |oldest| oldest.number - 1);
        wear.1 += files.iter().filter_map(|file| file.records.get("copy")).sum::<u64>();
    }
    wear
}

#[tokio::test(start_paused = true)]
async fn what_was_acked_survives_and_nothing_else_appears() {
    let mut wear = (0, 0);
    for seed in 0..200 {
        let (removed, copied) = lives(seed).await;
        wear = (wear.0 + removed, wear.1 + copied);
    }
    assert!(wear.0 > 1000 && wear.1 > 100, "{wear:?}: segments removed, entries copied");
}
