//! What was asked, checked against the map. Pure.

use meridian_client::{Database, Map};
use meridian_proto::{ConvertError, v1};
use meridian_query::{Aggregate, CompareOp, Condition, MatchOp, Matcher, Plan, PlanError, Window};
use meridian_query::{CONDITIONS_MAX, MATCHERS_MAX};
use meridian_types::{Code, Duration, Failure, FieldType, TimeRange, Value, limits};

use crate::front::clip;

/// Why a query cannot be planned.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub(super) enum QueryError {
    /// No such measurement.
    #[error("measurement {0:?} does not exist in this database: names are case-sensitive")]
    NoMeasurement(String),
    /// No such field.
    #[error("field {field:?} of measurement {measurement:?} does not exist: names are case-sensitive")]
    NoField {
        /// Whose field.
        measurement: String,
        /// Which.
        field: String,
    },
    /// A span that counts backwards.
    #[error("{what} is {nanos} ns: it must not be negative")]
    Negative {
        /// `every` or `offset`.
        what: &'static str,
        /// How much.
        nanos: i64,
    },
    /// An offset of nothing.
    #[error("offset moves windows, and there are none: give `every`, too")]
    OffsetWithoutWindow,
    /// A message that means nothing.
    #[error(transparent)]
    Part(#[from] ConvertError),
    /// What no plan can be.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let code = match &error {
            QueryError::NoMeasurement(_) | QueryError::NoField { .. } => Code::NoMeasurement,
            QueryError::Negative { .. } | QueryError::OffsetWithoutWindow | QueryError::Part(_) => Code::BadQuery,
            QueryError::Plan(error) => error.code(),
        };
        Self::new(code, clip(&error.to_string(), 4_096))
    }
}

/// What was asked, so far as it can be checked without a map. Patterns are compiled once, however many maps are tried.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) select: v1::Select,
    range: TimeRange,
    matchers: Vec<Matcher>,
    conditions: Vec<Condition>,
    aggregates: Vec<Aggregate>,
    window: Option<Window>,
}

impl Asked {
    /// Checks a query. Whatever has a limit is counted before anything is made of it.
    pub(super) fn check(select: v1::Select) -> Result<Self, QueryError> {
        for (what, count, limit) in [
            ("matchers", select.matchers.len(), MATCHERS_MAX),
            ("conditions on fields", select.conditions.len(), CONDITIONS_MAX),
            ("fields", select.fields.len(), limits::FIELDS_MAX),
            ("aggregates", select.aggregates.len(), Aggregate::ALL.len()),
            ("tags to group by", select.group_by.len(), limits::TAGS_MAX),
        ] {
            if count > limit {
                return Err(PlanError::TooMany { what, count, limit }.into());
            }
        }
        Ok(Self {
            range: select.range.map_or(Ok(TimeRange::ALL), TimeRange::try_from)?,
            aggregates: select.aggregates.iter().map(|number| aggregate(*number)).collect::<Result<_, _>>()?,
            window: window(select.every, select.offset)?,
            matchers: select.matchers.iter().map(matcher).collect::<Result<_, _>>()?,
            conditions: select.conditions.iter().map(condition).collect::<Result<_, _>>()?,
            select,
        })
    }

    /// The plan of the query, with the types of the fields that it shows and compares.
    pub(super) fn plan(&self, map: &Map, database: &Database) -> Result<Plan, QueryError> {
        let select = &self.select;
        let known = map.fields(database.id, &select.measurement);
        let known = known.ok_or_else(|| QueryError::NoMeasurement(select.measurement.clone()))?;
        let type_of = |field: &String| known.get(field).copied().ok_or_else(|| self.no_field(field));
        let fields: Vec<(String, FieldType)> = match &*select.fields {
            [] => known.iter().map(|(name, field_type)| (name.clone(), *field_type)).collect(),
            named => named.iter().map(|name| type_of(name).map(|t| (name.clone(), t))).collect::<Result<_, _>>()?,
        };
        let typed = |condition: &Condition| type_of(&condition.field).map(|t| (condition.clone(), t));
        let plan = Plan::builder(&select.measurement, self.range)
            .fields(fields)
            .matchers(self.matchers.iter().cloned())
            .conditions(self.conditions.iter().map(typed).collect::<Result<Vec<_>, _>>()?)
            .window(self.window)
            .aggregates(self.aggregates.iter().copied())
            .group_by(select.group_by.iter().cloned())
            .descending(select.descending)
            .group_limit(select.group_limit)
            .limit(select.limit);
        Ok(plan.build()?)
    }

    fn no_field(&self, field: &str) -> QueryError {
        QueryError::NoField { measurement: self.select.measurement.clone(), field: field.to_owned() }
    }
}

fn window(every: i64, offset: i64) -> Result<Option<Window>, QueryError> {
    let span = |what, nanos| Duration::from_nanos(nanos).ok_or(QueryError::Negative { what, nanos });
    let (every, offset) = (span("every", every)?, span("offset", offset)?);
    match (every.nanos(), offset.nanos()) {
        (0, 0) => Ok(None),
        (0, _) => Err(QueryError::OffsetWithoutWindow),
        _ => Ok(Some(Window { every, offset })),
    }
}

fn matcher(matcher: &v1::Matcher) -> Result<Matcher, QueryError> {
    Ok(Matcher::new(&matcher.tag, match_op(matcher)?, &matcher.value)?)
}

/// The comparison that a message names.
pub(crate) fn match_op(matcher: &v1::Matcher) -> Result<MatchOp, ConvertError> {
    match matcher.op() {
        v1::MatchOp::Unspecified => Err(ConvertError::Unknown("matcher", matcher.op.into())),
        v1::MatchOp::Eq => Ok(MatchOp::Eq),
        v1::MatchOp::NotEq => Ok(MatchOp::NotEq),
        v1::MatchOp::Re => Ok(MatchOp::Re),
        v1::MatchOp::NotRe => Ok(MatchOp::NotRe),
    }
}

fn condition(condition: &v1::Condition) -> Result<Condition, QueryError> {
    let op = match condition.op() {
        v1::CompareOp::Unspecified => return Err(ConvertError::Unknown("comparison", condition.op.into()).into()),
        v1::CompareOp::Lt => CompareOp::Lt,
        v1::CompareOp::Le => CompareOp::Le,
        v1::CompareOp::Gt => CompareOp::Gt,
        v1::CompareOp::Ge => CompareOp::Ge,
        v1::CompareOp::Eq => CompareOp::Eq,
        v1::CompareOp::NotEq => CompareOp::NotEq,
    };
    let value = condition.value.clone().and_then(Option::<Value>::from);
    let value = value.ok_or(ConvertError::Missing("the value of a condition"))?;
    Ok(Condition { field: condition.field.clone(), op, value })
}

/// By its number on the wire: prost's own accessor leaves out what it does not know, and so would answer another question.
fn aggregate(number: i32) -> Result<Aggregate, QueryError> {
    let unknown = ConvertError::Unknown("aggregate", number.into());
    Ok(match v1::Aggregate::try_from(number).unwrap_or_default() {
        v1::Aggregate::Unspecified => return Err(unknown.into()),
        v1::Aggregate::Count => Aggregate::Count,
        v1::Aggregate::Sum => Aggregate::Sum,
        v1::Aggregate::Min => Aggregate::Min,
        v1::Aggregate::Max => Aggregate::Max,
        v1::Aggregate::Mean => Aggregate::Mean,
        v1::Aggregate::First => Aggregate::First,
        v1::Aggregate::Last => Aggregate::Last,
    })
}

#[cfg(test)]
mod tests {
    use meridian_types::DatabaseId;

    use super::*;

    fn database() -> Database {
        let span = Duration::default();
        Database { id: DatabaseId(1), name: "d".into(), shard_by: None, retention: span, future: span }
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let select = v1::Select { measurement: "cpu".into(), ..v1::Select::default() };
        let asked = Asked::check(select).expect("it can be asked");
        let failure = Failure::from(asked.plan(&Map::default(), &database()).expect_err("nothing is there"));
        assert_eq!(failure.code, Code::NoMeasurement);
        assert_eq!(failure.message, "measurement \"cpu\" does not exist in this database: names are case-sensitive");
    }

    #[test]
    fn windows_and_words_are_checked_before_names() {
        assert_eq!(window(0, 0), Ok(None));
        assert_eq!(window(0, 5), Err(QueryError::OffsetWithoutWindow));
        assert_eq!(window(-1, 0), Err(QueryError::Negative { what: "every", nanos: -1 }));
        assert!(matches!(window(5, 3), Ok(Some(_))));
        let mut select = v1::Select { measurement: "cpu".into(), aggregates: vec![99], ..v1::Select::default() };
        let code = |select: &v1::Select| Failure::from(Asked::check(select.clone()).expect_err("bad")).code;
        assert_eq!(code(&select), Code::BadQuery);
        select.aggregates = vec![v1::Aggregate::Mean.into()];
        select.matchers = vec![v1::Matcher { tag: "a".into(), op: v1::MatchOp::Re.into(), value: "(".into() }];
        assert_eq!(code(&select), Code::BadQuery);
        select.matchers[0].op = 0;
        assert_eq!(code(&select), Code::BadQuery);
        select.matchers = Vec::new();
        let good = above("usage", Value::I64(90));
        for bad in [
            v1::Condition { op: 0, ..good.clone() },
            v1::Condition { op: 99, ..good.clone() },
            v1::Condition { value: None, ..good.clone() },
            v1::Condition { value: Some(v1::Cell::default()), ..good.clone() },
        ] {
            select.conditions = vec![good.clone(), bad];
            assert_eq!(code(&select), Code::BadQuery);
        }
    }

    fn above(field: &str, value: Value) -> v1::Condition {
        v1::Condition { field: field.into(), op: v1::CompareOp::Gt.into(), value: Some(Some(value).into()) }
    }

    /// What is not known is refused, so that `Front::plan` looks for a newer map.
    #[test]
    fn conditions_have_the_types_of_their_fields() {
        let entry = |field: &str, field_type: v1::FieldType| v1::FieldEntry {
            database: 1,
            measurement: "cpu".into(),
            field: field.into(),
            r#type: field_type.into(),
        };
        let fields = vec![entry("usage", v1::FieldType::Float), entry("state", v1::FieldType::String)];
        let list = v1::FieldList { replace: false, fields };
        let update = v1::CatalogueUpdate { fields: Some(list), ..v1::CatalogueUpdate::default() };
        let map = Map::default().updated(update).expect("valid");
        let plan = |condition| {
            let select = v1::Select {
                measurement: "cpu".into(),
                fields: vec!["state".into()],
                conditions: vec![condition],
                ..v1::Select::default()
            };
            Asked::check(select).expect("it can be asked").plan(&map, &database()).map_err(Failure::from)
        };
        let found = plan(above("usage", Value::I64(90))).expect("a plan");
        let read: Vec<_> = found.read_fields().collect();
        assert_eq!(read, [("state", FieldType::Str), ("usage", FieldType::F64)]);
        let unknown = plan(above("Usage", Value::I64(90))).expect_err("no such field");
        assert_eq!(unknown.code, Code::NoMeasurement);
        assert!(unknown.message.starts_with("field \"Usage\" of measurement \"cpu\" does not exist"), "{unknown}");
        assert_eq!(plan(above("usage", Value::Bool(true))).expect_err("other types").code, Code::BadQuery);
    }

    /// A bad pattern after the last allowed one would be named if patterns were looked at before they are counted.
    #[test]
    fn lists_are_counted_before_anything_is_made_of_them() {
        let bad = v1::Matcher { tag: "a".into(), op: v1::MatchOp::Re.into(), value: "(".into() };
        let many = |fields, aggregates, group_by, matchers, conditions| v1::Select {
            fields: vec![String::new(); fields],
            aggregates: vec![99; aggregates],
            group_by: vec![String::new(); group_by],
            matchers: vec![bad.clone(); matchers],
            conditions: vec![v1::Condition::default(); conditions],
            ..v1::Select::default()
        };
        for (what, select) in [
            ("65 matchers", many(0, 0, 0, 65, 1)),
            ("65 conditions on fields", many(0, 1, 0, 1, 65)),
            ("1025 fields", many(1_025, 1, 0, 1, 1)),
            ("8 aggregates", many(0, 8, 0, 1, 1)),
            ("65 tags to group by", many(0, 1, 65, 1, 1)),
        ] {
            let failure = Failure::from(Asked::check(select).expect_err("too many"));
            assert_eq!(failure.code, Code::OverLimit);
            assert!(failure.message.starts_with(what), "{failure}");
        }
        assert_eq!(Failure::from(Asked::check(many(0, 0, 0, 64, 64)).expect_err("bad")).code, Code::BadQuery);
    }
}
