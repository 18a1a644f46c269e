//! Rows of an answer: into the columns in which they travel, and out of them. Pure. What arrives is never trusted: columns
//! that do not fit together are an error.

use std::sync::Arc;

use meridian_types::Value;

use crate::{ConvertError, v1};

/// One row of an answer.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ResultRow {
    /// Nanoseconds since 1970.
    pub time: i64,
    /// Shared by the rows of a message that have the same.
    pub tags: Arc<[v1::Tag]>,
    /// One for each column of the answer.
    pub values: Vec<Option<Value>>,
}

impl v1::ResultRows {
    /// Adds a row whose tags are the `tags`th set. All rows have as many values.
    pub fn push(&mut self, time: i64, tags: u32, values: impl IntoIterator<Item = Option<Value>>) {
        let row = self.times.len() as u32;
        for (at, value) in values.into_iter().enumerate() {
            if at == self.columns.len() {
                self.columns.push(v1::Values::default());
            }
            self.columns[at].push(row, value);
        }
        self.times.push(time);
        self.tags.push(tags);
    }

    /// Row by row.
    pub fn into_rows(self) -> Result<Vec<ResultRow>, ConvertError> {
        let sets: Vec<Arc<[v1::Tag]>> = self.tag_sets.into_iter().map(|set| set.tags.into()).collect();
        let count = self.times.len();
        if self.tags.len() != count {
            return Err(ConvertError::Uneven("the tags of an answer's rows"));
        }
        let mut columns = Vec::new();
        for column in self.columns {
            columns.push(column.into_cells(count)?.into_iter());
        }
        let rows = self.times.into_iter().zip(self.tags).map(|(time, tags)| {
            let tags = sets.get(tags as usize).ok_or(ConvertError::Uneven("the tags of an answer's rows"))?;
            // Each column has as many cells as there are rows.
            let values = columns.iter_mut().map(|cells| cells.next().flatten()).collect();
            Ok(ResultRow { time, tags: Arc::clone(tags), values })
        });
        rows.collect()
    }
}

impl FromIterator<ResultRow> for v1::ResultRows {
    fn from_iter<I: IntoIterator<Item = ResultRow>>(rows: I) -> Self {
        let mut message = Self::default();
        for row in rows {
            let tags = v1::TagSet { tags: row.tags.to_vec() };
            let set = message.tag_sets.iter().position(|set| *set == tags).unwrap_or_else(|| {
                message.tag_sets.push(tags);
                message.tag_sets.len() - 1
            });
            message.push(row.time, set as u32, row.values);
        }
        message
    }
}

impl v1::Values {
    /// Adds the value of row `row`, which is the next one.
    fn push(&mut self, row: u32, value: Option<Value>) {
        match value {
            None => self.absent.push(row),
            Some(Value::F64(v)) => self.f64.push(v),
            Some(Value::I64(v)) => self.i64.push(v),
            Some(Value::U64(v)) => self.u64.push(v),
            Some(Value::Bool(v)) => self.boolean.push(v),
            Some(Value::Str(v)) => self.text.push(v),
        }
    }

    /// One cell for each of `rows` rows.
    fn into_cells(self, rows: usize) -> Result<Vec<Option<Value>>, ConvertError> {
        let lists = [self.f64.len(), self.i64.len(), self.u64.len(), self.boolean.len(), self.text.len()];
        let filled = lists.iter().filter(|len| **len > 0).count();
        let last = self.absent.last().map_or(0, |row| *row as usize + 1);
        let is_even = lists.iter().sum::<usize>() + self.absent.len() == rows;
        if filled > 1 || !is_even || last > rows || !self.absent.is_sorted_by(|a, b| a < b) {
            return Err(ConvertError::Uneven("the values of an answer's column"));
        }
        let mut values = (self.f64.into_iter().map(Value::F64))
            .chain(self.i64.into_iter().map(Value::I64))
            .chain(self.u64.into_iter().map(Value::U64))
            .chain(self.boolean.into_iter().map(Value::Bool))
            .chain(self.text.into_iter().map(Value::Str));
        let mut absent = self.absent.into_iter().peekable();
        let cell = |row| if absent.next_if_eq(&row).is_some() { None } else { values.next() };
        Ok((0..rows as u32).map(cell).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: i64, host: &str, values: Vec<Option<Value>>) -> ResultRow {
        let tags = [v1::Tag { key: "host".into(), value: host.into() }];
        ResultRow { time, tags: tags.into(), values }
    }

    #[test]
    fn rows_come_out_as_they_went_in() {
        let rows = vec![
            row(3, "a", vec![Some(Value::I64(-1)), None, Some(Value::Str("x".into()))]),
            row(3, "b", vec![None, None, Some(Value::Str(String::new()))]),
            row(-9, "a", vec![Some(Value::I64(i64::MIN)), None, None]),
        ];
        let message: v1::ResultRows = rows.iter().cloned().collect();
        assert_eq!((message.tag_sets.len(), &*message.tags), (2, &[0, 1, 0][..]));
        assert_eq!(message.into_rows(), Ok(rows));
        assert_eq!(v1::ResultRows::default().into_rows(), Ok(Vec::new()));
    }

    #[test]
    fn columns_that_do_not_fit_together_are_refused() {
        let good: v1::ResultRows =
            [row(1, "a", vec![Some(Value::F64(0.5))]), row(2, "a", vec![None])].into_iter().collect();
        assert!(good.clone().into_rows().is_ok());
        let spoil: [fn(&mut v1::ResultRows); 7] = [
            |rows| rows.tags[1] = 1,
            |rows| rows.tags.truncate(1),
            |rows| rows.times.push(3),
            |rows| rows.columns[0].f64.push(1.0),
            |rows| rows.columns[0].absent = vec![2],
            |rows| rows.columns[0].absent = vec![1, 1],
            |rows| {
                rows.columns[0].absent.clear();
                rows.columns[0].u64.push(1);
            },
        ];
        for (at, spoil) in spoil.into_iter().enumerate() {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert!(matches!(bad.into_rows(), Err(ConvertError::Uneven(_))), "spoiled in way {at}");
        }
    }
}
