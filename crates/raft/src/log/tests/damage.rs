//! Bits that flip, tails that vanish, files that are missing: a halt that says what, or a cut of what nobody was promised.

use super::*;

pub(super) type Image = BTreeMap<String, Vec<u8>>;
pub(super) type State = BTreeMap<(GroupId, Incarnation), Held>;

/// The files of the log as they are on the disk.
pub(super) fn image(host: &SimHost) -> Image {
    let disk = host.env_inline().disk;
    let names = disk.list(&dir()).expect("listed").into_iter();
    names.map(|name| (name.clone(), disk.read(&dir().join(name), 1 << 20).expect("read"))).collect()
}

/// A host with these files.
pub(super) fn install(image: &Image) -> SimHost {
    let host = host(0);
    let disk = host.env_inline().disk;
    disk.create_dir(&dir()).expect("made");
    for (name, bytes) in image {
        let file = disk.open(&dir().join(name), Open::Create).expect("created");
        file.write_at(bytes, 0).expect("written");
        file.sync_data().expect("synced");
    }
    disk.sync_dir(&dir()).expect("synced");
    host
}

async fn reopen(image: &Image) -> Result<State, Halt> {
    let log = Log::open(&install(image).env_inline(), &dir(), small()).await?;
    Ok(held(&log).await)
}

/// Two groups over a few segments; the states after each call, and the files.
pub(super) async fn sample(close: bool) -> (Vec<State>, Image) {
    let host = host(20);
    let log = open(&host.env_inline()).await;
    let groups = [G1, G2].map(|key| log.group(key.0, key.1));
    let mut states = vec![held(&log).await];
    for i in 0..24_u64 {
        let group = &groups[i as usize % 2];
        match i {
            9 => group.truncate_after(Some(2)).await.expect("truncated"),
            14 => group.purge(3, Bytes::from_static(b"id")).await.expect("purged"),
            17 => group.save_vote(Bytes::from_static(b"vote")).await.expect("saved"),
            _ => {
                let next = group.state().last.map_or(0, |last| last + 1);
                append(group, vec![entry(next, &i.to_string().repeat(150))]).await.expect("appended");
            }
        }
        states.push(held(&log).await);
    }
    if close {
        log.close().await;
    }
    (states, image(&host))
}

/// The name of the newest segment that is in use.
fn newest(image: &Image) -> String {
    let used = image.iter().rev().find(|(_, bytes)| bytes.starts_with(b"MLOG"));
    used.expect("one is in use").0.clone()
}

/// Where the zeros begin after the last commit.
fn end(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |last| (last + 1).next_multiple_of(SECTOR as usize))
}

#[tokio::test(start_paused = true)]
async fn after_a_clean_close_a_flipped_bit_is_found_or_harmless() {
    let (states, image) = sample(true).await;
    let (rng, mut halts) = (Rng::from_seed(1), 0);
    let names: Vec<&String> = image.keys().collect();
    assert!(names.len() > 4, "{names:?}");
    for _ in 0..600 {
        let name = names[rng.below(names.len() as u64) as usize];
        let mut damaged = image.clone();
        let bytes = damaged.get_mut(name).expect("there");
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << rng.below(8);
        match reopen(&damaged).await {
            Ok(state) => assert_eq!(Some(&state), states.last(), "{name} at {at}"),
            Err(halt) => {
                assert!(halt.reason.contains(name) && halt.reason.contains("damaged at byte"), "{halt}");
                halts += 1;
            }
        }
    }
    assert!(halts > 200, "only {halts} halts");
}

#[tokio::test(start_paused = true)]
async fn after_a_crash_a_flipped_bit_costs_the_last_commit_at_most() {
    let (states, image) = sample(false).await;
    let before_last = &states[states.len() - 2];
    let name = newest(&image);
    let mut cuts = 0;
    for at in (0..end(&image[&name])).step_by(5) {
        let mut damaged = image.clone();
        damaged.get_mut(&name).expect("there")[at] ^= 0x10;
        if let Ok(state) = reopen(&damaged).await
            && Some(&state) != states.last()
        {
            assert_eq!(&state, before_last, "byte {at}");
            cuts += 1;
        }
    }
    assert!(cuts > 10, "only {cuts}: the last commit is as good as a torn one");
}

#[tokio::test(start_paused = true)]
async fn a_lost_tail_is_cut_wherever_it_begins() {
    let (states, image) = sample(false).await;
    let name = newest(&image);
    let mut last = 0;
    for from in (0..end(&image[&name])).step_by(61) {
        let mut torn = image.clone();
        torn.get_mut(&name).expect("there")[from..].fill(0);
        let state = reopen(&torn).await.expect("nothing says that the tail was synced");
        let at = states.iter().rposition(|known| *known == state);
        let at = at.unwrap_or_else(|| panic!("no state of the history is left without the bytes from {from} on"));
        assert!(at >= last, "fewer bytes are gone, but more calls: {at} after {last}");
        last = at;
    }
    assert!(last >= states.len() - 2, "the last sector alone costs one commit");
}

#[tokio::test(start_paused = true)]
async fn a_lost_sector_in_the_middle_is_damage() {
    let (_, image) = sample(false).await;
    let name = newest(&image);
    let sectors = end(&image[&name]) / SECTOR as usize;
    assert!(sectors > 4, "{sectors} sectors");
    for sector in 0..sectors - 2 {
        let mut damaged = image.clone();
        let at = sector * SECTOR as usize;
        damaged.get_mut(&name).expect("there")[at..at + SECTOR as usize].fill(0);
        let halt = reopen(&damaged).await.expect_err("a later commit knew it to be synced");
        assert!(halt.reason.contains("knew it to be synced"), "{halt}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shortened_file_is_never_taken_for_the_whole() {
    let (states, image) = sample(false).await;
    let name = newest(&image);
    for len in (0..image[&name].len()).step_by(97) {
        let mut cut = image.clone();
        cut.get_mut(&name).expect("there").truncate(len);
        match reopen(&cut).await {
            Ok(state) => assert!(len < SECTOR as usize && states.contains(&state), "{len} bytes"),
            Err(halt) => assert!(halt.reason.contains("it was made with 4096 bytes"), "{halt}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_that_are_missing_swapped_or_foreign_are_named() {
    let (states, image) = sample(true).await;
    let name = |number: u64| format!("{number:020}.seg");
    let without = |number: u64| {
        let mut image = image.clone();
        image.remove(&name(number)).expect("there");
        image
    };
    let halt = reopen(&without(2)).await.expect_err("the middle is missing");
    assert!(halt.reason.starts_with("log segment 2 is missing: "), "{halt}");
    let halt = reopen(&without(1)).await.expect_err("the oldest is missing");
    assert!(halt.reason.contains("are in no log segment: the oldest segment is missing"), "{halt}");

    let mut swapped = without(2);
    swapped.insert(name(2), image[&name(3)].clone());
    let halt = reopen(&swapped).await.expect_err("another segment");
    assert!(halt.reason.contains("00000000000000000002.seg holds segment 3"), "{halt}");

    let mut foreign = image.clone();
    let sector = &mut foreign.get_mut(&name(1)).expect("there")[..SECTOR as usize];
    sector[4] = 9;
    let crc = crc32c::crc32c(&sector[..508]);
    sector[508..].copy_from_slice(&crc.to_le_bytes());
    let halt = reopen(&foreign).await.expect_err("another version");
    assert!(halt.reason.contains("has log format version 9, this binary reads version 1"), "{halt}");

    let mut others = image.clone();
    others.insert("README".into(), b"not ours".to_vec());
    others.insert("1.seg".into(), b"not ours either".to_vec());
    assert_eq!(reopen(&others).await.as_ref(), Ok(states.last().expect("there")));
}

/// A log whose oldest segments are gone and whose cold group lives in copies; its state, and the files.
async fn worn(close: bool) -> (State, Image) {
    let host = host(24);
    let env = host.env();
    let settings = LogSettings { bytes_max: 4 * 4096, ..small() };
    let log = Log::open(&env, &dir(), settings).await.expect("opens");
    let (cold, hot) = (log.group(G1.0, G1.1), log.group(G2.0, G2.1));
    append(&cold, (0..4).map(|i| entry(i, "cold")).collect()).await.expect("appended");
    cold.purge(0, Bytes::from_static(b"id")).await.expect("purged");
    for i in 0..40 {
        append(&hot, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
        hot.purge(i.saturating_sub(2), Bytes::from_static(b"id")).await.expect("purged");
        env.clock.sleep(std::time::Duration::from_millis(20)).await;
    }
    let state = held(&log).await;
    if close {
        log.close().await;
    }
    let files = inspect_log(&*env.disk, &dir()).expect("listed");
    assert!(files[0].number > 5 && files.iter().any(|file| file.records.contains_key("copy")), "{files:#?}");
    (state, image(&host))
}

#[tokio::test(start_paused = true)]
async fn in_a_worn_log_a_flipped_bit_is_found_or_harmless() {
    let (state, image) = worn(true).await;
    assert_eq!(reopen(&image).await.as_ref(), Ok(&state));
    let (rng, mut halts) = (Rng::from_seed(3), 0);
    let names: Vec<&String> = image.keys().collect();
    for _ in 0..400 {
        let name = names[rng.below(names.len() as u64) as usize];
        let mut damaged = image.clone();
        let bytes = damaged.get_mut(name).expect("there");
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << rng.below(8);
        match reopen(&damaged).await {
            Ok(found) => assert_eq!(found, state, "{name} at {at}"),
            Err(halt) => {
                assert!(halt.reason.contains(name) && halt.reason.contains("damaged at byte"), "{halt}");
                halts += 1;
            }
        }
    }
    assert!(halts > 50, "only {halts} halts");
}

#[tokio::test(start_paused = true)]
async fn in_a_worn_log_a_file_that_is_needed_is_missed() {
    let (state, image) = worn(false).await;
    let used = image.iter().filter(|(_, bytes)| bytes.starts_with(b"MLOG"));
    for (name, _) in used {
        let mut without = image.clone();
        without.remove(name).expect("there");
        match reopen(&without).await {
            Ok(found) => assert!(*name == newest(&image) || found == state, "{name}"),
            Err(halt) => assert!(halt.reason.contains("missing"), "{halt}"),
        }
    }
}

/// After a crash, one segment may be all there is, with nothing in it but its checkpoint: the sum of all that went before.
#[tokio::test(start_paused = true)]
async fn a_lone_checkpoint_that_is_damaged_is_not_an_empty_log() {
    let host = host(25);
    for _ in 0..2 {
        let env = host.env();
        let log = open(&env).await;
        log.group(G1.0, G1.1).save_vote(Bytes::from_static(b"precious")).await.expect("saved");
        env.clock.sleep(std::time::Duration::from_secs(1)).await;
        host.crash();
    }
    let env = host.env();
    let log = open(&env).await;
    env.clock.sleep(std::time::Duration::from_secs(1)).await;
    let (state, image) = (held(&log).await, image(&host));
    let is_used = |name: &str, bytes: &[u8]| name.ends_with(".seg") && bytes.starts_with(b"MLOG");
    let used: Vec<_> = image.iter().filter(|(name, bytes)| is_used(name, bytes)).collect();
    let [(name, bytes)] = used[..] else { panic!("{:?}", image.keys()) };
    assert_eq!(end(bytes), 1024, "its checkpoint and no more");
    assert_eq!(reopen(&image).await, Ok(state));
    for at in 0..end(bytes) {
        let mut damaged = image.clone();
        damaged.get_mut(name).expect("there")[at] ^= 4;
        let halt = reopen(&damaged).await;
        let is_padding = bytes[at..end(bytes)].iter().all(|b| *b == 0);
        assert!(is_padding || halt.is_err(), "byte {at}: {halt:?}");
    }
    let mut lost = image.clone();
    lost.get_mut(name).expect("there").fill(0);
    assert!(reopen(&lost).await.expect_err("it was in use").reason.contains("can be read as one in use"));
    lost.remove(name).expect("there");
    assert!(reopen(&lost).await.expect_err("it was there").reason.contains("can be read as one in use"));
}

/// Behind the end of a segment that was made of an older one's file stand commits, whole ones, of that one.
#[tokio::test(start_paused = true)]
async fn what_an_older_segment_left_is_neither_read_nor_a_witness() {
    let host = host(26);
    let env = host.env();
    let log = open(&env).await;
    let group = log.group(G1.0, G1.1);
    for i in 0..40 {
        append(&group, vec![entry(i, &"x".repeat(400))]).await.expect("appended");
    }
    group.purge(36, Bytes::from_static(b"p")).await.expect("purged");
    env.clock.sleep(std::time::Duration::from_secs(1)).await;
    for i in 40..56 {
        append(&group, vec![entry(i, "y")]).await.expect("appended");
    }
    let (state, image) = (held(&log).await, image(&host));
    let newest = newest(&image);
    let summaries = inspect_log(&*env.disk, &dir()).expect("listed");
    let end = summaries.iter().rfind(|segment| segment.previous.is_some()).expect("one is in use").end as usize;
    let left: Vec<usize> =
        (end..image[&newest].len()).step_by(512).filter(|at| image[&newest][*at..].starts_with(b"MCMT")).collect();
    assert!(!left.is_empty(), "{newest} was made of an older segment, which had more in it than {end} bytes");
    assert_eq!(reopen(&image).await, Ok(state.clone()));
    // The last commit is cut like a torn one, and one before it is damage: its successor knew it to be synced.
    for (at, is_last) in [(end - 512, true), (end - 1024, false)] {
        let mut damaged = image.clone();
        damaged.get_mut(&newest).expect("there")[at + 30] ^= 4;
        match reopen(&damaged).await {
            Ok(found) => assert!(is_last && found[&G1].next == state[&G1].next - 1, "{found:?}"),
            Err(halt) => assert!(!is_last && halt.reason.contains("knew it to be synced"), "{halt}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn damage_that_a_read_meets_fails_the_log() {
    let host = host(22);
    let log = Log::open(&host.env_inline(), &dir(), LogSettings { cache_bytes: 0, ..small() }).await.expect("opens");
    let group = log.group(G1.0, G1.1);
    append(&group, vec![entry(0, "precious")]).await.expect("appended");
    let path = dir().join("00000000000000000001.seg");
    let bytes = host.env_inline().disk.read(&path, 1 << 20).expect("read");
    let at = bytes.windows(8).position(|w| w == b"precious").expect("stored");
    host.disk().flip_bit(&path, at as u64 * 8).expect("flipped");
    let halt = group.read(0, 1, usize::MAX).await.expect_err("damaged");
    assert!(halt.reason.contains("entry 0 of g1/i1 at byte"), "{halt}");
    assert_eq!(log.failed().await, halt);
    assert!(append(&group, vec![entry(1, "never")]).await.is_err());
}
