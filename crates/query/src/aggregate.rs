//! The aggregates by name, number and the types they are for. How they are computed is in `cell.rs`.

use meridian_types::FieldType;

use crate::PlanError;

/// What is made of a group's values. Numbers are sent: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Aggregate {
    /// How many values, NaN included.
    Count = 1,
    /// Their sum, in the field's type.
    Sum = 2,
    /// The least.
    Min = 3,
    /// The greatest.
    Max = 4,
    /// The exact sum over the count, as a float.
    Mean = 5,
    /// The value at the earliest time.
    First = 6,
    /// The value at the latest time.
    Last = 7,
}

impl Aggregate {
    /// All aggregates in the order of their numbers.
    pub const ALL: [Self; 7] = [Self::Count, Self::Sum, Self::Min, Self::Max, Self::Mean, Self::First, Self::Last];

    /// The name users write: `count`, `sum`, …
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    /// Whether a field of this type has the aggregate: booleans and strings have `count`, `first` and `last` only.
    pub fn supports(self, field_type: FieldType) -> bool {
        match field_type {
            FieldType::F64 | FieldType::I64 | FieldType::U64 => true,
            FieldType::Bool | FieldType::Str => matches!(self, Self::Count | Self::First | Self::Last),
        }
    }

    pub(crate) fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|a| *a as u8 == number)
    }
}

impl std::fmt::Display for Aggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Aggregate {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or_else(|| PlanError::NoAggregate(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_read_back() {
        for aggregate in Aggregate::ALL {
            assert_eq!(aggregate.to_string().parse::<Aggregate>().expect("its own name"), aggregate);
            assert_eq!(Aggregate::from_stored(aggregate as u8), Some(aggregate));
        }
        assert!("Mean".parse::<Aggregate>().is_err(), "names are lower case");
    }
}
