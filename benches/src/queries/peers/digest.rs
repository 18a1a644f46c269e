//! What of a peer's answer is compared: how many field values it has, and what they sum up to. Pure.
//!
//! Never compares order or names: each language has its own.

use std::fmt;

use meridian_types::Value;

use crate::queries::reference::Answer;

/// Of the sum: means come to a little else where they are added in another order.
const SUM_ERROR_MAX: f64 = 1e-9;

/// The field values of an answer.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(crate) struct Digest {
    pub(crate) values: u64,
    pub(crate) sum: f64,
}

impl Digest {
    /// Of what must be answered.
    pub(crate) fn of(answer: &Answer) -> Self {
        let number = |value: &Value| match value {
            Value::I64(value) => *value as f64,
            Value::F64(value) => *value,
            other => unreachable!("no field has {other:?}"),
        };
        answer.rows.iter().flat_map(|row| &row.values).flatten().map(number).collect()
    }

    /// Whether it stands for the same values.
    pub(crate) fn is_of(self, expected: Self) -> bool {
        self.values == expected.values && (self.sum - expected.sum).abs() <= SUM_ERROR_MAX * expected.sum.abs().max(1.0)
    }
}

impl FromIterator<f64> for Digest {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let add = |digest: Self, value: f64| Self { values: digest.values + 1, sum: digest.sum + value };
        values.into_iter().fold(Self::default(), add)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values that sum up to {}", self.values, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use meridian_proto::ResultRow;

    use super::*;

    #[test]
    fn a_sum_may_be_off_by_its_rounding_and_no_more() {
        let row = ResultRow { values: vec![Some(Value::I64(7)), Some(Value::F64(0.5))], ..Default::default() };
        let expected = Digest::of(&Answer { columns: Vec::new(), rows: vec![row.clone(), row] });
        assert_eq!(expected, Digest { values: 4, sum: 15.0 });
        assert!(Digest { sum: 15.0 + 1e-9, ..expected }.is_of(expected));
        assert!(!Digest { sum: 15.001, ..expected }.is_of(expected));
        assert!(!Digest { values: 3, ..expected }.is_of(expected));
        assert!(!Digest { sum: f64::NAN, ..expected }.is_of(expected));
    }
}
