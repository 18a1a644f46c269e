//! One run on one server: the clock, the CPU time up to the end of the work behind it, the peak of its memory, and its count.
//!
//! There is no figure of a run whose count is wrong: a [`Driven`] is made of nothing else than a run that was counted.

use meridian_env::Env;
use tonic::transport::Channel;

use crate::cpu::{self, Thread};
use crate::feed::Round;
use crate::frames::Stream;
use crate::generate::Shape;
use crate::load::{Link, LoadError, Mode};
use crate::pace::{Pace, Tally};
use crate::servers::{DATABASE, Product, Server, ServerError};

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriveError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The writes.
    #[error("{0}: {1}")]
    Write(&'static str, LoadError),
    /// What was to be written.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// What was acknowledged is not what is there.
    #[error("{name} acknowledged {sent} points and counts {found} of them: there is no figure of such a run")]
    Miscounted {
        /// Which.
        name: &'static str,
        /// Points of all acknowledged batches.
        sent: u64,
        /// What it counts.
        found: u64,
    },
}

/// A run that is there.
#[derive(Debug)]
pub(crate) struct Driven {
    pub(crate) tally: Tally,
    /// From the first send to the last answer.
    pub(crate) seconds: f64,
    /// Of the server, from the first send to the end of the work behind it.
    pub(crate) cpu_seconds: f64,
    /// Its threads at the same two instants.
    pub(crate) threads: [Vec<Thread>; 2],
    /// The most memory that the server held at a time.
    pub(crate) peak_bytes: u64,
    /// Whether that work ended in time.
    pub(crate) is_quiet: bool,
}

/// How a run is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) mode: Mode,
    /// Requests under way.
    pub(crate) concurrency: u32,
    /// Points a second; none: as fast as answers come.
    pub(crate) rate: Option<u64>,
}

/// Sends `round`, waits until the server has nothing to do, and counts.
pub(crate) async fn drive(
    env: &Env,
    server: &Server,
    way: Way,
    shape: &Shape,
    round: &Round,
) -> Result<Driven, DriveError> {
    let name = server.product.name();
    let link = open(env, server, way).await?;
    cpu::forget_peak_of(server.pid()).map_err(ServerError::Cpu)?;
    let used = server.cpu_seconds().map_err(ServerError::Cpu)?;
    let threads_before = cpu::threads_of(server.pid()).map_err(ServerError::Cpu)?;
    let start = env.clock.now();
    let sent = link.send(env, &round.batches, Pace::new(start, None, way.rate)).await;
    let seconds = env.clock.now().saturating_duration_since(start).as_secs_f64();
    let tally = sent.map_err(|error| DriveError::Write(name, error))?;
    let settled = server.settle().await?;
    let peak_bytes = cpu::peak_bytes_of(server.pid()).map_err(ServerError::Cpu)?;
    let found = server.count(shape, round.range).await?;
    if found != tally.points || found != round.points {
        return Err(DriveError::Miscounted { name, sent: tally.points, found });
    }
    let cpu_seconds = settled.cpu_seconds - used;
    let threads = [threads_before, settled.threads];
    Ok(Driven { tally, seconds, cpu_seconds, threads, peak_bytes, is_quiet: settled.is_quiet })
}

async fn open(env: &Env, server: &Server, way: Way) -> Result<Link, DriveError> {
    Ok(match way.mode {
        Mode::Lines => Link::Lines(server.connections(way.concurrency).await?),
        Mode::Frames => {
            let stream = Stream::open(env, router(env, server), DATABASE, way.concurrency).await;
            Link::Frames(Box::new(stream.map_err(LoadError::from)?))
        }
    })
}

/// A channel to the router of a cluster of ours.
pub(crate) fn router(env: &Env, server: &Server) -> Channel {
    assert_eq!(server.product, Product::Meridian, "frames are Meridian's own");
    meridian_client::connect(env, &server.place.other)
}
