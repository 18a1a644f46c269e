//! Where the rows of a series are: blocks in log order, then the head that is being flushed, then the head.
//!
//! It must never change anything, and never read a file for a series that was not asked for.

use std::sync::Arc;

use meridian_query::KnownRows;
use meridian_types::{DatabaseId, TimeRange, Timestamp};

use crate::Engine;
use crate::block::{Cursor, Found, Opened, Place, Wanted};
use crate::chunk::contains;
use crate::cut::Cut;
use crate::error::StoreError;
use crate::merge::Part;
use crate::sealed::{self, Sealed};
use crate::series::Series;
use crate::shortcuts::{Shortcuts, Taken};
use crate::store::Stored;
use crate::tail::overlaps;
use crate::tombstone::{self, Tombstone};

/// What a database has besides its head, as of one moment. Pins the files.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// In log order, where they overlap in time.
    blocks: Vec<Arc<Stored>>,
    cut: Option<Arc<Cut>>,
    tombstones: Vec<Tombstone>,
}

impl Engine {
    /// Everything of a database that may have rows inside `range`, but the head.
    pub(crate) fn sources(&self, database: DatabaseId, range: TimeRange) -> Sources {
        let blocks = self.store.iter().flat_map(|store| &store.blocks);
        let blocks = blocks.filter(|stored| stored.record.meta.database == database && stored.overlaps(range));
        let tombstones = self.tombstones.iter().filter(|tombstone| tombstone.database == database);
        Sources { blocks: blocks.cloned().collect(), cut: self.cut.clone(), tombstones: tombstones.cloned().collect() }
    }

    /// `range` without what retention has cut off; `None` if nothing is left.
    pub(crate) fn after_cutoff(&self, database: DatabaseId, range: TimeRange) -> Option<TimeRange> {
        let cutoff = self.databases.get(&database).and_then(|home| home.cutoff);
        after(cutoff, range)
    }
}

/// `range` from `cutoff` on; `None` if nothing is left.
pub(crate) fn after(cutoff: Option<Timestamp>, range: TimeRange) -> Option<TimeRange> {
    let start = cutoff.map_or(range.start(), |cutoff| cutoff.max(range.start()));
    TimeRange::new(start, range.end()).ok()
}

impl Sources {
    /// Whether a series without rows in the head has none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && self.cut.is_none()
    }

    /// Reads series in increasing order of their numbers.
    pub(crate) fn reader(self) -> Reader {
        let cursors = self.blocks.iter().map(|stored| stored.block.cursor()).collect();
        Reader { sources: self, cursors }
    }
}

/// See [`Sources::reader`].
pub(crate) struct Reader {
    sources: Sources,
    cursors: Vec<Cursor>,
}

/// Some rows of a series that may be asked for.
struct Piece {
    /// First and last time.
    span: (i64, i64),
    rows: Rows,
    hidden: Arc<[TimeRange]>,
}

/// Where rows are.
enum Rows {
    /// In the block of this place.
    Block(usize, Place),
    Memory(Sealed),
}

/// What was read of one series.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// In log order.
    pub(crate) rows: Vec<Part>,
    /// Of rows that are not among those.
    pub(crate) known: Vec<KnownRows>,
}

impl Reader {
    /// All rows of a series that may be inside `range`, with the wanted columns at least; `head` is the series with its rows in
    /// memory. Where `shortcuts` lead to the same answer, they are taken.
    pub(crate) fn parts(
        &mut self,
        head: &Series,
        range: TimeRange,
        wanted: Wanted<'_>,
        shortcuts: &Shortcuts,
    ) -> Result<Parts, StoreError> {
        let pieces = self.pieces(head, range, wanted)?;
        let (mut parts, none) = (Parts::default(), Shortcuts::default());
        let alone = if shortcuts.is_empty() { vec![false; pieces.len()] } else { alone(&pieces) };
        for (piece, is_alone) in pieces.into_iter().zip(alone) {
            let (shortcuts, are_all_there) = (if is_alone { shortcuts } else { &none }, piece.is_whole(range));
            let take = |opened: &Opened<'_>| shortcuts.take(opened, wanted, are_all_there);
            let taken = match piece.rows {
                Rows::Memory(Sealed::Columns(chunk)) => {
                    parts.rows.push(Part { chunk, hidden: piece.hidden });
                    continue;
                }
                Rows::Memory(Sealed::Encoded(encoded)) => {
                    encoded.open(wanted).and_then(|opened| take(&opened)).map_err(sealed::damaged)?
                }
                Rows::Block(at, place) => self.cursors[at].open(&place, wanted, take)?,
            };
            match taken {
                Taken::Rows(chunk) => parts.rows.push(Part { chunk: Arc::new(chunk), hidden: piece.hidden }),
                Taken::Known(known) => parts.known.push(known),
                Taken::Nothing => {}
            }
        }
        Ok(parts)
    }

    /// Where the rows of a series are that may be inside `range`, in log order.
    fn pieces(&mut self, head: &Series, range: TimeRange, wanted: Wanted<'_>) -> Result<Vec<Piece>, StoreError> {
        let mut pieces = Vec::new();
        let Sources { blocks, cut, tombstones } = &self.sources;
        for (at, (stored, cursor)) in blocks.iter().zip(&mut self.cursors).enumerate() {
            let found = cursor.find(head.number(), range, wanted)?;
            if !found.is_empty() {
                let hidden: Arc<[TimeRange]> =
                    tombstone::hidden(tombstones, head.identity(), stored.record.deletes_after()).into();
                pieces.extend(found.into_iter().filter_map(|found| match found {
                    Found::Lies(place) => {
                        Some(Piece { span: place.span(), rows: Rows::Block(at, place), hidden: Arc::clone(&hidden) })
                    }
                    Found::Read(chunk) => Piece::of(Sealed::Columns(Arc::new(chunk)), &hidden),
                }));
            }
        }
        if let Some((cut, frozen)) = cut.as_ref().and_then(|cut| Some((cut, cut.series(head.identity())?))) {
            let hidden: Arc<[TimeRange]> = tombstone::hidden(tombstones, head.identity(), cut.last).into();
            pieces.extend(frozen.sealed(range).into_iter().filter_map(|sealed| Piece::of(sealed, &hidden)));
        }
        pieces.extend(head.sealed(range).into_iter().filter_map(|sealed| Piece::of(sealed, &Arc::default())));
        Ok(pieces)
    }

    /// The last time of all rows of a series, deleted ones among them.
    pub(crate) fn last_time(&mut self, head: &Series) -> Result<Option<i64>, StoreError> {
        let frozen = self.sources.cut.as_ref().and_then(|cut| cut.series(head.identity())?.span());
        let mut spans: Vec<(i64, i64)> = head.span().into_iter().chain(frozen).collect();
        for cursor in &mut self.cursors {
            spans.extend(cursor.span(head.number())?);
        }
        Ok(spans.into_iter().map(|(_, last)| last).max())
    }
}

impl Piece {
    /// `None` if there are no rows.
    fn of(sealed: Sealed, hidden: &Arc<[TimeRange]>) -> Option<Self> {
        Some(Self { span: sealed.span()?, rows: Rows::Memory(sealed), hidden: Arc::clone(hidden) })
    }

    /// Whether all of its rows are inside `range`, and none is deleted.
    fn is_whole(&self, range: TimeRange) -> bool {
        let (first, last) = self.span;
        let is_hidden = self.hidden.iter().any(|hidden| overlaps(first, last, *hidden));
        contains(range, first) && contains(range, last) && !is_hidden
    }
}

/// Which of the pieces overlap no other one, so that each of their rows is a whole row of the series.
fn alone(pieces: &[Piece]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    order.sort_unstable_by_key(|at| pieces[*at].span);
    let (mut alone, mut before) = (vec![true; pieces.len()], None);
    for at in order {
        let (first, last) = pieces[at].span;
        match before {
            Some((other, end)) if first <= end => {
                (alone[at], alone[other]) = (false, false);
                before = Some(if last > end { (at, last) } else { (other, end) });
            }
            _ => before = Some((at, last)),
        }
    }
    alone
}
