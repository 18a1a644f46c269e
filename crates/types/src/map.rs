//! Hash maps whose order does not depend on the process. std's `HashMap` with its random seed would make two runs of one
//! simulation differ, so `clippy.toml` bans it in favour of these.

use std::hash::{BuildHasher, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A hash map that hashes alike in every process that gave it the same seed. Iterate it only where order cannot matter.
#[expect(clippy::disallowed_types, reason = "the one place that names it: with a hasher of our own")]
pub type Map<K, V> = std::collections::HashMap<K, V, MapHasher>;

/// A hash set with the same hasher as [`Map`].
#[expect(clippy::disallowed_types, reason = "the one place that names it: with a hasher of our own")]
pub type Set<K> = std::collections::HashSet<K, MapHasher>;

/// 64-bit xxh3 under a seed. Give maps whose keys a client chooses a seed from `Env.rng`, so that no one can aim
/// collisions at them.
#[derive(Clone, Copy, Debug, Default)]
pub struct MapHasher(u64);

impl MapHasher {
    /// A hasher for keys that come from outside.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }
}

impl BuildHasher for MapHasher {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(self.0)
    }
}

/// xxh3 of each part of a key, seeded with what came before it: without the state of a stream, which costs more than the
/// keys of our maps do.
#[derive(Clone, Copy, Debug)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64_with_seed(bytes, self.0);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
