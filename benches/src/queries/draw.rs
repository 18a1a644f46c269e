//! One execution of a query type: which hosts and which range, drawn as TSBS draws them, and what is sent for it. Pure: the
//! same source gives the same executions.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use meridian_env::Rng;
use meridian_proto::v1;
use meridian_types::{TimeRange, Timestamp};

use crate::queries::kinds::{HOUR_NANOS, Kind, Want, field_name};
use crate::source::CPU;

/// The tag that tells hosts apart.
pub(crate) const HOST_TAG: &str = "hostname";

/// What a database of this benchmark holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) hosts: u32,
    /// From the first row of each host to behind the last.
    pub(crate) range: TimeRange,
}

/// What one execution asks.
#[derive(Clone, Debug)]
pub(crate) struct Drawn {
    pub(crate) kind: &'static Kind,
    /// Numbers of hosts; all are meant where there is none.
    pub(crate) hosts: BTreeSet<u32>,
    pub(crate) range: TimeRange,
}

impl Drawn {
    /// Draws the hosts without replacement, and the range at any nanosecond at which it lies within the data: windows at its
    /// ends are cut, as they are in TSBS.
    pub(crate) fn new(kind: &'static Kind, rng: &Rng, extent: Extent) -> Self {
        let mut hosts = BTreeSet::new();
        assert!(kind.hosts <= extent.hosts, "{} names {} of {} hosts", kind.name, kind.hosts, extent.hosts);
        while hosts.len() < kind.hosts as usize {
            hosts.insert(rng.below(extent.hosts.into()) as u32);
        }
        let length = kind.hours * HOUR_NANOS;
        let spare = extent.range.end().nanos() - extent.range.start().nanos() - length;
        assert!(spare > 0, "{} needs more than {} hours of data", kind.name, kind.hours);
        let from = extent.range.start().saturating_add(rng.below(spare as u64) as i64);
        let to = from.saturating_add(length);
        let (start, end) = match kind.want {
            Want::Windows { .. } | Want::RowsAbove(_) => (from, to),
            // TSBS gives these no start.
            Want::NewestWindows { .. } => (Timestamp::MIN, to),
            Want::NewestRows => (Timestamp::MIN, Timestamp::END),
        };
        let range = TimeRange::new(start, end).expect("its length is above zero");
        Self { kind, hosts, range }
    }

    /// The query, or for the newest rows the first of those that it takes: which hosts there are.
    pub(crate) fn select(&self, database: &str) -> v1::Select {
        let select = self.rows(database);
        match self.kind.want {
            Want::Windows { aggregate, every, by_host } => v1::Select {
                every,
                aggregates: vec![aggregate.into()],
                group_by: if by_host { vec![HOST_TAG.to_owned()] } else { Vec::new() },
                ..select
            },
            Want::NewestWindows { every, count } => v1::Select {
                every,
                aggregates: vec![v1::Aggregate::Max.into()],
                descending: true,
                limit: Some(count),
                ..select
            },
            Want::RowsAbove(threshold) => v1::Select {
                conditions: vec![v1::Condition {
                    field: field_name(0),
                    op: v1::CompareOp::Gt.into(),
                    value: Some(v1::Cell { value: Some(v1::cell::Value::I64(threshold)) }),
                }],
                ..select
            },
            Want::NewestRows => {
                v1::Select { group_by: vec![HOST_TAG.to_owned()], descending: true, group_limit: Some(1), ..select }
            }
        }
    }

    /// All rows of the hosts in the range.
    fn rows(&self, database: &str) -> v1::Select {
        v1::Select {
            database: database.to_owned(),
            measurement: CPU.to_owned(),
            fields: (0..self.kind.fields as usize).map(field_name).collect(),
            range: Some(self.range.into()),
            matchers: self.matcher().into_iter().collect(),
            ..Default::default()
        }
    }

    /// What is asked as one types it, so that a wrong answer can be looked at again.
    pub(crate) fn command(&self, database: &str) -> String {
        command(&self.select(database))
    }

    /// What the hosts are called.
    pub(crate) fn host_names(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|host| format!("host_{host}"))
    }

    fn matcher(&self) -> Option<v1::Matcher> {
        let op = match self.hosts.len() {
            0 => return None,
            1 => v1::MatchOp::Eq,
            _ => v1::MatchOp::Re,
        };
        let names: Vec<_> = self.host_names().collect();
        Some(v1::Matcher { tag: HOST_TAG.to_owned(), op: op.into(), value: names.join("|") })
    }
}

fn command(select: &v1::Select) -> String {
    let mut text = format!("meridian query {} --db {}", select.measurement, select.database);
    let mut add = |part: String| write!(text, " {part}").expect("a String takes everything");
    if !select.fields.is_empty() {
        add(format!("--fields {}", select.fields.join(",")));
    }
    for matcher in &select.matchers {
        let sign = match matcher.op() {
            v1::MatchOp::NotEq => "!=",
            v1::MatchOp::Re => "=~",
            v1::MatchOp::NotRe => "!~",
            v1::MatchOp::Eq | v1::MatchOp::Unspecified => "=",
        };
        add(format!("--where '{}{sign}{}'", matcher.tag, matcher.value));
    }
    for condition in &select.conditions {
        if let Some(v1::Cell { value: Some(v1::cell::Value::I64(value)) }) = &condition.value {
            add(format!("--where '{}>{value}'", condition.field));
        }
    }
    if let Some(range) = select.range {
        let ends = [("start", range.start, Timestamp::MIN), ("end", range.end, Timestamp::END)];
        for (name, nanos, open) in ends.into_iter().filter(|(_, nanos, open)| *nanos != open.nanos()) {
            // Beyond what can be stored it stands for the same as the end of time.
            add(format!("--{name} {}", Timestamp::new(nanos).unwrap_or(open)));
        }
    }
    let aggregates: Vec<_> = select.aggregates().map(name_of).collect();
    if !aggregates.is_empty() {
        add(format!("--agg {}", aggregates.join(",")));
    }
    if select.every > 0 {
        add(format!("--every {}ns", select.every));
    }
    if !select.group_by.is_empty() {
        add(format!("--group-by {}", select.group_by.join(",")));
    }
    if select.descending {
        add("--desc".into());
    }
    if let Some(limit) = select.group_limit {
        add(format!("--group-limit {limit}"));
    }
    if let Some(limit) = select.limit {
        add(format!("--limit {limit}"));
    }
    text
}

/// The name of an aggregate, as users write it and as columns are called.
pub(crate) fn name_of(aggregate: v1::Aggregate) -> String {
    aggregate.as_str_name().trim_start_matches("AGGREGATE_").to_lowercase()
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;
    use meridian_types::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::queries::kinds::{self, named};

    fn time(nanos: i64) -> Timestamp {
        Timestamp::new(nanos).expect("in range")
    }

    fn extent(hosts: u32, hours: i64) -> Extent {
        Extent { hosts, range: TimeRange::new(time(0), time(hours * HOUR_NANOS)).expect("not empty") }
    }

    proptest! {
        #[test]
        fn what_is_drawn_lies_within_the_data(
            seed: u64, which in 0..kinds::ALL.len(), hosts in 8_u32..50, hours in 13_i64..100,
        ) {
            let kind = named(kinds::ALL[which].name).expect("its own name");
            let drawn = Drawn::new(kind, &Rng::from_seed(seed), extent(hosts, hours));
            prop_assert_eq!(drawn.hosts.len(), kind.hosts as usize);
            prop_assert!(drawn.hosts.iter().all(|host| *host < hosts));
            match kind.want {
                Want::Windows { .. } | Want::RowsAbove(_) => {
                    let (start, end) = (drawn.range.start().nanos(), drawn.range.end().nanos());
                    prop_assert!(0 <= start && end <= hours * HOUR_NANOS);
                    prop_assert_eq!(end - start, kind.hours * HOUR_NANOS);
                }
                Want::NewestWindows { .. } => {
                    prop_assert!((HOUR_NANOS..=hours * HOUR_NANOS).contains(&drawn.range.end().nanos()));
                }
                Want::NewestRows => prop_assert_eq!(drawn.range, TimeRange::ALL),
            }
            let again = Drawn::new(kind, &Rng::from_seed(seed), extent(hosts, hours));
            prop_assert_eq!(drawn.select("db"), again.select("db"), "a seed names the execution");
        }
    }

    fn text(name: &str, hosts: &[u32], range: TimeRange) -> String {
        let kind = named(name).expect("it is there");
        Drawn { kind, hosts: hosts.iter().copied().collect(), range }.command("d")
    }

    #[test]
    fn queries_are_those_of_tsbs() {
        let range = TimeRange::new(time(0), time(HOUR_NANOS)).expect("not empty");
        let before = TimeRange::new(Timestamp::MIN, time(1)).expect("not empty");
        assert_eq!(
            text("single-groupby-1-1-1", &[3], range),
            "meridian query cpu --db d --fields usage_user --where 'hostname=host_3' --start 1970-01-01T00:00:00Z --end \
             1970-01-01T01:00:00Z --agg max --every 60000000000ns"
        );
        assert!(text("single-groupby-1-8-1", &[3, 7], range).contains("--where 'hostname=~host_3|host_7'"));
        let double = text("double-groupby-5", &[], range);
        assert!(
            double.contains("--fields usage_user,usage_system,usage_idle,usage_nice,usage_iowait --start"),
            "{double}"
        );
        assert!(double.ends_with("--agg mean --every 3600000000000ns --group-by hostname"), "{double}");
        assert!(text("high-cpu-all", &[], range).ends_with(
            "usage_guest_nice --where 'usage_user>90' --start 1970-01-01T00:00:00Z --end 1970-01-01T01:00:00Z"
        ));
        assert_eq!(
            text("groupby-orderby-limit", &[], before),
            "meridian query cpu --db d --fields usage_user --end 1970-01-01T00:00:00.000000001Z --agg max --every \
             60000000000ns --desc --limit 5"
        );
        let last = text("lastpoint", &[], TimeRange::ALL);
        assert!(last.ends_with(",usage_guest,usage_guest_nice --group-by hostname --desc --group-limit 1"), "{last}");
    }
}
