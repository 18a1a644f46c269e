//! The one seam to the world: clock, disk, network, entropy, threads and the catalogue store, handed in from `main`.
//!
//! Production and simulation call the same `node::run(env, config)` with [`real`] or `sim` parts, so what the simulation
//! judges is what ships. Nothing else in the workspace may touch what these traits stand for; `clippy.toml` bans it.

mod catalogue;
mod clock;
mod context;
mod disk;
mod halt;
mod memory;
mod net;
pub mod real;
mod rng;
#[cfg(feature = "sim")]
pub mod sim;
mod work;

use std::sync::Arc;

pub use catalogue::{Catalogue, Catalogues, Change};
pub use clock::{Clock, Elapsed, Instant, deadline};
pub use context::{Context, Trace};
pub use disk::{Disk, File, Lock, Open, is_full};
pub use halt::Halt;
pub use memory::MemoryFile;
pub use net::{ChannelSettings, Conn, HttpListener, Identity, Io, Listener, Net, channel, incoming};
pub use rng::{AmbientRng, Rng, ambient_rng};
pub use work::{Class, Work, run};

/// Everything a process may touch outside itself.
#[derive(Clone, Debug)]
pub struct Env {
    /// Wall time for data, monotonic time for waiting.
    pub clock: Arc<dyn Clock>,
    /// Files.
    pub disk: Arc<dyn Disk>,
    /// Connections.
    pub net: Arc<dyn Net>,
    /// Entropy.
    pub rng: Rng,
    /// Threads for whatever computes or waits for a disk.
    pub work: Arc<dyn Work>,
    /// Small durable key-value stores.
    pub catalogue: Arc<dyn Catalogues>,
}
