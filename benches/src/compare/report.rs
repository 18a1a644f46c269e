//! A comparison for people and for programs: the table, the page of Markdown and the JSON.
//!
//! Pure. Never leaves out what was skipped or did not settle: who reads a figure reads that as well.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::figures::{Comparison, METRICS, Measured, Metric};

const TAKES_ALL: &str = "a String takes everything";

/// The table for a terminal.
pub(crate) fn table(comparison: &Comparison) -> String {
    let mut out = String::new();
    for (name, text) in &comparison.setup {
        writeln!(out, "{name:<10}{text}").expect(TAKES_ALL);
    }
    out.push('\n');
    out.push_str(&aligned(&rows(comparison)));
    out.push('\n');
    for note in notes(comparison) {
        writeln!(out, "{note}").expect(TAKES_ALL);
    }
    out
}

/// Rows of as many cells each in columns, the first one to the left and the others to the right.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            write!(line, "  {cell:>width$}").expect(TAKES_ALL);
        }
        writeln!(out, "{}", line.trim_end()).expect(TAKES_ALL);
    }
    out
}

/// The page.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut out = String::from("# Meridian and its peers\n\n");
    for (name, text) in &comparison.setup {
        writeln!(out, "- **{name}**: {text}").expect(TAKES_ALL);
    }
    out.push_str("\n## Medians\n\n");
    out.push_str(&grid(&rows(comparison)));
    out.push('\n');
    for note in notes(comparison) {
        writeln!(out, "- {note}").expect(TAKES_ALL);
    }
    out.push_str("\n## All runs\n\n");
    out.push_str(&grid(&all_runs(comparison)));
    out
}

/// One JSON object on one line.
pub(crate) fn json(comparison: &Comparison) -> String {
    let values = |of: &dyn Fn(&Metric) -> f64| -> Map<String, Value> {
        METRICS.iter().map(|metric| (metric.key.to_owned(), json!(of(metric)))).collect()
    };
    let ratios: Map<String, Value> = comparison
        .peers
        .iter()
        .map(|peer| (peer.name.to_owned(), values(&|metric| metric.ratio(&comparison.ours, peer)).into()))
        .collect();
    let product = |product: &Measured| {
        let runs = product.runs.iter().map(|run| {
            json!({
                "points": run.points, "seconds": run.seconds, "cpu_seconds": run.cpu_seconds,
                "peak_bytes": run.peak_bytes, "quiet": run.is_quiet,
            })
        });
        json!({
            "name": product.name, "version": product.version, "acknowledges": product.acknowledges,
            "copies": product.copies, "runs": runs.collect::<Vec<Value>>(),
            "closing_cpu_seconds": product.closing_cpu_seconds,
            "data_bytes": product.stored.data, "log_bytes": product.stored.log,
            "medians": values(&|metric| metric.median(product)),
        })
    };
    let setup: Map<String, Value> =
        comparison.setup.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    let object = json!({
        "setup": setup,
        "products": products(comparison).map(product).collect::<Vec<Value>>(),
        "ratios": ratios,
        "skipped": comparison.skipped.iter().map(|peer| peer.name).collect::<Vec<_>>(),
    });
    format!("{object}\n")
}

fn products(comparison: &Comparison) -> impl Iterator<Item = &Measured> {
    std::iter::once(&comparison.ours).chain(&comparison.peers)
}

/// A head, and a line for each metric: each product's median, and behind each peer ours by theirs.
fn rows(comparison: &Comparison) -> Vec<Vec<String>> {
    let mut head = vec![String::new(), comparison.ours.name.to_owned()];
    for peer in &comparison.peers {
        head.extend([peer.name.to_owned(), "ours / theirs".to_owned()]);
    }
    let line = |metric: &Metric| {
        let median = |product: &Measured| format!("{:.*}", metric.decimals, metric.median(product));
        let mut line = vec![metric.name.to_owned(), median(&comparison.ours)];
        for peer in &comparison.peers {
            line.extend([median(peer), verdict(metric, metric.ratio(&comparison.ours, peer))]);
        }
        line
    };
    std::iter::once(head).chain(METRICS.iter().map(line)).collect()
}

/// A ratio, and what it means.
fn verdict(metric: &Metric, ratio: f64) -> String {
    let word = if !ratio.is_finite() || (ratio - 1.0).abs() < 0.005 {
        "same"
    } else if (ratio > 1.0) == metric.more_is_better {
        "better"
    } else {
        "worse"
    };
    format!("{ratio:.2} {word}")
}

fn all_runs(comparison: &Comparison) -> Vec<Vec<String>> {
    let head = ["product", "run", "points", "s", "CPU-s", "peak MB"].map(str::to_owned).to_vec();
    let lines = products(comparison).flat_map(|product| {
        (1..).zip(&product.runs).map(|(number, run): (u32, _)| {
            vec![
                product.name.to_owned(),
                number.to_string(),
                run.points.to_string(),
                format!("{:.2}", run.seconds),
                format!("{:.2}", run.cpu_seconds),
                format!("{:.0}", run.peak_bytes as f64 / 1e6),
            ]
        })
    });
    std::iter::once(head).chain(lines).collect()
}

/// A table of Markdown.
fn grid(rows: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(rows[0].len()));
    line(&rows[0]) + &rule + &rows[1..].iter().map(line).collect::<String>()
}

/// What a reader of the figures must know.
fn notes(comparison: &Comparison) -> Vec<String> {
    let mut notes = Vec::new();
    for product in products(comparison) {
        let log = match product.stored.log {
            0 => String::new(),
            bytes => {
                format!("; beside its data {:.0} MB of log, which is not in the bytes a point", bytes as f64 / 1e6)
            }
        };
        let closing = match product.closing_cpu_seconds {
            0.0 => String::new(),
            seconds => format!("; {seconds:.2} CPU-s of the flush at its end are spread over all its points"),
        };
        notes.push(format!("{}: {}{closing}{log}.", product.name, product.acknowledges));
        let busy = product.runs.iter().filter(|run| !run.is_quiet).count();
        if busy > 0 {
            notes.push(format!("{}: {busy} runs had not settled in time: their CPU time is short.", product.name));
        }
    }
    for peer in &comparison.skipped {
        notes.push(format!("{}, or compare --install.", peer.note()));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::comparison;
    use super::*;

    #[test]
    fn the_table_reads_well() {
        let expected = "\
rows      4000 hosts <&>

                                   Meridian  Other  ours / theirs
million points/s acknowledged         1.000  1.000      1.00 same
CPU-seconds a million points          2.100  2.100      1.00 same
bytes a point on disk, one copy       0.500  0.500      1.00 same
bytes a point on disk, all copies     1.500  0.500     3.00 worse
peak memory, MB                         300    300      1.00 same

Meridian: at once; 0.60 CPU-s of the flush at its end are spread over all its points; beside its data 64 MB of log, which is not in the bytes a point.
Other: at once; 0.60 CPU-s of the flush at its end are spread over all its points; beside its data 64 MB of log, which is not in the bytes a point.
Third: SKIPPED, it is not installed: apt-get install third-deb, or compare --install.
";
        assert_eq!(table(&comparison()), expected);
    }

    #[test]
    fn the_page_holds_medians_and_runs() {
        let page = markdown(&comparison());
        assert!(page.contains("|  | Meridian | Other | ours / theirs |\n|---|---|---|---|\n"), "{page}");
        assert!(page.contains("| Meridian | 3 | 2000000 | 4.00 | 8.00 | 300 |"), "{page}");
    }

    #[test]
    fn what_did_not_settle_is_told() {
        let mut comparison = comparison();
        comparison.peers[0].runs[1].is_quiet = false;
        assert!(table(&comparison).contains("Other: 1 runs had not settled in time"));
    }

    #[test]
    fn json_holds_the_same() {
        let object: Value = serde_json::from_str(&json(&comparison())).expect("JSON");
        assert_eq!(object["ratios"]["Other"]["bytes_per_point"], 3.0);
        assert_eq!(object["products"][0]["medians"]["peak_megabytes"], 300.0);
        assert_eq!(object["skipped"][0], "Third");
    }

    #[test]
    fn more_is_better_only_where_it_is() {
        assert_eq!(verdict(&METRICS[0], 2.0), "2.00 better");
        assert_eq!(verdict(&METRICS[1], 2.0), "2.00 worse");
        assert_eq!(verdict(&METRICS[1], 0.1), "0.10 better");
        assert_eq!(verdict(&METRICS[1], f64::NAN), "NaN same");
    }
}
