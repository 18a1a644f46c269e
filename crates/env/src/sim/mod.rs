//! The simulated world: the same [`Env`] over virtual time, a network of turmoil, and disks that lose, keep or tear what was
//! not synced. For tests and chaos only: the binary never enables this feature.
//!
//! One seed replays bit for bit only if
//! - the simulation is one thread, and one process runs one seed: task ids are counted per process and decide drop order;
//! - every random number comes from a child of the world's [`Rng`], or from [`seed_ambient`], called first;
//! - tokio's own draws are seeded: `--cfg tokio_unstable` and turmoil's `rng_seed`;
//! - h2 sees no real clock: the simulation's binary answers `clock_gettime` itself;
//! - nothing iterates a map whose order is not fixed, opens a real file, or starts a thread.
//!
//! Turmoil's hosts share one clock and its TCP never sends again: skew is [`SimClock::set_offset_nanos`] and [`SimClock::drift`], and whoever waits
//! for a peer needs a deadline.

mod catalogue;
mod clock;
mod disk;
mod net;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use catalogue::SimCatalogues;
pub use clock::{START_NANOS, SimClock};
pub use disk::{Faults, SimDisk};
use net::SimNet;
pub use work::InlineWork;
use work::SimWork;

use crate::{AmbientRng, Env, Rng, Work};

/// Makes this thread's ambient draws (openraft's) repeatable: call it before anything else.
pub fn seed_ambient(seed: u64) {
    AmbientRng::seed(seed);
}

/// What the disk and the stores of a host hold for certain at one moment.
#[derive(Debug)]
pub struct Image {
    disk: disk::Image,
    catalogues: catalogue::Image,
}

/// What survives a crash of one host: its disk, its stores, its clock's error. Clones are the same host.
#[derive(Clone, Debug)]
pub struct SimHost {
    name: Arc<str>,
    rng: Rng,
    lives: Arc<AtomicU64>,
    disk: SimDisk,
    catalogues: SimCatalogues,
    clock: SimClock,
    net: SimNet,
    disk_waits: Arc<AtomicU64>,
}

impl SimHost {
    /// An empty host. All it draws comes from the child of `world` of this name, which is also turmoil's name for it.
    pub fn new(name: &str, world: &Rng) -> Self {
        let rng = world.child(name);
        Self {
            name: name.into(),
            lives: Arc::default(),
            disk: SimDisk::new(rng.child("disk")),
            catalogues: SimCatalogues::new(rng.child("catalogue")),
            clock: SimClock::default(),
            net: SimNet::new(name),
            disk_waits: Arc::default(),
            rng,
        }
    }

    /// The world for a new process on this host, valid until [`SimHost::crash`]. Its work needs a tokio runtime and its
    /// network a turmoil host.
    pub fn env(&self) -> Env {
        self.live(|rng| Arc::new(SimWork::new(rng.child("work"), Arc::clone(&self.disk_waits))))
    }

    /// The same with jobs that run at once where they are handed in: needs no runtime.
    pub fn env_inline(&self) -> Env {
        self.live(|_| Arc::new(InlineWork))
    }

    fn live(&self, work: impl FnOnce(&Rng) -> Arc<dyn Work>) -> Env {
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let rng = self.rng.child(&format!("life {life}"));
        Env {
            clock: Arc::new(self.clock.clone()),
            disk: self.disk.mount(),
            net: Arc::new(self.net.clone()),
            work: work(&rng),
            rng: rng.child("env"),
            catalogue: self.catalogues.mount(),
        }
    }

    /// The power goes: what was not synced is lost, kept or torn, and whatever an [`Env`] of before still holds fails from
    /// here on. Crash the turmoil host too.
    pub fn crash(&self) {
        self.disk.crash();
        self.catalogues.crash();
    }

    /// Its disk is replaced by an empty one. For a host that is down.
    pub fn wipe(&self) {
        self.disk.wipe();
        self.catalogues.wipe();
    }

    /// What is durable now: to what a disk that lies about every sync from here on falls back when its power goes.
    pub fn image(&self) -> Image {
        Image { disk: self.disk.image(), catalogues: self.catalogues.image() }
    }

    /// Its disk has lied about every sync since `image`. For a host that is down.
    pub fn revert(&self, image: Image) {
        self.disk.revert(image.disk);
        self.catalogues.revert(image.catalogues);
    }

    /// From here on each job that writes files waits so many milliseconds longer than by itself.
    pub fn slow_disk(&self, millis: u64) {
        self.disk_waits.store(millis, Ordering::Relaxed);
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its disk, to damage it.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Its stores, to damage them.
    pub fn catalogues(&self) -> &SimCatalogues {
        &self.catalogues
    }

    /// Its clock, to set it wrong.
    pub fn clock(&self) -> &SimClock {
        &self.clock
    }
}
