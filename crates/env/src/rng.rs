//! Entropy by name: children of one seed that do not disturb each other.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_128;

/// A source of random numbers. Clones share one stream; [`Rng::child`] starts an independent one.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: [u8; 32],
    stream: Arc<Mutex<ChaCha8Rng>>,
}

impl Rng {
    /// The source that this seed names, the same in every process.
    pub fn from_seed(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self::from_bytes(bytes)
    }

    /// A source that nobody can guess, from the operating system.
    pub fn from_system() -> Self {
        let mut bytes = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).expect("the operating system gives entropy");
        Self::from_bytes(bytes)
    }

    fn from_bytes(seed: [u8; 32]) -> Self {
        Self { seed, stream: Arc::new(Mutex::new(ChaCha8Rng::from_seed(seed))) }
    }

    /// The child source of this name: independent of how much is drawn from this one or from other children.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        let mut key = self.seed;
        for (byte, hash) in key.iter_mut().zip(xxh3_128(name.as_bytes()).to_le_bytes()) {
            *byte ^= hash;
        }
        // Through the cipher, because names that are only XORed would commute and cancel out.
        let mut seed = [0; 32];
        ChaCha8Rng::from_seed(key).fill_bytes(&mut seed);
        Self::from_bytes(seed)
    }

    /// Any 64 bits.
    pub fn u64(&self) -> u64 {
        self.stream.lock().next_u64()
    }

    /// A number in `[0, n)`; `n` must not be 0. The bias is below `n / 2^64`.
    pub fn below(&self, n: u64) -> u64 {
        assert_ne!(n, 0, "nothing is below 0");
        ((u128::from(self.u64()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `p`.
    pub fn chance(&self, p: f64) -> bool {
        ((self.u64() >> 11) as f64) < p * (1_u64 << 53) as f64
    }
}

thread_local! {
    static AMBIENT: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
}

/// The one ambient of the system: openraft's runtime type is static, so its randomness (election timeouts) cannot be handed
/// in. In production it is a generator per thread, seeded by the operating system; a simulation, which is one thread and one
/// process a seed, seeds it first.
#[derive(Debug)]
pub struct AmbientRng(());

/// The current thread's ambient generator.
pub fn ambient_rng() -> AmbientRng {
    AmbientRng(())
}

impl AmbientRng {
    /// Makes this thread's ambient draws repeatable from here on.
    #[cfg(feature = "sim")]
    pub fn seed(seed: u64) {
        AMBIENT.with_borrow_mut(|rng| *rng = Some(ChaCha8Rng::seed_from_u64(seed)));
    }

    fn with<T>(draw: impl FnOnce(&mut ChaCha8Rng) -> T) -> T {
        AMBIENT.with_borrow_mut(|rng| {
            draw(rng.get_or_insert_with(|| {
                let mut seed = [0; 32];
                rand::rngs::SysRng.try_fill_bytes(&mut seed).expect("the operating system gives entropy");
                ChaCha8Rng::from_seed(seed)
            }))
        })
    }
}

impl TryRng for AmbientRng {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(Self::with(|rng| rng.next_u32()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(Self::with(|rng| rng.next_u64()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        Self::with(|rng| rng.fill_bytes(bytes));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_depend_on_draws() {
        let root = Rng::from_seed(7);
        let before = root.child("disk").u64();
        root.u64();
        root.child("work").u64();
        assert_eq!(root.child("disk").u64(), before);
        assert_eq!(root.clone().child("disk").u64(), before);
    }

    #[test]
    fn names_seeds_and_paths_differ() {
        let root = Rng::from_seed(7);
        let mut seen = vec![root.u64(), Rng::from_seed(8).child("a").u64()];
        let paths: [&[&str]; 9] =
            [&["a"], &["b"], &[""], &["a", "a"], &["a", "b"], &["b", "a"], &["b", "b"], &["ab"], &["", ""]];
        for path in paths {
            seen.push(path.iter().fold(root.clone(), |rng, name| rng.child(name)).u64());
        }
        let distinct: std::collections::BTreeSet<u64> = seen.iter().copied().collect();
        assert_eq!(distinct.len(), seen.len(), "{seen:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_source_in_every_version() {
        let root = Rng::from_seed(42);
        let numbers = (root.u64(), root.child("n1").child("disk").u64());
        assert_eq!(numbers, (6_424_161_053_832_095_879, 4_867_913_435_126_030_322));
    }

    #[test]
    fn below_and_chance_keep_their_bounds() {
        let rng = Rng::from_seed(1);
        let mut hits = [0; 3];
        for _ in 0..3_000 {
            hits[rng.below(3) as usize] += 1;
            assert!(rng.chance(1.0) && !rng.chance(0.0));
        }
        assert!(hits.iter().all(|n| (800..1_200).contains(n)), "{hits:?}");
    }
}
