//! When a server has finished what it does behind the writes: the CPU time that belongs to a run ends there, not at the last
//! answer.
//!
//! Never counts the time in which a server only idles: a cluster's heartbeats would look like work on the points.

use std::time::Duration;

use meridian_env::Env;

use crate::cpu::{self, CpuError, Thread};

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longer than the pauses between the background jobs of each product.
const QUIET: Duration = Duration::from_secs(3);
/// Past this a run is judged by what was used so far, and its report says so.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// Of one core: what a server may use above its idle time and still be called quiet.
const QUIET_CORES: f64 = 0.08;

/// A server's CPU time at one time.
#[derive(Clone, PartialEq, Debug)]
struct Sample {
    at: Duration,
    cpu_seconds: f64,
    threads: Vec<Thread>,
}

/// The end of a settle.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Settled {
    /// CPU time of the process when its work ended.
    pub(crate) cpu_seconds: f64,
    /// Its threads at the same time.
    pub(crate) threads: Vec<Thread>,
    /// Whether it ended in time.
    pub(crate) is_quiet: bool,
}

/// Cores that a server uses when nobody asks it for anything, over two seconds.
pub(crate) async fn idle_cores(env: &Env, pid: u32) -> Result<f64, CpuError> {
    const SPAN: Duration = Duration::from_secs(2);
    let before = cpu::seconds_of(pid)?;
    env.clock.sleep(SPAN).await;
    Ok((cpu::seconds_of(pid)? - before) / SPAN.as_secs_f64())
}

/// Waits until the server does no more than when idle.
pub(crate) async fn settle(env: &Env, pid: u32, idle_cores: f64) -> Result<Settled, CpuError> {
    let start = env.clock.now();
    let mut samples = Vec::new();
    loop {
        let at = env.clock.now().saturating_duration_since(start);
        let now = Sample { at, cpu_seconds: cpu::seconds_of(pid)?, threads: cpu::threads_of(pid)? };
        samples.push(now.clone());
        let quiet = quiet_since(&samples, idle_cores + QUIET_CORES, QUIET).cloned();
        let is_quiet = quiet.is_some();
        if let Some(Sample { cpu_seconds, threads, .. }) = quiet.or_else(|| (at > WAIT_MAX).then_some(now)) {
            return Ok(Settled { cpu_seconds, threads, is_quiet });
        }
        env.clock.sleep(LOOK_EVERY).await;
    }
}

/// The first sample of the stretch of quiet at the end, once that is `quiet` long.
fn quiet_since(samples: &[Sample], cores_max: f64, quiet: Duration) -> Option<&Sample> {
    let is_quiet = |pair: &&[Sample]| {
        let seconds = (pair[1].at.saturating_sub(pair[0].at)).as_secs_f64();
        pair[1].cpu_seconds - pair[0].cpu_seconds <= cores_max * seconds
    };
    let pairs: Vec<&[Sample]> = samples.windows(2).collect();
    let begin = &pairs.iter().rev().take_while(|pair| is_quiet(pair)).last()?[0];
    let end = samples.last()?;
    (end.at.saturating_sub(begin.at) >= quiet).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(cores: &[f64]) -> Vec<Sample> {
        let mut all = vec![Sample { at: Duration::ZERO, cpu_seconds: 10.0, threads: Vec::new() }];
        for (second, cores) in (1..).zip(cores) {
            let cpu_seconds = all.last().map_or(0.0, |last| last.cpu_seconds) + cores;
            all.push(Sample { at: Duration::from_secs(second), cpu_seconds, threads: Vec::new() });
        }
        all
    }

    #[test]
    fn work_ends_where_the_last_quiet_begins() {
        let quiet = |cores: &[f64]| quiet_since(&samples(cores), 0.15, Duration::from_secs(3)).map(|s| s.at.as_secs());
        assert_eq!(quiet(&[1.0, 0.1, 0.1, 0.1]), Some(1));
        assert_eq!(quiet(&[1.0, 0.1, 0.1, 0.9, 0.1, 0.1, 0.1]), Some(4), "a pause is not the end");
        assert_eq!(quiet(&[1.0, 0.1, 0.1]), None);
        assert_eq!(quiet(&[0.1, 0.1, 0.1, 1.0]), None);
        assert_eq!(quiet(&[]), None);
    }
}
