//! Series of few rows, merged by the chunks that they share: which row comes next is decided once, and the columns follow one by one.
//!
//! It must never take a series whose rows would not be the same if they were merged one by one: it leaves it where it is.

use std::ops::ControlFlow;

use meridian_types::{FieldType, SeriesNumber, TimeRange};

use crate::block::{BlockWriter, SharedRows, Walk};
use crate::error::StoreError;

/// What is gathered, of which measurement and into what.
pub(super) struct Gathering<'g> {
    pub(super) writer: &'g mut BlockWriter,
    /// By number, the number of the first series of its measurement.
    pub(super) homes: &'g [SeriesNumber],
    /// Of the measurement of the series at which it begins.
    pub(super) types: &'g [FieldType],
    pub(super) range: TimeRange,
}

impl Gathering<'_> {
    /// Writes the series from `first` on, at which some of the blocks are, as far as all that there is of them stands in shared chunks that
    /// are alike, in order of time, and in `range`. Whether there was one.
    pub(super) fn from(&mut self, first: SeriesNumber, walks: &mut [Walk]) -> Result<bool, StoreError> {
        let Some((parts, end)) = parts(walks, first, self.range)? else { return Ok(false) };
        let rows: Vec<SharedRows<'_>> = parts.iter().filter_map(|part| walks[*part].rows()).collect();
        if !rows.iter().all(|one| one.chunk.is_alike(rows[0].chunk)) {
            return Ok(false);
        }
        let home = self.homes[first.0 as usize];
        let mut order =
            Order { at: rows.iter().map(|rows| rows.from).collect(), rows: Vec::new(), numbers: Vec::new() };
        let room = self.writer.room_for_few(home).map_err(|error| StoreError::io("writing a block", &error))?;
        while let Some(number) = order.next(&rows).filter(|number| *number < end)
            && self.homes.get(number as usize) == Some(&home)
            && order.take(&rows, number, room).is_continue()
        {}
        let Order { at, rows: taken, numbers } = order;
        if taken.is_empty() {
            return Ok(false);
        }
        let chunks: Vec<_> = rows.iter().map(|rows| rows.chunk).collect();
        self.writer.gathered(home, &numbers, &chunks, &taken, self.types);
        for (part, at) in parts.into_iter().zip(at) {
            walks[part].pass_to(at)?;
        }
        Ok(true)
    }
}

/// The blocks that take part, in log order, and the number up to which all of their series stand in the shared chunks at which they are;
/// `None` if a block has the first series in another form.
fn parts(walks: &mut [Walk], first: SeriesNumber, range: TimeRange) -> Result<Option<(Vec<usize>, u64)>, StoreError> {
    let (mut parts, mut end) = (Vec::new(), u64::MAX);
    for place in (0..walks.len()).filter(|place| walks[*place].number() == Some(first)).collect::<Vec<_>>() {
        let Some(last) = walks[place].few(range)? else { return Ok(None) };
        parts.push(place);
        end = end.min(u64::from(last.0) + 1);
    }
    for (place, walk) in walks.iter_mut().enumerate() {
        let number = walk.number().filter(|number| *number != first && u64::from(number.0) < end);
        let Some(number) = number else { continue };
        match walk.few(range)? {
            Some(last) => {
                parts.push(place);
                end = end.min(u64::from(last.0) + 1);
            }
            None => end = number.0.into(),
        }
    }
    parts.sort_unstable();
    Ok(Some((parts, end)))
}

/// Which row comes next.
struct Order {
    /// Of each part, the row at which it is.
    at: Vec<usize>,
    /// Part and row.
    rows: Vec<(u32, u32)>,
    /// Of each row, the series.
    numbers: Vec<u64>,
}

impl Order {
    /// The series that comes next.
    fn next(&self, parts: &[SharedRows<'_>]) -> Option<u64> {
        parts.iter().zip(&self.at).filter_map(|(part, at)| part.numbers.get(*at).copied()).min()
    }

    /// Takes the rows of a series; ends before one that has too many rows, with those before too many, or whose parts do not follow
    /// each other in time.
    fn take(&mut self, parts: &[SharedRows<'_>], number: u64, room: usize) -> ControlFlow<()> {
        let (start, mut last, mut follow) = (self.rows.len(), None, true);
        for ((part, at), place) in parts.iter().zip(&mut self.at).zip(0..) {
            let first = *at;
            while part.numbers.get(*at) == Some(&number) {
                self.rows.push((place, *at as u32)); // at most CHUNK_ROWS_MAX
                *at += 1;
            }
            if let Some(times) = part.chunk.times().get(first..*at).filter(|times| !times.is_empty()) {
                follow &= last.is_none_or(|last| last < times[0]);
                last = times.last().copied();
            }
        }
        if follow && BlockWriter::are_few(self.rows.len() - start, 0) && self.rows.len() <= room {
            self.numbers.resize(self.rows.len(), number);
            return ControlFlow::Continue(());
        }
        self.rows.drain(start..).for_each(|(part, _)| self.at[part as usize] -= 1);
        ControlFlow::Break(())
    }
}
