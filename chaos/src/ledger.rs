//! What became of each seed, one JSON object a line: what a claim about the simulation rests on. A ledger has a line for each
//! run; the book (`chaos/ledger.jsonl`) one for all runs of a commit, and stays.
//!
//! A line is added by one write, so that several processes may add to one file.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::Entry;

/// Adds a line.
pub(crate) fn add(path: &Path, entry: &impl Serialize) -> io::Result<()> {
    let line = serde_json::to_string(entry).map_err(io::Error::other)? + "\n";
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(line.as_bytes())
}

/// Writes a file of the judge's.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "the judge writes its own report, outside the world")]
    std::fs::write(path, bytes)
}

/// What some runs add up to: one line of the book, which outlives the ledgers.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sum {
    /// The code that ran.
    pub(crate) commit: String,
    pub(crate) seeds: u64,
    pub(crate) held: u64,
    pub(crate) simulated_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) acked_batches: u64,
    pub(crate) acked_rows: u64,
    /// How often each kind of fault came.
    pub(crate) faults: BTreeMap<String, u64>,
    /// Each seed that did not hold, how long it ran, and why.
    pub(crate) failed: Vec<String>,
}

impl Sum {
    /// The sum of all entries of some ledgers.
    pub(crate) fn of(commit: &str, ledgers: &[PathBuf]) -> io::Result<Self> {
        let mut sum = Self { commit: commit.to_owned(), ..Self::default() };
        for path in ledgers {
            lines(path)?.iter().for_each(|entry| sum.count(entry));
        }
        Ok(sum)
    }

    fn count(&mut self, entry: &Entry) {
        let faults = entry.faults.clone();
        let is_held = entry.outcome == "held";
        let failed = format!("seed {} of {} s: {}: {}", entry.seed, entry.seconds, entry.outcome, entry.why);
        self.add(Self {
            commit: String::new(),
            seeds: 1,
            held: u64::from(is_held),
            simulated_seconds: entry.simulated_seconds,
            cpu_seconds: entry.cpu_seconds,
            acked_batches: entry.acked_batches,
            acked_rows: entry.acked_rows,
            faults,
            failed: if is_held { Vec::new() } else { vec![failed] },
        });
    }

    /// Adds another sum; the commit stays.
    pub(crate) fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.held += other.held;
        self.simulated_seconds += other.simulated_seconds;
        self.cpu_seconds += other.cpu_seconds;
        self.acked_batches += other.acked_batches;
        self.acked_rows += other.acked_rows;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.failed.extend(other.failed);
    }

    /// Simulated seconds of a whole cluster that one second of one core is worth.
    pub(crate) fn speed(&self) -> f64 {
        self.simulated_seconds / self.cpu_seconds.max(1e-9)
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seeds, held, acked_batches, acked_rows, .. } = self;
        let (hours, speed) = (self.simulated_seconds / 3_600.0, self.speed());
        write!(
            f,
            "{seeds} seeds, {held} held; {hours:.2} simulated hours, {speed:.1} simulated seconds a CPU second; \
             {acked_batches} acknowledged requests with {acked_rows} rows; faults: "
        )?;
        for (at, (kind, count)) in self.faults.iter().enumerate() {
            let before = if at == 0 { "" } else { ", " };
            write!(f, "{before}{count} {kind}")?;
        }
        self.failed.iter().try_for_each(|failed| write!(f, "\n{failed}"))
    }
}

/// The lines of a ledger or a book.
pub(crate) fn lines<T: DeserializeOwned>(path: &Path) -> io::Result<Vec<T>> {
    #[expect(clippy::disallowed_methods, reason = "the judge reads its own books, outside the world")]
    let text = std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let line = |(number, line): (usize, &str)| {
        let at = |error| io::Error::other(format!("{}, line {}: {error}", path.display(), number + 1));
        serde_json::from_str(line).map_err(at)
    };
    text.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::Run;

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
        let sum = Sum::of("c0ffee", &[path]).expect("read");
        let expected = "2 seeds, 1 held; 1.00 simulated hours, 2.0 simulated seconds a CPU second; 14 acknowledged requests with 60 \
                        rows; faults: 4 crash\nseed 2 of 15 s: safety: cpu,host=h1: lost";
        assert_eq!(sum.to_string(), expected);
        let book = dir.path().join("book");
        add(&book, &sum).expect("added");
        add(&book, &sum).expect("added");
        let mut both = Sum::default();
        lines::<Sum>(&book).expect("read").into_iter().for_each(|sum| both.add(sum));
        assert_eq!((both.seeds, both.failed.len(), both.faults["crash"]), (4, 2, 8));
    }

    /// What the README says of the ledger is generated: `MERIDIAN_BLESS=1` writes it anew.
    #[test]
    fn the_readme_says_what_the_book_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut all = Sum::default();
        lines::<Sum>(&root.join("ledger.jsonl")).expect("the book").into_iter().for_each(|sum| all.add(sum));
        let path = root.join("../README.md");
        #[expect(clippy::disallowed_methods, reason = "the subject of this test is a file of the repository")]
        let readme = std::fs::read_to_string(&path).expect("the README");
        let (before, rest) = readme.split_once("<!-- ledger -->\n").expect("the place of the ledger");
        let (_, after) = rest.split_once("<!-- end of the ledger -->").expect("its end");
        let real: Vec<Run> = lines(&root.join("real.jsonl")).expect("the book of real processes");
        let sums = broken_lines(&format!("{} {}", simulated(&all), processes(&real)));
        let current = format!("{before}<!-- ledger -->\n{sums}<!-- end of the ledger -->{after}");
        if std::env::var_os("MERIDIAN_BLESS").is_some() {
            write(&path, current.as_bytes()).expect("written");
        } else {
            assert_eq!(readme, current, "MERIDIAN_BLESS=1 cargo test -p meridian-chaos readme");
        }
    }

    /// The sums of the simulation as prose.
    fn simulated(all: &Sum) -> String {
        let found = all.failed.len();
        let sums = Sum { failed: Vec::new(), ..all.clone() };
        format!(
            "What is in the book so far, which `chaos/ledger.jsonl` is: {sums}. The seeds that did not hold: {found}; what they \
             found is mended, and they stay in `chaos/seeds.txt`."
        )
    }

    /// Those of real processes.
    fn processes(runs: &[Run]) -> String {
        let (mut minutes, mut rows, mut faults) = (0, 0, BTreeMap::<&str, u64>::new());
        for run in runs {
            (minutes, rows) = (minutes + run.minutes, rows + run.held.acked_rows);
            run.held.faults.iter().for_each(|(kind, count)| *faults.entry(kind).or_default() += count);
        }
        let held = runs.iter().filter(|run| run.outcome == "held").count();
        let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        format!(
            "Of real processes, in `chaos/real.jsonl`: {} runs of {minutes} minutes in all, {held} held; {rows} acknowledged rows; \
             faults: {}.",
            runs.len(),
            faults.join(", ")
        )
    }

    /// In lines that a person would have broken.
    fn broken_lines(words: &str) -> String {
        let mut lines = vec![String::new()];
        for word in words.split_whitespace() {
            let last = lines.last_mut().expect("there is a line");
            match last.len() + word.len() {
                0..120 if last.is_empty() => last.push_str(word),
                0..120 => *last += &format!(" {word}"),
                _ => lines.push(word.to_owned()),
            }
        }
        lines.join("\n") + "\n"
    }
}
