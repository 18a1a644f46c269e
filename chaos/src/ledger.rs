//! What became of each seed, one JSON object a line: what a claim about the simulation rests on.
//!
//! A line is added by one write, so that several processes may add to one file.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::record::Entry;

/// Adds a line.
pub(crate) fn add(path: &Path, entry: &Entry) -> io::Result<()> {
    let line = serde_json::to_string(entry).map_err(io::Error::other)? + "\n";
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())
}

/// Writes a file of the judge's.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the judge writes its own report, outside the world")]
    std::fs::write(path, bytes)
}

/// All lines of some ledgers, added up, in words.
pub(crate) fn sum(files: &[PathBuf]) -> io::Result<String> {
    let mut entries = Vec::new();
    for path in files {
        #[expect(clippy::disallowed_methods, reason = "the judge reads its own books, outside the world")]
        let text = std::fs::read_to_string(path)?;
        for (number, line) in (1..).zip(text.lines()) {
            let entry: Entry = serde_json::from_str(line)
                .map_err(|error| io::Error::other(format!("{}, line {number}: {error}", path.display())))?;
            entries.push(entry);
        }
    }
    Ok(words(&entries))
}

fn words(entries: &[Entry]) -> String {
    let held = entries.iter().filter(|entry| entry.outcome == "held").count();
    let total = |of: fn(&Entry) -> f64| entries.iter().map(of).sum::<f64>();
    let (simulated, cpu) = (total(|entry| entry.simulated_seconds), total(|entry| entry.cpu_seconds));
    let batches: u64 = entries.iter().map(|entry| entry.acked_batches).sum();
    let rows: u64 = entries.iter().map(|entry| entry.acked_rows).sum();
    let mut faults = BTreeMap::new();
    for (kind, count) in entries.iter().flat_map(|entry| &entry.faults) {
        *faults.entry(kind).or_insert(0) += count;
    }
    let faults: Vec<_> = faults.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut text = format!(
        "{} seeds, {held} held; {:.2} simulated hours, {:.1} simulated seconds a CPU second; {batches} acknowledged requests with {rows} \
         rows; faults: {}",
        entries.len(),
        simulated / 3_600.0,
        simulated / cpu.max(1e-9),
        faults.join(", ")
    );
    for entry in entries.iter().filter(|entry| entry.outcome != "held") {
        text.push_str(&format!("\nseed {} of {} s: {}: {}", entry.seed, entry.seconds, entry.outcome, entry.why));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_added_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ledger");
        let entry = |seed, outcome: &str| Entry {
            seed,
            seconds: 15,
            outcome: outcome.into(),
            why: if outcome == "held" { String::new() } else { "cpu,host=h1: lost".into() },
            simulated_seconds: 1_800.0,
            cpu_seconds: 900.0,
            acked_batches: 7,
            acked_rows: 30,
            faults: [("crash".to_owned(), 2)].into(),
        };
        add(&path, &entry(1, "held")).expect("added");
        add(&path, &entry(2, "safety")).expect("added");
        let text = sum(&[path]).expect("read");
        let expected = "2 seeds, 1 held; 1.00 simulated hours, 2.0 simulated seconds a CPU second; 14 acknowledged requests with 60 \
                        rows; faults: 4 crash\nseed 2 of 15 s: safety: cpu,host=h1: lost";
        assert_eq!(text, expected);
    }
}
