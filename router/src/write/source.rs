//! Rows as they arrive, line protocol or gRPC, in one form. May be read more than once: rows are looked at again when their
//! fields had to be registered first.

use std::sync::Arc;

use bytes::Bytes;
use meridian_dialect::line_protocol::{self, Line, Precision};
use meridian_proto::v1;
use meridian_types::{Failure, SeriesKey, Timestamp, ValueRef};

use super::refused::RowError;
use super::series::{Meeting, Met};

/// The rows of one request. Clones share them.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Line protocol.
    Lines { body: Bytes, precision: Precision },
    /// Rows of gRPC, and their bytes on the wire.
    Rows { rows: Arc<Vec<v1::Row>>, bytes: usize },
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) measurement: &'a str,
    pub(crate) series: Series<'a>,
    pub(crate) time: Option<Timestamp>,
    pub(crate) fields: &'a [(&'a str, ValueRef<'a>)],
    /// Rows of one request with the same shape, other than 0, name the same fields, in the same order and of the same types.
    pub(crate) shape: u64,
}

/// Whose a row is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Series<'a> {
    /// By its tags.
    Key(&'a SeriesKey),
    /// One that this router has met, of the row's measurement.
    Met(&'a Arc<Met>),
}

/// Where rows go, each with its number, good or bad. A failure is one of the whole request and ends the reading.
pub(crate) trait Sink {
    fn row(&mut self, number: u64, row: Result<Row<'_>, RowError>) -> Result<(), Failure>;
}

impl Source {
    /// How large it is.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Lines { body, .. } => body.len(),
            Self::Rows { bytes, .. } => *bytes,
        }
    }

    /// Hands all rows to `sink`, in order. `meeting` is of the database that they are for.
    pub(crate) fn read(&self, meeting: &mut Meeting<'_>, sink: &mut impl Sink) -> Result<(), Failure> {
        match self {
            Self::Lines { body, precision } => line_protocol::read(body, *precision, meeting, |line| match line {
                Err(bad) => sink.row(bad.number as u64, Err(bad.reason.into())),
                Ok(Line { number, series: met, time, fields, shape }) => {
                    let (measurement, series) = (&*met.measurement, Series::Met(&met));
                    sink.row(number as u64, Ok(Row { measurement, series, time, fields, shape }))
                }
            }),
            Self::Rows { rows, .. } => rows.iter().zip(0..).try_for_each(|(row, number)| match parts(row) {
                Err(error) => sink.row(number, Err(error)),
                Ok((key, time, fields)) => {
                    let (measurement, series) = (&*row.measurement, Series::Key(&key));
                    sink.row(number, Ok(Row { measurement, series, time, fields: &fields, shape: 0 }))
                }
            }),
        }
    }
}

type Parts<'a> = (SeriesKey, Option<Timestamp>, Vec<(&'a str, ValueRef<'a>)>);

fn parts(row: &v1::Row) -> Result<Parts<'_>, RowError> {
    let mut tags: Vec<_> = row.tags.iter().map(|tag| (&*tag.key, &*tag.value)).collect();
    let key = SeriesKey::from_tags(&mut tags)?;
    let time = row.time.map(Timestamp::new).transpose()?;
    let fields = row.fields.iter().map(|field| Ok((&*field.name, field.value_ref()?)));
    Ok((key, time, fields.collect::<Result<_, RowError>>()?))
}
