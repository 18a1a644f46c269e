//! How a frame is laid out: the counterpart of `check`. Layout: `docs/formats/frame.md`.
//!
//! Writes what it is given and decides nothing: limits and cuts are the callers' business.

use std::borrow::Cow;

use bytes::Bytes;

use crate::blocks::{self, Coded};
use crate::column::Column;
use crate::size::HEADER_BYTES;
use crate::{Field, SeriesRef, VERSION, Values};

/// What every frame begins with.
pub(crate) const MAGIC: &[u8; 3] = b"MFR";
/// Every row has a value: no bitmap. Stored: never renumber.
pub(crate) const PRESENCE_ALL: u8 = 0;
/// A bitmap says which rows have a value. Stored: never renumber.
pub(crate) const PRESENCE_BITMAP: u8 = 1;

/// Some rows of a table, in the order in which they are to be written.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// The table's measurement.
    pub(crate) measurement: &'a str,
    /// Each series and how many of `rows` are its own, in order: those by key before those by number.
    pub(crate) runs: Vec<(&'a SeriesRef, usize)>,
    /// Of those by number.
    pub(crate) check: u32,
    /// Which rows, as places in `times` and `fields`; `None` for all in their order.
    pub(crate) rows: Option<Vec<u32>>,
    /// The times of the table, in nanoseconds.
    pub(crate) times: &'a [i64],
    /// The fields of the table, sorted by name; those without a value in `rows` are left out.
    pub(crate) fields: Vec<&'a Field>,
}

impl Selection<'_> {
    fn row_count(&self) -> usize {
        self.rows.as_ref().map_or(self.times.len(), Vec::len)
    }

    fn has_value(&self, field: &Field) -> bool {
        let presence = field.values.presence();
        self.rows.as_ref().is_none_or(|rows| rows.iter().any(|row| presence.index(*row as usize).is_some()))
    }
}

/// A frame under construction: room for the header.
pub(crate) fn start() -> Vec<u8> {
    vec![0; HEADER_BYTES]
}

/// Fills in the header.
pub(crate) fn finish(mut out: Vec<u8>) -> Bytes {
    let (header, body) = out.split_at_mut(HEADER_BYTES);
    header[..3].copy_from_slice(MAGIC);
    header[3] = VERSION;
    header[4..8].copy_from_slice(&length(body.len()).to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    out.into()
}

/// Appends a table.
pub(crate) fn write_table(out: &mut Vec<u8>, table: &Selection<'_>) {
    let fields: Vec<&Field> = table.fields.iter().copied().filter(|field| table.has_value(field)).collect();
    write_name(out, table.measurement);
    write_length(out, table.row_count());
    out.extend_from_slice(&u16::try_from(fields.len()).expect("at most FIELDS_MAX").to_le_bytes());
    write_series(out, table);
    let times = gathered(table.times, table.rows.as_deref());
    write_column(out, |out| blocks::put(&times, out));
    for field in fields {
        write_field(out, field, table);
    }
}

fn write_series(out: &mut Vec<u8>, table: &Selection<'_>) {
    let keys = table.runs.iter().filter_map(|(series, _)| match series {
        SeriesRef::Key(key) => Some(key),
        SeriesRef::Number(_) => None,
    });
    let numbers: Vec<u64> = table.runs.iter().filter_map(|(series, _)| series.number()).map(|n| n.0.into()).collect();
    write_length(out, table.runs.len() - numbers.len());
    write_length(out, numbers.len());
    for key in keys {
        write_length(out, key.as_bytes().len());
        out.extend_from_slice(key.as_bytes());
    }
    if !numbers.is_empty() {
        write_column(out, |out| blocks::put(&numbers, out));
        out.extend_from_slice(&table.check.to_le_bytes());
    }
    let lengths: Vec<u64> = table.runs.iter().map(|(_, rows)| *rows as u64).collect();
    write_column(out, |out| blocks::put(&lengths, out));
}

fn write_field(out: &mut Vec<u8>, field: &Field, table: &Selection<'_>) {
    write_name(out, &field.name);
    out.push(field.field_type() as u8);
    let (presence, count) = (field.values.presence(), table.row_count());
    let all = presence.is_first(count)
        || table.rows.as_ref().is_some_and(|rows| rows.iter().all(|row| presence.index(*row as usize).is_some()));
    if all {
        out.push(PRESENCE_ALL);
    } else {
        out.push(PRESENCE_BITMAP);
        let has = |row: usize| presence.index(row).is_some();
        match &table.rows {
            None => write_bits(out, (0..count).map(has)),
            Some(rows) => write_bits(out, rows.iter().map(|row| has(*row as usize))),
        }
    }
    let rows = table.rows.as_deref();
    write_column(out, |out| match &field.values {
        Column::F64(values) => write_values(out, values, rows),
        Column::I64(values) => write_values(out, values, rows),
        Column::U64(values) => write_values(out, values, rows),
        Column::Bool(values) => write_values(out, values, rows),
        Column::Str(values) => {
            let texts: Vec<&str> = match rows {
                None => (0..count).filter_map(|row| values.get(row)).collect(),
                Some(rows) => rows.iter().filter_map(|row| values.get(*row as usize)).collect(),
            };
            let lengths: Vec<u64> = texts.iter().map(|text| text.len() as u64).collect();
            blocks::put(&lengths, out);
            texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
        }
    });
}

fn write_values<T: Coded>(out: &mut Vec<u8>, values: &Values<T>, rows: Option<&[u32]>) {
    match rows {
        None => blocks::put(values.present(), out),
        Some(rows) => {
            let some: Vec<T> = rows.iter().filter_map(|row| values.get(*row as usize)).collect();
            blocks::put(&some, out);
        }
    }
}

fn gathered<'a>(times: &'a [i64], rows: Option<&[u32]>) -> Cow<'a, [i64]> {
    match rows {
        None => times.into(),
        Some(rows) => rows.iter().map(|row| times[*row as usize]).collect(),
    }
}

/// A length, then what `values` appends.
fn write_column(out: &mut Vec<u8>, values: impl FnOnce(&mut Vec<u8>)) {
    write_length(out, 0);
    let start = out.len();
    values(out);
    let bytes = length(out.len() - start).to_le_bytes();
    out[start - 4..start].copy_from_slice(&bytes);
}

/// Eight a byte, least significant first; the spare bits of the last byte are zero.
fn write_bits(out: &mut Vec<u8>, bits: impl Iterator<Item = bool>) {
    for (i, bit) in bits.enumerate() {
        if i % 8 == 0 {
            out.push(0);
        }
        if let Some(last) = out.last_mut() {
            *last |= u8::from(bit) << (i % 8);
        }
    }
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(&u16::try_from(name.len()).expect("a valid name").to_le_bytes());
    out.extend_from_slice(name.as_bytes());
}

fn write_length(out: &mut Vec<u8>, bytes: usize) {
    out.extend_from_slice(&length(bytes).to_le_bytes());
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a frame is far below 4 GiB")
}
