//! The query types of TSBS devops "cpu-only", as `tsbs_generate_queries` of timescale/tsbs defines them. Data only: what one of
//! them asks in one execution is drawn in `draw.rs`, what it must answer is in `reference.rs`.
//!
//! A name says what it asks: `single-groupby-FIELDS-HOSTS-HOURS`, `cpu-max-all-HOSTS`, `double-groupby-FIELDS`,
//! `high-cpu-HOSTS`.

use meridian_proto::v1::Aggregate;

use crate::source::Source;

pub(crate) const MINUTE_NANOS: i64 = 60_000_000_000;
pub(crate) const HOUR_NANOS: i64 = 60 * MINUTE_NANOS;

/// Fields of "cpu-only".
pub(crate) const FIELDS: u32 = 10;
/// The most hosts that a query names.
pub(crate) const HOSTS_MAX: u32 = 8;
/// The longest range that a query has.
pub(crate) const HOURS_MAX: i64 = 12;

/// A query type.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// How many of the fields it asks for, from the first.
    pub(crate) fields: u32,
    /// How many hosts it names; all are meant where it names none.
    pub(crate) hosts: u32,
    /// Length of the range that is drawn.
    pub(crate) hours: i64,
    pub(crate) want: Want,
}

/// What an answer consists of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Want {
    /// An aggregate of each field in each window of the range, over all of its hosts or for each of them.
    Windows { aggregate: Aggregate, every: i64, by_host: bool },
    /// The greatest of each field in the newest windows before the end of the range, whose start does not count: newest
    /// first, this many.
    NewestWindows { every: i64, count: u64 },
    /// The rows of the range whose first field is above this.
    RowsAbove(i64),
    /// The newest row of each host, whatever the range.
    NewestRows,
}

/// All of them, in the order in which TSBS lists them.
pub(crate) const ALL: [Kind; 15] = [
    single_groupby("single-groupby-1-1-1", 1, 1, 1),
    single_groupby("single-groupby-1-1-12", 1, 1, 12),
    single_groupby("single-groupby-1-8-1", 1, 8, 1),
    single_groupby("single-groupby-5-1-1", 5, 1, 1),
    single_groupby("single-groupby-5-1-12", 5, 1, 12),
    single_groupby("single-groupby-5-8-1", 5, 8, 1),
    cpu_max_all("cpu-max-all-1", 1),
    cpu_max_all("cpu-max-all-8", 8),
    double_groupby("double-groupby-1", 1),
    double_groupby("double-groupby-5", 5),
    double_groupby("double-groupby-all", FIELDS),
    high_cpu("high-cpu-1", 1),
    high_cpu("high-cpu-all", 0),
    Kind { name: "lastpoint", fields: FIELDS, hosts: 0, hours: 1, want: Want::NewestRows },
    Kind {
        name: "groupby-orderby-limit",
        fields: 1,
        hosts: 0,
        hours: 1,
        want: Want::NewestWindows { every: MINUTE_NANOS, count: 5 },
    },
];

const fn single_groupby(name: &'static str, fields: u32, hosts: u32, hours: i64) -> Kind {
    let want = Want::Windows { aggregate: Aggregate::Max, every: MINUTE_NANOS, by_host: false };
    Kind { name, fields, hosts, hours, want }
}

const fn cpu_max_all(name: &'static str, hosts: u32) -> Kind {
    let want = Want::Windows { aggregate: Aggregate::Max, every: HOUR_NANOS, by_host: false };
    Kind { name, fields: FIELDS, hosts, hours: 8, want }
}

const fn double_groupby(name: &'static str, fields: u32) -> Kind {
    let want = Want::Windows { aggregate: Aggregate::Mean, every: HOUR_NANOS, by_host: true };
    Kind { name, fields, hosts: 0, hours: 12, want }
}

const fn high_cpu(name: &'static str, hosts: u32) -> Kind {
    Kind { name, fields: FIELDS, hosts, hours: 12, want: Want::RowsAbove(90) }
}

/// The name of a field by its number.
pub(crate) fn field_name(number: usize) -> String {
    Source::Cpu.field_name(number)
}

/// The type of this name.
pub(crate) fn named(name: &str) -> Result<&'static Kind, String> {
    const KINDS: &[Kind] = &ALL;
    let known = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| format!("use one of {}", known()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name_and_stays_within_the_bounds() {
        for kind in &ALL {
            assert_eq!(named(kind.name).expect("its own name").name, kind.name);
            assert!((1..=FIELDS).contains(&kind.fields) && kind.hosts <= HOSTS_MAX, "{}", kind.name);
            assert!((1..=HOURS_MAX).contains(&kind.hours), "{}", kind.name);
        }
        assert!(named("high-cpu").expect_err("it is none").starts_with("use one of single-groupby-1-1-1, "));
    }

    #[test]
    fn names_say_what_is_asked() {
        let single = named("single-groupby-5-8-1").expect("it is there");
        assert_eq!((single.fields, single.hosts, single.hours), (5, 8, 1));
        let double = named("double-groupby-all").expect("it is there");
        assert_eq!((double.fields, double.hosts, double.hours), (10, 0, 12));
    }
}
