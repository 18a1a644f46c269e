//! What is asked of one measurement, checked once: whatever holds a [`Plan`] may rely on all that [`PlanBuilder::build`]
//! checks.

use meridian_types::{Code, Duration, FieldType, SeriesKey, TimeRange, Timestamp, Value, limits, name_is_valid};

use crate::cell::Kind;
use crate::wire::DecodeError;
use crate::{Aggregate, Condition, Matcher, Whole};

/// Matchers of one plan.
pub const MATCHERS_MAX: usize = 64;
/// Conditions on values of one plan.
pub const CONDITIONS_MAX: usize = 64;

/// Spans of equal length, aligned to 1970-01-01 plus an offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Length of one window; above zero.
    pub every: Duration,
    /// How far the windows are moved to later times.
    pub offset: Duration,
}

impl Window {
    /// The half-open window around `time`, in nanoseconds, cut to what can be stored.
    pub(crate) fn around(self, time: i64) -> (i64, i64) {
        let (every, offset) = (i128::from(self.every.nanos()), i128::from(self.offset.nanos()));
        let start = (i128::from(time) - offset).div_euclid(every) * every + offset;
        let cut = |t: i128| t.clamp(Timestamp::MIN.nanos().into(), Timestamp::END.nanos().into()) as i64;
        (cut(start), cut(start + every))
    }
}

/// What is asked of one measurement. Made by [`Plan::builder`] or [`Plan::decode`] only.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// The measurement.
    pub measurement: String,
    /// The fields asked for and their types, at least one, none twice.
    pub fields: Vec<(String, FieldType)>,
    /// The half-open range of data time.
    pub range: TimeRange,
    /// Conditions on tags; all must hold.
    pub matchers: Vec<Matcher>,
    /// Conditions on values, with their fields' types; all must hold.
    pub conditions: Vec<(Condition, FieldType)>,
    /// Windows of the aggregates; `None` is one window over the whole range.
    pub window: Option<Window>,
    /// What to make of each field; none asks for raw rows.
    pub aggregates: Vec<Aggregate>,
    /// Tags that tell groups apart.
    pub group_by: Vec<String>,
    /// Whether time goes backwards inside each group.
    pub descending: bool,
    /// Rows of each group, the first ones in the answer's order.
    pub group_limit: Option<u64>,
    /// Rows of the whole answer.
    pub limit: Option<u64>,
}

/// How much of the end of a series is enough for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newest {
    /// The newest value of each field.
    Values,
    /// So many of the newest rows.
    Rows(usize),
}

impl Plan {
    /// Starts a plan that asks for all raw rows of a measurement in a range; fields must be named before it is built.
    pub fn builder(measurement: impl Into<String>, range: TimeRange) -> PlanBuilder {
        PlanBuilder(Self {
            measurement: measurement.into(),
            fields: Vec::new(),
            range,
            matchers: Vec::new(),
            conditions: Vec::new(),
            window: None,
            aggregates: Vec::new(),
            group_by: Vec::new(),
            descending: false,
            group_limit: None,
            limit: None,
        })
    }

    /// Whether a series fulfils all matchers.
    pub fn matches(&self, key: &SeriesKey) -> bool {
        self.matchers.iter().all(|m| m.matches(key))
    }

    /// What of the end of each series is enough. Nothing under conditions: an older row may be the first to fulfil them.
    pub fn newest(&self) -> Option<Newest> {
        if !self.conditions.is_empty() {
            return None;
        }
        if self.is_raw() {
            let rows = self.limit.into_iter().chain(self.group_limit).min().filter(|_| self.descending);
            return rows.and_then(|rows| usize::try_from(rows).ok()).map(Newest::Rows);
        }
        let is_last = self.aggregates.iter().all(|a| *a == Aggregate::Last);
        (self.window.is_none() && is_last).then_some(Newest::Values)
    }

    /// What answers need no single rows of; `None` if this one does.
    pub fn whole(&self) -> Option<Whole> {
        Whole::of(self)
    }

    /// What a run reads: the fields asked for, then those that only conditions look at, each once.
    pub fn read_fields(&self) -> impl Iterator<Item = (&str, FieldType)> {
        let asked = self.fields.iter().map(|(name, field_type)| (name.as_str(), *field_type));
        let is_new = |number: usize, name: &str| {
            let before = self.conditions[..number].iter().map(|(condition, _)| &condition.field);
            !self.fields.iter().map(|(field, _)| field).chain(before).any(|field| field == name)
        };
        let looked_at = self.conditions.iter().enumerate().filter(move |(number, (c, _))| is_new(*number, &c.field));
        asked.chain(looked_at.map(|(_, (condition, field_type))| (condition.field.as_str(), *field_type)))
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.aggregates.is_empty()
    }

    /// The value columns of a row: each field, or each aggregate of each field.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let fields = self.fields.iter().enumerate();
        if self.is_raw() {
            return fields
                .map(|(field, (_, field_type))| Kind { field, field_type: *field_type, aggregate: None })
                .collect();
        }
        fields
            .flat_map(|(field, (_, field_type))| {
                self.aggregates.iter().map(move |a| Kind { field, field_type: *field_type, aggregate: Some(*a) })
            })
            .collect()
    }

    /// Label and end of the window around `time`, in nanoseconds.
    pub(crate) fn window_around(&self, time: i64) -> (i64, i64) {
        self.window.map_or((self.range.start().nanos(), self.range.end().nanos()), |w| w.around(time))
    }

    /// Time as the answer's order has it: smaller is earlier in the answer. Its own inverse.
    pub(crate) fn flip(&self, time: i64) -> i64 {
        if self.descending { !time } else { time }
    }
}

/// Names of a row's value columns: raw `usage`; aggregated `mean(usage)`, all aggregates of a field side by side.
pub fn columns(plan: &Plan) -> Vec<String> {
    let name = |kind: &Kind| {
        let field = &plan.fields[kind.field].0;
        kind.aggregate.map_or_else(|| field.clone(), |a| format!("{a}({field})"))
    };
    plan.kinds().iter().map(name).collect()
}

/// A plan in the making; see [`Plan`] for what its parts mean.
#[derive(Clone, Debug)]
pub struct PlanBuilder(Plan);

impl PlanBuilder {
    /// Adds fields with the types that the catalogue gives them.
    #[must_use]
    pub fn fields(mut self, fields: impl IntoIterator<Item = (String, FieldType)>) -> Self {
        self.0.fields.extend(fields);
        self
    }

    /// Adds conditions on tags.
    #[must_use]
    pub fn matchers(mut self, matchers: impl IntoIterator<Item = Matcher>) -> Self {
        self.0.matchers.extend(matchers);
        self
    }

    /// Adds conditions on values, with the types that the catalogue gives their fields.
    #[must_use]
    pub fn conditions(mut self, conditions: impl IntoIterator<Item = (Condition, FieldType)>) -> Self {
        self.0.conditions.extend(conditions);
        self
    }

    /// Sets the windows.
    #[must_use]
    pub fn window(mut self, window: Option<Window>) -> Self {
        self.0.window = window;
        self
    }

    /// Adds aggregates.
    #[must_use]
    pub fn aggregates(mut self, aggregates: impl IntoIterator<Item = Aggregate>) -> Self {
        self.0.aggregates.extend(aggregates);
        self
    }

    /// Adds tags to group by.
    #[must_use]
    pub fn group_by(mut self, tags: impl IntoIterator<Item = String>) -> Self {
        self.0.group_by.extend(tags);
        self
    }

    /// Sets whether time goes backwards.
    #[must_use]
    pub fn descending(mut self, descending: bool) -> Self {
        self.0.descending = descending;
        self
    }

    /// Sets how many rows each group may have; zero asks for none.
    #[must_use]
    pub fn group_limit(mut self, limit: Option<u64>) -> Self {
        self.0.group_limit = limit;
        self
    }

    /// Sets how many rows the whole answer may have; zero asks for none.
    #[must_use]
    pub fn limit(mut self, limit: Option<u64>) -> Self {
        self.0.limit = limit;
        self
    }

    /// The plan, if it is one that can be answered; else the first thing wrong with it.
    pub fn build(self) -> Result<Plan, PlanError> {
        let plan = self.0;
        check_name("measurements", &plan.measurement)?;
        if plan.fields.is_empty() {
            return Err(PlanError::NoFields);
        }
        check_list("fields", plan.fields.iter().map(|(name, _)| name.as_str()), limits::FIELDS_MAX)?;
        check_list("tags to group by", plan.group_by.iter().map(String::as_str), limits::TAGS_MAX)?;
        check_list("aggregates", plan.aggregates.iter().map(|a| a.name()), Aggregate::ALL.len())?;
        if plan.matchers.len() > MATCHERS_MAX {
            return Err(PlanError::TooMany { what: "matchers", count: plan.matchers.len(), limit: MATCHERS_MAX });
        }
        check_conditions(&plan)?;
        if plan.window.is_some() && plan.is_raw() {
            return Err(PlanError::WindowWithoutAggregate);
        }
        if plan.window.is_some_and(|w| w.every.nanos() == 0) {
            return Err(PlanError::EmptyWindow);
        }
        for kind in plan.kinds() {
            if let Some(aggregate) = kind.aggregate.filter(|a| !a.supports(kind.field_type)) {
                let field = plan.fields[kind.field].0.clone();
                return Err(PlanError::Unsupported { aggregate, field, field_type: kind.field_type });
            }
        }
        Ok(plan)
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), PlanError> {
    if name_is_valid(name) { Ok(()) } else { Err(PlanError::BadName { what, name: name.to_owned() }) }
}

fn check_list<'a>(
    what: &'static str,
    names: impl ExactSizeIterator<Item = &'a str>,
    limit: usize,
) -> Result<(), PlanError> {
    let count = names.len();
    if count > limit {
        return Err(PlanError::TooMany { what, count, limit });
    }
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        check_name(what, name)?;
        if !seen.insert(name) {
            return Err(PlanError::Twice { what, name: name.to_owned() });
        }
    }
    Ok(())
}

fn check_conditions(plan: &Plan) -> Result<(), PlanError> {
    let count = plan.conditions.len();
    if count > CONDITIONS_MAX {
        return Err(PlanError::TooMany { what: "conditions on fields", count, limit: CONDITIONS_MAX });
    }
    for (condition, field_type) in &plan.conditions {
        let field = &condition.field;
        check_name("fields", field)?;
        if !condition.suits(*field_type) {
            return Err(PlanError::NotComparable { condition: condition.clone(), field_type: *field_type });
        }
        // Each field is read once.
        let asked = plan.fields.iter().map(|(name, field_type)| (name, *field_type));
        let mut named = asked.chain(plan.conditions.iter().map(|(other, field_type)| (&other.field, *field_type)));
        if let Some((_, other)) = named.find(|(name, other)| *name == field && other != field_type) {
            return Err(PlanError::TwoTypes { field: field.clone(), types: [other, *field_type] });
        }
    }
    Ok(())
}

/// Why a query is no plan.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum PlanError {
    /// A name that nothing can have.
    #[error("{name:?} is no name for {what}: names have 1 to 65535 bytes of UTF-8 without NUL")]
    BadName {
        /// What it should name.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A query for nothing.
    #[error("the query names no field: name at least one")]
    NoFields,
    /// The same thing asked for twice.
    #[error("{name:?} stands twice among {what}: name it once")]
    Twice {
        /// Among what.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Too many things asked for at once.
    #[error("{count} {what} are over the limit of {limit} a query: ask for fewer")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Windows of raw rows.
    #[error("a window needs an aggregate: name one of count, sum, min, max, mean, first, last")]
    WindowWithoutAggregate,
    /// Windows without length.
    #[error("a window must be longer than 0s")]
    EmptyWindow,
    /// An aggregate that the field's type lacks.
    #[error(
        "{aggregate} is not for field {field:?} of type {field_type}: ask for count, first or last, or leave it out"
    )]
    Unsupported {
        /// The aggregate.
        aggregate: Aggregate,
        /// The field.
        field: String,
        /// Its type.
        field_type: FieldType,
    },
    /// A value that those of a field cannot be compared with.
    #[error(
        "field {field:?} is of type {field_type} and cannot be compared with {literal}, of type {literal_type}: give a value of \
         the field's type",
        field = .condition.field, literal = Literal(&.condition.value), literal_type = .condition.value.field_type()
    )]
    NotComparable {
        /// The condition.
        condition: Condition,
        /// The type of its field.
        field_type: FieldType,
    },
    /// A field that cannot be of all the types that the plan gives it.
    #[error("the plan gives field {field:?} two types, {} and {}: this is a bug, report it", .types[0], .types[1])]
    TwoTypes {
        /// The field.
        field: String,
        /// Its types.
        types: [FieldType; 2],
    },
    /// A name that is no aggregate's.
    #[error("{0:?} is no aggregate: use one of count, sum, min, max, mean, first, last")]
    NoAggregate(String),
    /// A pattern over its limit.
    #[error("the pattern for tag {tag:?} has {bytes} bytes, over the limit of {limit}: use a shorter one")]
    PatternTooLong {
        /// The tag.
        tag: String,
        /// Size of the pattern.
        bytes: usize,
        /// Its limit.
        limit: usize,
    },
    /// A pattern that is malformed or too large once compiled.
    #[error("the pattern for tag {tag:?} cannot be used: {reason}")]
    BadPattern {
        /// The tag.
        tag: String,
        /// What is wrong, in the words of the regex library.
        reason: Box<regex::Error>,
    },
    /// Bytes that are no plan.
    #[error("the plan cannot be read: {0}")]
    Bytes(#[from] DecodeError),
}

/// A value as users write it.
struct Literal<'a>(&'a Value);

impl std::fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::F64(v) => write!(f, "{v:?}"),
            Value::I64(v) => write!(f, "{v}"),
            Value::U64(v) => write!(f, "{v}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) => write!(f, "{v:?}"),
        }
    }
}

impl PlanError {
    /// The stable code of this failure.
    pub fn code(&self) -> Code {
        match self {
            Self::TooMany { .. } | Self::PatternTooLong { .. } => Code::OverLimit,
            Self::Bytes(error) => error.code(),
            _ => Code::BadQuery,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(every: i64, offset: i64) -> Window {
        let span = |n| Duration::from_nanos(n).expect("not negative");
        Window { every: span(every), offset: span(offset) }
    }

    #[test]
    fn windows_are_aligned_on_both_sides_of_1970() {
        assert_eq!(window(10, 0).around(0), (0, 10));
        assert_eq!(window(10, 0).around(9), (0, 10));
        assert_eq!(window(10, 0).around(-1), (-10, 0));
        assert_eq!(window(10, 0).around(-10), (-10, 0));
        assert_eq!(window(10, 3).around(2), (-7, 3));
        assert_eq!(window(10, 3).around(-8), (-17, -7));
        assert_eq!(window(10, 13).around(2), (-7, 3), "an offset counts modulo the length");
    }

    #[test]
    fn windows_end_where_time_does() {
        let (min, end) = (Timestamp::MIN.nanos(), Timestamp::END.nanos());
        assert_eq!(window(i64::MAX, i64::MAX).around(min).0, min);
        assert_eq!(window(i64::MAX, 0).around(end - 1), (0, end));
        assert_eq!(window(1, i64::MAX).around(min), (min, min + 1));
    }

    #[test]
    fn what_cannot_be_answered_is_refused() {
        let range = TimeRange::ALL;
        let fields = |list: &[(&str, FieldType)]| list.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect::<Vec<_>>();
        let float = || fields(&[("f", FieldType::F64)]);
        let builder = || Plan::builder("m", range);
        let refused = |builder: PlanBuilder, code| assert_eq!(builder.build().expect_err("refused").code(), code);
        assert!(builder().fields(float()).build().is_ok());
        refused(builder(), Code::BadQuery);
        refused(Plan::builder("", range).fields(float()), Code::BadQuery);
        refused(builder().fields(float()).fields(float()), Code::BadQuery);
        refused(builder().fields(float()).window(Some(window(1, 0))), Code::BadQuery);
        let mean = || builder().fields(float()).aggregates([Aggregate::Mean]);
        refused(mean().window(Some(window(0, 0))), Code::BadQuery);
        refused(mean().aggregates([Aggregate::Mean]), Code::BadQuery);
        refused(mean().fields(fields(&[("s", FieldType::Str)])), Code::BadQuery);
        refused(mean().group_by(["a".into(), "a".into()]), Code::BadQuery);
        refused(mean().group_by((0..65).map(|i| format!("t{i}"))), Code::OverLimit);
        let matcher = Matcher::new("a", crate::MatchOp::Eq, "b").expect("valid");
        refused(mean().matchers(vec![matcher; MATCHERS_MAX + 1]), Code::OverLimit);
        let above = |field: &str, value| Condition { field: field.into(), op: crate::CompareOp::Gt, value };
        let one = || above("g", Value::U64(1));
        assert!(mean().conditions(vec![(one(), FieldType::F64); CONDITIONS_MAX]).build().is_ok());
        refused(mean().conditions(vec![(one(), FieldType::F64); CONDITIONS_MAX + 1]), Code::OverLimit);
        refused(mean().conditions([(above("", Value::U64(1)), FieldType::F64)]), Code::BadQuery);
        refused(mean().conditions([(above("f", Value::U64(1)), FieldType::I64)]), Code::BadQuery);
        refused(mean().conditions([(one(), FieldType::F64), (one(), FieldType::I64)]), Code::BadQuery);
        for (value, field_type) in [
            (Value::U64(1), FieldType::Bool),
            (Value::F64(1.0), FieldType::Str),
            (Value::Str("1".into()), FieldType::I64),
            (Value::Bool(true), FieldType::U64),
        ] {
            refused(mean().conditions([(above("g", value), field_type)]), Code::BadQuery);
        }
    }

    #[test]
    fn columns_are_named_for_people() {
        let fields = [("a".to_owned(), FieldType::F64), ("b".to_owned(), FieldType::I64)];
        let plan = Plan::builder("m", TimeRange::ALL).fields(fields);
        assert_eq!(columns(&plan.clone().build().expect("valid")), ["a", "b"]);
        let plan = plan.aggregates([Aggregate::Min, Aggregate::Max]).build().expect("valid");
        assert_eq!(columns(&plan), ["min(a)", "max(a)", "min(b)", "max(b)"]);
    }
}
