//! The plan, case by case, and by drawn cases until the log is small.

use meridian_env::Rng;
use meridian_types::{GroupId, Incarnation};

use super::*;

const LIMITS: Limits = Limits { bytes_max: 300, copy_bytes_max: 10 };

fn key(group: u32) -> Key {
    (GroupId(group), Incarnation(1))
}

/// Segments of 100 bytes from number 1 on, each with what groups need of it: `group=bytes`.
fn space(text: &str) -> Space {
    let mut space = Space::default();
    for (number, needed) in (1..).zip(text.split('|')) {
        space.used(number, 100);
        for part in needed.split_whitespace() {
            let (group, len) = part.split_once('=').expect("group=bytes");
            space.stored(key(group.parse().expect("a group")), number, len.parse().expect("bytes"));
        }
    }
    space
}

#[test]
fn the_plan_for_each_case() {
    for (segments, unneeded, plan) in [
        ("", 0, Plan::Rest),
        // Within the budget even what is needed little stays.
        ("1=5 | | ", 0, Plan::Rest),
        ("1=5 | | | ", 0, Plan::Copy(1)),
        ("1=5 2=5 | | | ", 0, Plan::Copy(1)),
        ("1=5 2=6 | | | ", 0, Plan::Flush(key(2), 6)),
        ("1=3 2=6 1=3 | | | ", 0, Plan::Flush(key(1), 6)),
        // What goes anyway is enough, or not.
        (" | 1=5 | | ", 1, Plan::Rest),
        (" | 1=5 | | | ", 1, Plan::Copy(2)),
        (" | | | ", 3, Plan::Rest),
        // The newest one is written to, needed or not.
        (" | | | 1=99", 3, Plan::Rest),
    ] {
        let space = space(segments);
        assert_eq!(space.plan(&LIMITS), plan, "{segments:?}");
        assert_eq!(space.unneeded().count(), unneeded, "{segments:?}");
    }
    assert_eq!(Space::default().plan(&LIMITS), Plan::Rest);
}

#[test]
fn what_is_made_ahead_and_what_grew_counts() {
    let mut space = space("1=5 | | ");
    assert_eq!((space.bytes(), space.plan(&LIMITS)), (300, Plan::Rest));
    space.prepared(4, 100);
    assert_eq!((space.bytes(), space.plan(&LIMITS)), (400, Plan::Copy(1)));
    space.used(4, 100);
    assert_eq!(space.bytes(), 400);
    space.grown(4, 250);
    assert_eq!(space.bytes(), 550);
    space.grown(4, 100);
    space.removed(1);
    assert_eq!(space.bytes(), 450);
}

/// Whoever follows the plan comes to an end, within the budget or with all that is needed in the newest segments.
#[test]
fn a_plan_that_is_followed_ends() {
    for seed in 0..300 {
        let rng = Rng::from_seed(seed);
        let mut space = Space::default();
        let segments = 1 + rng.below(20);
        for number in 1..=segments {
            space.used(number, 100);
            for _ in 0..rng.below(4) {
                space.stored(key(rng.below(5) as u32), number, 1 + rng.below(8) as u32);
            }
        }
        let mut newest = segments;
        for step in 0.. {
            assert!(step < 200, "seed {seed}: no end");
            for number in space.unneeded().collect::<Vec<_>>() {
                space.removed(number);
            }
            match space.plan(&LIMITS) {
                Plan::Rest => break,
                Plan::Copy(number) => {
                    assert_ne!(number, newest, "seed {seed}");
                    for (key, needed) in space.needed(number).collect::<Vec<_>>() {
                        space.freed(key, &vec![(number, needed)]);
                        space.stored(key, newest, needed.bytes as u32);
                    }
                    if rng.chance(0.1) {
                        newest += 1;
                        space.used(newest, 100);
                    }
                }
                Plan::Flush(flushed, bytes) => {
                    let oldest = *space.segments.keys().next().expect("it holds something");
                    let most = space.needed(oldest).find(|(key, _)| *key == flushed);
                    assert_eq!(most.map(|(_, needed)| needed.bytes), Some(bytes), "seed {seed}");
                    for number in space.segments.keys().copied().collect::<Vec<_>>() {
                        for (key, needed) in space.needed(number).filter(|(key, _)| *key == flushed).collect::<Vec<_>>()
                        {
                            space.freed(key, &vec![(number, needed)]);
                        }
                    }
                }
            }
        }
        assert!(space.bytes() <= 300, "seed {seed}: {} bytes", space.bytes());
    }
}
