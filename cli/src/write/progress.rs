//! How far an import is, on stderr: one line that is written over on a terminal, and a line now and then elsewhere. Never writes
//! to stdout.

use std::time::Duration;

use meridian_env::Instant;

use crate::input::Meter;
use crate::output::{self, counted};
use crate::write::flow::Face;
use crate::write::ledger::{Ledger, Settled};

/// Between two looks on a terminal.
const REDRAW_EVERY: Duration = Duration::from_millis(200);
/// Between two lines where nobody watches.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Cells of the bar.
const BAR_CELLS: u64 = 16;
/// Clears a terminal's line and goes back to its start.
const CLEAR: &str = "\r\u{1b}[2K";
/// Cuts off what is too long for a terminal's line, and ends that: a line that runs over could not be cleared.
const CUT: (&str, &str) = ("\u{1b}[?7l", "\u{1b}[?7h");

/// Shows an import's progress.
#[derive(Debug)]
pub(super) struct Progress {
    meter: Meter,
    is_terminal: bool,
    began: Instant,
    next: Instant,
    /// A line stands on the terminal that must go before anything else is said.
    is_drawn: bool,
}

impl Progress {
    /// Of an import that begins now.
    pub(super) fn new(meter: Meter, is_terminal: bool, now: Instant) -> Self {
        let next = if is_terminal { now } else { now + LINE_EVERY };
        Self { meter, is_terminal, began: now, next, is_drawn: false }
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_drawn) {
            output::draw(CLEAR);
        }
    }
}

impl Face for Progress {
    fn settled(&mut self, _settled: &Settled) {}

    fn look(&mut self, now: Instant, ledger: &Ledger) -> Option<Instant> {
        if now >= self.next {
            let at = View {
                seconds: (now - self.began).as_secs_f64(),
                read: self.meter.read(),
                total: self.meter.total(),
                lines: ledger.lines,
                points: ledger.points,
                refused: ledger.refused,
            };
            if self.is_terminal {
                output::draw(&format!("{CLEAR}{}{}{}", CUT.0, at.bar(), CUT.1));
                self.is_drawn = true;
                self.next = now + REDRAW_EVERY;
            } else {
                output::say(&at.line());
                self.next = now + LINE_EVERY;
            }
        }
        Some(self.next)
    }

    fn stopping(&mut self, under_way: usize) {
        self.clear();
        output::say(&stopping(under_way));
    }
}

/// What is said at the first ctrl-C.
pub(super) fn stopping(under_way: usize) -> String {
    let requests = counted(under_way as u64, "request");
    format!("interrupted: waiting for {requests} under way; after ctrl-C again nobody knows what became of them")
}

/// One moment of an import.
#[derive(Clone, Copy, Debug)]
struct View {
    seconds: f64,
    read: u64,
    total: Option<u64>,
    lines: u64,
    points: u64,
    refused: u64,
}

impl View {
    fn numbers(&self) -> String {
        let rate = if self.seconds > 0.0 { (self.points as f64 / self.seconds).round() as u64 } else { 0 };
        let refused =
            if self.refused > 0 { format!(", {} refused", counted(self.refused, "line")) } else { String::new() };
        format!(
            "{}, {}, {}/s{refused}",
            counted(self.lines, "line"),
            counted(self.points, "point"),
            counted(rate, "point")
        )
    }

    /// The share that is read, in hundredths.
    fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((self.read.min(total) as f64 / total as f64 * 100.0) as u64)
    }

    /// For a terminal: a bar where the end is known.
    fn bar(&self) -> String {
        match self.percent() {
            None => format!("{} MiB  {}", self.read >> 20, self.numbers()),
            Some(percent) => {
                let full = (percent * BAR_CELLS / 100) as usize;
                let bar = "#".repeat(full) + &"-".repeat(BAR_CELLS as usize - full);
                format!("[{bar}] {percent:>3} %  {}", self.numbers())
            }
        }
    }

    /// For a log.
    fn line(&self) -> String {
        let share = self.percent().map_or_else(|| format!("{} MiB", self.read >> 20), |percent| format!("{percent} %"));
        format!("{:.0} s, {share} read: {}", self.seconds, self.numbers())
    }
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;
    use meridian_env::sim::SimHost;

    use super::*;

    #[test]
    fn progress_reads_well() {
        let known =
            View { seconds: 12.3, read: 430, total: Some(1_000), lines: 1_200_000, points: 4_920_000, refused: 0 };
        assert_eq!(known.bar(), "[######----------]  43 %  1,200,000 lines, 4,920,000 points, 400,000 points/s");
        assert_eq!(known.line(), "12 s, 43 % read: 1,200,000 lines, 4,920,000 points, 400,000 points/s");
        let start = View { seconds: 0.0, read: 0, total: Some(1_000), lines: 0, points: 0, refused: 0 };
        assert_eq!(start.bar(), "[----------------]   0 %  0 lines, 0 points, 0 points/s");
        let piped = View { seconds: 2.0, read: 5 << 20, total: None, lines: 10, points: 8, refused: 2 };
        assert_eq!(piped.bar(), "5 MiB  10 lines, 8 points, 4 points/s, 2 lines refused");
        let done = View { read: 1_001, ..known };
        assert!(done.bar().starts_with("[################] 100 %"), "a file that grew is no more than all");
    }

    #[test]
    fn nobody_is_told_too_often() {
        let now = SimHost::new("cli", &Rng::from_seed(1)).env_inline().clock.now();
        let mut log = Progress::new(Meter::default(), false, now);
        assert_eq!(log.look(now, &Ledger::default()), Some(now + LINE_EVERY));
        assert_eq!(log.look(now + LINE_EVERY, &Ledger::default()), Some(now + 2 * LINE_EVERY));
    }
}
