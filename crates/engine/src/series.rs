//! One series: sealed chunks in log order, and the tail that takes its next rows.
//!
//! It must never depend on where chunks were cut in what it answers.

use std::ops::Range;
use std::sync::Arc;

use meridian_types::{DatabaseId, FieldType, SeriesKey, SeriesNumber, TimeRange, ValueRef};

use crate::block::{BlockWriter, Encoded, Wanted};
use crate::chunk::Chunk;
use crate::rows::Rows;
use crate::sealed::Sealed;
use crate::stats::Size;
use crate::tail::Tail;

/// The measurement that a series belongs to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Home {
    pub(crate) database: DatabaseId,
    pub(crate) measurement: Box<str>,
    /// The number of the measurement's first series: names it among all that the engine ever had.
    pub(crate) number: SeriesNumber,
}

/// Who a series is: given once, never changed.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) number: SeriesNumber,
    pub(crate) key: SeriesKey,
    pub(crate) home: Arc<Home>,
}

impl Identity {
    pub(crate) fn new(number: SeriesNumber, key: SeriesKey, home: Arc<Home>) -> Self {
        Self { number, key, home }
    }

    /// Its measurement's number, and its own.
    pub(crate) fn numbers(&self) -> (SeriesNumber, SeriesNumber) {
        (self.home.number, self.number)
    }
}

/// What is asked of many series at a time, by number, also of those that are gone: to look at each series for it takes longer than all
/// else that is done then.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// The number of the first series of its measurement.
    pub(crate) homes: Vec<SeriesNumber>,
    /// What a frame that names the series by number must carry.
    pub(crate) checks: Vec<u32>,
}

impl Marks {
    /// The home of a series of which nothing is known but that it is gone: no number, since those are below it.
    const GONE: SeriesNumber = SeriesNumber(u32::MAX);

    /// Takes in the next series.
    pub(crate) fn push(&mut self, identity: &Identity) {
        self.homes.push(identity.home.number);
        self.checks.push(meridian_frame::series_check(&identity.key));
    }

    /// Leaves out the series below `number`, which are gone.
    pub(crate) fn skip_to(&mut self, number: u32) {
        self.homes.resize(number as usize, Self::GONE);
        self.checks.resize(number as usize, 0);
    }
}

/// One series of one measurement, with the rows of it that are in memory.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    identity: Arc<Identity>,
    sealed: Vec<Sealed>,
    sealed_size: Size,
    tail: Tail,
}

impl Series {
    /// A series without rows.
    pub(crate) fn new(identity: Arc<Identity>) -> Self {
        Self { identity, sealed: Vec::new(), sealed_size: Size::default(), tail: Tail::default() }
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn key(&self) -> &SeriesKey {
        &self.identity.key
    }

    pub(crate) fn number(&self) -> SeriesNumber {
        self.identity.number
    }

    /// Takes all of its rows out, with who they belong to.
    pub(crate) fn take_rows(&mut self) -> Self {
        let emptied = Self::new(Arc::clone(&self.identity));
        std::mem::replace(self, emptied)
    }

    /// Whether no row of it is in memory.
    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.tail.is_empty()
    }

    /// First and last time of its rows in memory.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        let sealed = self.sealed.iter().filter_map(|chunk| chunk.span());
        sealed.chain(self.tail.span()).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// Removes the rows inside `range`. Views taken before still see them.
    pub(crate) fn remove(&mut self, range: TimeRange) {
        if !self.overlaps(range) {
            return;
        }
        self.seal();
        let kept = std::mem::take(&mut self.sealed).into_iter().filter_map(|sealed| match sealed.overlaps(range) {
            true => columns(&sealed).without(range).map(|chunk| Sealed::Columns(Arc::new(chunk))),
            false => Some(sealed),
        });
        self.sealed = kept.collect();
        self.sealed_size = self.sealed.iter().fold(Size::default(), |sum, chunk| sum + chunk.size());
    }

    /// Makes room for rows whose columns need `mask_words` words of bits. A tail with narrower rows is sealed; that
    /// happens at most once for every 64 columns of a measurement.
    pub(crate) fn widen(&mut self, mask_words: u8) {
        if self.tail.mask_words() < mask_words {
            self.seal();
            self.tail = Tail::new(mask_words);
        }
    }

    /// Appends a row as [`Tail::push`] does, and encodes the tail if that fills it. `types` by column number.
    pub(crate) fn push<'a>(
        &mut self,
        time: i64,
        cells: impl Iterator<Item = (u16, ValueRef<'a>)>,
        types: &[FieldType],
        rows_max: usize,
    ) {
        self.tail.push(time, cells);
        self.encode_if_full(types, rows_max);
    }

    /// Rows at which the tail is full. The first time that comes earlier, for each series elsewhere: series that are written
    /// alike, as those of one agent are, would all be encoded at once, and whoever writes then would wait for all.
    fn tail_rows(&self, rows_max: usize) -> usize {
        match self.sealed.is_empty() {
            true => rows_max - self.identity.number.0 as usize % (rows_max - rows_max / 8).max(1),
            false => rows_max,
        }
    }

    /// The same of the rows `run`, as [`Tail::extend`] does.
    pub(crate) fn extend(&mut self, rows: &mut Rows<'_>, run: Range<usize>, types: &[FieldType], rows_max: usize) {
        let mut at = run.start;
        while at < run.end {
            let tail_rows = self.tail_rows(rows_max);
            let room = tail_rows.saturating_sub(self.tail.len()).max(1);
            let end = run.end.min(at + room.min(rows.piece()));
            let stride = rows.stride();
            self.tail.extend(rows.words(at..end), stride, tail_rows);
            self.encode_if_full(types, rows_max);
            at = end;
        }
    }

    fn encode_if_full(&mut self, types: &[FieldType], rows_max: usize) {
        if self.tail.is_full(self.tail_rows(rows_max)) {
            let chunk = Chunk::seal(&self.tail);
            self.tail.clear();
            let encoded = Encoded::of(&chunk, &|column| types[usize::from(column)]);
            // Of texts a chunk may be too large for the form of a block; a tail never takes so many.
            let sealed =
                encoded.map_or_else(|_| Sealed::Columns(Arc::new(chunk)), |one| Sealed::Encoded(Arc::new(one)));
            self.keep(sealed);
        }
    }

    fn keep(&mut self, sealed: Sealed) {
        self.sealed_size = self.sealed_size + sealed.size();
        self.sealed.push(sealed);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let chunk = Chunk::seal(&self.tail);
            self.keep(Sealed::Columns(Arc::new(chunk)));
            self.tail = Tail::new(self.tail.mask_words());
        }
    }

    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        self.tail.overlaps(range) || self.sealed.iter().any(|chunk| chunk.overlaps(range))
    }

    /// Everything that may be inside `range`, in log order, encoded where it is; what is open comes as a copy.
    pub(crate) fn sealed(&self, range: TimeRange) -> Vec<Sealed> {
        let open = self.tail.overlaps(range).then(|| Sealed::Columns(Arc::new(Chunk::seal(&self.tail))));
        self.sealed.iter().filter(|sealed| sealed.overlaps(range)).cloned().chain(open).collect()
    }

    /// A series that has the rows of a tail.
    pub(crate) fn of_tail(identity: Arc<Identity>, tail: Tail) -> Self {
        Self { tail, ..Self::new(identity) }
    }

    /// All of its rows, in order of time, if they are few, all open, with the same columns and without text.
    pub(crate) fn few(&self) -> Option<&Tail> {
        let (.., is_sorted) = self.tail.even().filter(|_| self.sealed.is_empty())?;
        let is_plain = is_sorted && self.tail.text().is_empty() && BlockWriter::are_few(self.tail.len(), 0);
        is_plain.then_some(&self.tail)
    }

    /// Removes all of its rows, and gives their room back.
    pub(crate) fn clear(&mut self) {
        (self.sealed, self.sealed_size, self.tail) = (Vec::new(), Size::default(), Tail::default());
    }

    /// What its rows take; the series itself is accounted for where it is made.
    pub(crate) fn size(&self) -> Size {
        self.sealed_size + self.tail.size()
    }
}

/// The keys of series that are there, by number.
pub(crate) fn keys<'s>(series: &'s [Option<Arc<Series>>]) -> impl Fn(SeriesNumber) -> &'s SeriesKey + Copy {
    |number| series[number.0 as usize].as_ref().expect("a measurement goes with its series").key()
}

/// What this process sealed, in columns.
fn columns(sealed: &Sealed) -> Arc<Chunk> {
    sealed.chunk(Wanted::All).expect("what this process has encoded it can decode")
}
