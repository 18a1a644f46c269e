//! Files of the series table: which series got which number, as increments that are merged as they grow. Layout:
//! docs/formats/names.md.
//!
//! It must never give a number anew: what was listed stays listed until its database is dropped.

use std::path::Path;

use meridian_env::{Disk, Open};
use meridian_types::{DatabaseId, SeriesKey, SeriesNumber};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::StoreError;
use crate::manifest::NamesRecord;
use crate::series::Identity;

const MAGIC: [u8; 4] = *b"MNAM";
const VERSION: u32 = 1;
/// `magic version:u32 file:u64 count:u32 length:u64 crc:u32`.
const HEAD_BYTES: usize = 32;

/// One series of a file.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Name {
    pub(crate) number: SeriesNumber,
    pub(crate) database: DatabaseId,
    pub(crate) measurement: Box<str>,
    pub(crate) key: SeriesKey,
}

/// Records of series in order of their numbers, not yet a file.
#[derive(Default)]
pub(crate) struct Names {
    body: Vec<u8>,
    count: u32,
    first: Option<SeriesNumber>,
}

impl Names {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn bytes(&self) -> u64 {
        (HEAD_BYTES + self.body.len()) as u64
    }

    pub(crate) fn push_identity(&mut self, series: &Identity) {
        let home = &series.home;
        self.push_parts(series.number, home.database, &home.measurement, &series.key);
    }

    pub(crate) fn push(&mut self, name: &Name) {
        self.push_parts(name.number, name.database, &name.measurement, &name.key);
    }

    /// `number:u32 database:u32 measurement_len:u16 measurement key_len:u32 key`.
    fn push_parts(&mut self, number: SeriesNumber, database: DatabaseId, measurement: &str, key: &SeriesKey) {
        self.first.get_or_insert(number);
        self.count += 1;
        let name_len = u16::try_from(measurement.len()).expect("a name is at most NAME_BYTES_MAX long");
        let key = key.as_bytes();
        let key_len = u32::try_from(key.len()).expect("a key is at most SERIES_KEY_BYTES_MAX long");
        self.body.extend_from_slice(&number.0.to_le_bytes());
        self.body.extend_from_slice(&database.0.to_le_bytes());
        self.body.extend_from_slice(&name_len.to_le_bytes());
        self.body.extend_from_slice(measurement.as_bytes());
        self.body.extend_from_slice(&key_len.to_le_bytes());
        self.body.extend_from_slice(key);
    }

    /// Writes the file of this number at `path`, synced; its name is not.
    pub(crate) fn write(self, disk: &dyn Disk, path: &Path, file: u64) -> Result<NamesRecord, StoreError> {
        let first = self.first.expect("only tables with series are written");
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&file.to_le_bytes());
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes.extend_from_slice(&(self.body.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &self.body);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&self.body);
        let write = || {
            let file = disk.open(path, Open::Create)?;
            file.write_at(&bytes, 0)?;
            file.sync_data()
        };
        write().map_err(|error| StoreError::io(format_args!("writing {}", path.display()), &error))?;
        Ok(NamesRecord { file, bytes: bytes.len() as u64, hash: xxh3_128(&bytes), first })
    }
}

/// The series of a file.
pub(crate) fn read(disk: &dyn Disk, path: &Path, record: &NamesRecord) -> Result<Vec<Name>, StoreError> {
    let bytes = disk.read(path, record.bytes);
    let bytes = bytes.map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => StoreError::Damaged(error.to_string()),
        _ => StoreError::io(format_args!("reading {}", path.display()), &error),
    })?;
    let damaged = |what: &str| StoreError::Damaged(format!("{} {what}", path.display()));
    if bytes.len() as u64 != record.bytes || xxh3_128(&bytes) != record.hash {
        return Err(damaged("is not the file that the manifest names"));
    }
    decode(&bytes, record.file).ok_or_else(|| damaged("is no series table"))
}

/// What a file of this number holds; `None` if it is none.
pub(crate) fn decode(bytes: &[u8], file: u64) -> Option<Vec<Name>> {
    let (head, mut body) = bytes.split_at_checked(HEAD_BYTES)?;
    let crc = u32::from_le_bytes(*head.last_chunk()?);
    let count = u32::from_le_bytes(head[16..20].try_into().ok()?);
    let as_expected = head[..4] == MAGIC
        && head[4..8] == VERSION.to_le_bytes()
        && head[8..16] == file.to_le_bytes()
        && head[20..28] == (body.len() as u64).to_le_bytes()
        && crc32c::crc32c_append(crc32c::crc32c(&head[..HEAD_BYTES - 4]), body) == crc;
    if !as_expected {
        return None;
    }
    let mut names: Vec<Name> = Vec::new();
    while !body.is_empty() {
        let name = take_name(&mut body)?;
        if names.last().is_some_and(|last| last.number >= name.number) {
            return None;
        }
        names.push(name);
    }
    (names.len() == count as usize).then_some(names)
}

fn take<'a>(body: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (part, rest) = body.split_at_checked(len)?;
    *body = rest;
    Some(part)
}

fn take_u32(body: &mut &[u8]) -> Option<u32> {
    take(body, 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

fn take_name(body: &mut &[u8]) -> Option<Name> {
    let (number, database) = (SeriesNumber(take_u32(body)?), DatabaseId(take_u32(body)?));
    let name_len = u16::from_le_bytes(take(body, 2)?.try_into().ok()?);
    let measurement = std::str::from_utf8(take(body, name_len.into())?).ok()?.into();
    let key_len = take_u32(body)?;
    let key = SeriesKey::from_bytes(take(body, key_len as usize)?).ok()?;
    Some(Name { number, database, measurement, key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Name> {
        let name = |number, tags: &mut [(&str, &str)]| Name {
            number: SeriesNumber(number),
            database: DatabaseId(3),
            measurement: "cpu".into(),
            key: SeriesKey::from_tags(tags).expect("a key"),
        };
        vec![name(0, &mut []), name(7, &mut [("host", "a"), ("region", "eu")])]
    }

    #[test]
    fn what_is_written_is_read_and_every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let (env, path) = (meridian_env::real::env().expect("an env"), dir.path().join("names"));
        let mut names = Names::default();
        example().iter().for_each(|name| names.push(name));
        let record = names.write(&*env.disk, &path, 9).expect("written");
        assert_eq!(read(&*env.disk, &path, &record).expect("read"), example());
        let bytes = env.disk.read(&path, 1_000).expect("bytes");
        for bit in 0..8 * bytes.len() {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped, 9), None, "bit {bit}");
        }
        assert_eq!(decode(&bytes, 8), None, "another file's");
        (0..bytes.len()).for_each(|at| assert_eq!(decode(&bytes[..at], 9), None, "cut at {at}"));
    }
}
