//! How the metrics of a process are shown to whoever scrapes them: OpenMetrics to those who ask for it, and Prometheus' own
//! text to everybody else.
//!
//! Pure. Counts nothing and names nothing: what there is to count is the business of whoever owns the registry.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Content type of OpenMetrics' text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Content type of Prometheus' text.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a scrape is answered with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The HTTP header `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub text: String,
}

/// All that is registered, in the form that a scrape asks for by its HTTP header `accept`. `None` shows an empty registry.
pub fn page(registry: Option<&Registry>, accept: Option<&str>) -> Page {
    let mut text = String::new();
    match registry {
        Some(registry) => encode(&mut text, registry).expect("a String takes everything"),
        None => text.push_str("# EOF\n"),
    }
    if accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        Page { content_type: OPEN_METRICS, text }
    } else {
        Page { content_type: PROMETHEUS, text: prometheus(&text) }
    }
}

/// OpenMetrics as Prometheus' text: there, a counter is described by the name of its samples, and units and the end are not
/// told. Source: the OpenMetrics specification 1.0, and Prometheus' "exposition formats", text format 0.0.4.
fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // A description comes before the type that decides its name.
    let mut described: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            described = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = described.take().filter(|(described, _)| *described == name) {
                text.push_str(&format!("# HELP {name}{suffix} {help}\n"));
            }
            text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
        } else if !line.starts_with('#') {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;
    use prometheus_client::registry::Unit;

    use super::*;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        registry.register("done", "What was done", Counter::<u64>::default());
        registry.register("under_way", "What is under way", Gauge::<i64>::default());
        registry.register_with_unit("took", "How long it took", Unit::Seconds, Histogram::new([0.5]));
        registry
    }

    #[test]
    fn prometheus_text_describes_counters_by_the_name_of_their_samples() {
        let page = page(Some(&registry()), Some("*/*"));
        assert_eq!(page.content_type, PROMETHEUS);
        let expected = "\
# HELP done_total What was done.
# TYPE done_total counter
done_total 0
# HELP under_way What is under way.
# TYPE under_way gauge
under_way 0
# HELP took_seconds How long it took.
# TYPE took_seconds histogram
took_seconds_sum 0.0
took_seconds_count 0
took_seconds_bucket{le=\"0.5\"} 0
took_seconds_bucket{le=\"+Inf\"} 0
";
        assert_eq!(page.text, expected);
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let asked = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
        let page = page(Some(&registry()), Some(asked));
        assert_eq!(page.content_type, OPEN_METRICS);
        assert!(
            page.text.contains("# TYPE done counter\ndone_total 0\n") && page.text.ends_with("# EOF\n"),
            "{page:?}"
        );
        assert_eq!(super::page(None, Some(asked)).text, "# EOF\n");
        assert_eq!(super::page(None, None).text, "");
    }
}
