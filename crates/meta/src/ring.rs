//! Which shard owns each slot of a new epoch. Runs once, where an epoch is made: the catalogue stores the result, and
//! nobody derives it again. Must give the same table for ever, whatever the compiler and the machine: golden test below.

use std::hash::{Hash, Hasher};

use consistent_hash::{Node, RingHash, StaticHashRing};
use meridian_types::{SLOTS, ShardId, SlotTable};
use xxhash_rust::xxh3::xxh3_128;

/// Points that each shard has on the ring. More of them make the shares more even.
pub const VIRTUAL_NODES: usize = 1_024;

/// The owners of all slots when `shards` share them. The order of `shards` does not matter. A shard that joins takes slots
/// from the others and moves none between them.
///
/// # Panics
/// Without shards, and with `s0`, which is the meta group: no command can ask for either.
pub fn slot_table(shards: &[ShardId]) -> SlotTable {
    let nodes = shards.iter().map(|shard| Node::new(shard.0).quantity(VIRTUAL_NODES));
    let ring = StaticHashRing::new(LittleEndianXxh3, nodes);
    let owner = |slot: usize| {
        let slot = u16::try_from(slot).expect("slots are 16 bits");
        ShardId(ring.calc_candidates(&slot).next().expect("an epoch has at least one shard").key)
    };
    SlotTable::new((0..SLOTS).map(owner).collect()).expect("one owner from s1 on for each slot")
}

/// The top 64 bits of the 128-bit xxh3 over explicit bytes: a slot is `slot:u16`, a point of a shard
/// `shard:u32 | point:u64`. The crate's default would hash whatever std happens to feed its hasher.
#[derive(Debug)]
struct LittleEndianXxh3;

impl RingHash for LittleEndianXxh3 {
    fn hash_item<T: Hash>(&self, item: &T) -> u64 {
        let mut bytes = LittleEndian::default();
        item.hash(&mut bytes);
        bytes.finish()
    }

    fn hash_vnode<K: Hash>(&self, shard: &K, point: usize) -> u64 {
        let mut bytes = LittleEndian::default();
        shard.hash(&mut bytes);
        bytes.write_u64(point as u64);
        bytes.finish()
    }
}

/// Collects what an integer feeds it as little-endian bytes of that integer's size; 12 bytes are the most it ever gets.
#[derive(Default)]
struct LittleEndian {
    bytes: [u8; 12],
    len: usize,
}

impl Hasher for LittleEndian {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn write_u8(&mut self, _: u8) {
        unreachable!("neither a slot nor a shard has a byte");
    }

    fn write_u16(&mut self, n: u16) {
        self.write(&n.to_le_bytes());
    }

    fn write_u32(&mut self, n: u32) {
        self.write(&n.to_le_bytes());
    }

    fn write_u64(&mut self, n: u64) {
        self.write(&n.to_le_bytes());
    }

    fn write_usize(&mut self, _: usize) {
        unreachable!("a usize has no size of its own: write it as u64");
    }

    fn finish(&self) -> u64 {
        (xxh3_128(&self.bytes[..self.len]) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
