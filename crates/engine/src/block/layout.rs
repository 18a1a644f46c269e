//! The parts of fixed shape in a block file: header, directory of the chunks of an entry, index page, page table, footer.
//!
//! Each part ends with a checksum of the file's number, the part's own offset and the part's bytes: what was written to
//! another place, or belongs to another file, is no part. It must never trust a number that it read before that.

use bytes::{Buf, BufMut};
use meridian_types::{DatabaseId, SeriesNumber};

use super::BlockMeta;

pub(super) const MAGIC: [u8; 4] = *b"MBLK";
const FOOTER_MAGIC: [u8; 4] = *b"MBLE";
/// The version that this program writes, and the only one that it reads.
pub(super) const VERSION: u8 = 2;

/// Bytes of the checksum that ends each part.
pub(super) const CHECKSUM_BYTES: usize = 4;
pub(super) const HEADER_BYTES: usize = 24;
pub(super) const FOOTER_BYTES: usize = 56;
/// One entry in an index page.
pub(super) const ENTRY_BYTES: usize = 52;
/// Entries of one index page; only the last page has fewer.
pub(super) const PAGE_ENTRIES: usize = 256;
/// One chunk in the directory of its entry.
const SLOT_BYTES: usize = 24;

/// What the checksum of the part at `offset` must be.
fn checksum(number: u64, offset: u64, part: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, part)
}

/// Ends the part that begins at `start` of `buffer`, and at `offset` of file `number`.
pub(super) fn seal(number: u64, offset: u64, buffer: &mut Vec<u8>, start: usize) {
    let checksum = checksum(number, offset, &buffer[start..]);
    buffer.put_u32_le(checksum);
}

/// What stands before the checksum of a part; `None` if it is not the part that was written there.
pub(super) fn unseal(number: u64, offset: u64, part: &[u8]) -> Option<&[u8]> {
    let (content, seen) = part.split_last_chunk()?;
    (u32::from_le_bytes(*seen) == checksum(number, offset, content)).then_some(content)
}

/// Appends the header.
pub(super) fn put_header(number: u64, database: DatabaseId, out: &mut Vec<u8>) {
    let start = out.len();
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_bytes(0, 3);
    out.put_u64_le(number);
    out.put_u32_le(database.0);
    seal(number, 0, out, start);
}

/// Why bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NoHeader {
    Version(u8),
    Damaged,
}

/// Number and database of the file that begins with this header.
pub(super) fn take_header(bytes: &[u8; HEADER_BYTES]) -> Result<(u64, DatabaseId), NoHeader> {
    let mut fields = bytes.strip_prefix(&MAGIC).ok_or(NoHeader::Damaged)?;
    let version = fields.get_u8();
    fields.advance(3);
    let number = fields.get_u64_le();
    // Before the version, which a flipped bit may have changed: every version's header is sealed like this.
    unseal(number, 0, bytes).ok_or(NoHeader::Damaged)?;
    if version != VERSION {
        return Err(NoHeader::Version(version));
    }
    Ok((number, DatabaseId(fields.get_u32_le())))
}

/// What stands at the end of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Footer {
    pub(super) series: u32,
    /// Of the index.
    pub(super) entries: u32,
    pub(super) rows: u64,
    pub(super) points: u64,
    /// Where the first index page begins.
    pub(super) index: u64,
    pub(super) time_min: i64,
    pub(super) time_max: i64,
}

impl Footer {
    pub(super) fn put(&self, number: u64, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_slice(&FOOTER_MAGIC);
        out.put_u32_le(self.series);
        out.put_u32_le(self.entries);
        out.put_u64_le(self.rows);
        out.put_u64_le(self.points);
        out.put_u64_le(self.index);
        out.put_i64_le(self.time_min);
        out.put_i64_le(self.time_max);
        seal(number, offset, out, start);
    }

    /// Reads the footer at `offset`.
    pub(super) fn take(number: u64, offset: u64, bytes: &[u8]) -> Option<Self> {
        let mut fields = unseal(number, offset, bytes)?.strip_prefix(&FOOTER_MAGIC)?;
        let footer = Self {
            series: fields.try_get_u32_le().ok()?,
            entries: fields.try_get_u32_le().ok()?,
            rows: fields.try_get_u64_le().ok()?,
            points: fields.try_get_u64_le().ok()?,
            index: fields.try_get_u64_le().ok()?,
            time_min: fields.try_get_i64_le().ok()?,
            time_max: fields.try_get_i64_le().ok()?,
        };
        fields.is_empty().then_some(footer)
    }

    /// Whether it says the same as the manifest.
    pub(super) fn agrees(&self, meta: &BlockMeta) -> bool {
        (self.series, self.rows, self.points) == (meta.series, meta.rows, meta.points)
            && (self.time_min, self.time_max) == (meta.time_min, meta.time_max)
    }
}

/// Where the parts of the index are: they follow from where it begins and how many entries there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Index {
    start: u64,
    entries: u32,
}

impl Index {
    /// `None` if such an index, a page table and the footer would not end exactly where the file does.
    pub(super) fn new(footer: &Footer, bytes: u64) -> Option<Self> {
        let index = Self { start: footer.index, entries: footer.entries };
        let rest = index.page_table().1 as u64 + FOOTER_BYTES as u64;
        let end = index.start.checked_add(index.pages_bytes())?.checked_add(rest)?;
        (index.start >= HEADER_BYTES as u64 && end == bytes).then_some(index)
    }

    pub(super) fn pages(self) -> usize {
        (self.entries as usize).div_ceil(PAGE_ENTRIES)
    }

    /// Where chunks end and the first page begins.
    pub(super) fn start(self) -> u64 {
        self.start
    }

    fn pages_bytes(self) -> u64 {
        u64::from(self.entries) * ENTRY_BYTES as u64 + (self.pages() * CHECKSUM_BYTES) as u64
    }

    /// Offset and bytes of page `page`, which is below [`Index::pages`].
    pub(super) fn page(self, page: usize) -> (u64, usize) {
        let entries = (self.entries as usize - page * PAGE_ENTRIES).min(PAGE_ENTRIES);
        let before = page as u64 * (PAGE_ENTRIES * ENTRY_BYTES + CHECKSUM_BYTES) as u64;
        (self.start + before, entries * ENTRY_BYTES + CHECKSUM_BYTES)
    }

    /// Offset and bytes of the page table.
    pub(super) fn page_table(self) -> (u64, usize) {
        (self.start.saturating_add(self.pages_bytes()), self.pages() * 4 + CHECKSUM_BYTES)
    }
}

/// One series in the index, or several that share one chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) number: SeriesNumber,
    /// The last one of those that share a chunk; else the same.
    pub(super) last: SeriesNumber,
    pub(super) chunks: u32,
    /// Where its directory begins; its chunks follow.
    pub(super) offset: u64,
    /// Bytes of the directory and the chunks.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) time_min: i64,
    pub(super) time_max: i64,
}

impl Entry {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u32_le(self.number.0);
        out.put_u32_le(self.last.0);
        out.put_u32_le(self.chunks);
        out.put_u64_le(self.offset);
        out.put_u64_le(self.bytes);
        out.put_u64_le(self.rows);
        out.put_i64_le(self.time_min);
        out.put_i64_le(self.time_max);
    }

    /// Reads one entry of a page whose length was checked.
    pub(super) fn take(mut fields: &[u8]) -> Option<Self> {
        Some(Self {
            number: SeriesNumber(fields.try_get_u32_le().ok()?),
            last: SeriesNumber(fields.try_get_u32_le().ok()?),
            chunks: fields.try_get_u32_le().ok()?,
            offset: fields.try_get_u64_le().ok()?,
            bytes: fields.try_get_u64_le().ok()?,
            rows: fields.try_get_u64_le().ok()?,
            time_min: fields.try_get_i64_le().ok()?,
            time_max: fields.try_get_i64_le().ok()?,
        })
    }

    /// Whether its chunk has rows of several series.
    pub(super) fn is_shared(&self) -> bool {
        self.last != self.number
    }

    /// Bytes of its directory.
    pub(super) fn directory_bytes(&self) -> u64 {
        directory_bytes(self.chunks)
    }

    /// Whether it is one that can be, and all of it lies between the header and the index, which begins at `index`.
    pub(super) fn lies_before(&self, index: u64) -> bool {
        let is_one = self.number <= self.last && (self.chunks == 1 || !self.is_shared());
        is_one
            && self.offset >= HEADER_BYTES as u64
            && self.offset.checked_add(self.bytes).is_some_and(|end| end <= index)
            && self.chunks > 0
            && self.directory_bytes() <= self.bytes
    }
}

/// One chunk in the directory of its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) time_min: i64,
    pub(super) time_max: i64,
    /// With its checksum.
    pub(super) bytes: u32,
    pub(super) rows: u16,
    pub(super) columns: u16,
}

/// Bytes of the directory of so many chunks.
pub(super) fn directory_bytes(chunks: u32) -> u64 {
    (4 + CHECKSUM_BYTES) as u64 + u64::from(chunks) * SLOT_BYTES as u64
}

/// The directory of the entry whose first series is `series`, which begins at `offset`.
pub(super) fn directory(number: u64, offset: u64, series: SeriesNumber, slots: &[Slot]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + CHECKSUM_BYTES + slots.len() * SLOT_BYTES);
    out.put_u32_le(series.0);
    for slot in slots {
        out.put_i64_le(slot.time_min);
        out.put_i64_le(slot.time_max);
        out.put_u32_le(slot.bytes);
        out.put_u16_le(slot.rows);
        out.put_u16_le(slot.columns);
    }
    seal(number, offset, &mut out, 0);
    out
}

/// Reads the directory of an entry, and checks that it keeps what the index says.
pub(super) fn take_directory(number: u64, entry: &Entry, bytes: &[u8]) -> Option<Vec<Slot>> {
    let mut fields = unseal(number, entry.offset, bytes)?;
    if fields.try_get_u32_le().ok()? != entry.number.0 {
        return None;
    }
    let mut slots: Vec<Slot> = Vec::with_capacity(fields.len() / SLOT_BYTES);
    while !fields.is_empty() {
        let slot = Slot {
            time_min: fields.try_get_i64_le().ok()?,
            time_max: fields.try_get_i64_le().ok()?,
            bytes: fields.try_get_u32_le().ok()?,
            rows: fields.try_get_u16_le().ok()?,
            columns: fields.try_get_u16_le().ok()?,
        };
        let follows = slots.last().is_none_or(|last| last.time_max < slot.time_min);
        if !follows || slot.time_min > slot.time_max || slot.rows == 0 {
            return None;
        }
        slots.push(slot);
    }
    let bytes: u64 = slots.iter().map(|slot| u64::from(slot.bytes)).sum();
    let rows: u64 = slots.iter().map(|slot| u64::from(slot.rows)).sum();
    let span = (slots.first()?.time_min, slots.last()?.time_max);
    let agrees = entry.directory_bytes() + bytes == entry.bytes && rows == entry.rows;
    (agrees && span == (entry.time_min, entry.time_max)).then_some(slots)
}
