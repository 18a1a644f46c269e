//! Many seeds, each in a process of its own, some at a time.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::mpsc;

use parking_lot::Mutex;

use crate::record::Entry;
use crate::{HARNESS, ledger, trace};

/// Reads `A..B`, both numbers, the second one not included.
pub(crate) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let bad = || format!("{text:?} is not A..B, two numbers of which the second is larger");
    let (start, end) = text.split_once("..").ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let range = number(start)?..number(end)?;
    if range.is_empty() { Err(bad()) } else { Ok(range) }
}

/// Runs each command, `jobs` at a time; what came of each, in the order in which they end.
pub(crate) fn each<T: Send + 'static>(
    commands: impl Iterator<Item = (T, Command)> + Send + 'static,
    jobs: u16,
) -> mpsc::Receiver<(T, io::Result<Output>)> {
    let (ended, ends) = mpsc::channel();
    let waiting = Arc::new(Mutex::new(commands));
    for _ in 0..jobs {
        let (waiting, ended) = (Arc::clone(&waiting), ended.clone());
        #[expect(clippy::disallowed_methods, reason = "it only waits for a process, and simulates nothing")]
        std::thread::spawn(move || {
            loop {
                let Some((what, mut command)) = waiting.lock().next() else { break };
                if ended.send((what, command.output())).is_err() {
                    break;
                }
            }
        });
    }
    ends
}

/// Runs all seeds, `jobs` at a time. Each says what it saw, or what failed and how to see it again; at the end, all that failed
/// are named. The exit code is that of the worst one.
pub(crate) fn run(seeds: Range<u64>, seconds: u64, jobs: u16, ledger: Option<PathBuf>) -> io::Result<u8> {
    let program = std::env::current_exe()?;
    let count = seeds.end - seeds.start;
    let books = ledger.clone();
    let commands = seeds.map(move |seed| (seed, one(&program, seed, seconds, books.as_deref())));
    let mut failed = BTreeMap::new();
    for (number, (seed, output)) in (1..).zip(each(commands, jobs)) {
        let output = output?;
        let code = code(&output);
        let said = String::from_utf8_lossy(&output.stderr);
        // What processes say of faults that they are meant to survive matters only where something failed.
        let said = if code == 0 { said.trim_end().lines().last().unwrap_or_default() } else { said.trim_end() };
        trace::tell(&format!("[{number}/{count}] {said}"));
        if code != 0 {
            failed.insert(seed, code);
        }
        // A panic has said nothing to the ledger.
        if let Some(path) = ledger.as_deref().filter(|_| !(0..=3).contains(&code)) {
            ledger::add(path, &silent(seed, seconds, &output))?;
        }
    }
    if failed.is_empty() {
        trace::tell(&format!("all {count} seeds hold"));
        return Ok(0);
    }
    trace::tell(&format!("{} of {count} seeds fail:", failed.len()));
    failed.keys().for_each(|seed| trace::tell(&again(*seed, seconds)));
    Ok(worst(failed.into_values()))
}

/// The exit code of several runs: a broken promise is worse than one that was kept late.
pub(crate) fn worst(codes: impl Iterator<Item = u8>) -> u8 {
    let rank = |code: &u8| if (1..=HARNESS).contains(code) { *code } else { 3 };
    codes.filter(|code| *code != 0).min_by_key(rank).unwrap_or(0)
}

fn one(program: &Path, seed: u64, seconds: u64, ledger: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    command.args(["run", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
    if let Some(ledger) = ledger {
        command.arg("--ledger").arg(ledger);
    }
    command
}

pub(crate) fn code(output: &Output) -> u8 {
    output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// The ledger's line of a run that could not write its own.
fn silent(seed: u64, seconds: u64, output: &Output) -> Entry {
    let text = String::from_utf8_lossy(&output.stderr);
    Entry {
        seed,
        seconds,
        outcome: if code(output) == HARNESS { "harness" } else { "crash" }.into(),
        why: format!("{}: {}", output.status, text.lines().next().unwrap_or_default()),
        simulated_seconds: 0.0,
        cpu_seconds: 0.0,
        acked_batches: 0,
        acked_rows: 0,
        faults: BTreeMap::new(),
    }
}

/// The one command that repeats a run.
pub(crate) fn again(seed: u64, seconds: u64) -> String {
    format!("cargo run -p meridian-chaos -- run --seed {seed} --seconds {seconds} --trace -")
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
