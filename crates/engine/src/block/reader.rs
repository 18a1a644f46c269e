//! Reading a block: the page table stays in memory, pages and series are read when they are asked for.
//!
//! It must never take a number that was read for true before its checksum was compared, or make room for more than the
//! file has.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Disk, File, Open};
use meridian_types::{SeriesNumber, TimeRange};

use super::body::{self, Decoded, Flaw};
use super::layout::{self, CHECKSUM_BYTES, ENTRY_BYTES, Entry, FOOTER_BYTES, Footer, HEADER_BYTES, Index, Slot};
use super::{BlockError, BlockMeta, meta};
use crate::chunk::Chunk;
use crate::tail::overlaps;

/// A series of so many bytes is read at once, whatever is wanted of it.
const SERIES_READ_WHOLE_BYTES: u64 = 64 << 10;

/// An open block.
#[derive(Debug)]
pub(crate) struct Block {
    meta: BlockMeta,
    path: PathBuf,
    file: Arc<dyn File>,
    index: Index,
    /// Of each index page.
    first_numbers: Box<[SeriesNumber]>,
}

impl Block {
    /// Opens the file at `path` and checks header, footer and page table against `meta`.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, meta: &BlockMeta) -> Result<Self, BlockError> {
        Self::from_file(Arc::from(disk.open(path, Open::Read)?), path, meta)
    }

    /// As [`Block::open`], of an open file; `path` is for errors.
    pub(super) fn from_file(file: Arc<dyn File>, path: &Path, meta: &BlockMeta) -> Result<Self, BlockError> {
        let damaged = |offset, what| BlockError::Damaged { file: path.to_owned(), offset, what: Flaw::Layout(what) };
        let bytes = file.len()?;
        if bytes != meta.bytes || bytes < (HEADER_BYTES + FOOTER_BYTES) as u64 {
            return Err(damaged(bytes, "the file is not as long as it was when it was written"));
        }
        if meta::read_header(&*file, path)? != (meta.number, meta.database) {
            return Err(damaged(0, "this is the header of another block"));
        }
        let footer_at = bytes - FOOTER_BYTES as u64;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at)?;
        let footer = Footer::take(meta.number, footer_at, &footer).filter(|footer| footer.agrees(meta));
        let footer = footer.ok_or_else(|| damaged(footer_at, "this is not the footer that was written"))?;
        let index =
            Index::new(&footer, bytes).ok_or_else(|| damaged(footer_at, "the index cannot be where it says"))?;
        let mut block = Self { meta: meta.clone(), path: path.to_owned(), file, index, first_numbers: Box::default() };
        let (offset, bytes) = index.page_table();
        let table = block.part(offset, bytes)?;
        let numbers: Box<[SeriesNumber]> =
            table.as_chunks().0.iter().map(|number| SeriesNumber(u32::from_le_bytes(*number))).collect();
        if !numbers.is_sorted_by(|a, b| a < b) {
            return Err(block.damaged(offset, Flaw::Layout("the page table is not sorted")));
        }
        block.first_numbers = numbers;
        Ok(block)
    }

    pub(crate) fn meta(&self) -> &BlockMeta {
        &self.meta
    }

    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The chunks of one series that overlap `range`, in order of time; none if the block has no such series.
    #[cfg(test)]
    pub(crate) fn chunks(&self, series: SeriesNumber, range: TimeRange) -> Result<Vec<Chunk>, BlockError> {
        let Some(page) = self.page_of(series) else { return Ok(Vec::new()) };
        self.chunks_of(&self.page(page)?, series, range)
    }

    /// A reader for many series.
    pub(crate) fn cursor(self: &Arc<Self>) -> Cursor {
        Cursor { block: Arc::clone(self), page: None }
    }

    /// Reads everything, and compares every checksum, every number and the hash of the whole file.
    pub(crate) fn verify(&self) -> Result<(), BlockError> {
        if meta::hash(&*self.file, self.meta.bytes)? != self.meta.hash {
            return Err(self.damaged(0, Flaw::Layout("the file has another hash than when it was written")));
        }
        let mut seen = Footer { series: 0, rows: 0, points: 0, index: 0, time_min: i64::MAX, time_max: i64::MIN };
        let mut end = HEADER_BYTES as u64;
        for page in 0..self.index.pages() {
            for entry in self.page(page)? {
                if entry.offset != end {
                    return Err(self.damaged(entry.offset, Flaw::Layout("series do not follow each other")));
                }
                end = entry.offset + entry.bytes;
                self.decode(
                    &entry,
                    |_| true,
                    |offset, decoded| {
                        seen.points += decoded.points();
                        if decoded.statistics_are_right() {
                            return Ok(());
                        }
                        Err(self.damaged(offset, Flaw::Layout("statistics differ from the values")))
                    },
                )?;
                seen.series += 1;
                seen.rows += entry.rows;
                seen.time_min = seen.time_min.min(entry.time_min);
                seen.time_max = seen.time_max.max(entry.time_max);
            }
        }
        if !seen.agrees(&self.meta) || end != self.index.start() {
            return Err(self.damaged(end, Flaw::Layout("there is something else than the footer says")));
        }
        Ok(())
    }

    /// The page that has the series if any has.
    fn page_of(&self, series: SeriesNumber) -> Option<usize> {
        self.first_numbers.partition_point(|first| *first <= series).checked_sub(1)
    }

    /// Reads one page of the index, which is below [`Index::pages`].
    fn page(&self, page: usize) -> Result<Vec<Entry>, BlockError> {
        let (offset, bytes) = self.index.page(page);
        let content = self.part(offset, bytes)?;
        let entries: Option<Vec<Entry>> = content.chunks(ENTRY_BYTES).map(Entry::take).collect();
        let begins = |entries: &[Entry]| entries.first().map(|entry| entry.number) == Some(self.first_numbers[page]);
        let ends = |entries: &[Entry]| {
            let next = self.first_numbers.get(page + 1);
            next.zip(entries.last()).is_none_or(|(next, last)| last.number < *next)
        };
        let good = entries.filter(|entries| {
            let are_inside = entries.iter().all(|entry| entry.lies_before(self.index.start()));
            begins(entries) && ends(entries) && are_inside && entries.is_sorted_by(|a, b| a.number < b.number)
        });
        good.ok_or_else(|| self.damaged(offset, Flaw::Layout("this index page contradicts the page table")))
    }

    /// The chunks of a series that would stand in `page`.
    fn chunks_of(&self, page: &[Entry], series: SeriesNumber, range: TimeRange) -> Result<Vec<Chunk>, BlockError> {
        let mut chunks = Vec::new();
        let Ok(place) = page.binary_search_by_key(&series, |entry| entry.number) else { return Ok(chunks) };
        let entry = &page[place];
        if overlaps(entry.time_min, entry.time_max, range) {
            let wanted = |slot: &Slot| overlaps(slot.time_min, slot.time_max, range);
            self.decode(entry, wanted, |_, decoded| {
                chunks.push(decoded.chunk);
                Ok(())
            })?;
        }
        Ok(chunks)
    }

    /// Reads the wanted chunks of a series and hands each on, with its offset.
    fn decode(
        &self,
        entry: &Entry,
        wanted: impl Fn(&Slot) -> bool,
        mut take: impl FnMut(u64, Decoded) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        let whole = entry.bytes <= SERIES_READ_WHOLE_BYTES;
        let front = self.read(entry.offset, if whole { entry.bytes } else { entry.directory_bytes() })?;
        let (directory, mut rest) = front.split_at(entry.directory_bytes() as usize);
        let slots = layout::take_directory(self.meta.number, entry, directory)
            .ok_or_else(|| self.damaged(entry.offset, Flaw::Layout("this is not the directory of its series")))?;
        let mut offset = entry.offset + entry.directory_bytes();
        for slot in slots {
            let bytes = u64::from(slot.bytes);
            if whole {
                // What the slots say sums up to what was read: `take_directory` has compared it.
                let (part, tail) = rest.split_at(slot.bytes as usize);
                rest = tail;
                if wanted(&slot) {
                    take(offset, self.chunk(offset, part, &slot)?)?;
                }
            } else if wanted(&slot) {
                take(offset, self.chunk(offset, &self.read(offset, bytes)?, &slot)?)?;
            }
            offset += bytes;
        }
        Ok(())
    }

    fn chunk(&self, offset: u64, part: &[u8], slot: &Slot) -> Result<Decoded, BlockError> {
        let content = layout::unseal(self.meta.number, offset, part);
        let content =
            content.ok_or_else(|| self.damaged(offset, Flaw::Layout("the checksum of this chunk differs")))?;
        let decoded =
            body::decode(content, slot.rows.into(), slot.columns.into()).map_err(|flaw| self.damaged(offset, flaw))?;
        let times = decoded.chunk.times();
        if (times.first(), times.last()) != (Some(&slot.time_min), Some(&slot.time_max)) {
            return Err(self.damaged(offset, Flaw::Layout("the times of this chunk are not those of the directory")));
        }
        Ok(decoded)
    }

    /// Reads a part and compares its checksum, which is not handed on.
    fn part(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, BlockError> {
        let mut part = self.read(offset, bytes as u64)?;
        if layout::unseal(self.meta.number, offset, &part).is_none() {
            return Err(self.damaged(offset, Flaw::Layout("the checksum of this part of the index differs")));
        }
        part.truncate(part.len() - CHECKSUM_BYTES);
        Ok(part)
    }

    /// Reads bytes that must lie within the file.
    fn read(&self, offset: u64, bytes: u64) -> Result<Vec<u8>, BlockError> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.meta.bytes) {
            return Err(self.damaged(offset, Flaw::Layout("it reaches beyond the end of the file")));
        }
        let mut buffer = vec![0; bytes as usize];
        match self.file.read_exact_at(&mut buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(offset, Flaw::Layout("the file has lost its end")))
            }
            read => Ok(read.map(|()| buffer)?),
        }
    }

    fn damaged(&self, offset: u64, what: Flaw) -> BlockError {
        BlockError::Damaged { file: self.path.clone(), offset, what }
    }
}

/// Reads many series of a block. Asked in increasing order of their numbers, it reads each page of the index once.
#[derive(Debug)]
pub(crate) struct Cursor {
    block: Arc<Block>,
    /// The page that was read last, and which it is.
    page: Option<(usize, Vec<Entry>)>,
}

impl Cursor {
    /// As [`Block::chunks`].
    pub(crate) fn chunks(&mut self, series: SeriesNumber, range: TimeRange) -> Result<Vec<Chunk>, BlockError> {
        let Some(page) = self.block.page_of(series) else { return Ok(Vec::new()) };
        let block = Arc::clone(&self.block);
        block.chunks_of(self.page(page)?, series, range)
    }

    /// The least number of a series that is not below `at_least`.
    pub(crate) fn next_number(&mut self, at_least: SeriesNumber) -> Result<Option<SeriesNumber>, BlockError> {
        let page = self.block.page_of(at_least);
        if let Some(page) = page {
            let entries = self.page(page)?;
            let place = entries.partition_point(|entry| entry.number < at_least);
            if let Some(entry) = entries.get(place) {
                return Ok(Some(entry.number));
            }
        }
        Ok(self.block.first_numbers.get(page.map_or(0, |page| page + 1)).copied())
    }

    fn page(&mut self, page: usize) -> Result<&[Entry], BlockError> {
        let held = match self.page.take() {
            Some((number, entries)) if number == page => entries,
            _ => self.block.page(page)?,
        };
        Ok(&self.page.insert((page, held)).1)
    }
}
