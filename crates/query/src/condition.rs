//! Conditions on the values of fields. Numbers are compared exactly, whatever their types: a condition's literal is brought into
//! its column's type once a series, never a value into the literal's.

use std::borrow::Borrow;
use std::cmp::Ordering;

use meridian_types::{FieldType, Value};

use crate::rows::Values;
use crate::{Column, Known, Plan, SeriesRows};

/// How a value is compared. Numbers are sent: never renumber.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum CompareOp {
    /// `<`: below.
    Lt = 1,
    /// `<=`: below or the same.
    Le = 2,
    /// `>`: above.
    Gt = 3,
    /// `>=`: above or the same.
    Ge = 4,
    /// `==`: the same.
    Eq = 5,
    /// `<>`: another one.
    NotEq = 6,
}

impl CompareOp {
    /// All comparisons in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Lt, Self::Le, Self::Gt, Self::Ge, Self::Eq, Self::NotEq];

    /// The sign users write.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::Eq => "==",
            Self::NotEq => "<>",
        }
    }

    pub(crate) fn from_stored(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|op| *op as u8 == number)
    }
}

impl std::fmt::Display for CompareOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sign())
    }
}

/// One condition on one field. A row without a value of the field never fulfils it; NaN fulfils `<>` only, and so does every
/// value that is compared with NaN.
#[derive(Clone, PartialEq, Debug)]
pub struct Condition {
    /// The field's name.
    pub field: String,
    /// How its value is compared.
    pub op: CompareOp,
    /// What it is compared with: for a field of numbers a number of any type, else a value of the field's type.
    pub value: Value,
}

// Values are equal by their bits.
impl Eq for Condition {}

impl Condition {
    /// Whether the values of a field of this type can be compared so.
    pub(crate) fn suits(&self, field_type: FieldType) -> bool {
        let is_number = |t| matches!(t, FieldType::F64 | FieldType::I64 | FieldType::U64);
        let literal = self.value.field_type();
        literal == field_type || is_number(literal) && is_number(field_type)
    }

    /// Takes the rows out of `kept` whose values do not fulfil the condition.
    pub fn narrow(&self, column: &Column, kept: &mut [bool]) {
        match (column, &self.value) {
            (Column::Bool(values), Value::Bool(literal)) => Test::Compare(self.op, *literal).narrow(values, kept),
            (Column::Str(values), Value::Str(literal)) => compare(self.op, values, literal.as_str(), kept),
            (Column::F64(values), literal) => Test::of(self.op, float(literal)).narrow(values, kept),
            (Column::I64(values), literal) => {
                Test::of(self.op, whole(literal, i64::MIN, i64::MAX)).narrow(values, kept);
            }
            (Column::U64(values), literal) => {
                Test::of(self.op, whole(literal, u64::MIN, u64::MAX)).narrow(values, kept);
            }
            (column, _) => unreachable!("a plan was built with {self:?} on type {}", column.field_type()),
        }
    }

    /// Whether a value may fulfil the condition of which nothing but this is known. Where it says no, [`Condition::narrow`] leaves no row.
    pub fn may_hold(&self, known: &Known) -> bool {
        if known.has_nan() && self.op == CompareOp::NotEq {
            return true;
        }
        if known.numbers == 0 {
            return false;
        }
        match (&known.min, &known.max, &self.value) {
            (Value::Bool(min), Value::Bool(max), Value::Bool(literal)) => {
                Test::Compare(self.op, *literal).may_hold(*min, *max)
            }
            (Value::F64(min), Value::F64(max), literal) => Test::of(self.op, float(literal)).may_hold(*min, *max),
            (Value::I64(min), Value::I64(max), literal) => {
                Test::of(self.op, whole(literal, i64::MIN, i64::MAX)).may_hold(*min, *max)
            }
            (Value::U64(min), Value::U64(max), literal) => {
                Test::of(self.op, whole(literal, u64::MIN, u64::MAX)).may_hold(*min, *max)
            }
            _ => true,
        }
    }
}

/// What a run makes of the rows that the engine hands over, before anything else looks at them.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    /// One for each column.
    read: Vec<(&'a str, FieldType)>,
    /// With the column that each looks at.
    conditions: Vec<(&'a Condition, usize)>,
    /// Columns of the fields asked for; those behind them are read for conditions only.
    asked: usize,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let read: Vec<_> = plan.read_fields().collect();
        let column = |condition: &Condition| read.iter().position(|(name, _)| *name == condition.field);
        let conditions = plan.conditions.iter().map(|(condition, _)| {
            (condition, column(condition).expect("a plan reads the fields that its conditions look at"))
        });
        Self { conditions: conditions.collect(), read, asked: plan.fields.len() }
    }

    /// The rows that fulfil all conditions, with the fields asked for.
    ///
    /// Panics if the rows break what [`SeriesRows`] promises.
    pub(crate) fn apply(&self, mut rows: SeriesRows) -> SeriesRows {
        rows.assert_fits(&self.read);
        if self.conditions.is_empty() {
            return rows;
        }
        assert!(rows.known.is_empty(), "series {:?}: conditions look at single rows", rows.key);
        let mut kept = vec![true; rows.times.len()];
        for (condition, column) in &self.conditions {
            match &rows.columns[*column] {
                Some(column) => condition.narrow(column, &mut kept),
                None => kept.fill(false),
            }
        }
        rows.columns.truncate(self.asked);
        rows.keep(&kept);
        rows
    }
}

/// The float nearest to a number, and on which side of it that stands; none for NaN.
fn float(literal: &Value) -> Option<(f64, Ordering)> {
    let number = match literal {
        Value::I64(v) => i128::from(*v),
        Value::U64(v) => i128::from(*v),
        Value::F64(v) => return (!v.is_nan()).then_some((*v, Ordering::Equal)),
        Value::Bool(_) | Value::Str(_) => return None,
    };
    let nearest = number as f64;
    Some((nearest, (nearest as i128).cmp(&number)))
}

/// The same for a type of integers that reaches from `least` to `most`: an integer with no other between it and the number.
fn whole<T: TryFrom<i128>>(literal: &Value, least: T, most: T) -> Option<(T, Ordering)> {
    let (floor, side) = match literal {
        Value::I64(v) => (i128::from(*v), Ordering::Equal),
        Value::U64(v) => (i128::from(*v), Ordering::Equal),
        Value::F64(v) if v.is_nan() => return None,
        // What is too large for an i128 becomes its end, which is out of range as well.
        Value::F64(v) if v.floor() == *v => (*v as i128, Ordering::Equal),
        Value::F64(v) => (v.floor() as i128, Ordering::Less),
        Value::Bool(_) | Value::Str(_) => return None,
    };
    Some(match T::try_from(floor) {
        Ok(floor) => (floor, side),
        Err(_) if floor < 0 => (least, Ordering::Greater),
        Err(_) => (most, Ordering::Less),
    })
}

/// A comparison whose literal has the type of the values.
enum Test<T> {
    /// Every value fulfils it.
    Always,
    Never,
    Compare(CompareOp, T),
}

impl<T: PartialOrd + Copy> Test<T> {
    /// Compares with a number that stands next to `nearest`, on the side that is told, or is NaN.
    fn of(op: CompareOp, nearest: Option<(T, Ordering)>) -> Self {
        use CompareOp::{Eq, Ge, Gt, Le, Lt, NotEq};
        match (nearest, op) {
            (Some((literal, Ordering::Equal)), _) => Self::Compare(op, literal),
            (_, NotEq) => Self::Always,
            (None, _) | (_, Eq) => Self::Never,
            (Some((below, Ordering::Less)), Lt | Le) => Self::Compare(Le, below),
            (Some((below, Ordering::Less)), Gt | Ge) => Self::Compare(Gt, below),
            (Some((above, Ordering::Greater)), Lt | Le) => Self::Compare(Lt, above),
            (Some((above, Ordering::Greater)), Gt | Ge) => Self::Compare(Ge, above),
        }
    }

    fn narrow(self, values: &Values<T>, kept: &mut [bool]) {
        match self {
            Self::Always => values.narrow(kept, |_| true),
            Self::Never => kept.fill(false),
            Self::Compare(op, literal) => compare(op, values, &literal, kept),
        }
    }

    /// Whether a value fulfils it that is `min`, `max` or may lie between them.
    fn may_hold(self, min: T, max: T) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Compare(CompareOp::Lt, literal) => min < literal,
            Self::Compare(CompareOp::Le, literal) => min <= literal,
            Self::Compare(CompareOp::Gt, literal) => max > literal,
            Self::Compare(CompareOp::Ge, literal) => max >= literal,
            Self::Compare(CompareOp::Eq, literal) => min <= literal && literal <= max,
            Self::Compare(CompareOp::NotEq, literal) => min != literal || max != literal,
        }
    }
}

fn compare<T: Borrow<L>, L: PartialOrd + ?Sized>(op: CompareOp, values: &Values<T>, literal: &L, kept: &mut [bool]) {
    // One loop for each comparison, so that none is chosen inside of it.
    match op {
        CompareOp::Lt => values.narrow(kept, |v| v.borrow() < literal),
        CompareOp::Le => values.narrow(kept, |v| v.borrow() <= literal),
        CompareOp::Gt => values.narrow(kept, |v| v.borrow() > literal),
        CompareOp::Ge => values.narrow(kept, |v| v.borrow() >= literal),
        CompareOp::Eq => values.narrow(kept, |v| v.borrow() == literal),
        CompareOp::NotEq => values.narrow(kept, |v| v.borrow() != literal),
    }
}

#[cfg(test)]
pub(crate) mod tests;
