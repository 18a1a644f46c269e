//! Behaviour as text: each script in `testdata/` loads points, then asks queries of them through the crate's public door. A
//! script is lines of `fields NAME:TYPE …`, `point TAGS TIME FIELD=VALUE …`, and `query KEY=VALUE …`, after whose `---` the
//! answer stands until an empty line. Every query runs on one, two and three shards.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use meridian_query::{
    Aggregate, Batch, Column, CompareOp, Condition, ExecError, MatchOp, Matcher, Merge, Needed, Plan, PlanError, Row,
    SeriesRows, Window, columns, execute,
};
use meridian_types::{Duration, FieldType, SeriesKey, TimeRange, Timestamp, Value, parse_duration, parse_time};

type Fields = BTreeMap<String, Value>;
type Points = BTreeMap<(SeriesKey, i64), Fields>;

#[derive(Default)]
struct World {
    fields: Vec<(String, FieldType)>,
    points: Points,
}

#[test]
fn aggregates() {
    run("aggregates", include_str!("../testdata/aggregates.txt"));
}

#[test]
fn raw() {
    run("raw", include_str!("../testdata/raw.txt"));
}

#[test]
fn conditions() {
    run("conditions", include_str!("../testdata/conditions.txt"));
}

#[test]
fn refused() {
    run("refused", include_str!("../testdata/refused.txt"));
}

fn run(name: &str, script: &str) {
    let (mut world, mut actual) = (World::default(), String::new());
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        writeln!(actual, "{line}").expect("text");
        match line.split_once(' ') {
            Some(("fields", rest)) => world.fields = rest.split(' ').map(field).collect(),
            Some(("point", rest)) => world.load(rest),
            Some(("query", rest)) => {
                writeln!(actual, "---").expect("text");
                actual.push_str(&world.answer(rest));
                actual.push('\n');
                // What the script expects is compared as a whole, at the end.
                lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            }
            _ => {}
        }
    }
    assert!(actual.trim_end() == script.trim_end(), "testdata/{name}.txt should be:\n{actual}");
}

fn field(text: &str) -> (String, FieldType) {
    let (name, type_name) = text.split_once(':').expect("NAME:TYPE");
    (name.to_owned(), FieldType::ALL.into_iter().find(|t| t.name() == type_name).expect("a type"))
}

fn nanos(text: &str) -> i64 {
    let span = |text| parse_duration(text).expect("a time").nanos();
    text.strip_prefix('-').map_or_else(|| span(text), |text| -span(text))
}

fn timestamp(text: &str) -> Timestamp {
    if text.contains('T') {
        return parse_time(text, Timestamp::default()).expect("a time");
    }
    Timestamp::new(nanos(text)).expect("in range")
}

fn value(field_type: FieldType, text: &str) -> Value {
    match field_type {
        FieldType::F64 => Value::F64(text.parse().expect("a float")),
        FieldType::I64 => Value::I64(text.parse().expect("an integer")),
        FieldType::U64 => Value::U64(text.parse().expect("an unsigned")),
        FieldType::Bool => Value::Bool(text.parse().expect("a boolean")),
        FieldType::Str => Value::Str(text.to_owned()),
    }
}

impl World {
    fn field_type(&self, name: &str) -> FieldType {
        self.fields.iter().find(|(n, _)| n == name).expect("a field").1
    }

    fn load(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let tags = words.next().expect("tags");
        let mut tags: Vec<_> = tags.split(',').filter_map(|tag| tag.split_once('=')).collect();
        let key = SeriesKey::from_tags(&mut tags).expect("valid");
        let time = timestamp(words.next().expect("a time")).nanos();
        for word in words {
            let (name, text) = word.split_once('=').expect("FIELD=VALUE");
            let value = value(self.field_type(name), text);
            self.points.entry((key.clone(), time)).or_default().insert(name.to_owned(), value);
        }
    }

    fn plan(&self, line: &str) -> Result<Plan, PlanError> {
        let words: Vec<_> = line.split(' ').map(|word| word.split_once('=').unwrap_or((word, ""))).collect();
        let all = |key: &str| words.iter().filter(move |w| w.0 == key).map(|w| w.1).collect::<Vec<_>>();
        let one = |key: &str| all(key).first().copied();
        let list = |key: &str| one(key).into_iter().flat_map(|text| text.split(',')).collect::<Vec<_>>();
        let range = one("range").map_or(TimeRange::ALL, |text| {
            let (start, end) = text.split_once("..").expect("START..END");
            TimeRange::new(timestamp(start), timestamp(end)).expect("not empty")
        });
        let span = |text| parse_duration(text).expect("a duration");
        let offset = one("offset").map_or(Duration::default(), span);
        let matchers = all("where").into_iter().map(matcher).collect::<Result<Vec<_>, _>>()?;
        let aggregates = list("agg").into_iter().map(str::parse::<Aggregate>).collect::<Result<Vec<_>, _>>()?;
        Plan::builder("m", range)
            .fields(list("fields").into_iter().map(|name| (name.to_owned(), self.field_type(name))))
            .matchers(matchers)
            .conditions(all("if").into_iter().map(condition).map(|c| (c.clone(), self.field_type(&c.field))))
            .window(one("every").map(|every| Window { every: span(every), offset }))
            .aggregates(aggregates)
            .group_by(list("by").into_iter().map(str::to_owned))
            .descending(one("desc").is_some())
            .group_limit(one("group_limit").map(|n| n.parse().expect("a number")))
            .limit(one("limit").map(|n| n.parse().expect("a number")))
            .build()
    }

    /// What an engine gives for one shard: here, rows are dealt to the shards in turn.
    fn series(&self, plan: &Plan, shard: usize, shards: usize) -> Vec<SeriesRows> {
        let mut series: BTreeMap<&SeriesKey, Vec<(i64, &Fields)>> = BTreeMap::new();
        for (number, ((key, time), fields)) in self.points.iter().enumerate() {
            let inside = plan.range.contains(Timestamp::new(*time).expect("in range"));
            if inside && plan.matches(key) && number % shards == shard {
                series.entry(key).or_default().push((*time, fields));
            }
        }
        let columns = |rows: &[(i64, &Fields)]| {
            let column = |(name, field_type): (&str, FieldType)| {
                let values = rows.iter().map(|(_, fields)| fields.get(name)).collect::<Vec<_>>();
                values.iter().any(Option::is_some).then(|| column(field_type, &values))
            };
            plan.read_fields().map(column).collect()
        };
        let series = series.into_iter().map(|(key, rows)| SeriesRows {
            key: key.clone(),
            times: rows.iter().map(|(time, _)| *time).collect(),
            columns: columns(&rows),
            known: Vec::new(),
        });
        series.collect()
    }

    fn answer(&self, line: &str) -> String {
        let plan = match self.plan(line) {
            Ok(plan) => Plan::decode(&plan.encode()).expect("what was encoded"),
            Err(error) => return format!("{}: {error}\n", error.code()),
        };
        let answers = [1, 2, 3].map(|shards| {
            let series = (0..shards).map(|shard| self.series(&plan, shard, shards)).collect();
            match merged(&plan, series) {
                Ok(rows) => rows.iter().map(|row| text(&plan, row)).collect(),
                Err(error) => format!("{}: {error}\n", error.code()),
            }
        });
        assert!(answers.iter().all(|a| *a == answers[0]), "{line}: shards change the answer: {answers:#?}");
        answers.into_iter().next().expect("three")
    }
}

fn matcher(text: &str) -> Result<Matcher, PlanError> {
    let at = text.find(['=', '!']).expect("a comparison");
    let (tag, rest) = text.split_at(at);
    let signs = [MatchOp::NotEq, MatchOp::Re, MatchOp::NotRe, MatchOp::Eq];
    let op = signs.into_iter().find(|op| rest.starts_with(op.sign())).expect("a comparison");
    Matcher::new(tag, op, &rest[op.sign().len()..])
}

fn condition(text: &str) -> Condition {
    let at = text.find(['<', '>', '=']).expect("a comparison");
    let (field, rest) = text.split_at(at);
    let signs = [CompareOp::Le, CompareOp::Ge, CompareOp::NotEq, CompareOp::Eq, CompareOp::Lt, CompareOp::Gt];
    let op = signs.into_iter().find(|op| rest.starts_with(op.sign())).expect("a comparison");
    let text = &rest[op.sign().len()..];
    let types = [FieldType::I64, FieldType::U64, FieldType::F64, FieldType::Bool];
    let value = match types.into_iter().find(|t| reads_as(*t, text)) {
        Some(field_type) => value(field_type, text),
        None => Value::Str(text.to_owned()),
    };
    Condition { field: field.to_owned(), op, value }
}

fn reads_as(field_type: FieldType, text: &str) -> bool {
    match field_type {
        FieldType::I64 => text.parse::<i64>().is_ok(),
        FieldType::U64 => text.parse::<u64>().is_ok(),
        FieldType::F64 => text.parse::<f64>().is_ok(),
        FieldType::Bool => text.parse::<bool>().is_ok(),
        FieldType::Str => true,
    }
}

fn column(field_type: FieldType, values: &[Option<&Value>]) -> Column {
    macro_rules! pick {
        ($variant:ident, $value:ident => $it:expr) => {{
            let pick = |v: &Option<&Value>| if let Some(Value::$variant($value)) = v { Some($it) } else { None };
            Column::$variant(values.iter().map(pick).collect())
        }};
    }
    match field_type {
        FieldType::F64 => pick!(F64, v => *v),
        FieldType::I64 => pick!(I64, v => *v),
        FieldType::U64 => pick!(U64, v => *v),
        FieldType::Bool => pick!(Bool, v => *v),
        FieldType::Str => pick!(Str, v => Arc::from(v.as_str())),
    }
}

fn merged(plan: &Plan, shards: Vec<Vec<SeriesRows>>) -> Result<Vec<Row>, ExecError> {
    let mut merge = Merge::new(plan.clone(), shards.len());
    let run = |series: Vec<SeriesRows>| execute(plan, series.into_iter(), &Needed::of(plan));
    let mut inputs = shards.into_iter().map(run).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    while !merge.done() {
        if let Some(input) = merge.wants() {
            match inputs[input].next() {
                Some(batch) => merge.push(input, Batch::decode(plan, &batch.encode()).expect("what was encoded")),
                None => merge.finish_input(input),
            }
        }
        rows.extend(merge.take()?);
    }
    Ok(rows)
}

fn text(plan: &Plan, row: &Row) -> String {
    let tags: Vec<_> = row.tags.pairs(plan).map(|(name, value)| format!("{name}={value}")).collect();
    let mut line = format!("{} {{{}}}", row.time, tags.join(","));
    for (name, value) in columns(plan).iter().zip(&row.values) {
        let value = match value {
            None => "null".to_owned(),
            Some(Value::F64(v)) => format!("{v:?}"),
            Some(Value::I64(v)) => v.to_string(),
            Some(Value::U64(v)) => format!("{v}u"),
            Some(Value::Bool(v)) => v.to_string(),
            Some(Value::Str(v)) => format!("{v:?}"),
        };
        write!(line, " {name}={value}").expect("text");
    }
    line + "\n"
}
