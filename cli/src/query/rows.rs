//! Rows of an answer as text: table, json and csv. Pure. Holds at most as many rows as a page of the table, or as csv needs
//! to see before it can name its columns.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use meridian_proto::{ResultRow, v1};
use meridian_types::{Code, Failure, Timestamp, Value};

use crate::failure::CliError;
use crate::table;

/// Rows of one page of a table: widths are those of the page.
pub(super) const PAGE_ROWS: usize = 1_000;
/// Rows of raw points whose tags make the header of csv.
pub(super) const CSV_HEAD_ROWS: usize = 10_000;
/// The first column.
const TIME: &str = "time";

/// How rows are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// One object a line.
    Json,
    /// A header and a record a row.
    Csv,
}

/// What the columns of an answer are and are called.
///
/// Labels never clash, and do not depend on which rows have come: a field keeps its name unless it is `time` or looks like
/// a label that was made here (`field:time`); then a tag keeps its name unless that is a field's label, or `time`, or looks
/// made (`tag:time`).
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Whether rows have a time: one window over all time has no beginning.
    has_time: bool,
    is_aggregate: bool,
    group_by: Vec<String>,
    /// Labels and whether their values are numbers.
    values: Vec<(String, bool)>,
}

impl Layout {
    /// The layout of the answer to `select`, as far as the question tells.
    pub(super) fn of(select: &v1::Select) -> Self {
        let is_aggregate = !select.aggregates.is_empty();
        let has_start = select.range.is_some_and(|range| range.start > Timestamp::MIN.nanos());
        let has_time = !is_aggregate || select.every > 0 || has_start;
        Self { has_time, is_aggregate, group_by: select.group_by.clone(), values: Vec::new() }
    }

    /// The same with the columns that the answer's header names.
    pub(super) fn with(mut self, header: v1::QueryHeader) -> Self {
        let value = |column: v1::Column| {
            let is_number = !matches!(column.r#type(), v1::FieldType::String | v1::FieldType::Boolean);
            let looks_made = column.name.starts_with("tag:") || column.name.starts_with("field:");
            let label = if column.name == TIME || looks_made { format!("field:{}", column.name) } else { column.name };
            (label, is_number)
        };
        self.values = header.columns.into_iter().map(value).collect();
        self
    }

    fn tag_label<'a>(&self, tag: &'a str) -> Cow<'a, str> {
        let is_taken = tag == TIME || self.values.iter().any(|(label, _)| label == tag);
        if is_taken || tag.starts_with("tag:") { format!("tag:{tag}").into() } else { tag.into() }
    }

    /// The tags of some rows: those of the groups as they were asked for, then others by name.
    fn tags(&self, rows: &[ResultRow]) -> Vec<String> {
        let all: BTreeSet<&str> = rows.iter().flat_map(|row| &*row.tags).map(|tag| tag.key.as_str()).collect();
        let others = all.into_iter().filter(|tag| !self.group_by.iter().any(|g| g == tag)).map(str::to_owned);
        self.group_by.iter().cloned().chain(others).collect()
    }

    /// A row's cells in the order time, `tags`, values; what is missing is empty.
    fn cells(&self, tags: &[String], row: &ResultRow) -> Vec<String> {
        let time = self.has_time.then(|| time_text(row.time));
        let tags = tags.iter().map(|tag| row.tags.iter().find(|t| t.key == *tag).map_or("", |t| &t.value).to_owned());
        let values = row.values.iter().map(|cell| cell.as_ref().map(text).unwrap_or_default());
        time.into_iter().chain(tags).chain(values).collect()
    }
}

/// Turns rows into text, in the order in which they come.
#[derive(Debug)]
pub(super) struct Printer {
    format: Format,
    layout: Layout,
    /// Rows that cannot be printed yet.
    held: Vec<ResultRow>,
    /// The tags of the header of csv, once it is printed.
    csv_tags: Option<Vec<String>>,
    printed: u64,
}

impl Printer {
    /// A printer that has printed nothing.
    pub(super) fn new(format: Format, layout: Layout) -> Self {
        Self { format, layout, held: Vec::new(), csv_tags: None, printed: 0 }
    }

    /// What can be printed now that these rows have come.
    pub(super) fn rows(&mut self, rows: Vec<ResultRow>) -> Result<Vec<u8>, CliError> {
        let width = self.layout.values.len();
        if let Some(row) = rows.iter().find(|row| row.values.len() != width) {
            return Err(super::malformed(&format!("has a row of {} values, not {width}", row.values.len())));
        }
        match self.format {
            Format::Json => Ok(rows.iter().map(|row| self.json(row)).collect::<String>().into_bytes()),
            Format::Table => {
                self.held.extend(rows);
                let mut pages = Vec::new();
                while self.held.len() >= PAGE_ROWS {
                    let page: Vec<_> = self.held.drain(..PAGE_ROWS).collect();
                    pages.extend_from_slice(self.page(&page).as_bytes());
                }
                Ok(pages)
            }
            Format::Csv if self.csv_tags.is_some() => self.csv(&rows),
            Format::Csv => {
                self.held.extend(rows);
                let waits = !self.layout.is_aggregate && self.held.len() < CSV_HEAD_ROWS;
                if waits { Ok(Vec::new()) } else { Ok(self.csv_head()) }
            }
        }
    }

    /// What is left to print when no more rows come.
    pub(super) fn end(mut self) -> Vec<u8> {
        match self.format {
            Format::Json => Vec::new(),
            Format::Csv if self.csv_tags.is_some() => Vec::new(),
            Format::Csv => self.csv_head(),
            Format::Table if self.held.is_empty() && self.printed > 0 => Vec::new(),
            Format::Table => {
                let page = std::mem::take(&mut self.held);
                self.page(&page).into_bytes()
            }
        }
    }

    fn page(&mut self, rows: &[ResultRow]) -> String {
        let tags = self.layout.tags(rows);
        let labels: Vec<_> = tags.iter().map(|tag| self.layout.tag_label(tag)).collect();
        let time = self.layout.has_time.then_some(table::text(TIME));
        let tag_headings = labels.iter().map(|label| table::text(label));
        let values = self.layout.values.iter().map(|(name, is_number)| table::Heading { name, is_number: *is_number });
        let headings: Vec<_> = time.into_iter().chain(tag_headings).chain(values).collect();
        let page = table::render(&headings, rows.iter().map(|row| self.layout.cells(&tags, row)));
        let is_first = self.printed == 0;
        self.printed += rows.len() as u64;
        if is_first { page } else { format!("\n{page}") }
    }

    fn json(&self, row: &ResultRow) -> String {
        let mut line = String::from("{");
        let mut put = |label: &str, value: &str| {
            let comma = if line.len() > 1 { "," } else { "" };
            write!(line, "{comma}{}:{value}", quoted(label)).expect("a String takes everything");
        };
        if self.layout.has_time {
            put(TIME, &quoted(&time_text(row.time)));
        }
        for tag in &*row.tags {
            put(&self.layout.tag_label(&tag.key), &quoted(&tag.value));
        }
        for ((label, _), cell) in self.layout.values.iter().zip(&row.values) {
            put(label, &cell.as_ref().map_or_else(|| "null".to_owned(), json_value));
        }
        line + "}\n"
    }

    /// The header, and the rows that waited for it.
    fn csv_head(&mut self) -> Vec<u8> {
        let rows = std::mem::take(&mut self.held);
        let tags = self.layout.tags(&rows);
        let time = self.layout.has_time.then(|| TIME.to_owned());
        let labels = tags.iter().map(|tag| self.layout.tag_label(tag).into_owned());
        let values = self.layout.values.iter().map(|(label, _)| label.clone());
        let header = time.into_iter().chain(labels).chain(values).collect();
        let records = rows.iter().map(|row| self.layout.cells(&tags, row));
        let text = csv_text(std::iter::once(header).chain(records));
        self.printed += rows.len() as u64;
        self.csv_tags = Some(tags);
        text
    }

    /// Rows after the header. A tag that it lacks cannot be shown, and is never left out in silence.
    fn csv(&mut self, rows: &[ResultRow]) -> Result<Vec<u8>, CliError> {
        let tags = self.csv_tags.as_deref().unwrap_or_default();
        for tag in rows.iter().flat_map(|row| &*row.tags) {
            if !tags.contains(&tag.key) {
                let message = format!(
                    "tag {:?} comes after row {} for the first time, too late for the header of csv",
                    tag.key, self.printed
                );
                let help = "use --format json, or name fewer series with --where";
                return Err(CliError::with_help(Failure::new(Code::BadQuery, message), help));
            }
        }
        self.printed += rows.len() as u64;
        Ok(csv_text(rows.iter().map(|row| self.layout.cells(tags, row))))
    }
}

fn csv_text(records: impl Iterator<Item = Vec<String>>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    for record in records {
        writer.write_record(record).expect("a Vec takes every record");
    }
    writer.into_inner().expect("a Vec takes every record")
}

fn time_text(nanos: i64) -> String {
    Timestamp::new(nanos).map_or_else(|_| format!("{nanos}ns"), |time| time.to_string())
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is always JSON")
}

/// A value as table and csv show it.
fn text(value: &Value) -> String {
    match value {
        Value::F64(v) => float(*v),
        Value::I64(v) => v.to_string(),
        Value::U64(v) => v.to_string(),
        Value::Bool(v) => v.to_string(),
        Value::Str(v) => v.clone(),
    }
}

/// A value in JSON: strings are quoted, and so is what JSON has no number for.
fn json_value(value: &Value) -> String {
    match value {
        Value::Str(v) => quoted(v),
        Value::F64(v) if !v.is_finite() => quoted(&float(*v)),
        other => text(other),
    }
}

/// The shortest text that reads back as the same float.
fn float(v: f64) -> String {
    match serde_json::Number::from_f64(v) {
        Some(number) => number.to_string(),
        None if v.is_nan() => "NaN".to_owned(),
        None if v > 0.0 => "+Inf".to_owned(),
        None => "-Inf".to_owned(),
    }
}
