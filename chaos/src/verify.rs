//! Whether a seed repeats: two fresh processes must tell the same events, byte for byte. If they do not, nothing else that the
//! judge says counts. The two run side by side and are compared while they tell: traces are long, and no disk need hold them.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::process::{Child, Command, Stdio};

use crate::{HARNESS, trace};

/// A shorter trace shows nothing.
const TRACE_BYTES_MIN: u64 = 100_000;

/// Runs each seed twice and compares; the exit code.
pub(crate) fn run(seeds: Range<u64>, seconds: u64) -> io::Result<u8> {
    for seed in seeds {
        let mut twins = [start(seed, seconds)?, start(seed, seconds)?];
        let [one, two] = twins.each_mut().map(|twin| twin.stdout.take());
        let compared = compare(one.ok_or(io::ErrorKind::BrokenPipe)?, two.ok_or(io::ErrorKind::BrokenPipe)?)?;
        let bytes = match compared {
            Ok(bytes) => bytes,
            Err(difference) => {
                for twin in &mut twins {
                    twin.kill()?;
                    twin.wait()?;
                }
                trace::tell(&format!("seed {seed} does not repeat: {difference}"));
                return Ok(HARNESS);
            }
        };
        for twin in &mut twins {
            let ended = twin.wait()?;
            if !ended.success() {
                let code = ended.code().and_then(|code| u8::try_from(code).ok());
                return Ok(code.unwrap_or(HARNESS));
            }
        }
        if bytes < TRACE_BYTES_MIN {
            trace::tell(&format!("seed {seed}: a trace of {bytes} bytes shows nothing"));
            return Ok(HARNESS);
        }
        trace::tell(&format!("seed {seed} repeats: {bytes} bytes of events"));
    }
    Ok(0)
}

fn start(seed: u64, seconds: u64) -> io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["run", "--seed", &seed.to_string(), "--seconds", &seconds.to_string(), "--trace", "-"])
        .stdout(Stdio::piped())
        .spawn()
}

/// How many bytes both tell, or the first line in which they differ, in words.
fn compare(one: impl Read, two: impl Read) -> io::Result<Result<u64, String>> {
    let (mut one, mut two) = (BufReader::new(one), BufReader::new(two));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for number in 1_u64.. {
        a.clear();
        b.clear();
        one.read_until(b'\n', &mut a)?;
        two.read_until(b'\n', &mut b)?;
        if a != b {
            let (a, b) = (String::from_utf8_lossy(&a), String::from_utf8_lossy(&b));
            return Ok(Err(format!("event {number} is\n{a}and then\n{b}")));
        }
        if a.is_empty() {
            break;
        }
        bytes += a.len() as u64;
    }
    Ok(Ok(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_shown() {
        let compare = |one: &str, two: &str| compare(one.as_bytes(), two.as_bytes()).expect("read");
        assert_eq!(compare("a\nb\nc\n", "a\nb\nc\n"), Ok(6));
        assert_eq!(compare("a\nb\nc\n", "a\nx\nc\n"), Err("event 2 is\nb\nand then\nx\n".into()));
        assert!(compare("a\nb\nc\n", "a\nb\n").is_err());
        assert!(compare("a\nb\n", "a\nb\nc\n").is_err());
    }
}
