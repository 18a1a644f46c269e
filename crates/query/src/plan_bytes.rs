//! A plan as routers send it to nodes. Never trusts what it reads: all goes through [`PlanBuilder::build`] again.
//!
//! ```text
//! version:u8 measurement:str fields:[name:str type:u8] start:i64 end:i64 matchers:[tag:str op:u8 value:str]
//! conditions:[field:str type:u8 op:u8 literal_type:u8 literal]
//! has_window:u8 (every:i64 offset:i64)? aggregates:[u8] group_by:[str] descending:u8 group_limit:limit limit:limit
//! ```
//! Little-endian; `str` is `len:u32` and UTF-8, `[…]` is `count:u32` and the items; flags are 0 or 1. A literal is
//! 8 bytes for numbers, a flag for booleans, and a `str` for strings. A `limit` is a flag and, if it is set, a `u64`.

use meridian_types::{Duration, FieldType, TimeRange, Timestamp, limits};

use crate::cell::{put_value, take_value};
use crate::wire::{DecodeError, Reader, put_bytes, put_len};
use crate::{Aggregate, CompareOp, Condition, Plan, PlanBuilder, PlanError, Window};
use crate::{CONDITIONS_MAX, MATCHERS_MAX, MatchOp, Matcher};

const VERSION: u8 = 3;

impl Plan {
    /// The plan as bytes for [`Plan::decode`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_bytes(&mut out, self.measurement.as_bytes());
        put_len(&mut out, self.fields.len());
        for (name, field_type) in &self.fields {
            put_bytes(&mut out, name.as_bytes());
            out.push(*field_type as u8);
        }
        put_range(&mut out, self.range);
        put_matchers(&mut out, &self.matchers);
        put_conditions(&mut out, &self.conditions);
        out.push(self.window.is_some().into());
        if let Some(window) = self.window {
            out.extend_from_slice(&window.every.nanos().to_le_bytes());
            out.extend_from_slice(&window.offset.nanos().to_le_bytes());
        }
        put_len(&mut out, self.aggregates.len());
        out.extend(self.aggregates.iter().map(|a| *a as u8));
        put_len(&mut out, self.group_by.len());
        for tag in &self.group_by {
            put_bytes(&mut out, tag.as_bytes());
        }
        out.push(self.descending.into());
        for limit in [self.group_limit, self.limit] {
            out.push(limit.is_some().into());
            out.extend(limit.iter().flat_map(|limit| limit.to_le_bytes()));
        }
        out
    }

    /// Reads what [`Plan::encode`] wrote; any other bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, PlanError> {
        let reader = &mut Reader::new(bytes, VERSION)?;
        let measurement = reader.str("the measurement")?;
        let fields = reader.list("the fields", limits::FIELDS_MAX, read_field)?;
        let range = read_range(reader)?;
        let matchers = reader.list("the matchers", MATCHERS_MAX, read_matcher)?;
        let matchers = matchers.into_iter().map(|(tag, op, value)| Matcher::new(tag, op, value));
        let builder: PlanBuilder = Self::builder(measurement, range)
            .fields(fields)
            .matchers(matchers.collect::<Result<Vec<_>, _>>()?)
            .conditions(reader.list("the conditions", CONDITIONS_MAX, read_condition)?)
            .window(read_window(reader)?)
            .aggregates(reader.list("the aggregates", Aggregate::ALL.len(), |r| {
                let number = r.u8("an aggregate")?;
                r.check(Aggregate::from_stored(number), "an aggregate")
            })?)
            .group_by(reader.list("the group tags", limits::TAGS_MAX, |r| Ok(r.str("a group tag")?.to_owned()))?)
            .descending(reader.flag("the order")?);
        let mut limit =
            || Ok::<_, DecodeError>(if reader.flag("a limit")? { Some(reader.u64("a limit")?) } else { None });
        let builder = builder.group_limit(limit()?).limit(limit()?);
        reader.end("the plan")?;
        builder.build()
    }
}

fn read_field(reader: &mut Reader<'_>) -> Result<(String, FieldType), DecodeError> {
    let name = reader.str("a field's name")?.to_owned();
    let number = reader.u8("a field's type")?;
    Ok((name, reader.check(FieldType::from_stored(number), "a field's type")?))
}

pub(crate) fn put_range(out: &mut Vec<u8>, range: TimeRange) {
    out.extend_from_slice(&range.start().nanos().to_le_bytes());
    out.extend_from_slice(&range.end().nanos().to_le_bytes());
}

pub(crate) fn read_range(reader: &mut Reader<'_>) -> Result<TimeRange, DecodeError> {
    let mut bound = || {
        let nanos = reader.i64("the range")?;
        // The end of all time is a bound though not a timestamp, so `Timestamp::new` would refuse it.
        let time = Timestamp::default().saturating_add(nanos);
        reader.check((time.nanos() == nanos).then_some(time), "the range")
    };
    let (start, end) = (bound()?, bound()?);
    reader.check(TimeRange::new(start, end).ok(), "the range")
}

pub(crate) fn put_matchers(out: &mut Vec<u8>, matchers: &[Matcher]) {
    put_len(out, matchers.len());
    for matcher in matchers {
        put_bytes(out, matcher.tag().as_bytes());
        out.push(matcher.op() as u8);
        put_bytes(out, matcher.value().as_bytes());
    }
}

pub(crate) fn read_matcher<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, MatchOp, &'a str), DecodeError> {
    let tag = reader.str("a matcher's tag")?;
    let number = reader.u8("a matcher's comparison")?;
    let op = reader.check(MatchOp::from_stored(number), "a matcher's comparison")?;
    Ok((tag, op, reader.str("a matcher's value")?))
}

fn put_conditions(out: &mut Vec<u8>, conditions: &[(Condition, FieldType)]) {
    put_len(out, conditions.len());
    for (condition, field_type) in conditions {
        put_bytes(out, condition.field.as_bytes());
        out.extend([*field_type as u8, condition.op as u8, condition.value.field_type() as u8]);
        put_value(out, &condition.value);
    }
}

fn read_condition(reader: &mut Reader<'_>) -> Result<(Condition, FieldType), DecodeError> {
    let (field, field_type) = read_field(reader)?;
    let number = reader.u8("a condition's comparison")?;
    let op = reader.check(CompareOp::from_stored(number), "a condition's comparison")?;
    let number = reader.u8("a condition's type")?;
    let literal = reader.check(FieldType::from_stored(number), "a condition's type")?;
    Ok((Condition { field, op, value: take_value(literal, reader)? }, field_type))
}

fn read_window(reader: &mut Reader<'_>) -> Result<Option<Window>, DecodeError> {
    if !reader.flag("the window")? {
        return Ok(None);
    }
    let mut span = || {
        let nanos = reader.i64("the window")?;
        reader.check(Duration::from_nanos(nanos), "the window")
    };
    Ok(Some(Window { every: span()?, offset: span()? }))
}

#[cfg(test)]
mod tests {
    use meridian_types::Value;
    use proptest::prelude::*;

    use super::*;

    fn condition(field: &str, op: CompareOp, value: Value, field_type: FieldType) -> (Condition, FieldType) {
        (Condition { field: field.to_owned(), op, value }, field_type)
    }

    fn example() -> Plan {
        let span = |n| Duration::from_nanos(n).expect("not negative");
        Plan::builder("cpu", TimeRange::ALL)
            .fields([("usage".to_owned(), FieldType::F64), ("n".to_owned(), FieldType::U64)])
            .matchers([Matcher::new("host", MatchOp::Re, "web-.*").expect("valid")])
            .conditions([
                condition("usage", CompareOp::Gt, Value::I64(90), FieldType::F64),
                condition("state", CompareOp::NotEq, Value::Str("idle".to_owned()), FieldType::Str),
                condition("up", CompareOp::Eq, Value::Bool(true), FieldType::Bool),
            ])
            .window(Some(Window { every: span(60), offset: span(5) }))
            .aggregates([Aggregate::Mean, Aggregate::Last])
            .group_by(["host".to_owned()])
            .descending(true)
            .group_limit(Some(3))
            .limit(Some(7))
            .build()
            .expect("valid")
    }

    #[test]
    fn reads_back_and_refuses_cuts_and_other_versions() {
        let bytes = example().encode();
        assert_eq!(Plan::decode(&bytes), Ok(example()));
        for len in 0..bytes.len() {
            assert!(Plan::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        assert!(Plan::decode(&[&bytes[..], &[0]].concat()).is_err(), "one byte too many");
        let other = [&[9], &bytes[1..]].concat();
        assert_eq!(Plan::decode(&other).map_err(|e| e.code()), Err(meridian_types::Code::WrongVersion));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_plan_or_an_error(bytes: Vec<u8>) {
            let _ = Plan::decode(&[&[VERSION][..], &bytes].concat());
        }

        #[test]
        fn a_damaged_plan_never_panics(at in 0_usize..250, byte: u8) {
            let mut bytes = example().encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Ok(plan) = Plan::decode(&bytes) {
                prop_assert_eq!(plan.encode(), bytes, "what is read is canonical");
            }
        }
    }
}
