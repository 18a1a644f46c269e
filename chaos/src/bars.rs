//! What is demanded of the judge, row by row, and whether it holds. Short rows are run; long ones are read from the book of
//! earlier runs, and each says which.

use std::io;
use std::path::Path;
use std::process::Command;

use meridian_types::Mutant;

use crate::ledger::{self, Sum};
use crate::real::Run;
use crate::{mutants, sweep, trace, verify};

/// Simulated seconds of writes a seed.
const SECONDS: u64 = 15;
const JOBS: u16 = 2;
/// Seeds in which a planted fault must show.
const MUTANT_SEEDS: u64 = 30;

/// One row: what, where the figure comes from, the figure, the bar, and whether it holds.
struct Row {
    what: &'static str,
    from: &'static str,
    figure: String,
    bar: String,
    holds: bool,
}

impl Row {
    fn at_least(what: &'static str, from: &'static str, figure: f64, bar: f64) -> Self {
        Self { what, from, figure: shown(figure), bar: format!(">= {}", shown(bar)), holds: figure >= bar }
    }

    fn ran(what: &'static str, figure: String, bar: &str, holds: bool) -> Self {
        Self { what, from: "run", figure, bar: bar.to_owned(), holds }
    }
}

/// Shows all rows; the exit code is 0 only if every one holds.
pub(crate) fn run(full: bool, book: &Path, real: &Path) -> io::Result<u8> {
    let book: Vec<Sum> = ledger::lines(book)?;
    let mut rows = from_book(&book);
    let seeds = if full { 30 } else { 2 };
    let repeats = verify::run(1..seeds + 1, SECONDS)? == 0;
    rows.push(Row::ran("verify: equal traces", format!("{seeds} seeds"), ">= 30 seeds", repeats && full));
    let chosen = if full { Mutant::ALL } else { &[Mutant::SkipSync, Mutant::LoseFlushTail] };
    let found = mutants::run(chosen, MUTANT_SEEDS, SECONDS)? == 0;
    let of = format!("{} of {} planted", chosen.len(), Mutant::ALL.len());
    rows.push(Row::ran(
        "mutants: found",
        format!("{of}, {}", if found { "all found" } else { "some missed" }),
        "all",
        found && full,
    ));
    rows.push(Row::at_least("speed: simulated s a core s", "run", speed()?, 1.5));
    rows.extend(from_real(&ledger::lines(real)?));
    for Row { what, from, figure, bar, holds } in &rows {
        let verdict = if *holds { "holds" } else { "FAILS" };
        trace::tell(&format!("{verdict}  {what:34} {figure:>28}  bar {bar:24} from: {from}"));
    }
    Ok(u8::from(rows.iter().any(|row| !row.holds)))
}

/// What earlier runs add up to, and those of the code that is checked out.
fn from_book(book: &[Sum]) -> Vec<Row> {
    let total = |of: &dyn Fn(&Sum) -> bool| {
        let mut total = Sum::default();
        book.iter().filter(|sum| of(sum)).for_each(|sum| total.add(sum.clone()));
        total
    };
    let head = head();
    let (all, last) =
        (total(&|_| true), total(&|sum| head.as_deref().is_some_and(|head| head.starts_with(&sum.commit))));
    let hours = |sum: &Sum| sum.simulated_seconds / 3_600.0;
    let rarest = all.faults.values().copied().min().unwrap_or(0);
    vec![
        Row::at_least("ledger: seeds", "book", all.seeds as f64, 2_000.0),
        Row::at_least("ledger: simulated hours", "book", hours(&all), 10.0),
        Row::at_least("ledger: acknowledged requests", "book", all.acked_batches as f64, 100_000.0),
        Row::at_least("ledger: rarest kind of fault", "book", rarest as f64, 100.0),
        Row::at_least("ledger: seeds on this code", "book", last.seeds as f64, 300.0),
        Row::at_least("ledger: hours on this code", "book", hours(&last), 1.0),
    ]
}

/// Runs of real processes that held: how long they were killed and paused, and how often the power of their disks was cut.
fn from_real(runs: &[Run]) -> Vec<Row> {
    let held = || runs.iter().filter(|run| run.outcome == "held");
    let count =
        |kinds: &[&str]| held().flat_map(|run| kinds.iter().filter_map(|kind| run.held.faults.get(*kind))).sum::<u64>();
    let minutes: u64 = held()
        .filter(|run| ["kill", "pause"].iter().all(|kind| run.held.faults.contains_key(*kind)))
        .map(|run| run.minutes)
        .sum();
    vec![
        Row::at_least("real: minutes of kills and pauses", "real book", minutes as f64, 15.0),
        Row::at_least("real: power cuts", "real book", count(&["power cut", "power cut of all"]) as f64, 50.0),
        Row::at_least("real: of all nodes at once", "real book", count(&["power cut of all"]) as f64, 1.0),
    ]
}

/// The last commit that changed what the simulation runs, if this is a clone: books, texts and benches change after it.
fn head() -> Option<String> {
    let but = [":!*.md", ":!*.jsonl", ":!benches"];
    let output = Command::new("git").args(["log", "-1", "--format=%H", "--", "."]).args(but).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Simulated seconds a CPU second, over some seeds.
fn speed() -> io::Result<f64> {
    let dir = tempfile::tempdir()?;
    let ledger = dir.path().join("ledger");
    sweep::run(1..9, SECONDS, JOBS, Some(ledger.clone()))?;
    Ok(Sum::of("", &[ledger])?.speed())
}

fn shown(figure: f64) -> String {
    if figure.fract() == 0.0 { format!("{figure}") } else { format!("{figure:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_processes_have_held_for_as_long_as_is_demanded() {
        let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("real.jsonl");
        let mut runs: Vec<Run> = ledger::lines(&book).expect("the book of real processes");
        let missing = |runs: &[Run]| from_real(runs).into_iter().filter(|row| !row.holds).count();
        assert_eq!(missing(&runs), 0);
        runs.iter_mut().for_each(|run| run.outcome = "safety: lost".into());
        assert_eq!(missing(&runs), 3, "what did not hold does not count");
    }
}
