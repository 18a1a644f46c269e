//! The bytes of one simulated file: what is durable, and the writes since, in order.

use crate::Rng;

/// What survives of a write or not is decided by sectors of this many bytes, as on a real disk.
pub(super) const SECTOR: u64 = 512;

/// How a crash treats what was not synced. Drawn once a crash, so that worlds in which all is lost and worlds in which all
/// is kept are as common as mixed ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// Probability that a write or a change of a name is kept.
    pub(super) keep: f64,
    /// Probability that a write that is not kept is torn; the rest is lost.
    pub(super) tear: f64,
}

impl Fate {
    pub(super) fn draw(rng: &Rng) -> Self {
        let (keep, tear) = [(0.0, 0.0), (0.0, 0.7), (0.5, 0.5), (0.9, 0.5), (1.0, 0.0)][rng.below(5) as usize];
        Self { keep, tear }
    }

    /// In the middle of a sync something is mostly on its way.
    pub(super) fn draw_in_sync(rng: &Rng) -> Self {
        let (keep, tear) = [(0.0, 1.0), (0.0, 1.0), (0.3, 1.0), (1.0, 0.0)][rng.below(4) as usize];
        Self { keep, tear }
    }
}

#[derive(Debug)]
struct Write {
    offset: u64,
    bytes: Vec<u8>,
    /// A sync of it failed: readable from the cache, but no later sync will write it.
    doomed: bool,
}

impl Write {
    fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct Content {
    durable: Vec<u8>,
    pending: Vec<Write>,
}

impl Content {
    /// A file that holds this for certain.
    pub(super) fn of(durable: Vec<u8>) -> Self {
        Self { durable, pending: Vec::new() }
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn len(&self) -> u64 {
        self.pending.iter().map(Write::end).fold(self.durable.len() as u64, u64::max)
    }

    /// Sees all that was written, synced or not; holes are zeros.
    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let n = self.len().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let buffer = &mut buffer[..n];
        buffer.fill(0);
        overlay(buffer, offset, &self.durable, 0);
        for write in &self.pending {
            overlay(buffer, offset, &write.bytes, write.offset);
        }
        n
    }

    pub(super) fn write_at(&mut self, bytes: Vec<u8>, offset: u64) {
        if !bytes.is_empty() {
            self.pending.push(Write { offset, bytes, doomed: false });
        }
    }

    pub(super) fn sync(&mut self) {
        for write in std::mem::take(&mut self.pending) {
            if write.doomed { self.pending.push(write) } else { self.persist(write.offset, &write.bytes) }
        }
    }

    /// A sync that fails: the kernel takes the pages for clean, so no later sync writes them.
    pub(super) fn fail_sync(&mut self) {
        for write in &mut self.pending {
            write.doomed = true;
        }
    }

    /// The crash: every write since the last sync is kept, torn or lost.
    pub(super) fn settle(&mut self, fate: Fate, rng: &Rng) {
        for write in std::mem::take(&mut self.pending) {
            if rng.chance(fate.keep) {
                self.persist(write.offset, &write.bytes);
            } else if rng.chance(fate.tear) {
                self.tear(&write, rng);
            }
        }
    }

    /// Half of the torn writes are a prefix, the others any subset of their sectors.
    fn tear(&mut self, write: &Write, rng: &Rng) {
        let prefix = rng.chance(0.5).then(|| rng.below(write.end().div_ceil(SECTOR) - write.offset / SECTOR + 1));
        let (mut at, mut number) = (write.offset, 0);
        while at < write.end() {
            let end = ((at / SECTOR + 1) * SECTOR).min(write.end());
            let survives = prefix.map_or_else(|| rng.chance(0.5), |prefix| number < prefix);
            if survives {
                self.persist(at, &write.bytes[(at - write.offset) as usize..(end - write.offset) as usize]);
            }
            (at, number) = (end, number + 1);
        }
    }

    fn persist(&mut self, offset: u64, bytes: &[u8]) {
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(bytes);
    }

    /// Damages one bit wherever it is held; false if the file is shorter.
    pub(super) fn flip_bit(&mut self, bit: u64) -> bool {
        let (at, mask) = (bit / 8, 1 << (bit % 8));
        let mut found = false;
        let pending = self.pending.iter_mut().map(|write| (write.offset, &mut write.bytes));
        for (offset, bytes) in std::iter::once((0, &mut self.durable)).chain(pending) {
            if let Some(byte) = at.checked_sub(offset).and_then(|at| bytes.get_mut(at as usize)) {
                *byte ^= mask;
                found = true;
            }
        }
        found
    }
}

/// Copies onto `buffer`, which shows a file from `at`, the part of `bytes`, which lie at `offset`, that it shows.
fn overlay(buffer: &mut [u8], at: u64, bytes: &[u8], offset: u64) {
    let start = at.max(offset);
    let end = (at + buffer.len() as u64).min(offset + bytes.len() as u64);
    if start < end {
        let from = &bytes[(start - offset) as usize..(end - offset) as usize];
        buffer[(start - at) as usize..(end - at) as usize].copy_from_slice(from);
    }
}
