//! The bars: what was set, what was measured, and what holds. A new bar is a new line of [`BARS`].
//!
//! Pure. Never calls a bar held whose figure is missing.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// Which way a figure must lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rule {
    AtLeast,
    AtMost,
}

/// The runs that make figures; each makes those of all its bars.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Measure {
    /// Lines, against VictoriaMetrics.
    Compare,
    /// Frames as fast as they are taken, then at half of that.
    Frames,
    /// Frames of a million series and of ten thousand.
    Series,
    /// The storage of one shard alone.
    Engine,
    /// The query types of TSBS, against all peers.
    Queries,
}

/// One bar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    /// In JSON, and for the measures to name it.
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) rule: Rule,
    pub(crate) bar: f64,
    pub(crate) aim: f64,
    pub(crate) measure: Measure,
    /// What else makes this figure, with more to see.
    pub(crate) command: &'static str,
}

/// All of them, in the order in which they are told.
pub(crate) const BARS: [Bar; 11] = [
    Bar {
        key: "lines_cpu_ratio",
        name: "line protocol: CPU by VictoriaMetrics'",
        rule: Rule::AtMost,
        bar: 0.25,
        aim: 0.1,
        measure: Measure::Compare,
        command: "compare --peer victoria-metrics",
    },
    Bar {
        key: "bytes_ratio",
        name: "bytes a point and copy by VictoriaMetrics'",
        rule: Rule::AtMost,
        bar: 1.0,
        aim: 0.8,
        measure: Measure::Compare,
        command: "compare --peer victoria-metrics",
    },
    Bar {
        key: "bytes_sensors_ratio",
        name: "the same of sensors, two decimals",
        rule: Rule::AtMost,
        bar: 1.0,
        aim: 0.8,
        measure: Measure::Compare,
        command: "compare --peer victoria-metrics --source sensors --fields 4",
    },
    Bar {
        key: "frames_cpu_seconds",
        name: "frames: CPU-seconds a million points",
        rule: Rule::AtMost,
        bar: 0.12,
        aim: 0.06,
        measure: Measure::Frames,
        command: "bars --only frames",
    },
    Bar {
        key: "frames_million_per_second",
        name: "frames: million points/s acknowledged, 2 cores",
        rule: Rule::AtLeast,
        bar: 5.0,
        aim: 15.0,
        measure: Measure::Frames,
        command: "load --mode frames",
    },
    Bar {
        key: "half_load_p99_ratio",
        name: "write p99 at half load by fdatasync's p99",
        rule: Rule::AtMost,
        bar: 10.0,
        aim: 5.0,
        measure: Measure::Frames,
        command: "load --mode frames --rate HALF",
    },
    Bar {
        key: "series_rate_ratio",
        name: "rate at 1 M series by that at 10 k",
        rule: Rule::AtLeast,
        bar: 0.5,
        aim: 0.8,
        measure: Measure::Series,
        command: "bars --only series",
    },
    Bar {
        key: "engine_million_per_second",
        name: "one engine on one core: million points/s to blocks",
        rule: Rule::AtLeast,
        bar: 20.0,
        aim: 50.0,
        measure: Measure::Engine,
        command: "engine",
    },
    Bar {
        key: "engine_series_ratio",
        name: "one engine, one field: rate at 10 M series by 10 k",
        rule: Rule::AtLeast,
        bar: 0.5,
        aim: 0.8,
        measure: Measure::Engine,
        command: "engine --series 10000000 --fields 1",
    },
    Bar {
        key: "bytes_clickhouse_ratio",
        name: "bytes a point and copy by ClickHouse's",
        rule: Rule::AtMost,
        bar: 1.0,
        aim: 0.8,
        measure: Measure::Queries,
        command: "compare-queries",
    },
    Bar {
        key: "query_types_won",
        name: "TSBS query types at most the best peer's median",
        rule: Rule::AtLeast,
        bar: 10.0,
        aim: 15.0,
        measure: Measure::Queries,
        command: "compare-queries",
    },
];

/// What was measured of one bar.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    /// Or why there is none.
    pub(crate) value: Result<f64, String>,
    /// What it was made of.
    pub(crate) detail: String,
    /// What the aim is set for, where that is another figure.
    pub(crate) for_aim: Option<f64>,
}

impl Figure {
    /// A figure, and what it was made of.
    pub(crate) fn new(key: &'static str, value: f64, detail: String) -> Self {
        Self { key, value: Ok(value), detail, for_aim: None }
    }

    /// None, and why.
    pub(crate) fn missing(key: &'static str, why: impl Into<String>) -> Self {
        Self { key, value: Err(why.into()), detail: String::new(), for_aim: None }
    }
}

impl Bar {
    /// Whether the figure, if there is one, lies on the right side of the bar.
    fn is_held(&self, figure: Option<&Figure>) -> bool {
        figure.and_then(|figure| figure.value.as_ref().ok()).is_some_and(|value| self.reaches(*value, self.bar))
    }

    /// The same of the aim.
    fn is_aim_reached(&self, figure: Option<&Figure>) -> bool {
        let of = |figure: &Figure| figure.value.as_ref().ok().map(|value| figure.for_aim.unwrap_or(*value));
        figure.and_then(of).is_some_and(|value| self.reaches(value, self.aim))
    }

    fn reaches(&self, value: f64, limit: f64) -> bool {
        match self.rule {
            Rule::AtLeast => value >= limit,
            Rule::AtMost => value <= limit,
        }
    }
}

/// Whether every bar holds.
pub(crate) fn all_hold(figures: &[Figure]) -> bool {
    BARS.iter().all(|bar| bar.is_held(of(figures, bar)))
}

/// For people.
pub(crate) fn table(figures: &[Figure]) -> String {
    const TAKES_ALL: &str = "a String takes everything";
    let mut out = format!("{:<48}{:>9}{:>9}{:>10}  {:<10}{}\n", "bar", "bar", "aim", "figure", "holds?", "command");
    let mut details = String::new();
    for bar in &BARS {
        let figure = of(figures, bar);
        let sign = if bar.rule == Rule::AtLeast { ">=" } else { "<=" };
        let (limit, aim) = (format!("{sign} {}", bar.bar), format!("{sign} {}", bar.aim));
        let value = figure.and_then(|figure| figure.value.as_ref().ok());
        let value = value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let holds = holds(bar, figure);
        writeln!(out, "{:<48}{limit:>9}{aim:>9}{value:>10}  {holds:<10}{}", bar.name, bar.command).expect(TAKES_ALL);
        let text = match figure {
            None => "not asked for",
            Some(Figure { value: Err(why), .. }) => why,
            Some(Figure { detail, .. }) => detail,
        };
        writeln!(details, "{}: {text}", bar.key).expect(TAKES_ALL);
    }
    out + "\n" + &details
}

/// One JSON object on one line.
pub(crate) fn json(figures: &[Figure]) -> String {
    let row = |bar: &Bar| {
        let figure = of(figures, bar);
        json!({
            "key": bar.key, "name": bar.name, "bar": bar.bar, "aim": bar.aim,
            "rule": if bar.rule == Rule::AtLeast { "at least" } else { "at most" },
            "figure": figure.and_then(|figure| figure.value.as_ref().ok()),
            "why_not": figure.and_then(|figure| figure.value.as_ref().err()),
            "detail": figure.map(|figure| &figure.detail),
            "holds": bar.is_held(figure), "reaches_aim": bar.is_aim_reached(figure),
            "command": format!("meridian-benches {}", bar.command),
        })
    };
    let object = json!({ "bars": BARS.iter().map(row).collect::<Vec<Value>>(), "all_hold": all_hold(figures) });
    format!("{object}\n")
}

fn holds(bar: &Bar, figure: Option<&Figure>) -> &'static str {
    match figure {
        Some(Figure { value: Ok(_), .. }) if bar.is_aim_reached(figure) => "yes, aim",
        Some(Figure { value: Ok(_), .. }) if bar.is_held(figure) => "yes",
        Some(Figure { value: Ok(_), .. }) => "NO",
        Some(Figure { value: Err(_), .. }) | None => "UNKNOWN",
    }
}

fn of<'a>(figures: &'a [Figure], bar: &Bar) -> Option<&'a Figure> {
    figures.iter().find(|figure| figure.key == bar.key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all_at(value: impl Fn(&Bar) -> f64) -> Vec<Figure> {
        BARS.iter().map(|bar| Figure::new(bar.key, value(bar), "so".into())).collect()
    }

    #[test]
    fn all_hold_only_if_each_was_measured_and_reaches_its_bar() {
        assert!(all_hold(&all_at(|bar| bar.bar)));
        assert!(!all_hold(&[]));
        assert!(!all_hold(&all_at(|bar| bar.bar)[1..]), "one was not measured");
        for broken in &BARS {
            let off = if broken.rule == Rule::AtLeast { 0.99 } else { 1.01 };
            let value = |bar: &Bar| if bar.key == broken.key { bar.bar * off } else { bar.aim };
            assert!(!all_hold(&all_at(value)), "{}", broken.key);
            assert!(!all_hold(&all_at(|bar| if bar.key == broken.key { f64::NAN } else { bar.aim })));
        }
        let mut figures = all_at(|bar| bar.aim);
        figures[2] = Figure::missing(figures[2].key, "no");
        assert!(!all_hold(&figures));
    }

    #[test]
    fn the_table_says_what_holds() {
        let mut figures =
            vec![Figure::new(BARS[0].key, 0.2, "1 by 5".into()), Figure::new(BARS[1].key, 0.7, "a".into())];
        figures.push(Figure::missing(BARS[2].key, "it broke"));
        figures.push(Figure::new(BARS[3].key, 4.0, "b".into()));
        let table = table(&figures);
        let first = "line protocol: CPU by VictoriaMetrics'            <= 0.25   <= 0.1     0.200  yes       compare --peer victoria-metrics";
        assert_eq!(table.lines().nth(1), Some(first));
        let words: Vec<_> = table.lines().skip(1).take(6).map(|line| line[78..88].trim()).collect();
        assert_eq!(words, ["yes", "yes, aim", "UNKNOWN", "NO", "UNKNOWN", "UNKNOWN"]);
        assert!(
            table.contains("\nbytes_sensors_ratio: it broke\n") && table.ends_with("query_types_won: not asked for\n")
        );
    }

    #[test]
    fn an_aim_may_be_of_another_figure() {
        let bar = BARS.iter().find(|bar| bar.key == "query_types_won").expect("it is there");
        let all_won = Figure::new(bar.key, 15.0, String::new());
        assert_eq!(holds(bar, Some(&all_won)), "yes, aim");
        assert_eq!(holds(bar, Some(&Figure { for_aim: Some(9.0), ..all_won })), "yes");
    }

    #[test]
    fn json_says_the_same() {
        let object: Value = serde_json::from_str(&json(&[Figure::new(BARS[0].key, 0.2, String::new())])).expect("JSON");
        assert_eq!((&object["bars"][0]["holds"], &object["bars"][0]["reaches_aim"]), (&json!(true), &json!(false)));
        assert_eq!(object["bars"][1]["figure"], Value::Null);
        assert_eq!(object["all_hold"], false);
    }

    #[test]
    fn keys_are_distinct_and_aims_lie_beyond_bars() {
        assert_eq!(BARS.iter().map(|bar| bar.key).collect::<BTreeSet<_>>().len(), BARS.len());
        assert!(BARS.iter().all(|bar| (bar.aim > bar.bar) == (bar.rule == Rule::AtLeast)));
    }
}
