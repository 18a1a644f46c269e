//! How bytes become a frame again: everything that could be wrong with them is looked for here, once, so that nobody
//! after has to. The counterpart of `write`. Layout: `docs/formats/frame.md`.
//!
//! Total: any bytes give a frame or an error. No size that the bytes claim is allocated before as many bytes were
//! taken.

use bytes::Bytes;
use meridian_types::{Code, FieldType, KeyError, SeriesKey, SeriesNumber, TimeError, Timestamp, limits, name_is_valid};

use crate::blocks::{self, Coded};
use crate::codec::CodecError;
use crate::column::Presence;
use crate::reader::{Reader, are_bits};
use crate::size::HEADER_BYTES;
use crate::write::{MAGIC, PRESENCE_ALL, PRESENCE_BITMAP};
use crate::{Column, Field, Frame, Run, SeriesRef, Strings, Table, VERSION, Values};

/// Why bytes are no frame. Places are bytes from the start of the frame.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FrameError {
    /// Too short for a header, or without the magic that every frame begins with.
    #[error("these {0} bytes do not begin as a frame does")]
    NoFrame(usize),
    /// A version that this program does not know.
    #[error("the frame has version {0}, and this program reads version {VERSION}")]
    Version(u8),
    /// The header's length is not that of the bytes after it.
    #[error("the frame has {bytes} bytes after its header, which announces {announced}")]
    Length {
        /// What the header says.
        announced: usize,
        /// What is there.
        bytes: usize,
    },
    /// The bytes are not those that were sent.
    #[error("the frame has checksum {seen:#010x}, and its header says {announced:#010x}: it was damaged on its way")]
    Checksum {
        /// What the header says.
        announced: u32,
        /// What the bytes have.
        seen: u32,
    },
    /// A frame without a table.
    #[error("the frame has no row: send at least one")]
    Empty,
    /// Bytes that mean nothing.
    #[error("the frame is malformed before byte {at}: {what}")]
    Malformed {
        /// Where reading stopped.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// A column whose blocks are none.
    #[error("the column before byte {at}: {error}")]
    Column {
        /// Where reading stopped.
        at: usize,
        /// What is wrong with it.
        error: CodecError,
    },
    /// A series key that is none.
    #[error("the series before byte {at}: {error}")]
    Series {
        /// Where reading stopped.
        at: usize,
        /// What is wrong with it.
        error: KeyError,
    },
    /// A time that cannot be stored.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// Something over a limit.
    #[error("the frame has {seen} {what}, over the limit of {max}: send less at a time")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        seen: usize,
        /// How much there may be.
        max: usize,
    },
}

impl FrameError {
    /// The code to refuse the frame with.
    pub fn code(&self) -> Code {
        match self {
            Self::Version(_) | Self::Column { error: CodecError::Encoding { .. }, .. } => Code::WrongVersion,
            Self::Time(_) => Code::TimeOutOfRange,
            Self::OverLimit { .. } => Code::OverLimit,
            Self::Series { error: KeyError::TooMany(_) | KeyError::ValueTooLong { .. }, .. }
            | Self::Series { error: KeyError::KeyTooLong(_), .. } => Code::OverLimit,
            Self::NoFrame(_) | Self::Length { .. } | Self::Checksum { .. } => Code::BadRequest,
            Self::Empty | Self::Malformed { .. } | Self::Series { .. } | Self::Column { .. } => Code::BadRequest,
        }
    }
}

impl Frame {
    /// Takes bytes for a frame after checking all of them. Total: any bytes give a frame or an error, and memory of no
    /// more than a small multiple of their size, beside what is unpacked: some hundred bytes a row, each of which may have a
    /// series of its own, and eight a point. Of either there are [`limits::REQUEST_POINTS_MAX`] at most.
    pub fn check(bytes: Bytes) -> Result<Self, FrameError> {
        let mut reader = Reader::new(check_header(&bytes)?, HEADER_BYTES);
        let mut tables: Vec<Table> = Vec::new();
        let mut held = Held::default();
        while !reader.is_empty() {
            let table = read_table(&mut reader, &mut held)?;
            if tables.last().is_some_and(|previous| previous.measurement >= table.measurement) {
                return Err(reader.malformed("its tables are not sorted by measurement"));
            }
            tables.push(table);
        }
        if tables.is_empty() {
            return Err(FrameError::Empty);
        }
        Ok(Self { bytes, tables: tables.into(), rows: held.rows, points: held.points })
    }
}

/// What the tables hold so far: told before it is decoded, because a few bytes may stand for many values.
#[derive(Default)]
struct Held {
    rows: usize,
    points: usize,
}

impl Held {
    fn add_rows(&mut self, rows: usize) -> Result<(), FrameError> {
        self.rows += rows;
        within("rows", self.rows, limits::REQUEST_POINTS_MAX)
    }

    fn add_points(&mut self, points: usize) -> Result<(), FrameError> {
        self.points += points;
        within("points", self.points, limits::REQUEST_POINTS_MAX)
    }
}

/// The bytes after the header, which are those that were sent.
fn check_header(bytes: &[u8]) -> Result<&[u8], FrameError> {
    within("bytes", bytes.len(), limits::FRAME_BYTES_MAX)?;
    let no_frame = |_| FrameError::NoFrame(bytes.len());
    let mut header = Reader::new(bytes, 0);
    if header.take(MAGIC.len()).map_err(no_frame)? != MAGIC {
        return Err(FrameError::NoFrame(bytes.len()));
    }
    let version = header.u8().map_err(no_frame)?;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let (length, checksum) = (header.size().map_err(no_frame)?, header.u32().map_err(no_frame)?);
    let body = &bytes[HEADER_BYTES..];
    if length != body.len() {
        return Err(FrameError::Length { announced: length, bytes: body.len() });
    }
    match crc32c::crc32c(body) {
        seen if seen == checksum => Ok(body),
        seen => Err(FrameError::Checksum { announced: checksum, seen }),
    }
}

fn read_table(reader: &mut Reader<'_>, held: &mut Held) -> Result<Table, FrameError> {
    let measurement = read_name(reader)?;
    let (rows, fields) = (reader.size()?, reader.u16()?);
    within("rows", rows, limits::REQUEST_POINTS_MAX)?;
    within("fields of one measurement", fields, limits::FIELDS_MAX)?;
    held.add_rows(rows)?;
    let (series, check) = read_series(reader, rows)?;
    let runs = read_runs(reader, series, rows)?;
    let times = read_times(reader, rows)?;
    let mut table = Table { measurement, runs, check, times, fields: Vec::new() };
    for _ in 0..fields {
        let field = read_field(reader, rows, held)?;
        if table.fields.last().is_some_and(|previous| previous.name >= field.name) {
            return Err(reader.malformed("the fields of a table are not sorted by name"));
        }
        table.fields.push(field);
    }
    // A frame may have tens of thousands of tables of one field: room for four in each would be most of its memory.
    table.fields.shrink_to_fit();
    if each_row_has_a_value(&table) { Ok(table) } else { Err(reader.malformed("a row has no value")) }
}

/// The series of a table, those by key before those by number, and the check of the latter.
fn read_series(reader: &mut Reader<'_>, rows: usize) -> Result<(Vec<SeriesRef>, u32), FrameError> {
    let (keys, numbers) = (reader.size()?, reader.size()?);
    if keys.saturating_add(numbers) > rows {
        return Err(reader.malformed("a table has more series than rows"));
    }
    let mut series = Vec::new();
    for _ in 0..keys {
        let length = reader.size()?;
        let key = SeriesKey::from_bytes(reader.take(length)?);
        series.push(SeriesRef::Key(key.map_err(|error| FrameError::Series { at: reader.at(), error })?));
    }
    if numbers == 0 {
        return Ok((series, 0));
    }
    let column = reader.column()?;
    for number in read_all::<u64>(reader, column, numbers)? {
        let number = u32::try_from(number).map_err(|_| reader.malformed("a series number has over 32 bits"))?;
        series.push(SeriesRef::Number(SeriesNumber(number)));
    }
    Ok((series, reader.u32()?))
}

/// Each series has exactly one run: so no series is held twice, however large its key.
fn read_runs(reader: &mut Reader<'_>, series: Vec<SeriesRef>, rows: usize) -> Result<Vec<Run>, FrameError> {
    let column = reader.column()?;
    let lengths = read_all::<u64>(reader, column, series.len())?;
    let (mut runs, mut start) = (Vec::with_capacity(series.len()), 0);
    for (series, length) in series.into_iter().zip(lengths) {
        if length == 0 || length > (rows - start) as u64 {
            return Err(reader.malformed("the runs of a table do not add up to its rows"));
        }
        let end = start + length as usize;
        runs.push(Run { series, rows: start..end });
        start = end;
    }
    if start == rows && rows > 0 {
        Ok(runs)
    } else {
        Err(reader.malformed("the runs of a table do not add up to its rows"))
    }
}

fn read_times(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<i64>, FrameError> {
    let column = reader.column()?;
    let times = read_all::<i64>(reader, column, rows)?;
    let bounds = times.iter().fold((i64::MAX, i64::MIN), |(min, max), time| (min.min(*time), max.max(*time)));
    Timestamp::new(bounds.0)?;
    Timestamp::new(bounds.1)?;
    Ok(times)
}

fn read_field(reader: &mut Reader<'_>, rows: usize, held: &mut Held) -> Result<Field, FrameError> {
    let name = read_name(reader)?;
    let field_type =
        FieldType::from_stored(reader.u8()?).ok_or_else(|| reader.malformed("a field has no known type"))?;
    let presence = match reader.u8()? {
        PRESENCE_ALL => Presence::first(rows),
        PRESENCE_BITMAP => {
            let bitmap = reader.take(rows.div_ceil(8))?;
            if !are_bits(bitmap, rows) {
                return Err(reader.malformed("a bitmap has a bit beyond the last row"));
            }
            Presence::from_bitmap(bitmap)
        }
        _ => return Err(reader.malformed("a field says not which rows have a value")),
    };
    if presence.count == 0 {
        return Err(reader.malformed("a field has no value"));
    }
    held.add_points(presence.count)?;
    let values = read_values(reader, field_type, presence)?;
    Ok(Field { name, values })
}

fn read_values(reader: &mut Reader<'_>, field_type: FieldType, presence: Presence) -> Result<Column, FrameError> {
    let column = reader.column()?;
    let count = presence.count;
    Ok(match field_type {
        FieldType::F64 => Column::F64(Values::new(presence, read_all(reader, column, count)?)),
        FieldType::I64 => Column::I64(Values::new(presence, read_all(reader, column, count)?)),
        FieldType::U64 => Column::U64(Values::new(presence, read_all(reader, column, count)?)),
        FieldType::Bool => Column::Bool(Values::new(presence, read_all(reader, column, count)?)),
        FieldType::Str => {
            let (lengths, text) = read::<u64>(reader, column, count)?;
            let longest = lengths.iter().copied().max().unwrap_or(0);
            within(
                "bytes of one text",
                usize::try_from(longest).unwrap_or(usize::MAX),
                limits::STRING_VALUE_BYTES_MAX,
            )?;
            let text = std::str::from_utf8(text).map_err(|_| reader.malformed("a text is not UTF-8"))?;
            let strings = Strings::new(presence, lengths.iter().map(|length| *length as u32), text.to_owned());
            Column::Str(strings.ok_or_else(|| reader.malformed("texts do not fill their column or are not UTF-8"))?)
        }
    })
}

/// `count` values at the front of a column, and what is behind them. The caller has bounded `count`.
fn read<'a, T: Coded>(reader: &Reader<'_>, column: &'a [u8], count: usize) -> Result<(Vec<T>, &'a [u8]), FrameError> {
    blocks::take(column, count).map_err(|error| FrameError::Column { at: reader.at(), error })
}

/// The `count` values that are a column.
fn read_all<T: Coded>(reader: &Reader<'_>, column: &[u8], count: usize) -> Result<Vec<T>, FrameError> {
    match read(reader, column, count)? {
        (values, []) => Ok(values),
        _ => Err(reader.malformed("a column has more bytes than values")),
    }
}

fn read_name(reader: &mut Reader<'_>) -> Result<String, FrameError> {
    let length = reader.u16()?;
    let name = std::str::from_utf8(reader.take(length)?).map_err(|_| reader.malformed("a name is not UTF-8"))?;
    if name_is_valid(name) { Ok(name.to_owned()) } else { Err(reader.malformed("a name is empty or has a NUL byte")) }
}

/// Bitmaps hold no bit beyond the last row, so the rows that have a value can be counted.
fn each_row_has_a_value(table: &Table) -> bool {
    let mut union = vec![0_u64; table.rows().div_ceil(64)];
    for field in &table.fields {
        let Some(words) = field.values.presence().words() else { return true };
        union.iter_mut().zip(words).for_each(|(sum, word)| *sum |= word);
    }
    union.iter().map(|word| word.count_ones() as usize).sum::<usize>() == table.rows()
}

fn within(what: &'static str, seen: usize, max: usize) -> Result<(), FrameError> {
    if seen <= max { Ok(()) } else { Err(FrameError::OverLimit { what, seen, max }) }
}
