//! The query types as SQL for DuckDB and for ClickHouse, and the statements that make and fill their one table. Pure.
//!
//! As TSBS writes them for ClickHouse, but for tags in the table itself. `lastpoint` is that form for both: what TSBS has for
//! PostgreSQL sorts the whole table in DuckDB.

use meridian_types::Timestamp;

use super::{conditions, function, values};
use crate::queries::draw::{Drawn, HOST_TAG};
use crate::queries::kinds::{FIELDS, MINUTE_NANOS, Want, field_name};
use crate::source::CPU;

/// The rows, beside the files of the engines: a line of names, then seconds, tags and values.
pub(crate) const CSV: &str = "cpu.csv";
/// The same rows in the least room.
const SMALL: &str = "small";

/// An engine and its words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Engine {
    DuckDb,
    /// ClickHouse in process, as chdb.
    ClickHouse,
}

pub(crate) const ENGINES: [Engine; 2] = [Engine::DuckDb, Engine::ClickHouse];

impl Engine {
    /// As its makers write it, and as `sql.py` knows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::DuckDb => "DuckDB",
            Self::ClickHouse => "chdb",
        }
    }

    /// What brings it here.
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::DuckDb => "pip install duckdb pyarrow, or name a Python that has them with --python",
            Self::ClickHouse => "pip install chdb pyarrow, or name a Python that has them with --python",
        }
    }

    /// The query.
    pub(crate) fn query(self, drawn: &Drawn) -> String {
        let fields = drawn.kind.fields;
        match drawn.kind.want {
            Want::Windows { aggregate, every, by_host } => {
                let (window, unit) = self.window(every);
                let keys = if by_host { format!("{unit}, {HOST_TAG}") } else { unit.to_owned() };
                let host = if by_host { format!(", {HOST_TAG}") } else { String::new() };
                let (values, filter) = (values(function(aggregate), fields), self.filter(drawn, None));
                format!("SELECT {window} AS {unit}{host}, {values} FROM {CPU}{filter} GROUP BY {keys} ORDER BY {keys}")
            }
            Want::NewestWindows { every, count } => {
                let (window, unit) = self.window(every);
                let (values, filter) = (values("max", fields), self.filter(drawn, None));
                format!(
                    "SELECT {window} AS {unit}, {values} FROM {CPU}{filter} \
                     GROUP BY {unit} ORDER BY {unit} DESC LIMIT {count}"
                )
            }
            Want::RowsAbove(threshold) => {
                let above = format!("{} > {threshold}", field_name(0));
                format!("SELECT * FROM {CPU}{}", self.filter(drawn, Some(above)))
            }
            Want::NewestRows => format!(
                "SELECT * FROM {CPU} WHERE ({HOST_TAG}, time) IN \
                 (SELECT {HOST_TAG}, max(time) FROM {CPU} GROUP BY {HOST_TAG}) ORDER BY {HOST_TAG}"
            ),
        }
    }

    /// What makes the table and fills it from [`CSV`], whose tags have these names: sorted, merged and on disk.
    pub(crate) fn load(self, tags: &[&str]) -> Vec<String> {
        match self {
            Self::DuckDb => vec![
                format!("CREATE TABLE {CPU} ({})", columns(tags, "TIMESTAMP", "VARCHAR", "BIGINT")),
                format!(
                    "INSERT INTO {CPU} SELECT make_timestamp(time * 1000000), * EXCLUDE (time) FROM \
                     read_csv('{CSV}') ORDER BY {HOST_TAG}, time"
                ),
                "CHECKPOINT".to_owned(),
            ],
            Self::ClickHouse => vec![
                // The shortest way of a large result into Python.
                "SET output_format_arrow_compression_method = 'none', output_format_arrow_low_cardinality_as_dictionary = 1"
                    .to_owned(),
                format!(
                    "CREATE TABLE {CPU} ({}) ENGINE = MergeTree ORDER BY ({HOST_TAG}, time)",
                    columns(tags, "DateTime('UTC')", "LowCardinality(String)", "Int64")
                ),
                format!("INSERT INTO {CPU} SELECT * FROM file('{CSV}', 'CSVWithNames')"),
                format!("OPTIMIZE TABLE {CPU} FINAL"),
            ],
        }
    }

    /// What puts the rows of the filled table into one that takes the least room, what asks for its bytes, and what removes it
    /// again; none of an engine that does not tell them. Of the codecs that ClickHouse has for such columns these take the least.
    pub(crate) fn small(self, tags: &[&str]) -> Option<(Vec<String>, String, String)> {
        if self == Self::DuckDb {
            return None;
        }
        let packed = |of: &str| format!("{of} CODEC(DoubleDelta, ZSTD)");
        let (time, field) = (packed("DateTime('UTC')"), packed("Int64"));
        let make = vec![
            format!(
                "CREATE TABLE {SMALL} ({}) ENGINE = MergeTree ORDER BY ({HOST_TAG}, time)",
                columns(tags, &time, "LowCardinality(String)", &field)
            ),
            format!("INSERT INTO {SMALL} SELECT * FROM {CPU}"),
            format!("OPTIMIZE TABLE {SMALL} FINAL"),
        ];
        let parts = format!("FROM system.parts WHERE active AND table = '{SMALL}'");
        Some((make, format!("SELECT sum(bytes_on_disk) AS usage {parts}"), format!("DROP TABLE {SMALL} SYNC")))
    }

    /// The window of a row, and what it is called.
    fn window(self, every: i64) -> (&'static str, &'static str) {
        match (self, every == MINUTE_NANOS) {
            (Self::DuckDb, true) => ("date_trunc('minute', time)", "minute"),
            (Self::DuckDb, false) => ("date_trunc('hour', time)", "hour"),
            (Self::ClickHouse, true) => ("toStartOfMinute(time)", "minute"),
            (Self::ClickHouse, false) => ("toStartOfHour(time)", "hour"),
        }
    }

    fn filter(self, drawn: &Drawn, more: Option<String>) -> String {
        let names: Vec<_> = drawn.host_names().map(|name| format!("'{name}'")).collect();
        let hosts = (!names.is_empty()).then(|| format!("{HOST_TAG} IN ({})", names.join(", ")));
        conditions(drawn, more.into_iter().chain(hosts), |time| self.time(time))
    }

    /// The first instant that the engine knows at or behind `time`: a row lies before the one if and only if before the other.
    fn time(self, time: Timestamp) -> String {
        let ceil = |unit: i64| -(-time.nanos()).div_euclid(unit);
        match self {
            Self::DuckDb => format!("make_timestamp({})", ceil(1_000)),
            Self::ClickHouse => format!("toDateTime({}, 'UTC')", ceil(1_000_000_000)),
        }
    }
}

/// The columns of a table, of these types.
fn columns(tags: &[&str], time: &str, tag: &str, field: &str) -> String {
    let tags = tags.iter().map(|name| format!("{name} {tag}"));
    let fields = (0..FIELDS as usize).map(|number| format!("{} {field}", field_name(number)));
    std::iter::once(format!("time {time}")).chain(tags).chain(fields).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{drawn, queries};
    use super::*;

    #[test]
    fn duckdb_is_asked() {
        let [single, mean, high, newest, last] = queries(|drawn| Engine::DuckDb.query(drawn));
        assert_eq!(
            single,
            "SELECT date_trunc('minute', time) AS minute, max(usage_user) FROM cpu WHERE hostname IN ('host_3', 'host_7') \
             AND time >= make_timestamp(1700000137000001) AND time < make_timestamp(1700003737000001) \
             GROUP BY minute ORDER BY minute"
        );
        assert_eq!(
            mean,
            "SELECT date_trunc('hour', time) AS hour, hostname, avg(usage_user) FROM cpu WHERE \
             time >= make_timestamp(1700000137000001) AND time < make_timestamp(1700003737000001) \
             GROUP BY hour, hostname ORDER BY hour, hostname"
        );
        assert_eq!(
            high,
            "SELECT * FROM cpu WHERE usage_user > 90 AND hostname IN ('host_3') AND \
             time >= make_timestamp(1700000137000001) AND time < make_timestamp(1700003737000001)"
        );
        assert_eq!(
            newest,
            "SELECT date_trunc('minute', time) AS minute, max(usage_user) FROM cpu WHERE \
             time < make_timestamp(1700003737000001) GROUP BY minute ORDER BY minute DESC LIMIT 5"
        );
        assert_eq!(
            last,
            "SELECT * FROM cpu WHERE (hostname, time) IN (SELECT hostname, max(time) FROM cpu GROUP BY hostname) \
             ORDER BY hostname"
        );
    }

    #[test]
    fn clickhouse_is_asked() {
        let [single, mean, high, newest, _] = queries(|drawn| Engine::ClickHouse.query(drawn));
        assert_eq!(
            single,
            "SELECT toStartOfMinute(time) AS minute, max(usage_user) FROM cpu WHERE hostname IN ('host_3', 'host_7') \
             AND time >= toDateTime(1700000138, 'UTC') AND time < toDateTime(1700003738, 'UTC') \
             GROUP BY minute ORDER BY minute"
        );
        assert!(
            mean.starts_with("SELECT toStartOfHour(time) AS hour, hostname, avg(usage_user) FROM cpu WHERE time >= ")
        );
        assert!(
            high.starts_with(
                "SELECT * FROM cpu WHERE usage_user > 90 AND hostname IN ('host_3') AND time >= toDateTime("
            )
        );
        assert!(
            newest.ends_with("WHERE time < toDateTime(1700003738, 'UTC') GROUP BY minute ORDER BY minute DESC LIMIT 5")
        );
    }

    #[test]
    fn an_end_on_a_whole_unit_stays_where_it_is() {
        let whole = Timestamp::new(1_700_000_000_000_000_000).expect("in range");
        assert_eq!(Engine::DuckDb.time(whole), "make_timestamp(1700000000000000)");
        assert_eq!(Engine::ClickHouse.time(whole), "toDateTime(1700000000, 'UTC')");
        let all = Engine::DuckDb.query(&drawn("cpu-max-all-1", &[9]));
        assert!(all.contains("max(usage_guest), max(usage_guest_nice) FROM cpu WHERE hostname IN ('host_9')"), "{all}");
    }

    #[test]
    fn tables_are_sorted_by_host_and_time() {
        let duckdb = Engine::DuckDb.load(&["hostname", "os"]);
        assert!(
            duckdb[0]
                .starts_with("CREATE TABLE cpu (time TIMESTAMP, hostname VARCHAR, os VARCHAR, usage_user BIGINT, ")
        );
        assert!(duckdb[1].ends_with(" FROM read_csv('cpu.csv') ORDER BY hostname, time"), "{}", duckdb[1]);
        let clickhouse = Engine::ClickHouse.load(&["hostname", "os"]);
        assert!(
            clickhouse[1].starts_with("CREATE TABLE cpu (time DateTime('UTC'), hostname LowCardinality(String), os ")
        );
        assert!(clickhouse[1].ends_with("usage_guest_nice Int64) ENGINE = MergeTree ORDER BY (hostname, time)"));
        assert_eq!(clickhouse[2], "INSERT INTO cpu SELECT * FROM file('cpu.csv', 'CSVWithNames')");
        let (make, bytes, _) = Engine::ClickHouse.small(&["hostname"]).expect("it tells its bytes");
        assert!(make[0].starts_with("CREATE TABLE small (time DateTime('UTC') CODEC(DoubleDelta, ZSTD), hostname "));
        assert_eq!(bytes, "SELECT sum(bytes_on_disk) AS usage FROM system.parts WHERE active AND table = 'small'");
    }
}
