//! The process's clock during a simulation: `clock_gettime` answers simulated time.
//!
//! h2 forgets reset streams after a second of *real* time, and other libraries ask the operating system too: without this,
//! a slow machine would show in the trace. The answer is set between two steps of the simulation, never asked of the runtime,
//! which would ask back.
#![expect(unsafe_code, reason = "one C function is replaced, and the real one reached by its system call")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Simulated nanoseconds since boot plus one, or 0 while no simulation runs.
static NOW: AtomicU64 = AtomicU64::new(0);

/// Time since boot at which simulations begin: instants before their start must exist.
const START: Duration = Duration::from_secs(1_000_000);

/// From now on, the process sees `elapsed` since the simulation's start.
pub(crate) fn set(elapsed: Duration) {
    let nanos = u64::try_from((START + elapsed).as_nanos()).expect("simulations are shorter than centuries");
    NOW.store(nanos + 1, Ordering::Relaxed);
}

/// CPU time that this process has used.
pub(crate) fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call to fill in.
    unsafe { libc::syscall(libc::SYS_clock_gettime, libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// # Safety
///
/// As for the C function: `out` must be valid for a write.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, out: *mut libc::timespec) -> libc::c_int {
    let now = NOW.load(Ordering::Relaxed);
    if now == 0 {
        // SAFETY: passed through as it came.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, out) as libc::c_int };
    }
    let now = Duration::from_nanos(now - 1);
    let time =
        libc::timespec { tv_sec: now.as_secs() as libc::time_t, tv_nsec: libc::c_long::from(now.subsec_nanos()) };
    // SAFETY: the caller promises that `out` is valid.
    unsafe { out.write(time) };
    0
}
