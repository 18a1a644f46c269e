//! The body of a chunk: times and columns, encoded one by one.
//!
//! Layout: `encoding:u8 length:u32` and the times, then for each column `number:u16 type:u8 encoding:u8 presence:u8 length:u32`, the bitmap if not every
//! row has a value, the statistics if there are enough values, and `length` bytes of values. How many rows and columns
//! there are stands in the directory. It must never make room for more than that.

use std::io;

use bytes::{Buf, BufMut};
use meridian_frame::codec::{self, CodecError, Encoding, Texts};
use meridian_types::FieldType;

use super::CHUNK_ROWS_MAX;
use super::shared::Shared;
use super::statistics::Statistics;
use crate::chunk::{Chunk, Column};

/// Encoding and length in front of the times.
const COUNTED_HEADER_BYTES: usize = 5;
const PRESENCE_ALL: u8 = 0;
const PRESENCE_BITMAP: u8 = 1;

/// What is wrong with a part of a block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// It is not as it must be.
    #[error("{0}")]
    Layout(&'static str),
    /// A column cannot be decoded.
    #[error(transparent)]
    Values(#[from] CodecError),
}

const SHORT: Flaw = Flaw::Layout("it is cut short");
const LEFT_OVER: Flaw = Flaw::Layout("bytes are left over");

/// Which columns of a chunk are decoded; the others are passed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    All,
    /// Those of these numbers, which are in order.
    Only(&'a [u16]),
}

impl Wanted<'_> {
    fn has(self, number: u16) -> bool {
        match self {
            Self::All => true,
            Self::Only(numbers) => numbers.binary_search(&number).is_ok(),
        }
    }
}

/// Whose rows a body has. Of those of several series the times increase within each series only, and there are no statistics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rows {
    OfOne,
    OfSeveral,
}

impl Rows {
    fn statistics(self, field_type: FieldType, cells: &[u64]) -> Option<Statistics> {
        if self == Self::OfOne { Statistics::of(field_type, cells) } else { None }
    }
}

/// A chunk as it was read, with the columns that were wanted.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) chunk: Chunk,
    /// Of each column, its type and what is known without its values.
    pub(super) columns: Vec<(FieldType, Option<Statistics>)>,
}

impl Decoded {
    /// Values of all columns.
    pub(super) fn points(&self) -> u64 {
        self.chunk.columns().iter().map(|column| column.cells().len() as u64).sum()
    }

    /// Whether what is known without the values is what the values say.
    pub(super) fn statistics_are_right(&self) -> bool {
        let columns = self.chunk.columns().iter().zip(&self.columns);
        columns.into_iter().all(|(column, (kind, seen))| Rows::OfOne.statistics(*kind, column.cells()) == *seen)
    }
}

/// Appends the body of `chunk`. An error if it is too large for a block.
pub(super) fn encode(chunk: &Chunk, rows: Rows, types: &dyn Fn(u16) -> FieldType, out: &mut Vec<u8>) -> io::Result<()> {
    put_counted(out, |out| codec::encode_i64(chunk.times(), out))?;
    chunk.columns().iter().try_for_each(|column| put_column(chunk, rows, column, types(column.number()), out))
}

/// Appends what `put` encodes, with encoding and length in front.
pub(super) fn put_counted(out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>) -> Encoding) -> io::Result<()> {
    let header = out.len();
    out.put_bytes(0, COUNTED_HEADER_BYTES);
    let encoding = put(out);
    let length = length(out.len() - header - COUNTED_HEADER_BYTES)?;
    out[header] = encoding as u8;
    out[header + 1..][..4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_column(chunk: &Chunk, rows: Rows, column: &Column, field_type: FieldType, out: &mut Vec<u8>) -> io::Result<()> {
    let header = out.len();
    out.put_u16_le(column.number());
    out.put_u8(field_type as u8);
    out.put_u8(0);
    out.put_u8(if column.present().is_some() { PRESENCE_BITMAP } else { PRESENCE_ALL });
    out.put_u32_le(0);
    if let Some(mask) = column.present() {
        let bytes = mask.iter().flat_map(|word| word.to_le_bytes());
        out.extend(bytes.take(chunk.times().len().div_ceil(8)));
    }
    if let Some(statistics) = rows.statistics(field_type, column.cells()) {
        statistics.put(out);
    }
    let start = out.len();
    let encoding = put_cells(chunk, column.cells(), field_type, out);
    let length = length(out.len() - start)?;
    out[header + 3] = encoding as u8;
    out[header + 5..][..4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put_cells(chunk: &Chunk, cells: &[u64], field_type: FieldType, out: &mut Vec<u8>) -> Encoding {
    match field_type {
        FieldType::F64 => {
            let values: Vec<f64> = cells.iter().map(|cell| f64::from_bits(*cell)).collect();
            codec::encode_f64(&values, out)
        }
        FieldType::I64 | FieldType::U64 => codec::encode_u64(cells, out), // the two differ in name alone
        FieldType::Bool => {
            let values: Vec<bool> = cells.iter().map(|cell| *cell != 0).collect();
            codec::encode_bool(&values, out)
        }
        FieldType::Str => {
            let values: Vec<&str> = cells.iter().map(|cell| chunk.string(*cell)).collect();
            codec::encode_str(&values, out)
        }
    }
}

/// The length as it is stored.
pub(super) fn length(bytes: usize) -> io::Result<u32> {
    let too_large = |_| {
        let text = format!("{bytes} bytes in one chunk, over the limit of 4 GiB: cut it into chunks of fewer rows");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    u32::try_from(bytes).map_err(too_large)
}

/// The body of a chunk that was read, of which columns are decoded as it turns out that they are needed.
#[derive(Debug)]
pub(super) struct Body<'a> {
    whose: Rows,
    rows: usize,
    /// Encoding and bytes.
    times: (u8, &'a [u8]),
    /// Of the columns that may be needed.
    heads: Vec<Head<'a>>,
}

impl<'a> Body<'a> {
    /// Reads a body of so many rows and columns up to the values, which are decoded later, at most those that are wanted.
    pub(super) fn open(
        mut bytes: &'a [u8],
        (whose, rows): (Rows, usize),
        columns: usize,
        wanted: Wanted<'_>,
    ) -> Result<Self, Flaw> {
        if !(1..=CHUNK_ROWS_MAX).contains(&rows) {
            return Err(Flaw::Layout("its number of rows is none that a chunk can have"));
        }
        let times = (take_u8(&mut bytes)?, take_counted(&mut bytes)?);
        let (mut heads, mut last) = (Vec::new(), None);
        for _ in 0..columns {
            let head = take_head(&mut bytes, whose, rows)?;
            if last.replace(head.number).is_some_and(|last| last >= head.number) {
                return Err(Flaw::Layout("its columns are not sorted"));
            }
            if wanted.has(head.number) {
                heads.push(head);
            }
        }
        if bytes.is_empty() { Ok(Self { whose, rows, times, heads }) } else { Err(LEFT_OVER) }
    }

    /// The times, and those of the columns that are wanted now.
    pub(super) fn decode(&self, wanted: Wanted<'_>) -> Result<Decoded, Flaw> {
        let mut times = Vec::new();
        codec::decode_i64(self.times.0, self.times.1, self.rows, &mut times)?;
        if self.whose == Rows::OfOne && !times.is_sorted_by(|a, b| a < b) {
            return Err(Flaw::Layout("its times do not increase"));
        }
        let (mut texts, mut taken, mut known) = (Texts::default(), Vec::new(), Vec::new());
        for head in self.heads.iter().filter(|head| wanted.has(head.number)) {
            let cells = take_cells(head.field_type, head.encoding, head.values, head.count, &mut texts)?;
            taken.push(Column::new(head.number, head.present.clone(), cells));
            known.push((head.field_type, head.statistics.clone()));
        }
        Ok(Decoded { chunk: Chunk::from_parts(times.into(), taken.into(), texts.text.into()), columns: known })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A column that may be needed, if the chunk has it.
    pub(super) fn head(&self, number: u16) -> Option<&Head<'a>> {
        let place = self.heads.binary_search_by_key(&number, |head| head.number).ok()?;
        Some(&self.heads[place])
    }
}

/// How many values a body of so many rows and columns has, without decoding them.
pub(super) fn points(mut bytes: &[u8], (whose, rows): (Rows, usize), columns: usize) -> Result<u32, Flaw> {
    take_u8(&mut bytes)?;
    take_counted(&mut bytes)?;
    let mut points = 0;
    for _ in 0..columns {
        points += take_head(&mut bytes, whose, rows)?.count as u32; // at most CHUNK_ROWS_MAX in each of 2^16 columns
    }
    if bytes.is_empty() { Ok(points) } else { Err(LEFT_OVER) }
}

/// Tries any bytes as a body, of one series or of several: the first four say how many rows and columns there are.
pub(super) fn decode_any(mut bytes: &[u8]) -> Result<Decoded, Flaw> {
    let (rows, columns) = (take_u16(&mut bytes)?, take_u16(&mut bytes)?);
    let _ = Shared::decode(bytes, rows.into(), columns.into(), Wanted::All);
    Body::open(bytes, (Rows::OfOne, rows.into()), columns.into(), Wanted::All)?.decode(Wanted::All)
}

/// A column that is not decoded.
#[derive(Debug)]
pub(super) struct Head<'a> {
    number: u16,
    pub(super) field_type: FieldType,
    encoding: u8,
    present: Option<Box<[u64]>>,
    /// Its values.
    pub(super) count: usize,
    pub(super) statistics: Option<Statistics>,
    values: &'a [u8],
}

fn take_head<'a>(bytes: &mut &'a [u8], whose: Rows, rows: usize) -> Result<Head<'a>, Flaw> {
    let number = take_u16(bytes)?;
    let field_type = FieldType::from_stored(take_u8(bytes)?).ok_or(Flaw::Layout("a column has an unknown type"))?;
    let encoding = take_u8(bytes)?;
    let presence = take_u8(bytes)?;
    let length = bytes.try_get_u32_le().map_err(|_| SHORT)? as usize;
    let present = match presence {
        PRESENCE_ALL => None,
        PRESENCE_BITMAP => Some(take_bitmap(bytes, rows)?),
        _ => return Err(Flaw::Layout("a column says unclearly which rows have a value")),
    };
    let count = present.as_ref().map_or(rows, |mask| mask.iter().map(|word| word.count_ones() as usize).sum());
    let statistics = match whose {
        Rows::OfOne => Statistics::take(field_type, count, bytes).ok_or(SHORT)?,
        Rows::OfSeveral => None,
    };
    let values = bytes.split_off(..length).ok_or(SHORT)?;
    Ok(Head { number, field_type, encoding, present, count, statistics, values })
}

/// The cells of a column; its texts are appended to those of the chunk.
fn take_cells(
    field_type: FieldType,
    encoding: u8,
    values: &[u8],
    count: usize,
    texts: &mut Texts,
) -> Result<Box<[u64]>, Flaw> {
    match field_type {
        FieldType::F64 => {
            let mut floats = Vec::new();
            codec::decode_f64(encoding, values, count, &mut floats)?;
            Ok(floats.into_iter().map(f64::to_bits).collect())
        }
        FieldType::I64 | FieldType::U64 => {
            let mut cells = Vec::new();
            codec::decode_u64(encoding, values, count, &mut cells)?;
            Ok(cells.into())
        }
        FieldType::Bool => {
            let mut bools = Vec::new();
            codec::decode_bool(encoding, values, count, &mut bools)?;
            Ok(bools.into_iter().map(u64::from).collect())
        }
        FieldType::Str => {
            codec::decode_str(encoding, values, count, texts)?;
            Ok(texts.spans.drain(..).map(|span| u64::from(span.start) << 32 | u64::from(span.len)).collect())
        }
    }
}

/// Which rows have a value: some, and not all.
fn take_bitmap(bytes: &mut &[u8], rows: usize) -> Result<Box<[u64]>, Flaw> {
    let bitmap = bytes.split_off(..rows.div_ceil(8)).ok_or(SHORT)?;
    let word = |eight: &[u8]| eight.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let mask: Box<[u64]> = bitmap.chunks(8).map(word).collect();
    let count: usize = mask.iter().map(|word| word.count_ones() as usize).sum();
    let spare = mask.last().map_or(0, |word| word.checked_shr((rows % 64) as u32).unwrap_or(0));
    let is_spare_set = !rows.is_multiple_of(64) && spare != 0;
    if is_spare_set || count == 0 || count == rows {
        return Err(Flaw::Layout("a bitmap does not fit its rows"));
    }
    Ok(mask)
}

/// Bytes with their length in front.
pub(super) fn take_counted<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Flaw> {
    let length = bytes.try_get_u32_le().map_err(|_| SHORT)? as usize;
    bytes.split_off(..length).ok_or(SHORT)
}

pub(super) fn take_u8(bytes: &mut &[u8]) -> Result<u8, Flaw> {
    bytes.try_get_u8().map_err(|_| SHORT)
}

fn take_u16(bytes: &mut &[u8]) -> Result<u16, Flaw> {
    bytes.try_get_u16_le().map_err(|_| SHORT)
}
