//! Determinism is the first thing that CI proves: if two runs of a seed differ, no other result counts.

use std::process::Command;

fn must_hold(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-chaos"));
    let output = command.args(arguments).output().expect("the simulation starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A fresh process for each run: task ids are process-wide.
#[test]
fn a_seed_repeats() {
    must_hold(&["verify", "--seeds", "1..6", "--seconds", "15"]);
}

/// Whatever is acknowledged survives whatever the seeds do to the cluster. Every commit has seeds of its own, so that together
/// they look where nobody has looked yet.
#[test]
fn fresh_seeds_hold() {
    let git = Command::new("git").args(["rev-parse", "--short=8", "HEAD"]).output();
    let commit =
        git.ok().and_then(|output| u64::from_str_radix(String::from_utf8(output.stdout).ok()?.trim(), 16).ok());
    let first = commit.unwrap_or(0) * 100;
    must_hold(&["sweep", "--seeds", &format!("{first}..{}", first + 40), "--seconds", "15", "--jobs", "2"]);
}

/// A judge that finds nothing says nothing: faults planted in the product must be found.
#[test]
fn planted_faults_are_found() {
    must_hold(&["mutants", "skip-sync", "lose-flush-tail", "--seconds", "15"]);
}

/// All that once failed.
#[test]
fn kept_seeds_hold() {
    let kept = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    for line in kept {
        let mut words = line.split_whitespace();
        let (Some(seed), Some(seconds)) = (words.next(), words.next()) else {
            panic!("{line:?}: a seed, its seconds, what it found")
        };
        must_hold(&["run", "--seed", seed, "--seconds", seconds]);
    }
}
