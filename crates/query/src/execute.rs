//! Runs a plan over the series of one shard. Takes one series at a time in any order, and keeps of each only what the answer
//! can still need: states of the windows, or raw rows up to the limit.
//!
//! Never holds more than a constant: a query that needs more states or raw cells is refused while its series are collected.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::Range;
use std::sync::Arc;

use meridian_types::{Code, FieldType, SeriesKey, limits};

use crate::batch::{Entry, Group, Place, ROW_BYTES_MAX, row_len};
use crate::batches::Entries;
use crate::cell::{Cell, Kind, Run};
use crate::condition::Filter;
use crate::{Batches, Column, Needed, Plan, SeriesRows};

/// States (windows of all groups, times value columns) that one shard keeps for a query.
const STATES_MAX: usize = 4 * limits::QUERY_GROUPS_MAX;
/// Text that counts as one cell more: what a cell without text takes.
const TEXT_CELL_BYTES: usize = 16;

/// Why a plan could not be run to its end.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExecError {
    /// An integer sum that its type cannot hold.
    #[error("{column} is out of range for its type: ask for a shorter range, smaller windows, or the mean")]
    SumOverflow {
        /// The value column.
        column: String,
    },
    /// More windows than a shard keeps for one query.
    #[error(
        "the query asks one shard to keep more than {limit} windows of {columns} columns: ask for a shorter range, larger \
         windows, fewer groups or columns, or set a limit"
    )]
    TooManyGroups {
        /// Windows of all groups that such a query may have.
        limit: usize,
        /// Value columns of the query.
        columns: usize,
    },
    /// More raw values than a shard keeps for one query.
    #[error(
        "the query asks one shard to hold more than {limit} cells (rows times fields, and one for each {TEXT_CELL_BYTES} \
         bytes of text): ask for a shorter range or fewer fields, or set a limit, or a lower one"
    )]
    TooManyCells {
        /// Cells that such a query may have.
        limit: usize,
    },
    /// A row that no message can carry.
    #[error("a row of {bytes} bytes is over the limit of {limit}: ask for fewer fields at a time")]
    RowTooLarge {
        /// Its size.
        bytes: usize,
        /// What a row may have.
        limit: usize,
    },
    /// A shard that sent its rows in another order than the plan's.
    #[error("input {input} sent rows out of order: this is a bug, report it")]
    OutOfOrder {
        /// Which input of the merge.
        input: usize,
    },
}

impl ExecError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::SumOverflow { .. } => Code::SumOverflow,
            Self::TooManyGroups { .. } | Self::TooManyCells { .. } | Self::RowTooLarge { .. } => Code::OverLimit,
            Self::OutOfOrder { .. } => Code::Internal,
        }
    }
}

/// Runs the plan over one shard's matching series, which arrive in any order; takes all of them before it returns. The
/// batches come in the answer's order and hold no more rows than the limit. Rows of times that are not `needed` any more may be
/// left out.
///
/// Panics if a series breaks what [`SeriesRows`] promises about the plan's fields.
pub fn execute(plan: &Plan, series: impl Iterator<Item = SeriesRows>, needed: &Needed) -> Result<Batches, ExecError> {
    let filter = Filter::new(plan);
    let series = series.map(|rows| filter.apply(rows));
    let entries: Entries = match plan.limit.into_iter().chain(plan.group_limit).min() {
        Some(0) => Box::new(std::iter::empty()),
        _ if plan.is_raw() => raw(plan, series, needed, limits::QUERY_RAW_CELLS_MAX)?,
        _ => aggregate(plan, series, needed, groups_max(plan))?,
    };
    Ok(Batches::new(plan, entries))
}

fn check_row(bytes: usize) -> Result<(), ExecError> {
    if bytes <= ROW_BYTES_MAX { Ok(()) } else { Err(ExecError::RowTooLarge { bytes, limit: ROW_BYTES_MAX }) }
}

/// How many rows, the first ones in the answer's order, hold the whole answer. Unknown where groups have a limit: what is beyond it
/// does not count.
fn whole_limit(plan: &Plan) -> Option<u64> {
    plan.limit.filter(|_| plan.group_limit.is_none())
}

fn groups_max(plan: &Plan) -> usize {
    (STATES_MAX / plan.kinds().len()).min(limits::QUERY_GROUPS_MAX)
}

fn aggregate(
    plan: &Plan,
    series: impl Iterator<Item = SeriesRows>,
    needed: &Needed,
    groups_max: usize,
) -> Result<Entries, ExecError> {
    let kinds = plan.kinds();
    let keep = whole_limit(plan).unwrap_or(u64::MAX);
    let mut windows = Windows::default();
    for series in series {
        let (group, key) = (plan.group_of(&series.key), Arc::new(series.key.clone()));
        for (label, run) in runs(plan, &series) {
            let order = plan.flip(label);
            // Of windows that are needed, none is dropped: enough others come before a dropped one, and always will.
            let full = windows.count as u64 >= keep;
            let out = full && windows.last().is_some_and(|last| (&group, order) > last);
            if out || !run.has_value() {
                continue;
            }
            let cells = windows.cells(&group, order, &kinds);
            cells.iter_mut().zip(&kinds).for_each(|(cell, kind)| cell.absorb(*kind, &key, &run));
            if windows.count as u64 > keep {
                windows.pop_last();
            }
            if windows.count > groups_max {
                return Err(ExecError::TooManyGroups { limit: groups_max, columns: kinds.len() });
            }
        }
        if windows.count as u64 >= keep
            && let Some((_, last)) = windows.last()
        {
            needed.up_to(plan, plan.flip(last));
        }
    }
    windows.entries()
}

/// Windows of all groups, in the answer's order: by group, and within one by order.
#[derive(Default)]
struct Windows {
    groups: BTreeMap<Group, BTreeMap<i64, Vec<Cell>>>,
    count: usize,
}

impl Windows {
    /// The cells of a window, made if it is not there.
    fn cells(&mut self, group: &Group, order: i64, kinds: &[Kind]) -> &mut [Cell] {
        // Not by `entry`, which would need a count of the group for each window.
        if !self.groups.contains_key(group) {
            self.groups.insert(Arc::clone(group), BTreeMap::new());
        }
        let windows = self.groups.get_mut(group).expect("it was put there");
        windows.entry(order).or_insert_with(|| {
            self.count += 1;
            kinds.iter().map(|kind| Cell::empty(*kind)).collect()
        })
    }

    fn last(&self) -> Option<(&Group, i64)> {
        let (group, windows) = self.groups.last_key_value()?;
        windows.last_key_value().map(|(order, _)| (group, *order))
    }

    fn pop_last(&mut self) {
        let Some(mut last) = self.groups.last_entry() else { return };
        self.count -= usize::from(last.get_mut().pop_last().is_some());
        if last.get().is_empty() {
            last.remove();
        }
    }

    /// All of them as rows, unless one is too large.
    fn entries(self) -> Result<Entries, ExecError> {
        let key = Arc::new(SeriesKey::default());
        for (group, windows) in &self.groups {
            let place = row_len(&Place { group: Arc::clone(group), order: 0, key: Arc::clone(&key) });
            for cells in windows.values() {
                check_row(place + cells.iter().map(Cell::encoded_len).sum::<usize>())?;
            }
        }
        let entries = self.groups.into_iter().flat_map(move |(group, windows)| {
            let key = Arc::clone(&key);
            let place = move |order| Place { group: Arc::clone(&group), order, key: Arc::clone(&key) };
            windows.into_iter().map(move |(order, cells)| Entry { place: place(order), cells })
        });
        // Told with their number, which decides where they are made into a batch.
        Ok(Box::new((0..self.count).zip(entries).map(|(_, entry)| entry)))
    }
}

/// Cuts the rows of a series into windows: label and some rows of each.
fn runs<'a>(plan: &'a Plan, series: &'a SeriesRows) -> impl Iterator<Item = (i64, Run<'a>)> {
    let known = series.known.iter().map(|rows| (plan.window_around(rows.first).0, Run::Known(rows)));
    let (times, mut start) = (&series.times, 0);
    let rows = std::iter::from_fn(move || {
        let (label, end) = plan.window_around(*times.get(start)?);
        // At least the row at `start`, so that times out of range cannot make it stand still.
        let rows = start..start + 1 + times[start + 1..].iter().take_while(|t| **t < end).count();
        start = rows.end;
        Some((label, Run::Rows(series, rows)))
    });
    known.chain(rows)
}

fn raw(
    plan: &Plan,
    series: impl Iterator<Item = SeriesRows>,
    needed: &Needed,
    cells_max: usize,
) -> Result<Entries, ExecError> {
    let mut sources = collect(plan, series, needed, cells_max)?;
    let mut heads = BinaryHeap::new();
    let advance = |heads: &mut BinaryHeap<_>, source: &mut Source, index: usize| match source.next() {
        Some((place, row)) => heads.push(Reverse((place, index, row))),
        // What is sent needs no memory here.
        None => source.columns = Vec::new(),
    };
    sources.iter_mut().enumerate().for_each(|(index, source)| advance(&mut heads, source, index));
    Ok(Box::new(std::iter::from_fn(move || {
        let Reverse((place, index, row)) = heads.pop()?;
        let source = &mut sources[index];
        let cells = source.columns.iter().map(|c| Cell::Raw(c.as_ref().and_then(|c| c.value(row)))).collect();
        advance(&mut heads, source, index);
        Some(Entry { place, cells })
    })))
}

/// The rows that a raw answer may need. Without a limit never more than `cells_max`; with one twice as many for a while,
/// because rows that came first make room for better ones only when they are looked at again.
fn collect(
    plan: &Plan,
    series: impl Iterator<Item = SeriesRows>,
    needed: &Needed,
    cells_max: usize,
) -> Result<Vec<Source>, ExecError> {
    let kinds = plan.kinds();
    let has_text = kinds.iter().any(|kind| kind.field_type == FieldType::Str);
    let mut first = whole_limit(plan).and_then(FirstPlaces::new);
    let room = if first.is_some() { cells_max.saturating_mul(2) } else { cells_max };
    let (mut sources, mut cells) = (Vec::new(), 0);
    for series in series {
        let mut source = Source::new(plan, series);
        if let Some(first) = &mut first {
            first.cut(&mut source);
            first.last().into_iter().for_each(|last| needed.up_to(plan, plan.flip(last.order)));
        }
        if let Some(limit) = plan.group_limit {
            let mut rows = 0..limit;
            source.keep_while(|_| rows.next().is_some());
        }
        if source.left.is_empty() {
            continue;
        }
        source.check_rows(&kinds, has_text)?;
        cells += source.cells();
        sources.push(source);
        if cells > room {
            cells = cut_again(&mut sources, first.as_ref(), cells_max)?;
        }
    }
    if cells > cells_max {
        cut_again(&mut sources, first.as_ref(), cells_max)?;
    }
    Ok(sources)
}

/// Keeps only rows that are still among the first; how many cells they have.
fn cut_again(sources: &mut Vec<Source>, first: Option<&FirstPlaces>, cells_max: usize) -> Result<usize, ExecError> {
    if let Some(first) = first {
        sources.iter_mut().for_each(|source| first.cut_again(source));
        sources.retain(|source| !source.left.is_empty());
    }
    let cells = sources.iter().map(Source::cells).sum();
    if cells > cells_max { Err(ExecError::TooManyCells { limit: cells_max }) } else { Ok(cells) }
}

/// The rows of one series, taken in the answer's order; rows without any value are passed over.
struct Source {
    group: Group,
    key: Arc<SeriesKey>,
    times: Vec<i64>,
    columns: Vec<Option<Column>>,
    left: Range<usize>,
    descending: bool,
}

impl Source {
    fn new(plan: &Plan, series: SeriesRows) -> Self {
        assert!(series.known.is_empty(), "series {:?}: raw rows have their values", series.key);
        Self {
            group: plan.group_of(&series.key),
            key: Arc::new(series.key),
            left: 0..series.times.len(),
            times: series.times,
            columns: series.columns,
            descending: plan.descending,
        }
    }

    fn next(&mut self) -> Option<(Place, usize)> {
        loop {
            let row = if self.descending { self.left.next_back() } else { self.left.next() }?;
            if self.columns.iter().flatten().any(|c| c.has(row)) {
                let order = if self.descending { !self.times[row] } else { self.times[row] };
                return Some((Place { group: Arc::clone(&self.group), order, key: Arc::clone(&self.key) }, row));
            }
        }
    }

    /// What the rows take, in cells. A row without any value is one, too: its time is held.
    fn cells(&self) -> usize {
        let columns = self.columns.iter().flatten();
        let text = |column: &Column| match column {
            Column::Str(_) => (0..self.times.len()).map(|row| column.text_bytes(row) / TEXT_CELL_BYTES).sum(),
            _ => 0,
        };
        self.times.len() * columns.clone().count().max(1) + columns.map(text).sum::<usize>()
    }

    /// Keeps only the rows before the first, in the answer's order, of which `needed` says no.
    fn keep_while(&mut self, mut needed: impl FnMut(Place) -> bool) {
        let all = self.left.clone();
        let mut last = None;
        while let Some((place, row)) = self.next() {
            if !needed(place) {
                break;
            }
            last = Some(row);
        }
        self.retain(match last {
            None => 0..0,
            Some(row) if self.descending => row..all.end,
            Some(row) => all.start..row + 1,
        });
    }

    /// Keeps only these rows.
    fn retain(&mut self, rows: Range<usize>) {
        self.left = 0..rows.len();
        if rows.len() == self.times.len() {
            return;
        }
        self.times = self.times[rows.clone()].to_vec();
        self.columns.iter_mut().flatten().for_each(|c| c.retain(rows.clone()));
    }

    /// Refuses rows that no message can carry; without text, all rows of a series have the same bound.
    fn check_rows(&self, kinds: &[Kind], has_text: bool) -> Result<(), ExecError> {
        let place = Place { group: Arc::clone(&self.group), order: 0, key: Arc::clone(&self.key) };
        let fixed = row_len(&place) + 9 * kinds.len();
        let rows = if has_text { self.left.clone() } else { 0..0 };
        let text = rows.map(|row| self.columns.iter().flatten().map(|c| c.text_bytes(row)).sum::<usize>());
        check_row(fixed + text.max().unwrap_or(0))
    }
}

/// The first places of the answer among the series seen so far, up to the limit: what comes after them is not needed.
struct FirstPlaces {
    places: BinaryHeap<Place>,
    limit: usize,
}

impl FirstPlaces {
    /// None for limits so large that keeping the places would cost more than it saves.
    fn new(limit: u64) -> Option<Self> {
        let limit = usize::try_from(limit).ok().filter(|limit| *limit <= limits::QUERY_GROUPS_MAX)?;
        Some(Self { places: BinaryHeap::new(), limit })
    }

    /// Cuts off the rows of a series that the answer cannot need.
    fn cut(&mut self, source: &mut Source) {
        source.keep_while(|place| {
            if self.places.len() >= self.limit {
                if self.places.peek().is_none_or(|worst| place >= *worst) {
                    return false;
                }
                self.places.pop();
            }
            self.places.push(place);
            true
        });
    }

    /// The last of them, if there are as many as the answer may have.
    fn last(&self) -> Option<&Place> {
        self.places.peek().filter(|_| self.places.len() >= self.limit)
    }

    /// The same for a series that was seen before others.
    fn cut_again(&self, source: &mut Source) {
        if self.places.len() >= self.limit {
            source.keep_while(|place| self.places.peek().is_some_and(|worst| place <= *worst));
        }
    }
}

#[cfg(test)]
mod tests;
