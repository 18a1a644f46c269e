//! What became of every line, exactly: counts, the first refusals, and which runs of lines are settled. Pure. Never calls a
//! line stored of which no reply said so.

use std::collections::BTreeMap;

use meridian_proto::v1;
use meridian_types::{Code, Failure, Kind};
use serde::Serialize;

use crate::output::counted;
use crate::write::batch::Batch;

/// Refused lines that are named; the others are counted.
pub(super) const REFUSED_NAMED_MAX: usize = 10;

/// Some lines that were sent together, and how that ended.
#[derive(Debug)]
pub(super) struct Part {
    /// The lines.
    pub(super) batch: Batch,
    /// How it ended.
    pub(super) end: End,
}

/// How a request ended.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum End {
    /// Every row was stored or refused.
    Answered(v1::FrameReply),
    /// It failed as a whole.
    Failed(Failure),
    /// It was not sent, because one before it failed.
    NotSent,
}

impl End {
    fn fate(&self) -> Fate {
        match self {
            Self::Answered(_) => Fate::Settled,
            Self::NotSent => Fate::NotStored,
            Self::Failed(failure) if may_be_stored(failure) => Fate::Unknown,
            Self::Failed(_) => Fate::NotStored,
        }
    }
}

/// Whether a failed request may have been stored, whole or in part.
fn may_be_stored(failure: &Failure) -> bool {
    matches!(failure.kind(), Kind::Unknown | Kind::Broken) || failure.code == Code::PartlyRefused
}

/// What is known of a run of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// A request with them is under way.
    UnderWay,
    /// Good lines are stored, bad ones refused.
    Settled,
    /// Good lines may or may not be stored.
    Unknown,
    /// None of them is stored.
    NotStored,
}

/// A run of lines, both ends in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Lines {
    pub(super) first: usize,
    pub(super) last: usize,
}

/// What one batch came to.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Settled {
    /// Refused lines in their order, each with the reason.
    pub(super) refused: Vec<(usize, String)>,
    /// Refused lines besides that no reply names.
    pub(super) unnamed: u64,
    /// Why a part of it is not stored, or not known to be.
    pub(super) failure: Option<Failure>,
}

/// The book of all lines that were taken in.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Ledger {
    /// Lines of points, good or bad; comments and blank lines are none.
    pub(super) lines: u64,
    /// Field values stored.
    pub(super) points: u64,
    /// Lines refused.
    pub(super) refused: u64,
    /// Good lines of which nobody knows.
    pub(super) unknown: u64,
    /// Good lines that are not stored.
    pub(super) not_stored: u64,
    /// The first refused lines with their reasons.
    pub(super) first_refused: BTreeMap<usize, String>,
    /// The first failure that left lines unknown.
    pub(super) doubt: Option<Failure>,
    /// All lines by the first of each run: its last one, its good lines, and what is known of them.
    runs: BTreeMap<usize, (usize, u64, Fate)>,
}

impl Ledger {
    /// Notes that a batch is sent.
    pub(super) fn begin(&mut self, batch: &Batch) {
        let (first, last) = batch.span();
        self.lines += batch.lines() as u64;
        self.runs.insert(first, (last, batch.rows() as u64, Fate::UnderWay));
    }

    /// Notes what a batch came to, by its parts in their order.
    pub(super) fn settle(&mut self, parts: Vec<Part>) -> Settled {
        let mut settled = Settled::default();
        // The run of the whole batch begins where its first part does, and gives way to the runs of its parts.
        for Part { mut batch, end } in parts {
            let ((first, last), rows, fate) = (batch.span(), batch.rows() as u64, end.fate());
            self.runs.insert(first, (last, rows, fate));
            settled.refused.extend(batch.take_refused());
            match end {
                End::Answered(reply) => self.answered(&batch, reply, &mut settled),
                End::NotSent => self.not_stored += rows,
                End::Failed(failure) => {
                    match fate {
                        Fate::Unknown => {
                            self.unknown += rows;
                            self.doubt.get_or_insert(failure.clone());
                        }
                        _ => self.not_stored += rows,
                    }
                    settled.failure.get_or_insert(failure);
                }
            }
        }
        settled.refused.sort_by_key(|(number, _)| *number);
        self.refused += settled.refused.len() as u64 + settled.unnamed;
        for (number, reason) in settled.refused.iter().take(REFUSED_NAMED_MAX) {
            self.first_refused.insert(*number, reason.clone());
        }
        while self.first_refused.len() > REFUSED_NAMED_MAX {
            self.first_refused.pop_last();
        }
        self.join_runs();
        settled
    }

    fn answered(&mut self, batch: &Batch, reply: v1::FrameReply, settled: &mut Settled) {
        self.points += reply.points;
        let named = reply.rejected.len() as u64;
        settled.unnamed += reply.rejected_total.saturating_sub(named);
        let line = |rejection: v1::Rejection| (batch.line_of(rejection.row).unwrap_or(0), rejection.text);
        settled.refused.extend(reply.rejected.into_iter().map(line));
    }

    /// Makes one run of neighbours that share their fate: what stays apart is bounded by what is under way.
    fn join_runs(&mut self) {
        let mut joined: BTreeMap<usize, (usize, u64, Fate)> = BTreeMap::new();
        for (first, (last, rows, fate)) in std::mem::take(&mut self.runs) {
            match joined.last_entry() {
                Some(mut before) if before.get().2 == fate && fate != Fate::UnderWay => {
                    let (to, sum, _) = before.get_mut();
                    (*to, *sum) = (last, *sum + rows);
                }
                _ => drop(joined.insert(first, (last, rows, fate))),
            }
        }
        self.runs = joined;
    }

    /// Nobody waits any more for what is under way: it may or may not be stored.
    pub(super) fn abandon(&mut self) {
        for (_, rows, fate) in self.runs.values_mut().filter(|run| run.2 == Fate::UnderWay) {
            self.unknown += *rows;
            *fate = Fate::Unknown;
        }
        self.join_runs();
    }

    /// The runs of lines with this fate, in their order.
    pub(super) fn runs(&self, fate: Fate) -> Vec<Lines> {
        let runs = self.runs.iter().filter(|(_, run)| run.2 == fate);
        runs.map(|(first, (last, ..))| Lines { first: *first, last: *last }).collect()
    }

    /// The failure that refused lines are.
    pub(super) fn refusal(&self) -> Option<Failure> {
        let Self { lines, refused, .. } = self;
        match refused {
            0 => None,
            refused if refused >= lines => {
                Some(Failure::new(Code::BadRequest, format!("all {} refused", counted(*lines, "line"))))
            }
            refused => {
                let text = format!("{} of {} refused; the others are stored", counted(*refused, "line"), lines);
                Some(Failure::new(Code::PartlyRefused, text))
            }
        }
    }
}

#[cfg(test)]
mod tests;
