//! Going through all series of a block, one after another, which is how blocks are merged.
//!
//! It reads each byte once and in large pieces, decodes a shared chunk once, and nothing else. It must never go back.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::{SeriesNumber, TimeRange};

use super::body::{Flaw, Wanted};
use super::layout::Entry;
use super::shared::{Shared, SharedEncoded, SharedRows};
use super::window::Window;
use super::{Block, BlockError, CHUNK_ROWS_MAX, Encoded};
use crate::sealed::Sealed;

/// About so many bytes are read at a time.
const AHEAD_BYTES: u64 = 256 << 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Walk {
    block: Arc<Block>,
    window: Window,
    /// Of the index page at which it is.
    entries: std::vec::IntoIter<Entry>,
    next_page: usize,
    /// Where it is; `None` at the end.
    entry: Option<Entry>,
    /// The chunk of the entry, if several series share it and one of them was asked for, and the rows of the series at which it is.
    shared: Option<(Shared, Range<usize>)>,
}

impl Walk {
    /// At the first series.
    pub(crate) fn begin(block: &Arc<Block>) -> Result<Self, BlockError> {
        let (block, window, entries) = (Arc::clone(block), Window::new(AHEAD_BYTES), Vec::new().into_iter());
        let mut walk = Self { block, window, entries, next_page: 0, entry: None, shared: None };
        walk.pass_entry()?;
        Ok(walk)
    }

    /// The series at which it is; `None` at the end.
    pub(crate) fn number(&self) -> Option<SeriesNumber> {
        match &self.shared {
            Some((shared, rows)) => shared.number(rows.start),
            None => self.entry.as_ref().map(|entry| entry.number),
        }
    }

    /// The chunk that several series share of which it is at the first one, not decoded, and goes on behind it: if it is worth a chunk, all
    /// of its series come before `before`, and all of its rows are inside `range`.
    pub(crate) fn take_shared(
        &mut self,
        before: Option<SeriesNumber>,
        range: TimeRange,
    ) -> Result<Option<SharedEncoded>, BlockError> {
        let is_whole = |entry: &&Entry| {
            entry.is_shared()
                && entry.rows >= CHUNK_ROWS_MAX as u64 / 2
                && before.is_none_or(|before| entry.last < before)
                && range.start().nanos() <= entry.time_min
                && entry.time_max < range.end().nanos()
        };
        let Some(entry) = self.entry.as_ref().filter(|_| self.shared.is_none()).filter(is_whole) else {
            return Ok(None);
        };
        let (mut read, block) = (None, &self.block);
        block.visit(entry, range, &mut self.window, |offset, slot, content| {
            let span = (slot.time_min, slot.time_max);
            let shared = SharedEncoded::read(content, span, slot.rows, slot.columns);
            let shared = shared.map_err(|flaw| block.damaged(offset, flaw))?;
            if shared.ends() != (entry.number, entry.last) {
                return Err(block.damaged(offset, Flaw::Layout("the series of this chunk are not those of the index")));
            }
            read = Some(shared);
            Ok(())
        })?;
        self.pass_entry()?;
        Ok(read)
    }

    /// The last series of the chunk that the one at which it is shares with others, if it shares one and all rows of that are inside
    /// `range`.
    pub(crate) fn few(&mut self, range: TimeRange) -> Result<Option<SeriesNumber>, BlockError> {
        let is_inside =
            |entry: &&Entry| range.start().nanos() <= entry.time_min && entry.time_max < range.end().nanos();
        let last = self.entry.as_ref().filter(|entry| entry.is_shared()).filter(is_inside).map(|entry| entry.last);
        self.decode()?;
        Ok(last)
    }

    /// The rows of that chunk, once [`Walk::few`] was called.
    pub(crate) fn rows(&self) -> Option<SharedRows<'_>> {
        self.shared.as_ref().map(|(shared, rows)| shared.rows(rows.start))
    }

    /// Goes on to the row `row` of that chunk, which is the first of a series, or behind the last.
    pub(crate) fn pass_to(&mut self, row: usize) -> Result<(), BlockError> {
        if let Some((shared, rows)) = &mut self.shared {
            *rows = shared.run(row);
            if rows.start < rows.end {
                return Ok(());
            }
        }
        self.pass_entry()
    }

    /// Decodes the chunk at which it is, if it is a shared one.
    fn decode(&mut self) -> Result<(), BlockError> {
        if self.shared.is_none()
            && let Some(entry) = self.entry.as_ref().filter(|entry| entry.is_shared())
        {
            let shared = self.block.shared(entry, &mut self.window, Wanted::All)?;
            let rows = shared.run(0);
            self.shared = Some((shared, rows));
        }
        Ok(())
    }

    /// The rows of the series at which it is inside `range`, in chunks that are not decoded unless others share them.
    pub(crate) fn sealed(&mut self, range: TimeRange) -> Result<Vec<Sealed>, BlockError> {
        self.decode()?;
        if let Some((shared, rows)) = &self.shared {
            let chunk = shared.number(rows.start).and_then(|number| shared.chunk_of(number));
            return Ok(chunk.into_iter().map(|chunk| Sealed::Columns(Arc::new(chunk))).collect());
        }
        let Some(entry) = &self.entry else { return Ok(Vec::new()) };
        let (mut chunks, block) = (Vec::new(), &self.block);
        block.visit(entry, range, &mut self.window, |offset, slot, content| {
            let encoded = Encoded::read(slot, content).map_err(|flaw| block.damaged(offset, flaw))?;
            chunks.push(Sealed::Encoded(Arc::new(encoded)));
            Ok(())
        })?;
        Ok(chunks)
    }

    /// Goes on to the next series.
    pub(crate) fn pass(&mut self) -> Result<(), BlockError> {
        self.decode()?;
        let next = self.shared.as_ref().map_or(0, |(_, rows)| rows.end);
        self.pass_to(next)
    }

    fn pass_entry(&mut self) -> Result<(), BlockError> {
        self.shared = None;
        self.entry = self.entries.next();
        if self.entry.is_none() && self.next_page < self.block.pages() {
            self.entries = self.block.page(self.next_page)?.into_iter();
            self.next_page += 1;
            self.entry = self.entries.next();
        }
        Ok(())
    }
}
