//! Writing a block: series by series, front to back, in large pieces.
//!
//! Holds one encoded series, or as many rows of several as share a chunk, and 52 bytes for each entry of the index before. It must never write over what it has written: a file
//! that was not finished is to be removed.

use std::io;
use std::path::Path;

use bytes::BufMut;
use meridian_env::{Disk, File, Open};
use meridian_types::{DatabaseId, FieldType, SeriesNumber};
use xxhash_rust::xxh3::Xxh3;

use super::body::Rows;
use super::layout::{self, Entry, Footer, PAGE_ENTRIES, Slot};
use super::shared::{SharedEncoded, Sharing};
use super::{BlockMeta, CHUNK_ROWS_MAX, Encoded, body};
use crate::chunk::Chunk;
use crate::few::FewRows;

/// About as much is written or read at a time.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// A chunk to write, in either form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece<'c> {
    Chunk(&'c Chunk),
    Encoded(&'c Encoded),
}

impl Piece<'_> {
    fn span(&self) -> Option<(i64, i64)> {
        match self {
            Self::Chunk(chunk) => chunk.span(),
            Self::Encoded(encoded) => Some(encoded.span()),
        }
    }
}

impl<'c> From<&'c Chunk> for Piece<'c> {
    fn from(chunk: &'c Chunk) -> Self {
        Self::Chunk(chunk)
    }
}

/// A block that is being written.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    number: u64,
    database: DatabaseId,
    out: Pieces,
    index: Vec<Entry>,
    /// Rows of series that have few, which are not written yet.
    sharing: Sharing,
    last: Option<SeriesNumber>,
    series: u32,
    rows: u64,
    points: u64,
}

impl BlockWriter {
    /// Begins the file at `path`, which must not exist.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, number: u64, database: DatabaseId) -> io::Result<Self> {
        let mut out = Pieces::new(disk.open(path, Open::Create)?);
        layout::put_header(number, database, &mut out.pending);
        let (index, sharing) = (Vec::new(), Sharing::default());
        Ok(Self { number, database, out, index, sharing, last: None, series: 0, rows: 0, points: 0 })
    }

    /// Appends one series of the measurement `home`; series come in increasing order of their numbers. `chunks` are in order of time
    /// and share no time, with at most [`CHUNK_ROWS_MAX`] rows each. `types` are those of the measurement's columns, by number. A
    /// series without rows leaves nothing.
    pub(crate) fn series<'c>(
        &mut self,
        (home, number): (SeriesNumber, SeriesNumber),
        chunks: impl IntoIterator<Item: Into<Piece<'c>>>,
        types: &[FieldType],
    ) -> io::Result<()> {
        let chunks: Vec<Piece<'_>> =
            chunks.into_iter().map(Into::into).filter(|chunk| chunk.span().is_some()).collect();
        if chunks.is_empty() {
            return Ok(());
        }
        if let [Piece::Chunk(chunk)] = chunks[..]
            && Self::are_few(chunk.times().len(), chunk.text().len())
        {
            self.comes_next(number, number);
            self.make_room(home, chunk.times().len(), chunk.text().len())?;
            self.sharing.push((home, number), chunk, types);
            return Ok(());
        }
        self.comes_next(number, number);
        self.end_sharing()?;
        self.own(number, &chunks, types)
    }

    /// Whether a series of so many rows should share a chunk with others, if those have not too much text.
    pub(crate) fn are_few(rows: usize, text: usize) -> bool {
        Sharing::suits(rows, text)
    }

    /// Appends series of few rows, for which there is room.
    pub(crate) fn few_rows(&mut self, rows: &FewRows<'_>, types: &[FieldType]) {
        let (first, last) = rows.ends();
        self.comes_next(first, last);
        self.sharing.push_rows(rows, types);
    }

    /// How many rows without text of series of the measurement `home` that have few can be appended at once.
    pub(crate) fn room_for_few(&mut self, home: SeriesNumber) -> io::Result<usize> {
        self.make_room(home, Sharing::ROWS_MAX, 0)?;
        Ok(self.sharing.room())
    }

    /// Appends rows of series that have few, for which there is room: of these chunks, which are alike, part and row of each. `numbers` are
    /// the series of the rows.
    pub(crate) fn gathered(
        &mut self,
        home: SeriesNumber,
        numbers: &[u64],
        chunks: &[&Chunk],
        rows: &[(u32, u32)],
        types: &[FieldType],
    ) {
        let number = |number: Option<&u64>| SeriesNumber(number.map_or(0, |number| *number as u32)); // as they were given out
        self.comes_next(number(numbers.first()), number(numbers.last()));
        self.sharing.gather(home, numbers, chunks, rows, types);
    }

    fn make_room(&mut self, home: SeriesNumber, rows: usize, text: usize) -> io::Result<()> {
        if self.sharing.has_room(home, rows, text) { Ok(()) } else { self.end_sharing() }
    }

    /// Appends the series of a chunk that they share, all of which come after those before.
    pub(crate) fn shared(&mut self, shared: &SharedEncoded) -> io::Result<()> {
        let (first, last) = shared.ends;
        self.comes_next(first, last);
        self.end_sharing()?;
        self.put_shared(shared)
    }

    fn comes_next(&mut self, first: SeriesNumber, last: SeriesNumber) {
        let before = self.last.replace(last);
        assert!(before.is_none_or(|before| before < first), "series {first} comes after {before:?}");
    }

    /// Writes the rows that share a chunk.
    fn end_sharing(&mut self) -> io::Result<()> {
        let Some(finished) = std::mem::take(&mut self.sharing).finish() else { return Ok(()) };
        match finished.only() {
            Some(number) => self.own(number, &[Piece::Chunk(&finished.chunk)], &finished.types),
            None => self.put_shared(&finished.encode()?),
        }
    }

    fn put_shared(&mut self, shared: &SharedEncoded) -> io::Result<()> {
        let SharedEncoded { ends, span: (time_min, time_max), rows, columns, .. } = *shared;
        self.entry(ends, 1, |writer| {
            let (offset, start) = (writer.out.offset(), writer.out.pending.len());
            writer.out.pending.put_slice(&shared.body);
            layout::seal(writer.number, offset, &mut writer.out.pending, start);
            let bytes = body::length(writer.out.pending.len() - start)?;
            Ok(vec![Slot { time_min, time_max, bytes, rows, columns }])
        })?;
        self.points += u64::from(shared.points);
        self.series += shared.series;
        Ok(())
    }

    /// Writes the chunks of one series, of which there are some.
    fn own(&mut self, number: SeriesNumber, chunks: &[Piece<'_>], types: &[FieldType]) -> io::Result<()> {
        let count = u32::try_from(chunks.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.series += 1;
        self.entry((number, number), count, |writer| {
            let mut slots: Vec<Slot> = Vec::with_capacity(chunks.len());
            for chunk in chunks {
                let slot = match chunk {
                    Piece::Chunk(chunk) => writer.chunk(chunk, types)?,
                    Piece::Encoded(encoded) => writer.encoded(encoded)?,
                };
                let last = slots.last();
                let follows = last.is_none_or(|last| last.time_max < slot.time_min);
                assert!(follows, "series {number}: {slot:?} after {last:?}");
                slots.push(slot);
            }
            Ok(slots)
        })
    }

    /// Writes an entry of so many chunks, which `put` writes and tells of.
    fn entry(
        &mut self,
        (number, last): (SeriesNumber, SeriesNumber),
        chunks: u32,
        put: impl FnOnce(&mut Self) -> io::Result<Vec<Slot>>,
    ) -> io::Result<()> {
        let (offset, start) = (self.out.offset(), self.out.pending.len());
        // The directory stands in front and says how long the chunks are, so its place is kept free for it.
        let directory_bytes = layout::directory_bytes(chunks) as usize;
        self.out.pending.put_bytes(0, directory_bytes);
        let slots = put(self)?;
        let directory = layout::directory(self.number, offset, number, &slots);
        self.out.pending[start..start + directory_bytes].copy_from_slice(&directory);
        let rows = slots.iter().map(|slot| u64::from(slot.rows)).sum();
        let time_min = slots.iter().map(|slot| slot.time_min).min().unwrap_or(i64::MAX);
        let time_max = slots.iter().map(|slot| slot.time_max).max().unwrap_or(i64::MIN);
        let bytes = self.out.offset() - offset;
        self.index.push(Entry { number, last, chunks, offset, bytes, rows, time_min, time_max });
        self.rows += rows;
        self.out.write_if_full()
    }

    fn encoded(&mut self, encoded: &Encoded) -> io::Result<Slot> {
        let (offset, start) = (self.out.offset(), self.out.pending.len());
        self.out.pending.put_slice(encoded.body());
        layout::seal(self.number, offset, &mut self.out.pending, start);
        self.points += encoded.size().points;
        let (time_min, time_max) = encoded.span();
        let bytes = body::length(self.out.pending.len() - start)?;
        Ok(Slot { time_min, time_max, bytes, rows: encoded.rows() as u16, columns: encoded.columns() }) // as they were
    }

    fn chunk(&mut self, chunk: &Chunk, types: &[FieldType]) -> io::Result<Slot> {
        let times = chunk.times();
        assert!(times.len() <= CHUNK_ROWS_MAX, "{} rows in one chunk, {CHUNK_ROWS_MAX} at most", times.len());
        assert!(times.is_sorted_by(|a, b| a < b), "the times of a chunk increase");
        assert!(chunk.columns().is_sorted_by_key(|column| column.number()), "columns are sorted by number");
        let (offset, start) = (self.out.offset(), self.out.pending.len());
        body::encode(chunk, Rows::OfOne, &|column| types[usize::from(column)], &mut self.out.pending)?;
        layout::seal(self.number, offset, &mut self.out.pending, start);
        self.points += chunk.columns().iter().map(|column| column.cells().len() as u64).sum::<u64>();
        Ok(Slot {
            time_min: times[0],
            time_max: times[times.len() - 1],
            bytes: body::length(self.out.pending.len() - start)?,
            rows: times.len() as u16,              // at most CHUNK_ROWS_MAX
            columns: chunk.columns().len() as u16, // their numbers differ and have 16 bits
        })
    }

    /// Writes index and footer and syncs the file; its name in the directory is the caller's to sync.
    pub(crate) fn finish(mut self) -> io::Result<BlockMeta> {
        self.end_sharing()?;
        let index = self.out.offset();
        let mut first_numbers = Vec::with_capacity(4 * self.index.len().div_ceil(PAGE_ENTRIES));
        for page in self.index.chunks(PAGE_ENTRIES) {
            first_numbers.put_u32_le(page[0].number.0);
            self.out.part(self.number, |out| page.iter().for_each(|entry| entry.put(out)))?;
        }
        self.out.part(self.number, |out| out.put_slice(&first_numbers))?;
        let footer = Footer {
            series: self.series,
            entries: self.index.len() as u32, // the numbers of their series differ and have 32 bits
            rows: self.rows,
            points: self.points,
            index,
            time_min: self.index.iter().map(|entry| entry.time_min).min().unwrap_or(i64::MAX),
            time_max: self.index.iter().map(|entry| entry.time_max).max().unwrap_or(i64::MIN),
        };
        let offset = self.out.offset();
        footer.put(self.number, offset, &mut self.out.pending);
        let (bytes, hash) = self.out.finish()?;
        let Footer { series, rows, points, time_min, time_max, .. } = footer;
        let (number, database) = (self.number, self.database);
        Ok(BlockMeta { number, database, bytes, hash, series, rows, points, time_min, time_max })
    }
}

/// A file that grows by large pieces.
struct Pieces {
    file: Box<dyn File>,
    /// What is not written yet.
    pending: Vec<u8>,
    written: u64,
    hasher: Xxh3,
}

impl Pieces {
    fn new(file: Box<dyn File>) -> Self {
        Self { file, pending: Vec::with_capacity(PIECE_BYTES), written: 0, hasher: Xxh3::new() }
    }

    /// Where the next byte goes.
    fn offset(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Appends one part with its checksum.
    fn part(&mut self, number: u64, put: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let (offset, start) = (self.offset(), self.pending.len());
        put(&mut self.pending);
        layout::seal(number, offset, &mut self.pending, start);
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.pending.len() >= PIECE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_at(&self.pending, self.written)?;
        self.hasher.update(&self.pending);
        self.written += self.pending.len() as u64;
        self.pending.clear();
        // One large series is no reason to hold its memory to the end.
        self.pending.shrink_to(2 * PIECE_BYTES);
        Ok(())
    }

    /// Writes the rest and syncs; size and hash of the file.
    fn finish(mut self) -> io::Result<(u64, u128)> {
        self.write()?;
        self.file.sync_data()?;
        Ok((self.written, self.hasher.digest128()))
    }
}

impl std::fmt::Debug for Pieces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pieces").field("file", &self.file).field("written", &self.written).finish_non_exhaustive()
    }
}
