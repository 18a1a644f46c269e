//! A chunk of several series: those of one measurement that have few rows in a block stand in one chunk together, because each by
//! itself would take many times what its rows do.
//!
//! Layout of the body: `encoding:u8 length:u32` and the number of the series of each row, then as any other body, without
//! statistics. Rows are in order of series, then of time. It must never hold a part of what a series has in the block.

use std::io;
use std::ops::Range;

use meridian_frame::codec;
use meridian_types::{FieldType, SeriesNumber};

use super::CHUNK_ROWS_MAX;
use super::body::{self, Body, Decoded, Flaw, Rows, Wanted};
use crate::chunk::{Builder, Chunk};
use crate::few::FewRows;

/// Text of one chunk, at most.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// A shared chunk as it was read, with the columns that were wanted.
#[derive(Debug)]
pub(super) struct Shared {
    /// Of each row.
    numbers: Vec<u64>,
    decoded: Decoded,
}

impl Shared {
    /// Reads the body of a shared chunk of so many rows and columns.
    pub(super) fn decode(mut bytes: &[u8], rows: usize, columns: usize, wanted: Wanted<'_>) -> Result<Self, Flaw> {
        let numbers = take_numbers(&mut bytes, rows)?;
        let decoded = Body::open(bytes, (Rows::OfSeveral, rows), columns, wanted)?.decode(wanted)?;
        let rows = numbers.iter().zip(decoded.chunk.times());
        match rows.is_sorted_by(|a, b| a < b) && !decoded.chunk.times().is_empty() {
            true => Ok(Self { numbers, decoded }),
            false => Err(Flaw::Layout("its rows are not in order of series and time")),
        }
    }

    /// First and last series.
    pub(super) fn ends(&self) -> (SeriesNumber, SeriesNumber) {
        ends(&self.numbers)
    }

    /// First and last time of all rows.
    pub(super) fn span(&self) -> (i64, i64) {
        let times = self.decoded.chunk.times();
        times.iter().fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(*time), last.max(*time)))
    }

    /// How many series it has.
    pub(super) fn series(&self) -> u32 {
        count(&self.numbers)
    }

    /// Values of all rows.
    pub(super) fn points(&self) -> u64 {
        self.decoded.points()
    }

    /// The series of a row, if there is such a row.
    pub(super) fn number(&self, row: usize) -> Option<SeriesNumber> {
        self.numbers.get(row).map(|number| SeriesNumber(*number as u32)) // `take_numbers` has looked
    }

    /// The rows from `row` on that are of one series; none at the end.
    pub(super) fn run(&self, row: usize) -> Range<usize> {
        let rest = self.numbers.get(row..).unwrap_or_default();
        row..row + rest.iter().take_while(|number| rest.first() == Some(number)).count()
    }

    /// The rows from `from` on.
    pub(super) fn rows(&self, from: usize) -> SharedRows<'_> {
        SharedRows { numbers: &self.numbers, chunk: &self.decoded.chunk, from }
    }

    /// First and last time of the rows of one series, if it has some.
    pub(super) fn span_of(&self, series: SeriesNumber) -> Option<(i64, i64)> {
        let times = &self.decoded.chunk.times()[self.rows_of(series)];
        times.first().copied().zip(times.last().copied())
    }

    /// The rows of one series, if it has some.
    pub(super) fn chunk_of(&self, series: SeriesNumber) -> Option<Chunk> {
        let rows = self.rows_of(series);
        let columns = self.decoded.chunk.columns().iter().zip(&self.decoded.columns);
        let texts: Vec<u16> = columns.filter(|(_, known)| known.0 == FieldType::Str).map(|(c, _)| c.number()).collect();
        (!rows.is_empty()).then(|| self.decoded.chunk.slice(rows, |column| texts.contains(&column)))
    }

    fn rows_of(&self, series: SeriesNumber) -> Range<usize> {
        let number = u64::from(series.0);
        let first = self.numbers.partition_point(|one| *one < number);
        first..first + self.numbers[first..].partition_point(|one| *one == number)
    }
}

/// The rows of a shared chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedRows<'s> {
    /// The series of each row.
    pub(crate) numbers: &'s [u64],
    /// All rows, of which those of one series follow each other.
    pub(crate) chunk: &'s Chunk,
    /// The rows before it were passed.
    pub(crate) from: usize,
}

/// A shared chunk that goes from block to block as it is.
#[derive(Debug)]
pub(crate) struct SharedEncoded {
    pub(super) ends: (SeriesNumber, SeriesNumber),
    pub(super) span: (i64, i64),
    pub(super) series: u32,
    pub(super) rows: u16,
    pub(super) columns: u16,
    pub(super) points: u32,
    pub(super) body: Box<[u8]>,
}

impl SharedEncoded {
    /// A chunk as it was read: `body` is what its checksum covers, and `span` what the directory says of it.
    pub(super) fn read(body: &[u8], span: (i64, i64), rows: u16, columns: u16) -> Result<Self, Flaw> {
        let mut rest = body;
        let numbers = take_numbers(&mut rest, rows.into())?;
        let points = body::points(rest, (Rows::OfSeveral, rows.into()), columns.into())?;
        Ok(Self { ends: ends(&numbers), span, series: count(&numbers), rows, columns, points, body: body.into() })
    }

    /// First and last series.
    pub(crate) fn ends(&self) -> (SeriesNumber, SeriesNumber) {
        self.ends
    }
}

/// The numbers of the series of each row, of which there are some: not decreasing, and of 32 bits.
fn take_numbers(bytes: &mut &[u8], rows: usize) -> Result<Vec<u64>, Flaw> {
    if !(1..=CHUNK_ROWS_MAX).contains(&rows) {
        return Err(Flaw::Layout("its number of rows is none that a chunk can have"));
    }
    let encoding = body::take_u8(bytes)?;
    let mut numbers = Vec::new();
    codec::decode_u64(encoding, body::take_counted(bytes)?, rows, &mut numbers)?;
    let is_good = numbers.is_sorted() && numbers.last().is_some_and(|last| u32::try_from(*last).is_ok());
    if is_good { Ok(numbers) } else { Err(Flaw::Layout("its series are not in order")) }
}

fn ends(numbers: &[u64]) -> (SeriesNumber, SeriesNumber) {
    let at = |number: Option<&u64>| SeriesNumber(number.map_or(0, |number| *number as u32)); // `take_numbers` has looked
    (at(numbers.first()), at(numbers.last()))
}

fn count(numbers: &[u64]) -> u32 {
    numbers.chunk_by(|a, b| a == b).count() as u32 // at most CHUNK_ROWS_MAX
}

/// A shared chunk in the making.
#[derive(Debug, Default)]
pub(super) struct Sharing {
    /// The measurement of all of its series.
    home: SeriesNumber,
    numbers: Vec<u64>,
    rows: Builder,
    text: String,
    /// Of its columns, by number.
    types: Vec<FieldType>,
}

impl Sharing {
    /// A series with more rows has a chunk of its own: one that is read alone should not cost the reading of many.
    pub(super) const ROWS_MAX: usize = 32;

    /// Whether a series that has so many rows in the block should share a chunk with others, if the text of all is not too much.
    pub(super) fn suits(rows: usize, text: usize) -> bool {
        rows <= Self::ROWS_MAX && text <= TEXT_BYTES_MAX
    }

    /// Whether a series that suits fits in as well.
    pub(super) fn has_room(&self, home: SeriesNumber, rows: usize, text: usize) -> bool {
        self.numbers.is_empty()
            || self.home == home
                && self.numbers.len() + rows <= CHUNK_ROWS_MAX
                && self.text.len() + text <= TEXT_BYTES_MAX
    }

    /// How many more rows fit in.
    pub(super) fn room(&self) -> usize {
        CHUNK_ROWS_MAX - self.numbers.len()
    }

    /// Goes on with the rows of a series of a measurement, which comes after all before.
    pub(super) fn push(&mut self, (home, series): (SeriesNumber, SeriesNumber), chunk: &Chunk, types: &[FieldType]) {
        self.begin(home, types);
        let (rows, text_at) = (chunk.times().len(), self.text.len() as u64);
        let is_text = |column: u16| types.get(usize::from(column)) == Some(&FieldType::Str);
        self.numbers.resize(self.numbers.len() + rows, series.0.into());
        self.rows.append(chunk, 0..rows, text_at, is_text);
        self.text.push_str(chunk.text());
    }

    /// The same of rows of several series and chunks, which are alike.
    pub(super) fn gather(
        &mut self,
        home: SeriesNumber,
        numbers: &[u64],
        chunks: &[&Chunk],
        rows: &[(u32, u32)],
        types: &[FieldType],
    ) {
        self.begin(home, types);
        self.numbers.extend_from_slice(numbers);
        self.rows.gather(chunks, rows);
    }

    /// The same of rows as they come from the head.
    pub(super) fn push_rows(&mut self, few: &FewRows<'_>, types: &[FieldType]) {
        self.begin(few.home(), types);
        self.numbers.extend(few.numbers());
        let (words, stride, cells_at) = few.words();
        self.rows.extend_words(words, stride, few.columns().zip(cells_at..));
    }

    fn begin(&mut self, home: SeriesNumber, types: &[FieldType]) {
        if self.numbers.is_empty() {
            (self.home, self.types) = (home, types.to_vec());
        }
    }

    /// What was pushed; `None` if nothing was.
    pub(super) fn finish(self) -> Option<Finished> {
        let Self { numbers, rows, text, types, .. } = self;
        (!numbers.is_empty()).then(|| Finished { numbers, chunk: rows.finish(text.into()), types })
    }
}

/// A shared chunk that is not written yet.
pub(super) struct Finished {
    numbers: Vec<u64>,
    pub(super) chunk: Chunk,
    pub(super) types: Vec<FieldType>,
}

impl Finished {
    /// The series, if it is only one, which needs no chunk of this form.
    pub(super) fn only(&self) -> Option<SeriesNumber> {
        let (first, last) = ends(&self.numbers);
        (first == last).then_some(first)
    }

    pub(super) fn encode(&self) -> io::Result<SharedEncoded> {
        let mut body = Vec::new();
        body::put_counted(&mut body, |out| codec::encode_u64(&self.numbers, out))?;
        body::encode(&self.chunk, Rows::OfSeveral, &|column| self.types[usize::from(column)], &mut body)?;
        let times = self.chunk.times();
        let span = times.iter().fold((i64::MAX, i64::MIN), |(a, b), time| (a.min(*time), b.max(*time)));
        Ok(SharedEncoded {
            ends: ends(&self.numbers),
            span,
            series: count(&self.numbers),
            rows: times.len() as u16,                   // at most CHUNK_ROWS_MAX
            columns: self.chunk.columns().len() as u16, // their numbers differ and have 16 bits
            points: self.chunk.size().points as u32,    // at most 2^16 columns of CHUNK_ROWS_MAX rows
            body: body.into(),
        })
    }
}
