//! What became of the rows of a writer. Pure.
//!
//! Every row that was taken is counted once: as stored, as refused or as unknown.

use std::collections::BTreeMap;

use meridian_proto::v1;
use meridian_types::{Code, Failure};

/// Rows with one failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unstored {
    /// The rows' numbers, as [`super::Writer::push`] gave them.
    pub rows: Vec<u64>,
    /// Why.
    pub failure: Failure,
}

/// What became of all rows since the report before.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Rows that are stored: on the disks of a majority.
    pub rows: u64,
    /// Their field values.
    pub points: u64,
    /// Rows that are certainly not stored.
    pub refused: Vec<Unstored>,
    /// Rows that may or may not be stored.
    pub unknown: Vec<Unstored>,
}

impl Report {
    /// The report itself if all rows are stored; else the first failure, that of an unknown outcome before all others.
    pub fn all_stored(self) -> Result<Self, Failure> {
        let Some(first) = self.unknown.first().or(self.refused.first()) else { return Ok(self) };
        let Failure { code, message, retry_after_ms } = first.failure.clone();
        let [unknown, refused] = [&self.unknown, &self.refused].map(|list| count(list));
        let row = first.rows.first().copied().unwrap_or_default();
        let message = format!(
            "{} rows are stored, {refused} refused, and of {unknown} it is not known; row {row}: {message}",
            self.rows
        );
        Err(Failure { code, message, retry_after_ms })
    }

    /// Rows of which it names the failure.
    pub(super) fn unstored(&self) -> usize {
        count(&self.refused) + count(&self.unknown)
    }

    /// Takes in the reply to a frame with these rows.
    pub(super) fn answered(&mut self, rows: Vec<u64>, reply: v1::FrameReply) {
        self.points += reply.points;
        if reply.rejected_total == 0 && reply.rejected.is_empty() {
            self.rows += rows.len() as u64;
            return;
        }
        let mut left: BTreeMap<u64, u64> = (0..).zip(rows).collect();
        let (mut named, total) = (0, reply.rejected_total);
        for rejection in reply.rejected {
            if let Some(row) = left.remove(&rejection.row) {
                named += 1;
                self.refused.push(Unstored { rows: vec![row], failure: failure_of(rejection) });
            }
        }
        if named >= total {
            self.rows += left.len() as u64;
            return;
        }
        let text =
            format!("{total} rows of the frame were refused, {named} of them by name: this one may be among the rest");
        self.unknown.push(Unstored { rows: left.into_values().collect(), failure: Failure::new(Code::Unknown, text) });
    }
}

fn count(list: &[Unstored]) -> usize {
    list.iter().map(|unstored| unstored.rows.len()).sum()
}

fn failure_of(rejection: v1::Rejection) -> Failure {
    let code = u16::try_from(rejection.code).ok().and_then(Code::from_number);
    Failure::new(code.unwrap_or(Code::BadRequest), rejection.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(row: u64) -> v1::Rejection {
        v1::Rejection { row, field: String::new(), code: Code::OverLimit as u32, text: "too long".into() }
    }

    /// The report on rows 10, 11 and 12, of which a reply rejects `total`, these by name.
    fn answered(total: u64, named: &[u64]) -> (u64, Vec<u64>, Vec<u64>) {
        let mut report = Report::default();
        let rejected = named.iter().map(|row| rejection(*row)).collect();
        report.answered(vec![10, 11, 12], v1::FrameReply { rejected, rejected_total: total, ..Default::default() });
        let rows = |list: &[Unstored]| list.iter().flat_map(|unstored| unstored.rows.clone()).collect::<Vec<_>>();
        assert!(report.refused.iter().all(|refused| refused.failure == Failure::new(Code::OverLimit, "too long")));
        (report.rows, rows(&report.refused), rows(&report.unknown))
    }

    #[test]
    fn each_row_is_counted_once() {
        assert_eq!(answered(0, &[]), (3, vec![], vec![]));
        assert_eq!(answered(2, &[2, 0]), (1, vec![12, 10], vec![]));
        assert_eq!(answered(2, &[1]), (0, vec![11], vec![10, 12]), "one more is refused, and nobody says which");
        assert_eq!(answered(1, &[9]), (0, vec![], vec![10, 11, 12]), "no row of the frame is named");
    }

    #[test]
    fn an_unknown_outcome_is_told_before_a_refusal() {
        let of = |row, code| Unstored { rows: vec![row], failure: Failure::new(code, "why") };
        let mut report = Report { rows: 7, refused: vec![of(3, Code::OverLimit)], ..Report::default() };
        let failure = report.clone().all_stored().expect_err("one is refused");
        assert_eq!(failure.code, Code::OverLimit);
        report.unknown.push(of(5, Code::Unknown));
        let failure = report.all_stored().expect_err("one is not known");
        assert_eq!(failure.code, Code::Unknown);
        assert_eq!(failure.message, "7 rows are stored, 1 refused, and of 1 it is not known; row 5: why");
    }
}
