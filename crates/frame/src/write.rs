//! How a frame is laid out: the counterpart of `check`. Layout: `docs/formats/frame.md`.
//!
//! Writes what it is given and decides nothing: limits and cuts are the callers' business.

use bytes::Bytes;

use crate::{Field, SeriesRef, VERSION, column::Column, size::HEADER_BYTES};

/// What every frame begins with.
pub(crate) const MAGIC: &[u8; 3] = b"MFR";
/// Values stand as they are: eight bytes a number, a bit a truth value, lengths and bytes of texts. Stored: never
/// renumber.
pub(crate) const ENCODING_PLAIN: u8 = 0;
/// A series by its key. Stored: never renumber.
pub(crate) const SERIES_KEY: u8 = 0;
/// A series by its number. Stored: never renumber.
pub(crate) const SERIES_NUMBER: u8 = 1;
/// Every row has a value: no bitmap. Stored: never renumber.
pub(crate) const PRESENCE_ALL: u8 = 0;
/// A bitmap says which rows have a value. Stored: never renumber.
pub(crate) const PRESENCE_BITMAP: u8 = 1;

/// Some rows of a table, in the order in which they are to be written.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    /// The table's measurement.
    pub(crate) measurement: &'a str,
    /// Each series and how many of `rows` are its own, in order.
    pub(crate) runs: Vec<(&'a SeriesRef, usize)>,
    /// Which rows, as places in `times` and `fields`.
    pub(crate) rows: Vec<usize>,
    /// The times of the table, in nanoseconds.
    pub(crate) times: &'a [i64],
    /// The fields of the table, sorted by name; those without a value in `rows` are left out.
    pub(crate) fields: Vec<&'a Field>,
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
    let fields: Vec<&Field> =
        table.fields.iter().copied().filter(|f| table.rows.iter().any(|row| f.get(*row).is_some())).collect();
    write_name(out, table.measurement);
    write_length(out, table.runs.len());
    write_length(out, table.rows.len());
    out.extend_from_slice(&u16::try_from(fields.len()).expect("at most FIELDS_MAX").to_le_bytes());
    for (series, _) in &table.runs {
        write_series(out, series);
    }
    for (index, (_, rows)) in table.runs.iter().enumerate() {
        write_length(out, index);
        write_length(out, *rows);
    }
    write_column(out, |out| table.rows.iter().for_each(|row| out.extend_from_slice(&table.times[*row].to_le_bytes())));
    for field in fields {
        write_field(out, field, &table.rows);
    }
}

fn write_series(out: &mut Vec<u8>, series: &SeriesRef) {
    match series {
        SeriesRef::Key(key) => {
            out.push(SERIES_KEY);
            write_length(out, key.as_bytes().len());
            out.extend_from_slice(key.as_bytes());
        }
        SeriesRef::Number { number, check } => {
            out.push(SERIES_NUMBER);
            out.extend_from_slice(&number.0.to_le_bytes());
            out.extend_from_slice(&check.to_le_bytes());
        }
    }
}

fn write_field(out: &mut Vec<u8>, field: &Field, rows: &[usize]) {
    write_name(out, &field.name);
    out.push(field.field_type() as u8);
    let presence = field.values.presence();
    if rows.iter().all(|row| presence.index(*row).is_some()) {
        out.push(PRESENCE_ALL);
    } else {
        out.push(PRESENCE_BITMAP);
        write_bits(out, rows.iter().map(|row| presence.index(*row).is_some()));
    }
    write_column(out, |out| match &field.values {
        Column::F64(v) => rows.iter().filter_map(|r| v.get(*r)).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        Column::I64(v) => rows.iter().filter_map(|r| v.get(*r)).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        Column::U64(v) => rows.iter().filter_map(|r| v.get(*r)).for_each(|v| out.extend_from_slice(&v.to_le_bytes())),
        Column::Bool(v) => write_bits(out, rows.iter().filter_map(|r| v.get(*r))),
        Column::Str(v) => {
            rows.iter().filter_map(|r| v.get(*r)).for_each(|text| write_length(out, text.len()));
            rows.iter().filter_map(|r| v.get(*r)).for_each(|text| out.extend_from_slice(text.as_bytes()));
        }
    });
}

/// Encoding and length, then what `values` appends.
fn write_column(out: &mut Vec<u8>, values: impl FnOnce(&mut Vec<u8>)) {
    out.push(ENCODING_PLAIN);
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
