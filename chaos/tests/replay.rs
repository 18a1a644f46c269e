//! Determinism is the first thing that CI proves: if two runs of a seed differ, no other result counts.

use std::path::Path;
use std::process::Command;

fn chaos(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian-chaos"));
    command.args(arguments);
    command
}

fn must_hold(mut command: Command) {
    let output = command.output().expect("the simulation starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run(seed: &str, trace: &Path) {
    let mut command = chaos(&["run", "--seed", seed, "--trace"]);
    command.arg(trace);
    must_hold(command);
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

/// Whatever is acknowledged survives crashes that lose unsynced bytes: fresh seeds, and all that once failed.
#[test]
fn nothing_acknowledged_is_lost() {
    must_hold(chaos(&["sweep", "--seeds", "1..4"]));
    let kept = include_str!("../seeds.txt").lines().filter(|line| !line.starts_with('#'));
    for seed in kept.filter_map(|line| line.split_whitespace().next()) {
        must_hold(chaos(&["run", "--seed", seed]));
    }
}
