//! How a run ended, for people and as JSON. Pure. Says of every line whether it is stored, refused, neither, or not known.

use serde::Serialize;

use crate::output::counted;
use crate::write::flow::Stop;
use crate::write::ledger::{Fate, Ledger, Lines};

/// What `--json` prints: one object. Wide because it is read by programs, which want one level.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// Lines of points that were read and sent; comments and blank lines are none.
    lines: u64,
    /// Good lines stored.
    stored: u64,
    /// Field values stored.
    points: u64,
    refused: u64,
    first_refused: Vec<Refused>,
    unknown: u64,
    not_stored: u64,
    /// Runs of lines in which each good line is stored and each bad one refused.
    settled_lines: Vec<Lines>,
    unknown_lines: Vec<Lines>,
    not_stored_lines: Vec<Lines>,
    seconds: f64,
    points_per_second: u64,
    /// Why it ended before its input did.
    stopped: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Refused {
    line: usize,
    reason: String,
}

impl Summary {
    /// Of a run that took `seconds`.
    pub(super) fn new(ledger: &Ledger, stop: Option<&Stop>, seconds: f64) -> Self {
        let rate = if seconds > 0.0 { ledger.points as f64 / seconds } else { 0.0 };
        let refused = |(line, reason): (&usize, &String)| Refused { line: *line, reason: reason.clone() };
        Self {
            lines: ledger.lines,
            stored: ledger.lines - ledger.refused - ledger.unknown - ledger.not_stored,
            points: ledger.points,
            refused: ledger.refused,
            first_refused: ledger.first_refused.iter().map(refused).collect(),
            unknown: ledger.unknown,
            not_stored: ledger.not_stored,
            settled_lines: ledger.runs(Fate::Settled),
            unknown_lines: ledger.runs(Fate::Unknown),
            not_stored_lines: ledger.runs(Fate::NotStored),
            seconds: (seconds * 1_000.0).round() / 1_000.0,
            points_per_second: rate.round() as u64,
            stopped: stop.map(|stop| match stop {
                Stop::Interrupted => "interrupted",
                Stop::Failed(_) => "failed",
                Stop::Unreadable(_) => "unreadable",
            }),
        }
    }

    /// One JSON object.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and finite numbers are always JSON") + "\n"
    }

    /// Everything, for people.
    pub(super) fn text(&self) -> String {
        let mut text = format!("{} read\n{} stored\n", counted(self.lines, "line"), counted(self.points, "point"));
        text += &format!("{} refused\n", counted(self.refused, "line"));
        for Refused { line, reason } in &self.first_refused {
            text += &format!("  line {line}: {reason}\n");
        }
        let more = self.refused - (self.first_refused.len() as u64).min(self.refused);
        if more > 0 {
            text += &format!("  and {} more\n", counted(more, "line"));
        }
        text += &self.fates();
        text + &format!("{:.3} s, {}/s\n", self.seconds, counted(self.points_per_second, "point"))
    }

    /// The counts in one line, and what became of the lines where that is not plain.
    pub(super) fn short(&self) -> String {
        let Self { lines, points, refused, .. } = self;
        let (lines, points) = (counted(*lines, "line"), counted(*points, "point"));
        format!("{lines}: {points} stored, {} refused\n{}", counted(*refused, "line"), self.fates())
    }

    /// Which lines are stored for certain, and which are not, if that is not all or none.
    fn fates(&self) -> String {
        let runs = |lines: &[Lines]| {
            let run = |lines: &Lines| match lines.first == lines.last {
                true => format!("{}", lines.first),
                false => format!("{} to {}", lines.first, lines.last),
            };
            lines.iter().map(run).collect::<Vec<_>>().join(", ")
        };
        let mut text = String::new();
        if !self.unknown_lines.is_empty() {
            text += &format!("may or may not be stored: lines {}\n", runs(&self.unknown_lines));
        }
        if !self.not_stored_lines.is_empty() {
            text += &format!("not stored: lines {}\n", runs(&self.not_stored_lines));
        }
        if self.stopped.is_some() {
            let settled = match self.settled_lines.is_empty() {
                true => "none".to_owned(),
                false => format!("lines {}, but for those refused", runs(&self.settled_lines)),
            };
            text += &format!("certainly stored: {settled}\n");
            text += "lines behind these were not sent\n";
        }
        text
    }
}

#[cfg(test)]
mod tests;
