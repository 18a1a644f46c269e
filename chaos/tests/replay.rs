//! Determinism is the first thing that CI proves: if two runs of a seed differ, no other result counts.

use std::path::Path;
use std::process::Command;

fn run(seed: &str, trace: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_meridian-chaos"))
        .args(["run", "--seed", seed, "--trace"])
        .arg(trace)
        .output()
        .expect("the simulation starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A fresh process for each run: task ids are process-wide.
#[test]
fn same_seed_same_trace() {
    let dir = tempfile::tempdir().expect("a directory for the traces");
    let traces = ["one", "two"].map(|name| dir.path().join(name));
    for trace in &traces {
        run("7", trace);
    }
    #[expect(clippy::disallowed_methods, reason = "reads what the simulation wrote")]
    let [one, two] = traces.map(|path| std::fs::read(path).expect("the simulation wrote its trace"));
    assert!(one.len() > 100_000, "a trace of {} bytes shows nothing", one.len());
    let end = String::from_utf8_lossy(&one[one.len() - 200..]).into_owned();
    assert!(end.ends_with("the run is over held=true\n"), "the trace is cut, and its end is what one reads: {end}");
    let lines = || one.split(|b| *b == b'\n').zip(two.split(|b| *b == b'\n')).enumerate();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if let Some((at, (a, b))) = lines().find(|(_, (a, b))| a != b) {
        panic!("first difference at line {}:\n{}\n{}", at + 1, text(a), text(b));
    }
    assert_eq!(one.len(), two.len(), "one trace is longer");
}

/// Every acknowledged point survives a crash of the leader that loses its unsynced bytes: fresh seeds, and all that once
/// failed.
#[test]
fn a_crashed_leader_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory for the traces");
    let kept = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    let kept = kept.filter_map(|line| line.split_whitespace().next());
    for seed in ["1", "2", "3"].into_iter().chain(kept) {
        run(seed, &dir.path().join(seed));
    }
}
