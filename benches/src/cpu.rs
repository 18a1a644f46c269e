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

/// One thread of a process.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Thread {
    pub(crate) number: u32,
    /// At most 15 bytes: Linux keeps no more.
    pub(crate) name: String,
    /// CPU seconds so far, in the program and in the kernel.
    pub(crate) user: f64,
    pub(crate) kernel: f64,
}

/// The threads of a process. One that ends while they are read is left out.
pub(crate) fn threads_of(pid: u32) -> Result<Vec<Thread>, CpuError> {
    let path = format!("/proc/{pid}/task");
    #[expect(clippy::disallowed_methods, reason = "directories of /proc are not Env's")]
    let listed = std::fs::read_dir(&path);
    let entries = listed.map_err(|why| CpuError { process: pid.to_string(), path, why })?;
    let read = |entry: std::fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        thread(number, &stat)
    };
    Ok(entries.filter_map(Result::ok).filter_map(read).collect())
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

/// The most that the process has held at a time, since its start or since [`forget_peak_of`].
pub(crate) fn peak_bytes_of(pid: u32) -> Result<u64, CpuError> {
    let path = format!("/proc/{pid}/status");
    #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
    let text = std::fs::read_to_string(&path);
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "no VmHWM in it");
    let kibibytes = text.and_then(|text| peak_kibibytes(&text).ok_or_else(malformed));
    kibibytes.map(|some| some * 1_024).map_err(|why| CpuError { process: pid.to_string(), path, why })
}

/// Lets the peak begin anew at what the process holds now.
pub(crate) fn forget_peak_of(pid: u32) -> Result<(), CpuError> {
    let path = format!("/proc/{pid}/clear_refs");
    #[expect(clippy::disallowed_methods, reason = "an order to the kernel, which Env's disk has no word for")]
    let done = std::fs::write(&path, "5");
    done.map_err(|why| CpuError { process: pid.to_string(), path, why })
}

/// Whether the process has ended and only waits to be asked how: its CPU time can still be read then.
pub(crate) fn has_ended(pid: u32) -> bool {
    #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    text.map_or(true, |text| text.rsplit_once(')').is_none_or(|(_, behind)| behind.trim_start().starts_with('Z')))
}

/// The CPU time of the thread that made it. The kernel counts it up at its ticks, so that only sums over many looks are
/// exact.
#[derive(Debug)]
pub(crate) struct ThreadTime(std::fs::File);

impl ThreadTime {
    /// Of this thread.
    pub(crate) fn of_this() -> Result<Self, CpuError> {
        #[expect(clippy::disallowed_methods, reason = "files of /proc have no size, so Env's disk cannot read them")]
        let file = std::fs::File::open("/proc/thread-self/schedstat");
        file.map(Self).map_err(Self::error)
    }

    /// Nanoseconds so far.
    pub(crate) fn nanos(&self) -> Result<u64, CpuError> {
        let mut text = [0; 64];
        let read = std::os::unix::fs::FileExt::read_at(&self.0, &mut text, 0).map_err(Self::error)?;
        let first = text[..read].split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
        let number = std::str::from_utf8(first).ok().and_then(|digits| digits.parse().ok());
        number.ok_or_else(|| Self::error(io::Error::new(io::ErrorKind::InvalidData, "no time in it")))
    }

    fn error(why: io::Error) -> CpuError {
        CpuError { process: "self".into(), path: "/proc/thread-self/schedstat".into(), why }
    }
}

fn peak_kibibytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
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

/// `utime + stime`.
fn ticks(stat: &str) -> Option<u64> {
    let (_, [user, kernel]) = name_and_times(stat)?;
    user.checked_add(kernel)
}

/// The thread whose `stat` it is.
fn thread(number: u32, stat: &str) -> Option<Thread> {
    let (name, ticks) = name_and_times(stat)?;
    let [user, kernel] = ticks.map(|ticks| ticks as f64 / TICKS_PER_SECOND);
    Some(Thread { number, name: name.to_owned(), user, kernel })
}

/// The second word, which is the program's or the thread's name in brackets and may hold anything; `utime` and `stime`, the 14th
/// and the 15th.
fn name_and_times(stat: &str) -> Option<(&str, [u64; 2])> {
    let (before, behind) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut words = behind.split_ascii_whitespace().skip(11);
    Some((name, [words.next()?.parse().ok()?, words.next()?.parse().ok()?]))
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
        let expected = Thread { number: 9, name: "a) b) 1 2 (c".into(), user: 1.2, kernel: 0.34 };
        assert_eq!(thread(9, stat), Some(expected));
    }

    #[test]
    fn this_process_has_threads() {
        let threads = threads_of(std::process::id()).expect("Linux");
        assert!(threads.iter().any(|thread| thread.number == std::process::id()), "{threads:?}");
        assert!(threads_of(u32::MAX).is_err());
    }

    #[test]
    fn this_thread_has_a_time() {
        let time = ThreadTime::of_this().expect("Linux");
        assert!(time.nanos().expect("a number") <= time.nanos().expect("a number"));
    }

    #[test]
    fn a_peak_is_the_line_of_its_name() {
        assert_eq!(peak_kibibytes("VmPeak:\t   9 kB\nVmHWM:\t  123456 kB\nVmRSS:\t 7 kB\n"), Some(123_456));
        assert_eq!(peak_kibibytes("VmRSS:\t 7 kB\n"), None);
        assert!(peak_bytes_of(std::process::id()).is_ok_and(|bytes| bytes > 0));
        assert!(!has_ended(std::process::id()) && has_ended(u32::MAX));
    }

    #[test]
    fn this_process_has_a_time() {
        assert!(seconds_of_this().is_ok_and(|seconds| seconds >= 0.0));
        assert!(seconds_of(std::process::id()).is_ok());
        let error = seconds_of(u32::MAX).expect_err("there is no such process").to_string();
        assert!(error.starts_with("what process 4294967295 uses, in /proc/4294967295/stat: "), "{error}");
    }
}
