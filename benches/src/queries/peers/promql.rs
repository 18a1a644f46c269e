//! The query types in PromQL, as TSBS writes them for VictoriaMetrics, and what that answers. Pure.
//!
//! A window there ends with its time and holds its end, and is not cut at the ends of the range: what must be answered is
//! known for these windows too. Four types have no such form in TSBS, and none is made up here.

use meridian_types::{TimeError, TimeRange, Timestamp};
use serde_json::Value;

use super::digest::Digest;
use super::function;
use crate::generate::INTERVAL_NANOS;
use crate::queries::draw::{Drawn, HOST_TAG};
use crate::queries::kinds::{MINUTE_NANOS, Want, field_name};
use crate::source::CPU;

/// What `/api/v1/query_range` is asked.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Query {
    pub(crate) text: String,
    /// The end of the first window: a whole number of windows since 1970, to which VictoriaMetrics would move any other.
    start: i64,
    /// That of the last.
    end: i64,
    every: i64,
}

/// The query, for types that TSBS has in PromQL.
pub(crate) fn query(drawn: &Drawn) -> Option<Query> {
    let Want::Windows { aggregate, every, by_host } = drawn.kind.want else { return None };
    let (over, window) = (function(aggregate), if every == MINUTE_NANOS { "1m" } else { "1h" });
    let (selector, host) = (selector(drawn), if by_host { format!(", {HOST_TAG}") } else { String::new() });
    let text = format!("{over}({over}_over_time({selector}[{window}])) by (__name__{host})");
    let (from, to) = (drawn.range.start().nanos(), drawn.range.end().nanos());
    let start = from - from.rem_euclid(every);
    Some(Query { text, start, end: start + (to - from) / every * every, every })
}

impl Query {
    /// Its parameters, times in seconds.
    pub(crate) fn parameters(&self) -> [(&'static str, String); 4] {
        let seconds = |nanos: i64| (nanos / 1_000_000_000).to_string();
        [
            ("query", self.text.clone()),
            ("start", seconds(self.start)),
            ("end", seconds(self.end)),
            ("step", seconds(self.every)),
        ]
    }

    /// What the same windows are called where a window holds its start: those of rows that are one interval earlier.
    pub(crate) fn of_earlier_rows(&self, drawn: &Drawn) -> Result<Drawn, TimeError> {
        const { assert!(MINUTE_NANOS % INTERVAL_NANOS == 0, "rows lie at the ends of windows") };
        let range = TimeRange::new(Timestamp::new(self.start - self.every)?, Timestamp::new(self.end)?)?;
        Ok(Drawn { range, ..drawn.clone() })
    }
}

/// The values of an answer, each of which is a text.
pub(crate) fn digest(body: &[u8]) -> Option<Digest> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let series = answer["data"]["result"].as_array().filter(|_| answer["status"] == "success")?;
    let points = series.iter().flat_map(|one| one["values"].as_array().into_iter().flatten());
    points.map(|point| point[1].as_str()?.parse::<f64>().ok()).collect()
}

fn selector(drawn: &Drawn) -> String {
    let fields: Vec<_> = (0..drawn.kind.fields as usize).map(field_name).collect();
    let hosts: Vec<_> = drawn.host_names().collect();
    let hosts = match &hosts[..] {
        [] => String::new(),
        [one] => format!("{HOST_TAG}='{one}'"),
        more => format!("{HOST_TAG}=~'{}'", more.join("|")),
    };
    match &fields[..] {
        [one] => format!("{CPU}_{one}{{{hosts}}}"),
        more => {
            let separator = if hosts.is_empty() { "" } else { ", " };
            format!("{{__name__=~'{CPU}_({})'{separator}{hosts}}}", more.join("|"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawn;
    use super::*;

    #[test]
    fn victoriametrics_is_asked() {
        let text = |name: &str, hosts: &[u32]| query(&drawn(name, hosts)).map(|query| query.text);
        let single = text("single-groupby-1-8-1", &[3, 7]);
        let expected = "max(max_over_time(cpu_usage_user{hostname=~'host_3|host_7'}[1m])) by (__name__)";
        assert_eq!(single.as_deref(), Some(expected));
        let one = text("cpu-max-all-1", &[3]).expect("there is a form");
        assert!(one.starts_with("max(max_over_time({__name__=~'cpu_(usage_user|usage_system|"), "{one}");
        assert!(one.ends_with("|usage_guest_nice)', hostname='host_3'}[1h])) by (__name__)"), "{one}");
        let mean = text("double-groupby-1", &[]);
        let expected = "avg(avg_over_time(cpu_usage_user{}[1h])) by (__name__, hostname)";
        assert_eq!(mean.as_deref(), Some(expected));
        for none in ["high-cpu-1", "high-cpu-all", "lastpoint", "groupby-orderby-limit"] {
            assert_eq!(text(none, &[3]), None);
        }
    }

    #[test]
    fn windows_end_at_whole_steps() {
        let drawn = drawn("single-groupby-1-1-1", &[3]);
        let query = query(&drawn).expect("there is a form");
        // 22:15:37 is asked from: the first window is the minute up to 22:15.
        let [_, (_, start), (_, end), (_, step)] = query.parameters();
        assert_eq!((&*start, &*end, &*step), ("1700000100", "1700003700", "60"));
        let earlier = query.of_earlier_rows(&drawn).expect("in range").range;
        assert_eq!(earlier.start().nanos(), 1_700_000_040_000_000_000);
        assert_eq!(earlier.end().nanos(), 1_700_003_700_000_000_000);
    }

    #[test]
    fn every_point_is_a_value() {
        let answer =
            |series: &str| format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#);
        let one = r#"{"metric":{"__name__":"a"},"values":[[60,"1"],[120,"2.5"]]}"#;
        let two = answer(&format!("{one},{one}"));
        assert_eq!(digest(two.as_bytes()), Some(Digest { values: 4, sum: 7.0 }));
        assert_eq!(digest(answer("").as_bytes()), Some(Digest::default()));
        for bad in [answer(&one.replace("2.5", "x")), r#"{"status":"error"}"#.to_owned(), "x".to_owned()] {
            assert_eq!(digest(bad.as_bytes()), None, "{bad}");
        }
    }
}
