//! The slot hash and the epoch table are frozen: series stay where they were put only while both give what they gave.

use std::collections::BTreeMap;
use std::fmt::Write;

use meridian_types::{DatabaseId, SeriesKey, slot_of};

use super::*;

const GOLDEN: &str = include_str!("../../testdata/slots_v1.txt");

fn table(shards: u32) -> SlotTable {
    slot_table(&(1..=shards).map(ShardId).collect::<Vec<_>>())
}

fn table_hash(table: &SlotTable) -> u128 {
    let bytes: Vec<u8> = table.owners().iter().flat_map(|s| s.0.to_le_bytes()).collect();
    xxh3_128(&bytes)
}

/// What [`GOLDEN`] must be.
fn golden() -> String {
    let mut text = String::from("# Frozen: series may never move. Written by ring/tests.rs, which compares.\n");
    for shards in [1, 3, 8, 17] {
        writeln!(text, "table of {shards} shards: {:032x}", table_hash(&table(shards))).unwrap();
    }
    let eight = table(8);
    for i in 0..1_000_u32 {
        let (database, measurement) = (DatabaseId(1 + i % 3), format!("m{}", i % 7));
        let (host, region) = (format!("h{i}"), format!("r{}", i % 5));
        let key = SeriesKey::from_tags(&mut [("host", &host), ("region", &region)]).unwrap();
        let slot = slot_of(database, &measurement, &key, None);
        let shard = eight.shard(slot);
        writeln!(text, "{database} {measurement} host={host} region={region} slot={slot} {shard}").unwrap();
    }
    text
}

#[test]
fn slots_and_tables_are_what_they_were() {
    let now = golden();
    for (line, (was, is)) in GOLDEN.lines().zip(now.lines()).enumerate() {
        assert_eq!(was, is, "testdata/slots_v1.txt line {}", line + 1);
    }
    assert_eq!(GOLDEN.len(), now.len());
}

#[test]
fn shares_are_even() {
    let mut slots = BTreeMap::<_, usize>::new();
    for shard in table(8).shards() {
        *slots.entry(*shard).or_default() += 1;
    }
    let largest = *slots.values().max().unwrap();
    assert_eq!(slots.len(), 8);
    assert!(largest * 8 * 10 <= SLOTS * 11, "the largest share of 8 is {largest} of {SLOTS} slots");
}

#[test]
fn a_shard_that_joins_moves_nothing_between_the_others() {
    let (before, after) = (table(16), table(17));
    let moved: Vec<_> = before.owners().iter().zip(after.owners()).filter(|(b, a)| b != a).collect();
    assert!(moved.iter().all(|(_, to)| **to == ShardId(17)));
    assert!(moved.len() * 100 <= SLOTS * 7, "{} of {SLOTS} slots moved", moved.len());
}

#[test]
fn the_order_of_shards_does_not_matter() {
    let shards = [5, 1, 9, 3, 2].map(ShardId);
    let mut sorted = shards;
    sorted.sort();
    assert_eq!(slot_table(&shards), slot_table(&sorted));
}

#[test]
fn what_is_hashed_is_little_endian() {
    let high = |bytes: &[u8]| (xxh3_128(bytes) >> 64) as u64;
    assert_eq!(LittleEndianXxh3.hash_item(&0x0102_u16), high(&[2, 1]));
    assert_eq!(LittleEndianXxh3.hash_vnode(&0x0102_0304_u32, 5), high(&[4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0, 0]));
}
