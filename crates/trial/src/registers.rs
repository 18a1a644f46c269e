//! Whether an answer agrees with what clients were told. Pure.
//!
//! Each place (one field of one series at one time) is a register. An answer may show what any operation on it left, unless
//! the operation was refused, began after the answer came, or is certainly overwritten: an acked one that ended before another
//! acked one began, which itself ended before the question was asked. An operation of unknown outcome may take effect at any
//! time after its beginning, so that nothing overwrites it for certain. Nothing is there only before the first acked write,
//! or if a delete left it so. Of a row of one write, an answer shows all fields, as far as no later write has them.
//!
//! Costs `n log n` in the values written, where a delete counts once for each place that it covers.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use meridian_types::{TimeRange, Timestamp, Value};
use serde::{Deserialize, Serialize};

use crate::history::{Deed, History, Op, Tick, Told};
use crate::rows::{Delete, Field, Place, Series};

/// How an answer contradicts what clients were told.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Violation {
    /// Nothing is there, although a write was acknowledged and nothing deleted it since.
    #[error("{0}: acknowledged write {1} is not there")]
    Lost(Place, i64),
    /// What is there was overwritten by an acknowledged write.
    #[error("{0}: write {1} is there, although it came before acknowledged write {2}")]
    Overwritten(Place, i64, i64),
    /// What is there was deleted by an acknowledged delete.
    #[error("{0}: write {1} is there, although it came before an acknowledged delete")]
    Undeleted(Place, i64),
    /// A refused write is there.
    #[error("{0}: refused write {1} is there")]
    Refused(Place, i64),
    /// A write is there before it was sent.
    #[error("{0}: write {1} is there before it was sent")]
    Early(Place, i64),
    /// A value is there that nobody wrote to this place.
    #[error("{0}: {1:?} is there, but nobody wrote it")]
    Phantom(Place, Value),
    /// A part of a row is there without the rest.
    #[error("{0}: write {1} is there, but not its field {field}", field = .2.name())]
    Torn(Place, i64, Field),
    /// A place comes twice in one answer.
    #[error("{0} is there twice")]
    Doubled(Place),
    /// An answer has a row, a column or a value that no write of the trial can have made.
    #[error("an answer has {0}")]
    Foreign(String),
    /// Two fronts answer the same question differently, although nothing is written any more.
    #[error("{0}: one front answers {1:?}, the other {2:?}")]
    Unlike(Place, Option<Value>, Option<Value>),
    /// A count is not that of the rows.
    #[error("host h{series}, field {field}: counted {counted}, but {read} values were read", series = .series.0, field = .field.name())]
    Miscounted {
        /// Of which series.
        series: Series,
        /// Of which field.
        field: Field,
        /// What the count says.
        counted: u64,
        /// How many values were read.
        read: u64,
    },
    /// Two acknowledged requests name one entry.
    #[error("s{shard}: two acknowledged requests name the entry {index}")]
    OneEntry {
        /// Of which shard.
        shard: u32,
        /// Which entry.
        index: u64,
    },
    /// Entries are not in the order in which their requests were acknowledged and begun.
    #[error("s{shard}: the request of the entry {first} was acknowledged before that of the entry {second} began")]
    OutOfOrder {
        /// Of which shard.
        shard: u32,
        /// The entry of the request that was acknowledged.
        first: u64,
        /// The entry of the one that began after that.
        second: u64,
    },
    /// A log ends before an entry that was acknowledged.
    #[error("s{shard}: the entry {acked} was acknowledged, and the log of all replicas ends at {last}")]
    CutShort {
        /// Of which shard.
        shard: u32,
        /// The entry.
        acked: u64,
        /// The last one that there is.
        last: u64,
    },
    /// Something else that must not be was seen.
    #[error("{0}")]
    Other(String),
    /// Replicas differ.
    #[error("shard s{shard} at index {index}: replicas have the content hashes {hashes:x?}")]
    Diverged {
        /// Of which shard.
        shard: u32,
        /// At which entry.
        index: u64,
        /// One a replica.
        hashes: Vec<u64>,
    },
}

/// Why a trial failed, by what it says about the product.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Broken {
    /// A promise was broken.
    #[error("safety: {0}")]
    Safety(#[from] Violation),
    /// Something that must happen did not, in a time that is long enough.
    #[error("liveness: {0}")]
    Liveness(String),
    /// A process failed by itself.
    #[error("crash: {0}")]
    Crash(String),
    /// Nothing of the product: the trial could not be held.
    #[error("harness: {0}")]
    Harness(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Harness(error.to_string())
    }
}

/// What a question covers: all fields of some rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Scope {
    /// Which of [`crate::MEASUREMENTS`].
    pub measurement: usize,
    /// One series of it, or all.
    pub series: Option<Series>,
    /// The half-open range of data time.
    pub range: TimeRange,
}

/// An answer to a question, with when it was asked and answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Read {
    /// What was asked for.
    pub scope: Scope,
    /// Before the question was sent.
    pub asked: u64,
    /// After the answer came.
    pub answered: u64,
    /// Everything that the answer has.
    pub seen: BTreeMap<Place, Value>,
}

impl Read {
    /// An answer that was asked for after everything else had ended.
    pub fn at_the_end(scope: Scope, seen: BTreeMap<Place, Value>) -> Self {
        Self { scope, asked: Tick::MAX, answered: Tick::MAX, seen }
    }
}

/// What one operation did to one place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Touch {
    place: Place,
    op: usize,
    /// The row written, or nothing for a delete.
    serial: Option<i64>,
}

/// A history by place: what every answer is judged by.
#[derive(Debug)]
pub struct Registers {
    ops: Vec<Op>,
    /// Sorted by place.
    touches: Vec<Touch>,
    /// All series, sorted.
    series: Vec<Series>,
    /// When a measurement's field was known to all, at the latest: the first acknowledgement of a value.
    known: BTreeMap<(usize, Field), u64>,
}

impl Registers {
    /// The registers of a history that is over.
    pub fn of(history: &History) -> Self {
        let ops = history.ops.clone();
        let (mut touches, mut known) = (Vec::new(), BTreeMap::new());
        for (op, Op { deed, told, ended, .. }) in ops.iter().enumerate() {
            if let Deed::Write(rows) = deed {
                let fields = rows.iter().flat_map(|row| row.fields().map(|field| (row.series.measurement(), field)));
                for field in fields.filter(|_| *told == Told::Acked) {
                    let first = known.entry(field).or_insert(*ended);
                    *first = (*first).min(*ended);
                }
                let values = rows.iter().flat_map(|row| row.fields().map(move |field| (row, field)));
                touches.extend(values.map(|(row, field)| Touch {
                    place: Place { series: row.series, time: row.time, field },
                    op,
                    serial: Some(row.serial),
                }));
            }
        }
        touches.sort_unstable();
        let mut series: Vec<_> = touches.iter().map(|touch| touch.place.series).collect();
        series.dedup();
        let mut registers = Self { ops, touches, series, known };
        registers.add_deletes();
        registers
    }

    /// Gives each delete to the places that it covers and that anybody ever wrote.
    fn add_deletes(&mut self) {
        let mut deleted = Vec::new();
        for (op, Op { deed, .. }) in self.ops.iter().enumerate() {
            let Deed::Delete(Delete { measurement, series, range }) = *deed else { continue };
            for rows in self.covered(Scope { measurement, series, range }) {
                let places = self.touches[rows].chunk_by(|a, b| a.place == b.place).map(|touches| touches[0].place);
                deleted.extend(places.map(|place| Touch { place, op, serial: None }));
            }
        }
        self.touches.append(&mut deleted);
        self.touches.sort_unstable();
    }

    /// The touches of each series that a scope covers.
    fn covered(&self, scope: Scope) -> impl Iterator<Item = Range<usize>> {
        let in_scope = move |series: &Series| {
            series.measurement() == scope.measurement && scope.series.is_none_or(|only| only == *series)
        };
        self.series.iter().copied().filter(in_scope).map(move |series| {
            let before = |time: Timestamp| {
                self.touches.partition_point(|t| (t.place.series, t.place.time) < (series, time.nanos()))
            };
            before(scope.range.start())..before(scope.range.end())
        })
    }

    /// Ranges of data time that together cover all of it, each with about `values` values of the trial.
    pub fn ranges(&self, values: usize) -> Vec<TimeRange> {
        let mut times: Vec<i64> = self.touches.iter().map(|touch| touch.place.time).collect();
        times.sort_unstable();
        let cut = |nanos: i64| Timestamp::default().saturating_add(nanos);
        let mut cuts: Vec<_> = times.chunks(values).skip(1).map(|chunk| cut(chunk[0])).collect();
        cuts.insert(0, Timestamp::MIN);
        cuts.push(Timestamp::END);
        // Many values of one time may fill a chunk.
        cuts.dedup();
        cuts.windows(2).map(|pair| TimeRange::new(pair[0], pair[1]).expect("cuts increase")).collect()
    }

    /// Whether an answer is what was promised.
    pub fn check(&self, read: &Read) -> Result<(), Violation> {
        for rows in self.covered(read.scope) {
            for row in
                self.touches[rows].chunk_by(|a, b| (a.place.series, a.place.time) == (b.place.series, b.place.time))
            {
                for place in row.chunk_by(|a, b| a.place == b.place) {
                    self.check_place(place, read)?;
                }
                self.check_whole(row, read)?;
            }
        }
        let outside = |place: &&Place| !read.scope.range.contains(Timestamp::default().saturating_add(place.time));
        if let Some(place) = read.seen.keys().find(outside) {
            return Err(Violation::Foreign(format!("{place}, outside the range that was asked for")));
        }
        // Places that were written were judged above: what is left must not be there.
        let known = |place: &Place| self.touches.binary_search_by(|touch| touch.place.cmp(place)).is_ok();
        match read.seen.iter().find(|(place, _)| !known(place)) {
            Some((place, value)) => Err(Violation::Phantom(*place, value.clone())),
            None => Ok(()),
        }
    }

    /// Judges one place by all that was done to it.
    fn check_place(&self, touches: &[Touch], read: &Read) -> Result<(), Violation> {
        let place = touches[0].place;
        let op = |touch: &Touch| &self.ops[touch.op];
        let done = |touch: &&Touch| op(touch).told == Told::Acked && op(touch).ended < read.asked;
        // The acked operation that began last: what ended before it is overwritten.
        let last = touches.iter().filter(done).max_by_key(|touch| op(touch).began);
        let floor = last.map_or(0, |touch| op(touch).began);
        let may_show = |touch: &&Touch| match op(touch).told {
            Told::Refused => false,
            Told::Unknown => op(touch).began < read.answered,
            Told::Acked => op(touch).began < read.answered && op(touch).ended >= floor,
        };
        let Some(value) = read.seen.get(&place) else {
            let deleted = touches.iter().filter(may_show).any(|touch| touch.serial.is_none());
            return match last.and_then(|touch| touch.serial) {
                Some(serial) if !deleted => Err(Violation::Lost(place, serial)),
                _ => Ok(()),
            };
        };
        let left = |touch: &&Touch| touch.serial.is_some_and(|serial| place.field.value(serial) == *value);
        if touches.iter().filter(left).any(|touch| may_show(&touch)) {
            return Ok(());
        }
        let Some(touch) = touches.iter().find(left) else { return Err(Violation::Phantom(place, value.clone())) };
        let serial = touch.serial.unwrap_or_default();
        Err(match (op(touch).told, last.map(|touch| touch.serial)) {
            (Told::Refused, _) => Violation::Refused(place, serial),
            (Told::Acked, Some(Some(newer))) if op(touch).began < read.answered => {
                Violation::Overwritten(place, serial, newer)
            }
            (Told::Acked, Some(None)) if op(touch).began < read.answered => Violation::Undeleted(place, serial),
            _ => Violation::Early(place, serial),
        })
    }

    /// Whether each write of a row that shows in one field shows in all, or what shows there came after it and does not write
    /// the first field, which would have gone, too. Nothing deletes one field alone. A query that names no fields asks for those
    /// that were known when it was planned: a newer one may be missing from its rows.
    fn check_whole(&self, row: &[Touch], read: &Read) -> Result<(), Violation> {
        let leaves =
            |touch: &Touch, value: &Value| touch.serial.is_some_and(|serial| touch.place.field.value(serial) == *value);
        let was_known = |touch: &Touch| {
            let known = self.known.get(&(touch.place.series.measurement(), touch.place.field));
            known.is_some_and(|known| *known < read.asked)
        };
        // A truth value does not say whose it is.
        let shows = |touch: &&Touch| {
            touch.place.field != Field::Flag && read.seen.get(&touch.place).is_some_and(|value| leaves(touch, value))
        };
        for shown in row.iter().filter(shows) {
            let writes_shown = |op: usize| row.iter().any(|touch| touch.op == op && touch.place == shown.place);
            let of_same = |touch: &&Touch| touch.op == shown.op && touch.serial == shown.serial;
            for own in row.iter().filter(of_same) {
                let is_right = match read.seen.get(&own.place) {
                    None => !was_known(own),
                    Some(value) => row.iter().filter(|t| t.place == own.place && leaves(t, value)).any(|touch| {
                        let later = self.may_follow(touch.op, shown.op, read) && !writes_shown(touch.op);
                        touch.op == shown.op || later
                    }),
                };
                if !is_right {
                    return Err(Violation::Torn(shown.place, shown.serial.unwrap_or_default(), own.place.field));
                }
            }
        }
        Ok(())
    }

    /// Whether an operation can have taken effect after another, before an answer came.
    fn may_follow(&self, op: usize, earlier: usize, read: &Read) -> bool {
        let (op, earlier) = (&self.ops[op], &self.ops[earlier]);
        match op.told {
            Told::Refused => false,
            Told::Unknown => op.began < read.answered,
            Told::Acked => op.began < read.answered && op.ended >= earlier.began,
        }
    }
}
