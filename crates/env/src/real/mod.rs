//! The real world: the system's clocks, disk, sockets and threads, and sled.
//!
//! Thin on purpose: what is decided here escapes the simulation, so nothing is decided here that could be decided above.

mod catalogue;
mod clock;
mod disk;
mod memory;
mod net;
mod process;
mod work;

use std::io;
use std::sync::Arc;

use crate::{Catalogues, Disk, Env, Rng};

pub use memory::use_small_pages;
pub use process::Process;

/// The real world for one process. Starts the threads of its [`crate::Work`]; they end when the last clone is dropped and
/// their queues are empty. An error means that a thread could not be started.
pub fn env() -> io::Result<Env> {
    Ok(Env {
        clock: Arc::new(clock::SystemClock),
        disk: disk(),
        net: Arc::new(net::TcpNet),
        rng: Rng::from_system(),
        work: Arc::new(work::Threads::start()?),
        catalogue: catalogues(),
    })
}

/// Only the real files, for tools and tests that need nothing else.
pub fn disk() -> Arc<dyn Disk> {
    Arc::new(disk::Files)
}

/// Only the real key-value stores, for tools and tests that need nothing else. Each value knows only the stores that it has
/// itself open: take one a process.
pub fn catalogues() -> Arc<dyn Catalogues> {
    Arc::new(catalogue::Sled::default())
}
