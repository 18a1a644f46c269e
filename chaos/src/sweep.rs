//! Many seeds, each in a process of its own, until one fails.

use std::io;
use std::ops::Range;
use std::process::{Command, ExitCode};

use crate::trace;

/// Reads `A..B`, both numbers, the second one not included.
pub(crate) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("{text:?} is not A..B, two numbers of which the second is larger");
    let (start, end) = text.split_once("..").ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let range = number(start)?..number(end)?;
    if range.is_empty() { Err(bad()) } else { Ok(range) }
}

/// Runs one seed after the other. Each says what it saw, or what failed and how to see it again; then nothing more is run.
pub(crate) fn run(seeds: Range<u64>, seconds: u64) -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let ended = Command::new(&program)
            .args(["run", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()])
            .status()?;
        if !ended.success() {
            // A panic has said nothing of the seed.
            let code = ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
            trace::tell(&format!("stopped: seed {seed} ended with {ended}"));
            trace::tell(&again(seed, seconds));
            return Ok(ExitCode::from(code));
        }
    }
    trace::tell(&format!("all {count} seeds hold"));
    Ok(ExitCode::SUCCESS)
}

/// The one command that repeats a run.
pub(crate) fn again(seed: u64, seconds: u64) -> String {
    format!("again: cargo run -p meridian-chaos -- run --seed {seed} --seconds {seconds} --trace -")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_two_ends() {
        assert_eq!(seeds("3..7"), Ok(3..7));
        for bad in ["3", "3..", "..7", "7..3", "3..3", "a..b", "3..=7"] {
            assert!(seeds(bad).is_err(), "{bad}");
        }
    }
}
