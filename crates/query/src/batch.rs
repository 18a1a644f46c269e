//! Rows on their way from a shard to the router: in the answer's order, cut into messages. Never carries a row out of
//! order, and never needs another batch to be understood.
//!
//! ```text
//! version:u8 raw:u8 keys:[bytes] groups:[str * group_by] rows:u32 (order:i64 number:u32 cell*)*
//! ```
//! Little-endian; `bytes` and `str` are `len:u32` and the bytes, `[…]` is `count:u32` and the items. `order` is the time, or its
//! bitwise complement when descending. `number` is the row's key if raw, else its group. The plan decides how many cells
//! a row has, and of which kind; their layouts are beside `Cell::put`.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_types::{SeriesKey, limits};

use crate::Plan;
use crate::cell::{Cell, Kind};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};

/// Rows of one batch.
pub const BATCH_ROWS_MAX: usize = 4_096;
/// Where a batch of several rows ends, in bytes.
pub const BATCH_BYTES_MAX: usize = 1 << 20;
/// One row as it is sent, in bytes: a larger one fails the query.
pub const ROW_BYTES_MAX: usize = limits::MESSAGE_BYTES_MAX - BATCH_BYTES_MAX;

const _: () = assert!(BATCH_BYTES_MAX < ROW_BYTES_MAX, "a row alone, with what surrounds it, fits a message");

const VERSION: u8 = 1;

/// Values of the tags to group by, in the plan's order; a missing tag is the empty string.
pub(crate) type Group = Arc<[String]>;

/// Where a row stands in the answer; smaller comes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Place {
    pub(crate) group: Group,
    /// [`Plan::flip`] of the time, or of the window's label.
    pub(crate) order: i64,
    /// Raw rows: the series. Aggregates: empty.
    pub(crate) key: Arc<SeriesKey>,
}

impl Plan {
    /// The group of a series.
    pub(crate) fn group_of(&self, key: &SeriesKey) -> Group {
        self.group_by.iter().map(|tag| key.tag(tag).to_owned()).collect()
    }
}

/// One row and its place.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) cells: Vec<Cell>,
}

impl Entry {
    /// Upper bound of the bytes that a batch needs for it.
    pub(crate) fn encoded_len(&self) -> usize {
        row_len(&self.place) + self.cells.iter().map(Cell::encoded_len).sum::<usize>()
    }

    /// Takes what another shard has of the same window.
    pub(crate) fn merge(&mut self, other: Self, kinds: &[Kind]) {
        for ((cell, more), kind) in self.cells.iter_mut().zip(other.cells).zip(kinds) {
            cell.merge(*kind, more);
        }
    }
}

/// Upper bound of the bytes that a row needs besides its cells.
pub(crate) fn row_len(place: &Place) -> usize {
    let group: usize = place.group.iter().map(|value| 4 + value.len()).sum();
    12 + group + 4 + place.key.as_bytes().len()
}

/// Rows of shards in the answer's order.
#[derive(Clone, Debug)]
pub struct Batch {
    raw: bool,
    entries: Vec<Entry>,
}

impl Batch {
    pub(crate) fn new(raw: bool, entries: Vec<Entry>) -> Self {
        Self { raw, entries }
    }

    /// Rows; at most [`BATCH_ROWS_MAX`].
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    pub(crate) fn first_place(&self) -> Option<&Place> {
        self.entries.first().map(|e| &e.place)
    }

    /// The batch as bytes for [`Batch::decode`]; below 16 MiB, and about 1 MiB unless one row alone is larger.
    pub fn encode(&self) -> Vec<u8> {
        let (mut keys, mut groups) = (Numbers::default(), Numbers::default());
        let mut rows = Vec::new();
        for entry in &self.entries {
            let place = &entry.place;
            rows.extend_from_slice(&place.order.to_le_bytes());
            let number = if self.raw { keys.number(&place.key) } else { groups.number(&place.group) };
            rows.extend_from_slice(&number.to_le_bytes());
            for cell in &entry.cells {
                cell.put(&mut rows, |key| keys.number(key));
            }
        }
        let mut out = vec![VERSION, self.raw.into()];
        put_len(&mut out, keys.list.len());
        keys.list.iter().for_each(|key| put_bytes(&mut out, key.as_bytes()));
        put_len(&mut out, groups.list.len());
        groups.list.iter().flat_map(|g| g.iter()).for_each(|value| put_bytes(&mut out, value.as_bytes()));
        put_len(&mut out, self.entries.len());
        out.extend_from_slice(&rows);
        out
    }

    /// Reads what [`Batch::encode`] wrote for this plan; any other bytes are an error, as are rows out of order.
    pub fn decode(plan: &Plan, bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a batch's table";
        let reader = &mut Reader::new(bytes, VERSION)?;
        let raw = reader.flag("a batch's kind")?;
        reader.check((raw == plan.is_raw()).then_some(()), "a batch's kind")?;
        let keys = reader.list(WHAT, bytes.len(), |r| {
            let key = r.bytes(WHAT)?;
            Ok(Arc::new(r.check(SeriesKey::from_bytes(key).ok(), WHAT)?))
        })?;
        // The groups of raw rows follow from their keys. A group may take no bytes, so rows bound how many there are.
        let groups: Vec<Group> = reader.list(WHAT, BATCH_ROWS_MAX, |r| {
            plan.group_by.iter().map(|_| Ok(r.str(WHAT)?.to_owned())).collect::<Result<_, DecodeError>>()
        })?;
        let places: Vec<(Group, Arc<SeriesKey>)> = if raw {
            keys.iter().map(|key| (plan.group_of(key), Arc::clone(key))).collect()
        } else {
            let no_key = Arc::new(SeriesKey::default());
            groups.into_iter().map(|group| (group, Arc::clone(&no_key))).collect()
        };
        let kinds = plan.kinds();
        let entries = reader.list("a batch's rows", BATCH_ROWS_MAX, |r| read_entry(&kinds, r, &places, &keys))?;
        let ordered = entries.is_sorted_by(|a, b| follows(raw, &a.place, &b.place));
        reader.check(ordered.then_some(()), "the order of a batch's rows")?;
        reader.end("a batch")?;
        Ok(Self { raw, entries })
    }
}

/// Whether a row at `next` may stand after one at `previous` in what one shard sends.
pub(crate) fn follows(raw: bool, previous: &Place, next: &Place) -> bool {
    previous < next || raw && previous == next
}

fn read_entry(
    kinds: &[Kind],
    reader: &mut Reader<'_>,
    places: &[(Group, Arc<SeriesKey>)],
    keys: &[Arc<SeriesKey>],
) -> Result<Entry, DecodeError> {
    let (order, number) = (reader.i64("a row")?, reader.u32("a row")? as usize);
    let (group, key) = reader.check(places.get(number), "a row's series or group")?;
    // Collected as a `Result`, the cells of a row would be moved as they become more.
    let mut cells = Vec::with_capacity(kinds.len());
    for kind in kinds {
        cells.push(Cell::take(*kind, reader, keys)?);
    }
    Ok(Entry { place: Place { group: Arc::clone(group), order, key: Arc::clone(key) }, cells })
}

/// Numbers shared things in the order of their first use. Equal ones that do not share their memory have numbers of their own.
struct Numbers<T: ?Sized> {
    by_address: BTreeMap<usize, u32>,
    list: Vec<Arc<T>>,
    last: (usize, u32),
}

impl<T: ?Sized> Numbers<T> {
    fn number(&mut self, thing: &Arc<T>) -> u32 {
        let address = Arc::as_ptr(thing).addr();
        if self.last.0 != address {
            let number = *self.by_address.entry(address).or_insert_with(|| {
                self.list.push(Arc::clone(thing));
                self.list.len() as u32 - 1
            });
            self.last = (address, number);
        }
        self.last.1
    }
}

impl<T: ?Sized> Default for Numbers<T> {
    fn default() -> Self {
        // Nothing lies at address 0.
        Self { by_address: BTreeMap::new(), list: Vec::new(), last: (0, 0) }
    }
}
