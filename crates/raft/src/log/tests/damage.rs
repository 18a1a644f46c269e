//! Bits that flip, tails that vanish, files that are missing: a halt that says what, or a cut of what nobody was promised.

use super::*;

type Image = BTreeMap<String, Vec<u8>>;
type State = BTreeMap<(GroupId, Incarnation), Held>;

/// The files of the log as they are on the disk.
fn image(host: &SimHost) -> Image {
    let disk = host.env_inline().disk;
    let names = disk.list(&dir()).expect("listed").into_iter();
    names.map(|name| (name.clone(), disk.read(&dir().join(name), 1 << 20).expect("read"))).collect()
}

/// A host with these files.
fn install(image: &Image) -> SimHost {
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
async fn sample(close: bool) -> (Vec<State>, Image) {
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

#[tokio::test(start_paused = true)]
async fn the_oldest_segment_may_go_once_all_in_it_is_purged() {
    let host = host(21);
    let log = open(&host.env_inline()).await;
    let group = log.group(G1.0, G1.1);
    group.save_vote(Bytes::from_static(b"vote")).await.expect("saved");
    for i in 0..10 {
        append(&group, vec![entry(i, &"x".repeat(900))]).await.expect("appended");
    }
    group.purge(5, Bytes::from_static(b"id")).await.expect("purged");
    let before = held(&log).await;
    log.close().await;
    let mut image = image(&host);
    image.remove("00000000000000000001.seg").expect("there");
    assert_eq!(reopen(&image).await, Ok(before), "its vote is in the next segment's checkpoint");
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
