//! Lines into batches of rows. Pure. Never loses track of a line's number.

use std::convert::Infallible;

use meridian_dialect::line_protocol::{Forgetful, Line, Precision, Series, read};
use meridian_proto::v1;
use meridian_types::{Timestamp, ValueRef, limits};
use prost::Message as _;

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
    let mut judged: Vec<Verdict> = Vec::new();
    let Ok(()) = read(body, precision, &mut Forgetful, |line| -> Result<(), Infallible> {
        judged.push(match line {
            Ok(line) => (line.number, Ok(row(line))),
            Err(bad) => (bad.number, Err(bad.reason.to_string())),
        });
        Ok(())
    });
    let mut bytes = body.len();
    let mut newlines = 0;
    if let Some(margin) = margin {
        let sure = &body[..body.len().saturating_sub(margin)];
        let sure_lines = sure.iter().filter(|b| **b == b'\n').count();
        let keep =
            judged.iter().take_while(|(number, _)| *number <= sure_lines).count().min(judged.len().saturating_sub(1));
        let next_line = judged.get(keep).map_or(sure_lines + 1, |(number, _)| *number);
        judged.truncate(keep);
        // Line N begins behind newline N - 1.
        newlines = next_line.saturating_sub(2);
        let mut ends = body.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at);
        bytes = if next_line > 1 { ends.nth(newlines).unwrap_or(0) } else { 0 };
    }
    let verdicts = judged.into_iter().map(|(number, verdict)| (lines_before + number, verdict)).collect();
    Front { verdicts, bytes, lines_before: lines_before + newlines }
}

fn row(Line { series: Series { measurement, key }, time, fields, .. }: Line<'_, Series>) -> v1::Row {
    use v1::field::Value;
    let field = |(name, value): &(&str, ValueRef<'_>)| v1::Field {
        name: (*name).to_owned(),
        value: Some(match *value {
            ValueRef::F64(v) => Value::F64(v),
            ValueRef::I64(v) => Value::I64(v),
            ValueRef::U64(v) => Value::U64(v),
            ValueRef::Bool(v) => Value::Boolean(v),
            ValueRef::Str(v) => Value::Text(v.to_owned()),
        }),
    };
    v1::Row {
        measurement,
        tags: key.tags().map(|(k, v)| v1::Tag { key: k.to_owned(), value: v.to_owned() }).collect(),
        time: time.map(Timestamp::nanos),
        fields: fields.iter().map(field).collect(),
    }
}

/// Rows of one request, and the lines between them that are none.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What to send.
    pub(super) rows: Vec<v1::Row>,
    /// The line of each row.
    numbers: Vec<usize>,
    /// The other lines, each with what is wrong with it.
    refused: Vec<(usize, String)>,
}

impl Batch {
    /// The lines in it, those that are no rows too.
    pub(super) fn lines(&self) -> usize {
        self.numbers.len() + self.refused.len()
    }

    /// How many of its lines have a row, sent or not.
    pub(super) fn rows(&self) -> usize {
        self.numbers.len()
    }

    /// The first and the last of its lines.
    pub(super) fn span(&self) -> (usize, usize) {
        let firsts = [self.numbers.first().copied(), self.refused.first().map(|(number, _)| *number)];
        let lasts = [self.numbers.last().copied(), self.refused.last().map(|(number, _)| *number)];
        let first = firsts.into_iter().flatten().min().unwrap_or(0);
        (first, lasts.into_iter().flatten().max().unwrap_or(0))
    }

    /// The line of a row, by its place among the rows.
    pub(super) fn line_of(&self, row: u64) -> Option<usize> {
        usize::try_from(row).ok().and_then(|row| self.numbers.get(row).copied())
    }

    /// The lines that are no rows, each with what is wrong with it; they are no longer here then.
    pub(super) fn take_refused(&mut self) -> Vec<(usize, String)> {
        std::mem::take(&mut self.refused)
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

/// Gathers lines in their order until a batch is full.
#[derive(Debug)]
pub(super) struct Batcher {
    rows_max: usize,
    open: Batch,
    /// Bytes of the rows in it.
    bytes: usize,
}

impl Batcher {
    /// Batches of at most `rows_max` rows.
    pub(super) fn new(rows_max: usize) -> Self {
        Self { rows_max, open: Batch::default(), bytes: 0 }
    }

    /// Takes the next line; gives the batch that it filled. Bad lines fill one as rows do: their reasons take memory.
    pub(super) fn push(&mut self, (number, verdict): Verdict) -> Option<Batch> {
        match verdict {
            Ok(row) => {
                self.bytes += row.encoded_len();
                self.open.rows.push(row);
                self.open.numbers.push(number);
            }
            Err(reason) => self.open.refused.push((number, reason)),
        }
        let is_full = self.open.lines() >= self.rows_max || self.bytes >= BATCH_BYTES_MAX;
        is_full.then(|| self.take())
    }

    /// What has been gathered at the end of the input, if anything.
    pub(super) fn finish(&mut self) -> Option<Batch> {
        (self.open.lines() > 0).then(|| self.take())
    }

    fn take(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests;
