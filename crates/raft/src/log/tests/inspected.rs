//! What people are told of the files is what is in them.

use super::damage::{image, install, sample};
use super::*;

fn inspect(host: &SimHost) -> Vec<SegmentSummary> {
    // A disk that takes no change: looking must not need one.
    inspect_log(&*Meter::new(0).on(host.env_inline()).disk, &dir()).expect("listed")
}

#[tokio::test(start_paused = true)]
async fn a_log_is_told_segment_by_segment() {
    let host = host(40);
    assert_eq!(
        inspect_log(&*host.env_inline().disk, &dir()).expect_err("there is none").kind(),
        io::ErrorKind::NotFound
    );
    let log = open(&host.env()).await;
    let (one, two) = (log.group(G1.0, G1.1), log.group(G2.0, G2.1));
    append(&one, vec![entry(0, "a"), entry(1, "b"), entry(2, "c")]).await.expect("appended");
    one.truncate_after(Some(1)).await.expect("truncated");
    append(&one, vec![entry(2, "C")]).await.expect("appended");
    append(&two, vec![entry(0, "z")]).await.expect("appended");
    two.save_vote(Bytes::from_static(b"v")).await.expect("saved");
    log.close().await;

    let segments = inspect(&host);
    let [used, prepared] = &segments[..] else { panic!("{segments:#?}") };
    assert_eq!((used.number, used.previous, used.bytes, used.damage.as_ref()), (1, Some(0), 4096, None));
    assert_eq!(used.path, dir().join("00000000000000000001.seg"));
    // The checkpoint, five calls, and the one that close writes.
    assert_eq!((used.commits, used.end), (7, 8 * SECTOR));
    assert_eq!(used.records, BTreeMap::from([("entry", 5), ("truncate", 1), ("vote", 1)]));
    let spans = [(G1, EntrySpan { first: 0, last: 2, entries: 4 }), (G2, EntrySpan { first: 0, last: 0, entries: 1 })];
    assert_eq!(used.groups, BTreeMap::from(spans));
    assert_eq!((prepared.number, prepared.previous, prepared.commits), (2, None, 0));
    assert_eq!(prepared.damage, None);
}

#[tokio::test(start_paused = true)]
async fn damage_that_stops_a_node_is_told() {
    let (_, whole) = sample(true).await;
    assert!(inspect(&install(&whole)).iter().all(|segment| segment.damage.is_none()));
    let names: Vec<&String> = whole.keys().collect();
    let (rng, mut halts) = (Rng::from_seed(2), 0);
    for _ in 0..300 {
        let name = names[rng.below(names.len() as u64) as usize];
        let mut damaged = whole.clone();
        let bytes = damaged.get_mut(name).expect("there");
        let at = rng.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << rng.below(8);
        let host = install(&damaged);
        let told = inspect(&host);
        let opened = Log::open(&host.env_inline(), &dir(), small()).await;
        let told = told.iter().find(|segment| segment.damage.is_some());
        assert_eq!(told.is_some(), opened.is_err(), "{name} at {at}: {told:?}, {opened:?}");
        if let (Some(told), Err(halt)) = (told, opened) {
            let damage = told.damage.as_ref().expect("found by it");
            assert!(halt.reason.contains(&format!("damaged at byte {}", damage.offset)), "{damage:?}, {halt}");
            assert!(halt.reason.contains(name) && told.path.ends_with(name), "{told:?}, {halt}");
            halts += 1;
        }
    }
    assert!(halts > 100, "only {halts} halts");
}

#[tokio::test(start_paused = true)]
async fn missing_and_foreign_files_are_told() {
    let (_, whole) = sample(true).await;
    let name = |number: u64| format!("{number:020}.seg");
    let mut gap = whole.clone();
    gap.remove(&name(2)).expect("there");
    let told: Vec<_> = inspect(&install(&gap)).into_iter().filter_map(|s| Some((s.number, s.damage?.what))).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == 3 && told[0].1.contains("follows on segment 2, which is not there"), "{told:?}");

    let mut swapped = whole.clone();
    swapped.insert(name(2), whole[&name(3)].clone());
    swapped.insert("notes.txt".into(), b"not ours".to_vec());
    let told = inspect(&install(&swapped));
    let damage = told[1].damage.as_ref().expect("it is another one's");
    assert!(damage.what.contains("holds segment 3"), "{damage:?}");
    assert_eq!(image(&install(&swapped)), swapped, "looking changes nothing");
}
