//! Lines into batches of rows, and replies into what people read. Pure. Never loses track of a line's number.

use meridian_dialect::line_protocol::{BadLine, FieldValue, Line, Precision, lines};
use meridian_proto::v1;
use meridian_types::{Code, Failure, Timestamp, limits};
use prost::Message as _;

use crate::output::counted;

/// Rows of one request.
pub(super) const BATCH_ROWS_MAX: usize = 5_000;
/// Bytes of one request's rows, but for its last one. A shard takes one proposal a request, and frames are nearly always
/// smaller than the rows in them.
pub(super) const BATCH_BYTES_MAX: usize = limits::PROPOSAL_BYTES_MAX;
/// A line that begins this far before the end of what has been read is judged as if all had been read: a string that is
/// still open there makes its line too long anyway.
pub(super) const MARGIN_BYTES: usize = 2 * limits::LINE_BYTES_MAX;

/// The number of a line, counted from 1, and its row or what is wrong with it.
pub(super) type Verdict = (usize, Result<v1::Row, String>);

/// The lines at the front of a body that can be judged.
#[derive(Debug)]
pub(super) struct Front {
    /// In the order of the body.
    pub(super) verdicts: Vec<Verdict>,
    /// How much of the body they take.
    pub(super) bytes: usize,
    /// Lines before the rest, counted from the start of the whole input.
    pub(super) lines_before: usize,
}

/// Judges the lines of `body`, before which `lines_before` lines came. With a `margin` more will follow: then the last line
/// waits, and so do lines that begin within that many bytes of the end. The rest begins at the newline before its first
/// line, so that nothing in it is taken for the start of the whole input.
pub(super) fn front(body: &[u8], precision: Precision, lines_before: usize, margin: Option<usize>) -> Front {
    let number = |verdict: &Result<Line<'_>, BadLine>| match verdict {
        Ok(line) => line.number,
        Err(bad) => bad.number,
    };
    let mut judged: Vec<_> = lines(body, precision).collect();
    let mut bytes = body.len();
    let mut newlines = 0;
    if let Some(margin) = margin {
        let sure = &body[..body.len().saturating_sub(margin)];
        let sure_lines = sure.iter().filter(|b| **b == b'\n').count();
        let keep = judged.iter().take_while(|v| number(v) <= sure_lines).count().min(judged.len().saturating_sub(1));
        let next_line = judged.get(keep).map_or(sure_lines + 1, number);
        judged.truncate(keep);
        // Line N begins behind newline N - 1.
        newlines = next_line.saturating_sub(2);
        let mut ends = body.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at);
        bytes = if next_line > 1 { ends.nth(newlines).unwrap_or(0) } else { 0 };
    }
    let verdict = |verdict: Result<Line<'_>, BadLine>| match verdict {
        Ok(line) => (lines_before + line.number, Ok(row(line))),
        Err(bad) => (lines_before + bad.number, Err(bad.reason.to_string())),
    };
    let verdicts = judged.into_iter().map(verdict).collect();
    Front { verdicts, bytes, lines_before: lines_before + newlines }
}

fn row(line: Line<'_>) -> v1::Row {
    use v1::field::Value;
    let field = |(name, value): (std::borrow::Cow<'_, str>, FieldValue<'_>)| v1::Field {
        name: name.into_owned(),
        value: Some(match value {
            FieldValue::F64(v) => Value::F64(v),
            FieldValue::I64(v) => Value::I64(v),
            FieldValue::U64(v) => Value::U64(v),
            FieldValue::Bool(v) => Value::Boolean(v),
            FieldValue::Str(v) => Value::Text(v.into_owned()),
        }),
    };
    v1::Row {
        measurement: line.measurement.into_owned(),
        tags: line.key.tags().map(|(k, v)| v1::Tag { key: k.to_owned(), value: v.to_owned() }).collect(),
        time: line.time.map(|time| time.nanos()),
        fields: line.fields.into_iter().map(field).collect(),
    }
}

/// Rows of one request, and the lines between them that are none.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What to send.
    pub(super) rows: Vec<v1::Row>,
    /// The line of each row.
    numbers: Vec<usize>,
    refused: Vec<(usize, String)>,
}

impl Batch {
    /// The first and the last line that has a row in it.
    pub(super) fn span(&self) -> (usize, usize) {
        (self.numbers.first().copied().unwrap_or(0), self.numbers.last().copied().unwrap_or(0))
    }

    /// Gives rows without a time this one.
    pub(super) fn give_times(&mut self, now: Timestamp) {
        for row in &mut self.rows {
            row.time.get_or_insert(now.nanos());
        }
    }

    /// The first and the second half of the rows, each with the lines around them that are none.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let middle = self.rows.len() / 2;
        let (rows, numbers) = (self.rows.split_off(middle), self.numbers.split_off(middle));
        let is_behind = |number: usize| numbers.first().is_some_and(|first| number > *first);
        let (behind, before) = std::mem::take(&mut self.refused).into_iter().partition(|(n, _)| is_behind(*n));
        (Self { refused: before, ..self }, Self { rows, numbers, refused: behind })
    }
}

/// Spreads lines over batches, in order.
pub(super) fn batches(verdicts: Vec<Verdict>) -> Vec<Batch> {
    let mut batches = vec![Batch::default()];
    let mut bytes = 0;
    for (number, verdict) in verdicts {
        let is_full = |batch: &Batch| batch.rows.len() >= BATCH_ROWS_MAX || bytes >= BATCH_BYTES_MAX;
        if batches.last().is_none_or(is_full) {
            batches.push(Batch::default());
            bytes = 0;
        }
        let Some(batch) = batches.last_mut() else { continue };
        match verdict {
            Ok(row) => {
                bytes += row.encoded_len();
                batch.rows.push(row);
                batch.numbers.push(number);
            }
            Err(reason) => batch.refused.push((number, reason)),
        }
    }
    batches
}

/// What became of all lines so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    lines: u64,
    points: u64,
    refused: u64,
}

impl Totals {
    /// Counts a batch with its reply, and names the refused lines in their order.
    pub(super) fn count(&mut self, batch: Batch, reply: v1::FrameReply) -> String {
        self.lines += (batch.numbers.len() + batch.refused.len()) as u64;
        self.points += reply.points;
        let named = reply.rejected.len() as u64;
        let rows_refused = reply.rejected_total.max(named);
        self.refused += batch.refused.len() as u64 + rows_refused;
        let line_of = |row: u64| usize::try_from(row).ok().and_then(|row| batch.numbers.get(row).copied());
        let by_server = reply.rejected.into_iter().map(|r| (line_of(r.row).unwrap_or(0), r.text));
        let mut refused: Vec<_> = batch.refused.into_iter().chain(by_server).collect();
        refused.sort_by_key(|(number, _)| *number);
        let mut text: String = refused.iter().map(|(number, reason)| format!("line {number}: {reason}\n")).collect();
        if rows_refused > named {
            text += &format!("and {} more of the same request refused\n", counted(rows_refused - named, "line"));
        }
        text
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let Self { lines, points, refused } = self;
        let (lines, points) = (counted(*lines, "line"), counted(*points, "point"));
        format!("{lines}: {points} stored, {} refused\n", counted(*refused, "line"))
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
