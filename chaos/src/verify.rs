//! Whether a seed repeats: two fresh processes must tell the same events, byte for byte. If they do not, nothing else that the
//! judge says counts.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use crate::{HARNESS, trace};

/// A shorter trace shows nothing.
const TRACE_BYTES_MIN: u64 = 100_000;

/// Runs each seed twice and compares; the exit code.
pub(crate) fn run(seeds: Range<u64>, seconds: u64) -> io::Result<u8> {
    let dir = tempfile::tempdir()?;
    let paths = ["one", "two"].map(|name| dir.path().join(name));
    for seed in seeds {
        for path in &paths {
            let ended = Command::new(std::env::current_exe()?)
                .args(["run", "--seed", &seed.to_string(), "--seconds", &seconds.to_string(), "--trace"])
                .arg(path)
                .status()?;
            if !ended.success() {
                let code = ended.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.unwrap_or(HARNESS));
            }
        }
        let bytes = length(&paths[0])?;
        if let Some(difference) = difference(&paths[0], &paths[1])? {
            trace::tell(&format!("seed {seed} does not repeat: {difference}"));
            return Ok(HARNESS);
        }
        if bytes < TRACE_BYTES_MIN {
            trace::tell(&format!("seed {seed}: a trace of {bytes} bytes shows nothing"));
            return Ok(HARNESS);
        }
        trace::tell(&format!("seed {seed} repeats: {bytes} bytes of events"));
    }
    Ok(0)
}

#[expect(clippy::disallowed_methods, reason = "the judge reads what its own runs wrote, outside the world")]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

fn length(path: &Path) -> io::Result<u64> {
    Ok(open(path)?.metadata()?.len())
}

/// The first line in which two files differ, in words.
fn difference(one: &Path, two: &Path) -> io::Result<Option<String>> {
    let (mut one, mut two) = (BufReader::new(open(one)?), BufReader::new(open(two)?));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for number in 1_u64.. {
        a.clear();
        b.clear();
        let read = (one.read_until(b'\n', &mut a)?, two.read_until(b'\n', &mut b)?);
        if a != b {
            let (a, b) = (String::from_utf8_lossy(&a), String::from_utf8_lossy(&b));
            return Ok(Some(format!("event {number} is\n{a}and then\n{b}")));
        }
        if read == (0, 0) {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            crate::ledger::write(&path, text.as_bytes()).expect("written");
            path
        };
        let one = file("one", "a\nb\nc\n");
        assert_eq!(difference(&one, &file("same", "a\nb\nc\n")).expect("read"), None);
        let other = difference(&one, &file("other", "a\nx\nc\n")).expect("read");
        assert_eq!(other.as_deref(), Some("event 2 is\nb\nand then\nx\n"));
        assert!(difference(&one, &file("short", "a\nb\n")).expect("read").is_some());
    }
}
