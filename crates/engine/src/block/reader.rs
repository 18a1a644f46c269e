//! Reading a block: the page table stays in memory, pages and series are read when they are asked for.
//!
//! It must never take a number that was read for true before its checksum was compared, or make room for more than the
//! file has.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Disk, File, Open};
use meridian_types::{SeriesNumber, TimeRange};

use super::body::{Flaw, Wanted};
use super::layout::{self, ENTRY_BYTES, Entry, FOOTER_BYTES, Footer, HEADER_BYTES, Index, Slot};
use super::opened::Opened;
use super::shared::Shared;
use super::window::Window;
use super::{BlockError, BlockMeta, meta};
use crate::chunk::Chunk;
use crate::tail::overlaps;

/// A series of so many bytes is read at once, whatever is wanted of it.
const SERIES_READ_WHOLE_BYTES: u64 = 64 << 10;

/// Who reads all series reads about so many bytes at a time.
const AHEAD_BYTES: u64 = 256 << 10;

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

    /// A reader for many series.
    pub(crate) fn cursor(self: &Arc<Self>) -> Cursor {
        Cursor { block: Arc::clone(self), page: None, shared: None, window: Window::new(0) }
    }

    /// Reads everything, and compares every checksum, every number and the hash of the whole file.
    pub(crate) fn verify(&self) -> Result<(), BlockError> {
        if meta::hash(&*self.file, self.meta.bytes)? != self.meta.hash {
            return Err(self.damaged(0, Flaw::Layout("the file has another hash than when it was written")));
        }
        let (index, entries) = (self.index.start(), 0);
        let mut seen = Footer { series: 0, entries, rows: 0, points: 0, index, time_min: i64::MAX, time_max: i64::MIN };
        let (mut end, mut window) = (HEADER_BYTES as u64, Window::new(AHEAD_BYTES));
        for page in 0..self.pages() {
            for entry in self.page(page)? {
                if entry.offset != end {
                    return Err(self.damaged(entry.offset, Flaw::Layout("series do not follow each other")));
                }
                end = entry.offset + entry.bytes;
                seen.rows += entry.rows;
                seen.time_min = seen.time_min.min(entry.time_min);
                seen.time_max = seen.time_max.max(entry.time_max);
                if entry.is_shared() {
                    let shared = self.shared(&entry, &mut window, Wanted::All)?;
                    seen.series += shared.series();
                    seen.points += shared.points();
                    continue;
                }
                seen.series += 1;
                self.visit(&entry, TimeRange::ALL, &mut window, |offset, slot, content| {
                    let decoded = Opened::new(content, slot, Wanted::All).and_then(|one| one.decode_known(Wanted::All));
                    let decoded = decoded.map_err(|flaw| self.damaged(offset, flaw))?;
                    seen.points += decoded.points();
                    if decoded.statistics_are_right() {
                        return Ok(());
                    }
                    Err(self.damaged(offset, Flaw::Layout("statistics differ from the values")))
                })?;
            }
        }
        if !seen.agrees(&self.meta) || end != self.index.start() {
            return Err(self.damaged(end, Flaw::Layout("there is something else than the footer says")));
        }
        Ok(())
    }

    /// Pages of the index.
    pub(super) fn pages(&self) -> usize {
        self.index.pages()
    }

    /// The page that has the series if any has.
    fn page_of(&self, series: SeriesNumber) -> Option<usize> {
        self.first_numbers.partition_point(|first| *first <= series).checked_sub(1)
    }

    /// Reads one page of the index, which is below [`Index::pages`].
    pub(super) fn page(&self, page: usize) -> Result<Vec<Entry>, BlockError> {
        let (offset, bytes) = self.index.page(page);
        let content = self.part(offset, bytes)?;
        let entries: Option<Vec<Entry>> = content.chunks(ENTRY_BYTES).map(Entry::take).collect();
        let begins = |entries: &[Entry]| entries.first().map(|entry| entry.number) == Some(self.first_numbers[page]);
        let ends = |entries: &[Entry]| {
            let next = self.first_numbers.get(page + 1);
            next.zip(entries.last()).is_none_or(|(next, last)| last.last < *next)
        };
        let good = entries.filter(|entries| {
            let are_inside = entries.iter().all(|entry| entry.lies_before(self.index.start()));
            begins(entries) && ends(entries) && are_inside && entries.is_sorted_by(|a, b| a.last < b.number)
        });
        good.ok_or_else(|| self.damaged(offset, Flaw::Layout("this index page contradicts the page table")))
    }

    /// Reads the chunks of an entry that overlap `range`, and hands each on with its offset once its checksum was compared.
    pub(super) fn visit(
        &self,
        entry: &Entry,
        range: TimeRange,
        window: &mut Window,
        mut take: impl FnMut(u64, &Slot, &[u8]) -> Result<(), BlockError>,
    ) -> Result<(), BlockError> {
        for place in self.places(entry, range, window)? {
            take(place.offset, &place.slot, self.content(&place, window)?)?;
        }
        Ok(())
    }

    /// Where the chunks of an entry are that overlap `range`.
    fn places(&self, entry: &Entry, range: TimeRange, window: &mut Window) -> Result<Vec<Place>, BlockError> {
        let whole = entry.bytes <= SERIES_READ_WHOLE_BYTES;
        let front = self.read(window, entry.offset, if whole { entry.bytes } else { entry.directory_bytes() })?;
        let directory = &front[..entry.directory_bytes() as usize];
        let slots = layout::take_directory(self.meta.number, entry, directory)
            .ok_or_else(|| self.damaged(entry.offset, Flaw::Layout("this is not the directory of its series")))?;
        // What the slots say sums up to what the entry says, which lies before the index.
        let mut offset = entry.offset + entry.directory_bytes();
        let places = slots.into_iter().map(|slot| {
            let place = Place { offset, slot };
            offset += u64::from(slot.bytes);
            place
        });
        Ok(places.filter(|place| overlaps(place.slot.time_min, place.slot.time_max, range)).collect())
    }

    /// What the checksum of a chunk covers, once it was compared.
    fn content<'w>(&self, place: &Place, window: &'w mut Window) -> Result<&'w [u8], BlockError> {
        let part = self.read(window, place.offset, place.slot.bytes.into())?;
        let content = layout::unseal(self.meta.number, place.offset, part);
        content.ok_or_else(|| self.damaged(place.offset, Flaw::Layout("the checksum of this chunk differs")))
    }

    /// The wanted columns of the chunk of an entry that several series share.
    pub(super) fn shared(&self, entry: &Entry, window: &mut Window, wanted: Wanted<'_>) -> Result<Shared, BlockError> {
        let mut read = None;
        self.visit(entry, TimeRange::ALL, window, |offset, slot, content| {
            let shared = Shared::decode(content, slot.rows.into(), slot.columns.into(), wanted);
            let shared = shared.map_err(|flaw| self.damaged(offset, flaw))?;
            if (shared.ends(), shared.span()) != ((entry.number, entry.last), (slot.time_min, slot.time_max)) {
                return Err(self.damaged(offset, Flaw::Layout("the rows of this chunk are not those of the index")));
            }
            read = Some(shared);
            Ok(())
        })?;
        read.ok_or_else(|| self.damaged(entry.offset, Flaw::Layout("this entry has no chunk")))
    }

    /// Reads a part of the index and compares its checksum, which is not handed on.
    fn part(&self, offset: u64, bytes: usize) -> Result<Vec<u8>, BlockError> {
        let mut window = Window::new(0);
        let part = self.read(&mut window, offset, bytes as u64)?;
        let content = layout::unseal(self.meta.number, offset, part);
        let differs = || self.damaged(offset, Flaw::Layout("the checksum of this part of the index differs"));
        content.map(<[u8]>::to_vec).ok_or_else(differs)
    }

    /// Reads bytes that must lie within the file.
    fn read<'w>(&self, window: &'w mut Window, offset: u64, bytes: u64) -> Result<&'w [u8], BlockError> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.meta.bytes) {
            return Err(self.damaged(offset, Flaw::Layout("it reaches beyond the end of the file")));
        }
        match window.get(&*self.file, offset, bytes, self.meta.bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(offset, Flaw::Layout("the file has lost its end")))
            }
            read => Ok(read?),
        }
    }

    pub(super) fn damaged(&self, offset: u64, what: Flaw) -> BlockError {
        BlockError::Damaged { file: self.path.clone(), offset, what }
    }
}

/// Where a chunk of one series is.
#[derive(Debug)]
pub(crate) struct Place {
    offset: u64,
    slot: Slot,
}

impl Place {
    /// First and last time.
    pub(crate) fn span(&self) -> (i64, i64) {
        (self.slot.time_min, self.slot.time_max)
    }
}

/// A chunk of one series that was found.
#[derive(Debug)]
pub(crate) enum Found {
    Lies(Place),
    Read(Chunk),
}

/// Reads some series of a block. Asked in increasing order of their numbers, it reads each page of the index, and each chunk that
/// several of them share, once.
#[derive(Debug)]
pub(crate) struct Cursor {
    block: Arc<Block>,
    /// The page that was read last, and which it is.
    page: Option<(usize, Vec<Entry>)>,
    /// The shared chunk that was read last, where it is, and what was wanted of it.
    shared: Option<(u64, Option<Vec<u16>>, Shared)>,
    window: Window,
}

impl Cursor {
    /// The chunks of one series that overlap `range`, in order of time; none if the block has no such series. One that series share is
    /// read at once, with the wanted columns.
    pub(crate) fn find(
        &mut self,
        series: SeriesNumber,
        range: TimeRange,
        wanted: Wanted<'_>,
    ) -> Result<Vec<Found>, BlockError> {
        let Some(entry) = self.entry_in(series, range)? else { return Ok(Vec::new()) };
        if entry.is_shared() {
            let chunk = self.shared(&entry, wanted)?.chunk_of(series);
            return Ok(chunk.into_iter().filter(|chunk| chunk.overlaps(range)).map(Found::Read).collect());
        }
        let places = self.block.places(&entry, range, &mut self.window)?;
        Ok(places.into_iter().map(Found::Lies).collect())
    }

    /// Reads a chunk of this block, and what `take` makes of it, which decodes no other columns than those wanted.
    pub(crate) fn open<T>(
        &mut self,
        place: &Place,
        wanted: Wanted<'_>,
        take: impl FnOnce(&Opened<'_>) -> Result<T, Flaw>,
    ) -> Result<T, BlockError> {
        let content = self.block.content(place, &mut self.window)?;
        let taken = Opened::new(content, &place.slot, wanted).and_then(|opened| take(&opened));
        taken.map_err(|flaw| self.block.damaged(place.offset, flaw))
    }

    /// First and last time of the rows of one series, if the block has it.
    pub(crate) fn span(&mut self, series: SeriesNumber) -> Result<Option<(i64, i64)>, BlockError> {
        match self.entry(series)? {
            Some(entry) if entry.is_shared() => Ok(self.shared(&entry, Wanted::Only(&[]))?.span_of(series)),
            entry => Ok(entry.map(|entry| (entry.time_min, entry.time_max))),
        }
    }

    /// The entry in whose series this one is, if any has it.
    fn entry(&mut self, series: SeriesNumber) -> Result<Option<Entry>, BlockError> {
        let Some(page) = self.block.page_of(series) else { return Ok(None) };
        let entries = self.page(page)?;
        let place = entries.partition_point(|entry| entry.last < series);
        Ok(entries.get(place).filter(|entry| entry.number <= series).cloned())
    }

    fn entry_in(&mut self, series: SeriesNumber, range: TimeRange) -> Result<Option<Entry>, BlockError> {
        Ok(self.entry(series)?.filter(|entry| overlaps(entry.time_min, entry.time_max, range)))
    }

    /// The wanted columns of a shared chunk.
    fn shared(&mut self, entry: &Entry, wanted: Wanted<'_>) -> Result<&Shared, BlockError> {
        let columns = match wanted {
            Wanted::All => None,
            Wanted::Only(columns) => Some(columns.to_vec()),
        };
        let serves =
            |held: &Option<Vec<u16>>| held.is_none() || *held == columns || columns.as_ref().is_some_and(Vec::is_empty);
        let held = match self.shared.take() {
            Some(held) if held.0 == entry.offset && serves(&held.1) => held,
            _ => (entry.offset, columns, self.block.shared(entry, &mut self.window, wanted)?),
        };
        Ok(&self.shared.insert(held).2)
    }

    fn page(&mut self, page: usize) -> Result<&[Entry], BlockError> {
        let held = match self.page.take() {
            Some((number, entries)) if number == page => entries,
            _ => self.block.page(page)?,
        };
        Ok(&self.page.insert((page, held)).1)
    }
}
