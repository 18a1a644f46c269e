//! The catalogue as one file beside the registry: what the log is purged behind, what another replica is sent, and what a
//! registry that does not fit is rebuilt from. Layout: `docs/formats/catalogue.md`.
//!
//! Replaced as a whole and never changed. Reading is total: any bytes are a catalogue or a typed refusal.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, BufMut};
use meridian_env::{Disk, File, Open};
use meridian_meta::{Catalogue, DecodeError};
use meridian_raft::{Applied, Content, View, ViewFile};
use xxhash_rust::xxh3::xxh3_128;

/// Its name as part of a snapshot.
pub(super) const NAME: &str = "catalogue";

const MAGIC: &[u8; 4] = b"MCAT";
const VERSION: u32 = 1;
/// Bytes before the checksum, and with it.
const CHECKED_BYTES: usize = 16;
const HEAD_BYTES: usize = CHECKED_BYTES + 4;
/// Far above what the limits of a catalogue allow.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Why there is no catalogue in a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is no catalogue file")]
    Magic,
    #[error("it has format version {0}, this binary reads version {VERSION}: run the version that wrote it")]
    Version(u32),
    #[error("it should have {expected} bytes and has {len}")]
    Length { expected: u64, len: u64 },
    #[error("its checksum does not fit its content")]
    Checksum,
    #[error("it ends in the middle of a section")]
    Short,
    #[error(transparent)]
    Catalogue(#[from] DecodeError),
}

pub(super) fn encode(applied: &Applied, catalogue: &Catalogue) -> Vec<u8> {
    let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a section is far smaller");
    let mut bytes = vec![0; HEAD_BYTES];
    bytes.put_u32_le(len(&applied.0));
    bytes.put_slice(&applied.0);
    for (key, value) in catalogue.sections() {
        for part in [key, value] {
            bytes.put_u32_le(len(&part));
            bytes.put_slice(&part);
        }
    }
    let body = (bytes.len() - HEAD_BYTES) as u64;
    let mut head = &mut bytes[..CHECKED_BYTES];
    head.put_slice(MAGIC);
    head.put_u32_le(VERSION);
    head.put_u64_le(body);
    let check = checksum(&bytes);
    bytes[CHECKED_BYTES..HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKED_BYTES]), &bytes[HEAD_BYTES..])
}

pub(super) fn decode(bytes: &[u8]) -> Result<(Applied, Catalogue), FileError> {
    let mut head = bytes.get(..HEAD_BYTES).filter(|head| head.starts_with(MAGIC)).ok_or(FileError::Magic)?;
    head.advance(MAGIC.len());
    match head.get_u32_le() {
        VERSION => {}
        version => return Err(FileError::Version(version)),
    }
    let (expected, len) = (head.get_u64_le().saturating_add(HEAD_BYTES as u64), bytes.len() as u64);
    if expected != len {
        return Err(FileError::Length { expected, len });
    }
    if head.get_u32_le() != checksum(bytes) {
        return Err(FileError::Checksum);
    }
    let mut body = &bytes[HEAD_BYTES..];
    let applied = Applied(bytes::Bytes::copy_from_slice(take(&mut body)?));
    let mut sections = Vec::new();
    while !body.is_empty() {
        sections.push((take(&mut body)?.to_vec(), take(&mut body)?.to_vec()));
    }
    Ok((applied, Catalogue::from_sections(sections)?))
}

fn take<'a>(body: &mut &'a [u8]) -> Result<&'a [u8], FileError> {
    let len = body.try_get_u32_le().map_err(|_| FileError::Short)? as usize;
    body.split_off(..len).ok_or(FileError::Short)
}

/// A file that was written or read, held open: it stays what it is when it is replaced.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) applied: Applied,
    /// The catalogue's version in it.
    pub(super) version: u64,
    bytes: u64,
    hash: u128,
    file: Arc<dyn File>,
}

impl Snapshot {
    /// Puts the catalogue in the place of whatever is at `path`. What does not fit on the disk leaves no trace.
    pub(super) fn write(disk: &dyn Disk, path: &Path, applied: &Applied, catalogue: &Catalogue) -> io::Result<Self> {
        let bytes = encode(applied, catalogue);
        if let Err(error) = disk.replace(path, &bytes) {
            // `replace` makes it anew in any case.
            drop(disk.remove(&path.with_extension("tmp")));
            return Err(error);
        }
        Self::open(disk, path, &bytes, applied.clone(), catalogue)
    }

    /// The file at `path`, if there is one.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<(Self, Catalogue)>, FileError> {
        let bytes = match disk.read(path, FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let (applied, catalogue) = decode(&bytes)?;
        Ok(Some((Self::open(disk, path, &bytes, applied, &catalogue)?, catalogue)))
    }

    fn open(disk: &dyn Disk, path: &Path, bytes: &[u8], applied: Applied, catalogue: &Catalogue) -> io::Result<Self> {
        let file = Arc::from(disk.open(path, Open::Read)?);
        let (version, len) = (catalogue.version(), bytes.len() as u64);
        Ok(Self { applied, version, bytes: len, hash: xxh3_128(bytes), file })
    }

    pub(super) fn view(&self) -> View {
        let content = Content::File(Arc::clone(&self.file));
        let file = ViewFile { name: NAME.into(), bytes: self.bytes, hash: self.hash, content };
        View { applied: self.applied.clone(), files: vec![file] }
    }
}
