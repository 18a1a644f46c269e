//! What the answers must be, computed from the rows of the generator in the plainest way there is. Pure. Shares no code with
//! what it judges but the types of the answer.

use std::collections::BTreeMap;

use meridian_proto::{ResultRow, v1};
use meridian_types::{KeyError, SeriesKey, TimeRange, Timestamp, Value};

use crate::generate::{INTERVAL_NANOS, Shape, Walk};
use crate::queries::draw::{Drawn, HOST_TAG, name_of};
use crate::queries::kinds::{FIELDS, Want, field_name};

/// An answer: its columns, and its rows in order.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<v1::Column>,
    pub(crate) rows: Vec<ResultRow>,
}

/// All rows of the database.
#[derive(Debug)]
pub(crate) struct Reference {
    start: Timestamp,
    /// By the number of the host.
    hosts: Vec<SeriesKey>,
    /// Time after time, in it host after host, in it field after field. Each is from 0 to 100: a byte keeps 25 million small.
    values: Vec<u8>,
}

/// What became of the values of one field in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u64,
    sum: i64,
    max: i64,
}

impl Reference {
    /// The rows of `shape`, the first of each host at `start`.
    pub(crate) fn new(shape: &Shape, start: Timestamp) -> Result<Self, KeyError> {
        assert_eq!(shape.fields, FIELDS, "rows have the fields of cpu-only");
        let mut walk = Walk::new(shape, start, INTERVAL_NANOS)?;
        let (mut hosts, mut values) = (Vec::new(), Vec::new());
        while let Some((host, _)) = walk.next_row() {
            if hosts.len() < shape.series as usize {
                hosts.push(host.key.clone());
            }
            values.extend(host.values.iter().map(|value| u8::try_from(*value).expect("from 0 to 100")));
        }
        Ok(Self { start, hosts, values })
    }

    /// What must be answered.
    pub(crate) fn answer(&self, drawn: &Drawn) -> Answer {
        let raw = |rows| Answer { columns: columns(drawn, v1::FieldType::Integer, None), rows };
        match drawn.kind.want {
            Want::Windows { aggregate, every, by_host } => self.windows(drawn, aggregate, every, by_host),
            Want::NewestWindows { every, count } => {
                let mut answer = self.windows(drawn, v1::Aggregate::Max, every, false);
                answer.rows.reverse();
                answer.rows.truncate(count as usize);
                answer
            }
            Want::RowsAbove(threshold) => raw(self.rows_above(drawn, threshold)),
            Want::NewestRows => raw(self.newest_rows()),
        }
    }

    fn windows(&self, drawn: &Drawn, aggregate: v1::Aggregate, every: i64, by_host: bool) -> Answer {
        let mut windows: BTreeMap<(&str, i64), [Tally; FIELDS as usize]> = BTreeMap::new();
        for host in self.hosts_of(drawn) {
            let group = if by_host { self.hosts[host].tag(HOST_TAG) } else { "" };
            for (time, values) in self.rows_of(host, drawn.range) {
                let tallies = windows.entry((group, time - time.rem_euclid(every))).or_default();
                tallies.iter_mut().zip(values).for_each(|(tally, value)| tally.add((*value).into()));
            }
        }
        let cell = |tally: &Tally| match aggregate {
            v1::Aggregate::Max => Value::I64(tally.max),
            v1::Aggregate::Mean => Value::F64(tally.sum as f64 / tally.count as f64),
            other => unreachable!("no type asks for {other:?}"),
        };
        let field_type = if aggregate == v1::Aggregate::Mean { v1::FieldType::Float } else { v1::FieldType::Integer };
        let row = |((group, time), tallies): (&(&str, i64), &[Tally; FIELDS as usize])| {
            let tags = if by_host { vec![(HOST_TAG, *group)] } else { Vec::new() };
            row(*time, tags, tallies[..drawn.kind.fields as usize].iter().map(cell))
        };
        Answer { columns: columns(drawn, field_type, Some(aggregate)), rows: windows.iter().map(row).collect() }
    }

    /// In the order of time and, within one time, of series.
    fn rows_above(&self, drawn: &Drawn, threshold: i64) -> Vec<ResultRow> {
        let mut rows = BTreeMap::new();
        for host in self.hosts_of(drawn) {
            let above = self.rows_of(host, drawn.range).filter(|(_, values)| i64::from(values[0]) > threshold);
            rows.extend(above.map(|(time, values)| ((time, &self.hosts[host]), values)));
        }
        rows.into_iter().map(|((time, key), values)| raw_row(time, key, values)).collect()
    }

    /// In the order of the hosts' names.
    fn newest_rows(&self) -> Vec<ResultRow> {
        let newest = |host: usize| Some((&self.hosts[host], self.rows_of(host, TimeRange::ALL).last()?));
        let by_name: BTreeMap<_, _> =
            (0..self.hosts.len()).filter_map(newest).map(|(key, row)| (key.tag(HOST_TAG), (key, row))).collect();
        by_name.into_values().map(|(key, (time, values))| raw_row(time, key, values)).collect()
    }

    fn hosts_of(&self, drawn: &Drawn) -> Vec<usize> {
        if drawn.hosts.is_empty() {
            return (0..self.hosts.len()).collect();
        }
        drawn.hosts.iter().map(|host| *host as usize).collect()
    }

    /// The rows of one host in a range, oldest first.
    fn rows_of(&self, host: usize, range: TimeRange) -> impl Iterator<Item = (i64, &[u8])> {
        let width = FIELDS as usize;
        let times = (0_i64..).map(move |number| self.start.nanos() + number * INTERVAL_NANOS);
        let rows = self.values.chunks_exact(width).skip(host).step_by(self.hosts.len());
        let (start, end) = (range.start().nanos(), range.end().nanos());
        times.zip(rows).filter(move |(time, _)| (start..end).contains(time))
    }
}

impl Tally {
    fn add(&mut self, value: i64) {
        self.max = if self.count == 0 { value } else { self.max.max(value) };
        self.count += 1;
        self.sum += value;
    }
}

fn columns(drawn: &Drawn, field_type: v1::FieldType, aggregate: Option<v1::Aggregate>) -> Vec<v1::Column> {
    let name = |number| match aggregate {
        Some(aggregate) => format!("{}({})", name_of(aggregate), field_name(number)),
        None => field_name(number),
    };
    (0..drawn.kind.fields as usize).map(|i| v1::Column { name: name(i), r#type: field_type.into() }).collect()
}

fn raw_row(time: i64, key: &SeriesKey, values: &[u8]) -> ResultRow {
    row(time, key.tags(), values.iter().map(|value| Value::I64((*value).into())))
}

fn row<'a>(
    time: i64,
    tags: impl IntoIterator<Item = (&'a str, &'a str)>,
    values: impl Iterator<Item = Value>,
) -> ResultRow {
    let tag = |(key, value): (&str, &str)| v1::Tag { key: key.to_owned(), value: value.to_owned() };
    ResultRow { time, tags: tags.into_iter().map(tag).collect(), values: values.map(Some).collect() }
}

#[cfg(test)]
mod tests;
