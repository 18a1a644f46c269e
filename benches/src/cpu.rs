//! CPU time and memory of processes, from Linux's `/proc`.

use std::io;

/// `utime` and `stime` count in these, on every architecture that Meridian builds for.
const TICKS_PER_SECOND: f64 = 100.0;
/// Of the kernels that Meridian is measured on.
const PAGE_BYTES: u64 = 4_096;

/// Why the time of a process is not known.
#[derive(Debug, thiserror::Error)]
#[error("what process {process} uses, in {path}: {why}")]
pub(crate) struct CpuError {
    process: String,
    path: String,
    why: io::Error,
}

/// CPU seconds that the process has used so far, all threads, in user and kernel.
pub(crate) fn seconds_of(pid: u32) -> Result<f64, CpuError> {
    seconds(&pid.to_string())
}

/// The same of this process.
pub(crate) fn seconds_of_this() -> Result<f64, CpuError> {
    seconds("self")
}

/// Bytes of memory that the process holds.
pub(crate) fn resident_bytes_of(pid: u32) -> Result<u64, CpuError> {
    let path = format!("/proc/{pid}/statm");
    #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
    let text = std::fs::read_to_string(&path);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no resident pages in it");
    let pages = text.and_then(|text| {
        text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).ok_or_else(malformed)
    });
    pages.map(|pages| pages * PAGE_BYTES).map_err(|why| CpuError { process: pid.to_string(), path, why })
}

fn seconds(process: &str) -> Result<f64, CpuError> {
    let path = format!("/proc/{process}/stat");
    #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
    let text = std::fs::read_to_string(&path);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no utime and stime in it");
    let ticks = text.and_then(|text| ticks(&text).ok_or_else(malformed));
    match ticks {
        Ok(ticks) => Ok(ticks as f64 / TICKS_PER_SECOND),
        Err(why) => Err(CpuError { process: process.to_owned(), path, why }),
    }
}

/// `utime + stime`: the 14th and 15th word. The second is the program's name in brackets, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut words = behind_name.split_ascii_whitespace().skip(11);
    let (user, kernel): (u64, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    user.checked_add(kernel)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a) b) 1 2 (c) S 1 7 7 0 -1 4194560 9 8 7 6 120 34 5 6 20 0 4 0 100 1 2";
        assert_eq!(ticks(stat), Some(154));
        assert_eq!(ticks("7 (a) S 1 7 7 0 -1 4194560 9 8 7 6 120"), None);
        assert_eq!(ticks(""), None);
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(seconds_of_this().is_ok_and(|seconds| seconds >= 0.0));
        assert!(seconds_of(std::process::id()).is_ok());
        let error = seconds_of(u32::MAX).expect_err("there is no such process").to_string();
        assert!(error.starts_with("what process 4294967295 uses, in /proc/4294967295/stat: "), "{error}");
    }
}
