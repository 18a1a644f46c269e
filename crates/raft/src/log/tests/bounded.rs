//! The log keeps to its budget, and a full disk passes.

use std::time::Duration;

use meridian_env::Work;
use tokio::sync::Notify;

use super::*;

/// Tiny segments, of which four are the budget.
fn tight() -> LogSettings {
    LogSettings { bytes_max: 4 * 4096, ..small() }
}

/// Until the keeper has nothing more to do.
async fn rest(env: &Env) {
    env.clock.sleep(Duration::from_secs(3)).await;
}

fn files(host: &SimHost) -> Vec<String> {
    host.env_inline().disk.list(&dir()).expect("listed")
}

/// The files that are segments, and not only may become some.
fn segments(host: &SimHost) -> Vec<String> {
    files(host).into_iter().filter(|name| name.ends_with(".seg")).collect()
}

fn len(host: &SimHost, name: &str) -> u64 {
    host.env_inline().disk.open(&dir().join(name), Open::Read).and_then(|file| file.len()).expect("there")
}

fn capacity(host: &SimHost, bytes: Option<u64>) {
    host.disk().set_faults(Faults { capacity_bytes: bytes, ..Faults::default() });
}

/// Queues now; the task ends after the sync.
fn queue(group: &GroupLog, entries: Vec<LogEntry>) -> tokio::task::JoinHandle<Result<(), Halt>> {
    let (sender, receiver) = oneshot::channel();
    group.append(entries, Box::new(move |result| drop(sender.send(result))));
    tokio::spawn(async { receiver.await.expect("every append is answered") })
}

async fn purge(group: &GroupLog, upto: u64) {
    group.purge(upto, Bytes::from(format!("p{upto}"))).await.expect("purged");
}

#[tokio::test(start_paused = true)]
async fn a_segment_goes_when_nothing_in_it_is_needed() {
    let host = host(30);
    let env = host.env();
    let log = open(&env).await;
    let (one, two) = (log.group(G1.0, G1.1), log.group(G2.0, G2.1));
    two.save_vote(Bytes::from_static(b"a vote needs no segment")).await.expect("saved");
    append(&two, vec![entry(0, "a"), entry(1, "b")]).await.expect("appended");
    for i in 0..30 {
        append(&one, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    purge(&one, 19).await;
    rest(&env).await;
    assert_eq!(segments(&host)[0], "00000000000000000001.seg", "the other group's entries are in it");
    two.truncate_after(Some(0)).await.expect("truncated");
    rest(&env).await;
    assert_eq!(segments(&host)[0], "00000000000000000001.seg", "still one");
    purge(&two, 0).await;
    rest(&env).await;
    assert!(segments(&host)[0].as_str() > "00000000000000000005.seg", "{:?}", files(&host));
    let before = held(&log).await;
    assert_eq!(log.bytes(), 4096 * files(&host).len() as u64);
    host.crash();
    let log = open(&host.env()).await;
    assert_eq!(held(&log).await, before);
    log.remove_group(G1.0, G1.1).await.expect("removed");
    rest(&env).await;
    assert_eq!(segments(&host).len(), 2, "one that is written, one made ahead");
    assert_eq!(held(&log).await.keys().collect::<Vec<_>>(), [&G2]);
}

#[tokio::test(start_paused = true)]
async fn files_of_segments_that_are_gone_serve_others() {
    let host = host(33);
    let env = host.env();
    let settings = LogSettings { bytes_max: 16 * 4096, ..small() };
    let mut log = Log::open(&env, &dir(), settings.clone()).await.expect("opens");
    let mut next = 0;
    for round in 0..4 {
        let group = log.group(G1.0, G1.1);
        for _ in 0..20 {
            append(&group, vec![entry(next, &"x".repeat(900))]).await.expect("appended");
            next += 1;
        }
        purge(&group, next - 2).await;
        rest(&env).await;
        let kept = files(&host).len() - segments(&host).len();
        assert_eq!(kept, 2, "an eighth of the budget: {:?}", files(&host));
        assert_eq!(log.bytes(), 4096 * files(&host).len() as u64);
        let before = held(&log).await;
        if round % 2 == 0 {
            host.crash()
        } else {
            log.close().await
        }
        log = Log::open(&host.env(), &dir(), settings.clone()).await.expect("opens");
        assert_eq!(held(&log).await, before, "round {round}");
        rest(&env).await;
        assert_eq!(files(&host), segments(&host), "a start keeps none");
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_are_kept_give_way_on_a_full_disk() {
    let host = host(35);
    let env = host.env();
    let log = Log::open(&env, &dir(), LogSettings { bytes_max: 40 * 4096, ..small() }).await.expect("opens");
    let group = log.group(G1.0, G1.1);
    for i in 0..40 {
        append(&group, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    purge(&group, 38).await;
    rest(&env).await;
    let kept = files(&host).len() - segments(&host).len();
    assert!(kept >= 4, "{:?}", files(&host));
    capacity(&host, Some(log.bytes()));
    append(&group, vec![entry(40, &"larger than a segment".repeat(400))])
        .await
        .expect("there is room in what was kept");
    assert!(files(&host).len() < segments(&host).len() + kept, "{:?}", files(&host));
    rest(&env).await;
    assert_eq!(log.bytes(), files(&host).iter().map(|name| len(&host, name)).sum::<u64>());
}

#[tokio::test(start_paused = true)]
async fn a_segment_made_of_another_is_begun_after_a_start_on_a_full_disk() {
    let host = host(34);
    let env = host.env();
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    for i in 0..20 {
        append(&group, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    purge(&group, 18).await;
    rest(&env).await;
    for i in 20..26 {
        append(&group, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    rest(&env).await;
    let ahead = segments(&host).pop().expect("one is made ahead");
    let file = host.env_inline().disk.open(&dir().join(&ahead), Open::Read).expect("there");
    let mut sectors = [0; 1024];
    file.read_exact_at(&mut sectors, 0).expect("read");
    assert!(
        sectors[..512].iter().all(|byte| *byte == 0) && sectors[512..].starts_with(b"MCMT"),
        "{ahead} is no new file"
    );
    let before = held(&log).await;
    host.crash();
    capacity(&host, Some(0));
    let log = open(&host.env()).await;
    append(&log.group(G1.0, G1.1), vec![entry(26, "it has room")]).await.expect("appended");
    assert_eq!(segments(&host).last(), Some(&ahead));
    let mut after = held(&log).await;
    let group = after.get_mut(&G1).expect("there");
    (group.next, _) = (26, group.entries.remove(&26));
    assert_eq!(after, before);
}

/// Jobs of one class wait until they are let go.
#[derive(Debug)]
struct Held {
    work: Arc<dyn Work>,
    gate: Arc<Notify>,
}

impl Work for Held {
    fn run(&self, class: Class, job: Box<dyn FnOnce() + Send>) -> futures::future::BoxFuture<'static, ()> {
        if class != Class::Scan {
            return self.work.run(class, job);
        }
        let (work, gate) = (Arc::clone(&self.work), Arc::clone(&self.gate));
        Box::pin(async move {
            gate.notified().await;
            work.run(class, job).await;
        })
    }
}

#[tokio::test(start_paused = true)]
async fn who_reads_a_segment_reads_on_when_it_goes() {
    let host = host(31);
    let (env, gate) = (host.env(), Arc::new(Notify::new()));
    let held = Env { work: Arc::new(Held { work: Arc::clone(&env.work), gate: Arc::clone(&gate) }), ..env.clone() };
    let log = Log::open(&held, &dir(), LogSettings { cache_bytes: 0, ..small() }).await.expect("opens");
    let group = log.group(G1.0, G1.1);
    for i in 0..20 {
        append(&group, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    let mut read = Box::pin(group.read(0, 3, usize::MAX));
    assert!(futures::poll!(&mut read).is_pending());
    purge(&group, 15).await;
    rest(&env).await;
    assert!(segments(&host)[0].as_str() > "00000000000000000002.seg", "{:?}", files(&host));
    gate.notify_one();
    assert_eq!(read.await.expect("from the open file").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn cold_groups_do_not_pin_the_log() {
    for seed in 0..10 {
        let (host, rng) = (host(seed), Rng::from_seed(seed));
        let env = host.env();
        let mut log = Log::open(&env, &dir(), tight()).await.expect("opens");
        let cold: Vec<_> = (10..14).map(|group| (GroupId(group), Incarnation(1))).collect();
        for (i, key) in cold.iter().enumerate() {
            let group = log.group(key.0, key.1);
            append(&group, (0..=i as u64).map(|index| entry(index, "cold")).collect()).await.expect("appended");
            group.save_vote(Bytes::from_static(b"cold too")).await.expect("saved");
        }
        let before = held(&log).await;
        let (mut next, mut highest) = (0, 0);
        for _ in 0..300 {
            let hot = log.group(G1.0, G1.1);
            append(&hot, vec![entry(next, &"hot".repeat(rng.below(200) as usize))]).await.expect("appended");
            purge(&hot, next - rng.below(next.min(3) + 1)).await;
            next += 1;
            // Tiny segments fill as fast as the keeper's jobs run: real ones leave it time.
            env.clock.sleep(Duration::from_millis(15)).await;
            highest = highest.max(log.bytes());
            assert_eq!(log.pinned(), None, "seed {seed}");
            if rng.chance(0.02) {
                host.crash();
                log = Log::open(&host.env(), &dir(), tight()).await.expect("opens");
            }
        }
        // A segment that is on its way out comes on top, and one that a start begins.
        assert!(highest <= tight().bytes_max + 2 * 4096, "seed {seed}: {highest} bytes");
        let mut after = held(&log).await;
        after.remove(&G1);
        assert_eq!(after, before, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_holds_too_much_of_the_oldest_segment_is_named() {
    let host = host(32);
    let env = host.env();
    let log = Log::open(&env, &dir(), tight()).await.expect("opens");
    let (little, much) = (log.group(G1.0, G1.1), log.group(G2.0, G2.1));
    append(&little, vec![entry(0, "a little")]).await.expect("appended");
    append(&much, (0..20).map(|i| entry(i, &"m".repeat(100))).collect()).await.expect("appended");
    assert_eq!(log.pinned(), None, "within the budget");
    for i in 20..40 {
        append(&much, vec![entry(i, &"m".repeat(900))]).await.expect("appended");
    }
    rest(&env).await;
    let bytes_of_first_20 = 20 * 129 + 10 * 2 + 10 * 3;
    assert_eq!(log.pinned(), Some((G2.0, G2.1, bytes_of_first_20)));
    purge(&much, much.index_keeping(0).expect("there are entries")).await;
    rest(&env).await;
    assert_eq!(log.pinned(), None);
    assert!(log.bytes() <= tight().bytes_max, "{} bytes", log.bytes());
    assert_eq!(texts(&little, 0, 9).await, ["0=a little"]);
    assert_eq!((little.bytes(), much.bytes()), (29 + 2 + 8, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_for() {
    for seed in 0..20 {
        let (host, rng) = (host(seed), Rng::from_seed(seed));
        let env = host.env();
        capacity(&host, Some(8192 + rng.below(4000)));
        let log = open(&env).await;
        let group = log.group(G1.0, G1.1);
        let mut full = log.full();
        let (mut acked, mut queued) = (0, Vec::new());
        for i in 0..60 {
            queued.push(queue(&group, vec![entry(i, &"x".repeat(rng.below(400) as usize))]));
            env.clock.sleep(Duration::from_millis(50)).await;
        }
        assert!(*full.borrow_and_update(), "seed {seed}");
        assert!(log.bytes() <= 8192, "seed {seed}: what was begun of the next segment is removed");
        let waiting = queued.iter().filter(|append| !append.is_finished()).count();
        assert!((1..60).contains(&waiting), "seed {seed}: {waiting} of 60 wait, and none has failed");
        capacity(&host, None);
        full.changed().await.expect("the log lives");
        assert!(!*full.borrow(), "seed {seed}");
        for append in queued {
            append.await.expect("runs").expect("nothing is lost");
            acked += 1;
        }
        assert_eq!(group.state().last, Some(acked - 1));
        let before = held(&log).await;
        host.crash();
        assert_eq!(held(&open(&host.env()).await).await, before, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_full_while_a_segment_was_made_in_steps_is_written_to_again() {
    let (host, bytes) = (host(36), 64 << 10);
    let env = host.env();
    let settings = LogSettings { segment_bytes: bytes, ..small() };
    let log = Log::open(&env, &dir(), settings).await.expect("opens");
    let group = log.group(G1.0, G1.1);
    // One segment, and one step of the next, but not two.
    capacity(&host, Some(bytes + bytes / 3));
    let (mut full, mut next) = (log.full(), 0);
    while !*full.borrow() {
        append(&group, vec![entry(next, &"x".repeat(900))]).await.expect("the current segment has room");
        next += 1;
        env.clock.sleep(Duration::from_millis(20)).await;
    }
    capacity(&host, None);
    // Nobody writes to a log that says that it is full.
    let passes = full.wait_for(|full| !full);
    let soon = env.clock.now() + Duration::from_secs(5);
    meridian_env::deadline(&*env.clock, soon, passes).await.expect("it passes by itself").expect("the log lives");
    append(&group, vec![entry(next, "y")]).await.expect("there is space again");
}

#[tokio::test(start_paused = true)]
async fn what_the_log_gives_back_is_space_too() {
    let host = host(33);
    let env = host.env();
    capacity(&host, Some(5 * 4096 + 100));
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    let mut next = 0;
    while !*log.full().borrow() {
        append(&group, vec![entry(next, &"x".repeat(900))]).await.expect("the current segment has room");
        next += 1;
        env.clock.sleep(Duration::from_millis(20)).await;
    }
    purge(&group, next - 1).await;
    let mut full = log.full();
    full.wait_for(|full| !full).await.expect("the log lives");
    append(&group, vec![entry(next, &"y".repeat(3000))]).await.expect("there is space again");
}

#[tokio::test(start_paused = true)]
async fn a_log_opens_on_a_full_disk() {
    let host = host(34);
    let log = open(&host.env()).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "before")]).await.expect("appended");
    log.close().await;
    assert_eq!(files(&host).len(), 2, "one is left that was made ahead");

    capacity(&host, Some(0));
    let log = open(&host.env()).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(1, "into the one made ahead")]).await.expect("appended");
    log.close().await;

    let env = host.env();
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    assert_eq!(texts(&group, 0, 9).await, ["0=before", "1=into the one made ahead"]);
    let waiting = queue(&group, vec![entry(2, "waits")]);
    rest(&env).await;
    assert!(*log.full().borrow() && !waiting.is_finished());
    capacity(&host, None);
    waiting.await.expect("runs").expect("appended");
    assert_eq!(files(&host).len(), 4, "two that are needed, the one that is written, one made ahead");
}

/// Whoever keeps something beside the log waits until it has begun: an empty directory beside it reads as a lost log.
#[tokio::test(start_paused = true)]
async fn a_new_log_begins_once_there_is_space() {
    let host = host(38);
    let env = host.env();
    capacity(&host, Some(0));
    let log = open(&env).await;
    let begun = {
        let log = log.clone();
        tokio::spawn(async move { log.begun().await })
    };
    rest(&env).await;
    assert!(!begun.is_finished() && files(&host).is_empty(), "{:?}", files(&host));
    capacity(&host, None);
    begun.await.expect("it begins");
    assert!(!files(&host).is_empty());
    log.close().await;
    capacity(&host, Some(0));
    open(&env).await.begun().await;
}

#[tokio::test(start_paused = true)]
async fn a_record_larger_than_a_segment_waits_for_its_space() {
    let host = host(35);
    let env = host.env();
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "small")]).await.expect("appended");
    env.clock.sleep(Duration::from_millis(100)).await;
    capacity(&host, Some(4 * 4096));
    let large = queue(&group, vec![entry(1, &"x".repeat(20_000))]);
    let behind = queue(&group, vec![entry(2, "behind it")]);
    rest(&env).await;
    assert!(*log.full().borrow() && !large.is_finished() && !behind.is_finished());
    capacity(&host, None);
    large.await.expect("runs").expect("appended");
    behind.await.expect("runs").expect("appended");
    assert!(!*log.full().borrow());
    let before = held(&log).await;
    host.crash();
    assert_eq!(held(&open(&host.env()).await).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_log_closes_on_a_full_disk() {
    let host = host(36);
    let env = host.env();
    capacity(&host, Some(4096));
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "fits")]).await.expect("appended");
    let waiting = queue(&group, vec![entry(1, &"x".repeat(3000))]);
    rest(&env).await;
    log.close().await;
    let halt = waiting.await.expect("runs").expect_err("it was never written");
    assert!(halt.reason.contains("closed while there was no space"), "{halt}");
    let log = open(&host.env()).await;
    assert_eq!(texts(&log.group(G1.0, G1.1), 0, 9).await, ["0=fits"]);
}

#[tokio::test(start_paused = true)]
async fn another_error_than_a_full_disk_is_a_halt() {
    let host = host(37);
    let meter = Meter::new(i64::MAX);
    let log = open(&meter.on(host.env())).await;
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "fits")]).await.expect("appended");
    meter.left.store(0, Ordering::Relaxed);
    append(&group, vec![entry(1, "never")]).await.expect_err("the disk is gone");
    assert!(log.failed().await.reason.contains("the power goes"));
    assert!(!*log.full().borrow());
}
