//! The query types in InfluxQL, as TSBS writes them, and what InfluxDB answers. Pure.
//!
//! In one thing not as TSBS: it takes the oldest windows for `groupby-orderby-limit`, and here the newest are asked for.

use serde_json::Value;

use super::digest::Digest;
use super::{conditions, values};
use crate::queries::draw::{Drawn, HOST_TAG, name_of};
use crate::queries::kinds::{MINUTE_NANOS, Want, field_name};
use crate::source::CPU;

/// The query.
pub(crate) fn query(drawn: &Drawn) -> String {
    let fields = drawn.kind.fields;
    match drawn.kind.want {
        Want::Windows { aggregate, every, by_host } => {
            let (values, filter) = (values(&name_of(aggregate), fields), filter(drawn, None));
            let host = if by_host { format!(", {HOST_TAG}") } else { String::new() };
            format!("SELECT {values} FROM {CPU}{filter} GROUP BY time({}){host}", window(every))
        }
        Want::NewestWindows { every, count } => {
            let (values, filter, window) = (values("max", fields), filter(drawn, None), window(every));
            format!("SELECT {values} FROM {CPU}{filter} GROUP BY time({window}) ORDER BY time DESC LIMIT {count}")
        }
        Want::RowsAbove(threshold) => {
            let above = format!("{} > {threshold}", field_name(0));
            format!("SELECT * FROM {CPU}{}", filter(drawn, Some(above)))
        }
        Want::NewestRows => format!("SELECT * FROM {CPU} GROUP BY {HOST_TAG} ORDER BY time DESC LIMIT 1"),
    }
}

/// The values of an answer: the numbers behind the times. Tags are texts, and an empty window has none.
pub(crate) fn digest(body: &[u8]) -> Option<Digest> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let [result] = answer["results"].as_array()?.as_slice() else { return None };
    if result.get("error").is_some() {
        return None;
    }
    let series = result["series"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = series.iter().flat_map(|one| one["values"].as_array().into_iter().flatten());
    Some(rows.flat_map(|row| row.as_array().into_iter().flatten().skip(1)).filter_map(Value::as_f64).collect())
}

fn window(every: i64) -> &'static str {
    if every == MINUTE_NANOS { "1m" } else { "1h" }
}

fn filter(drawn: &Drawn, more: Option<String>) -> String {
    let names: Vec<_> = drawn.host_names().map(|name| format!("{HOST_TAG} = '{name}'")).collect();
    let hosts = (!names.is_empty()).then(|| format!("({})", names.join(" OR ")));
    conditions(drawn, more.into_iter().chain(hosts), |time| format!("'{time}'"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::queries;
    use super::*;

    #[test]
    fn influxdb_is_asked() {
        let [single, mean, high, newest, last] = queries(query);
        let range = "time >= '2023-11-14T22:15:37.000000001Z' AND time < '2023-11-14T23:15:37.000000001Z'";
        assert_eq!(
            single,
            format!(
                "SELECT max(usage_user) FROM cpu WHERE (hostname = 'host_3' OR hostname = 'host_7') AND {range} \
                 GROUP BY time(1m)"
            )
        );
        assert_eq!(mean, format!("SELECT mean(usage_user) FROM cpu WHERE {range} GROUP BY time(1h), hostname"));
        assert_eq!(high, format!("SELECT * FROM cpu WHERE usage_user > 90 AND (hostname = 'host_3') AND {range}"));
        assert_eq!(
            newest,
            "SELECT max(usage_user) FROM cpu WHERE time < '2023-11-14T23:15:37.000000001Z' \
             GROUP BY time(1m) ORDER BY time DESC LIMIT 5"
        );
        assert_eq!(last, "SELECT * FROM cpu GROUP BY hostname ORDER BY time DESC LIMIT 1");
    }

    #[test]
    fn numbers_behind_times_are_values() {
        let answer = |inner: &str| format!(r#"{{"results":[{{"statement_id":0{inner}}}]}}"#);
        let one = r#"{"name":"cpu","columns":["time","os","a","b"],"values":[["t","x",1,2.5],["t","x",null,null]]}"#;
        let series = answer(&format!(r#","series":[{one},{one}]"#));
        assert_eq!(digest(series.as_bytes()), Some(Digest { values: 4, sum: 7.0 }));
        assert_eq!(digest(answer("").as_bytes()), Some(Digest::default()));
        for bad in [answer(r#","error":"timeout""#), r#"{"error":"no database"}"#.to_owned(), "x".to_owned()] {
            assert_eq!(digest(bad.as_bytes()), None, "{bad}");
        }
    }
}
