//! Whether the judge finds what somebody could break: each fault is planted, and seeds are run until one fails.

use std::io;
use std::process::{Command, Output};

use meridian_types::Mutant;

use crate::{HARNESS, trace};

/// Runs seeds from 1 on with each of `mutants` planted, at most `seeds` of them; the exit code.
pub(crate) fn run(mutants: &[Mutant], seeds: u64, seconds: u64) -> io::Result<u8> {
    let mut missed = 0;
    for mutant in mutants {
        match found(*mutant, seeds, seconds)? {
            Some((seed, how)) => trace::tell(&format!("{:20} found by seed {seed}: {how}", mutant.name())),
            None => {
                missed += 1;
                trace::tell(&format!("{:20} NOT FOUND by {seeds} seeds", mutant.name()));
            }
        }
    }
    trace::tell(&format!("{} of {} planted faults were found", mutants.len() - missed, mutants.len()));
    Ok(u8::from(missed > 0))
}

/// The first seed that fails with the fault planted, and what it says.
fn found(mutant: Mutant, seeds: u64, seconds: u64) -> io::Result<Option<(u64, String)>> {
    for seed in 1..=seeds {
        let output = once(seed, seconds, Some(mutant))?;
        // A seed that fails by itself has found nothing.
        if output.status.success() || !once(seed, seconds, None)?.status.success() {
            continue;
        }
        let text = String::from_utf8_lossy(&output.stderr);
        // A panic of the product is a find, too.
        let line = text.lines().find(|line| line.starts_with("seed ") || line.contains("panicked"));
        return Ok(Some((seed, line.unwrap_or("it ended without a word").to_owned())));
    }
    Ok(None)
}

/// One run; an error if the judge itself failed.
fn once(seed: u64, seconds: u64, mutant: Option<Mutant>) -> io::Result<Output> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["run", "--seed", &seed.to_string(), "--seconds", &seconds.to_string()]);
    if let Some(mutant) = mutant {
        command.args(["--mutant", mutant.name()]);
    }
    let output = command.output()?;
    match output.status.code() {
        Some(code) if code == i32::from(HARNESS) => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
        _ => Ok(output),
    }
}

/// Reads a mutant's name.
pub(crate) fn named(name: &str) -> Result<Mutant, String> {
    let all = || Mutant::ALL.iter().map(|mutant| mutant.name()).collect::<Vec<_>>().join(", ");
    Mutant::named(name).ok_or_else(|| format!("there is no fault {name:?} to plant, only {}", all()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for mutant in Mutant::ALL {
            assert_eq!(named(mutant.name()), Ok(*mutant));
        }
        assert!(named("none").is_err());
    }
}
