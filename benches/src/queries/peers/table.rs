//! The times of Meridian and its peers, as a table and as JSON. Pure.
//!
//! Never leaves out who was skipped or left out, and why: who reads a ratio reads that as well.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::compare::figures::Skipped;
use crate::compare::report::aligned;

/// Who was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) name: &'static str,
    /// What a reader of its times must know.
    pub(crate) terms: &'static str,
}

/// The medians of one query type, in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) query: &'static str,
    pub(crate) ours: f64,
    /// Those of the peers, in their order; none of one that was left out.
    pub(crate) theirs: Vec<Option<f64>>,
}

/// A peer whose times of one query type do not count.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    pub(crate) peer: &'static str,
    pub(crate) query: &'static str,
    pub(crate) why: String,
}

/// All that there is to tell.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    /// What was asked, of whom, on what.
    pub(crate) setup: Vec<(&'static str, String)>,
    pub(crate) ours: Asked,
    pub(crate) peers: Vec<Asked>,
    pub(crate) lines: Vec<Line>,
    /// Bytes a point on disk of one copy of ours, and of the peers that tell theirs.
    pub(crate) bytes: (f64, Vec<Option<f64>>),
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Line {
    /// The place of the fastest peer, and ours by its median.
    fn best(&self) -> Option<(usize, f64)> {
        let measured = self.theirs.iter().enumerate().filter_map(|(place, median)| Some((place, (*median)?)));
        measured.min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(place, best)| (place, self.ours / best))
    }
}

impl Table {
    /// The name of the peer that answered a type fastest, and Meridian's median by its.
    pub(crate) fn best(&self, line: &Line) -> Option<(&'static str, f64)> {
        line.best().map(|(place, ratio)| (self.peers[place].name, ratio))
    }

    /// How many query types take at most this many times as long as at the fastest peer.
    pub(crate) fn at_most(&self, ratio_max: f64) -> usize {
        self.lines.iter().filter(|line| line.best().is_some_and(|(_, ratio)| ratio <= ratio_max)).count()
    }

    /// Bytes a point on disk of ours and of whom else they are known.
    fn bytes(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let (ours, theirs) = &self.bytes;
        let theirs = self.peers.iter().zip(theirs).filter_map(|(peer, bytes)| Some((peer.name, (*bytes)?)));
        std::iter::once((self.ours.name, *ours)).chain(theirs)
    }

    /// Those of ours, and those of a peer if they are known.
    pub(crate) fn bytes_beside(&self, peer: &str) -> Option<(f64, f64)> {
        let (_, theirs) = self.bytes().skip(1).find(|(name, _)| *name == peer)?;
        Some((self.bytes.0, theirs))
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        let mut add = |line: String| writeln!(out, "{line}").expect("a String takes everything");
        for (name, text) in &self.setup {
            add(format!("{name:<10}{text}"));
        }
        add(format!("\n{}", aligned(&self.rows())));
        let (all, even, half) = (self.lines.len(), self.at_most(1.0), self.at_most(0.5));
        add(format!(
            "{even} of {all} query types take at most as long as at the fastest peer, {half} at most half as long.\n"
        ));
        let bytes = self.bytes().map(|(name, bytes)| format!("{name} {bytes:.3}")).collect::<Vec<_>>().join(", ");
        add(format!("Bytes a point on disk, one copy with its index: {bytes}.\n"));
        for asked in std::iter::once(&self.ours).chain(&self.peers) {
            add(format!("{}: {}.", asked.name, asked.terms));
        }
        for (peer, queries, why) in self.reasons() {
            add(format!("{peer}: left out of {}: {why}.", queries.join(", ")));
        }
        for skipped in &self.skipped {
            add(format!("{}.", skipped.note()));
        }
        out
    }

    /// One JSON object on one line.
    pub(crate) fn json(&self) -> String {
        let line = |line: &Line| {
            let theirs = self.peers.iter().zip(&line.theirs);
            let theirs: Map<String, Value> =
                theirs.map(|(peer, median)| (peer.name.to_owned(), json!(median))).collect();
            let best = self.best(line);
            json!({
                "query": line.query, "median_ms": line.ours, "peers_median_ms": theirs,
                "best_peer": best.map(|(name, _)| name), "ratio": best.map(|(_, ratio)| ratio),
            })
        };
        let left_out = |left: &LeftOut| json!({ "peer": left.peer, "query": left.query, "why": left.why });
        let setup: Map<String, Value> =
            self.setup.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
        let object = json!({
            "setup": setup,
            "queries": self.lines.iter().map(line).collect::<Vec<Value>>(),
            "at_most_the_best": self.at_most(1.0), "at_most_half_the_best": self.at_most(0.5),
            "bytes_a_point": self.bytes().map(|(name, bytes)| (name.to_owned(), json!(bytes))).collect::<Map<_, _>>(),
            "left_out": self.left_out.iter().map(left_out).collect::<Vec<Value>>(),
            "skipped": self.skipped.iter().map(|peer| peer.name).collect::<Vec<_>>(),
        });
        format!("{object}\n")
    }

    /// A head, and a line for each query type.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut head = vec!["median ms".to_owned(), self.ours.name.to_owned()];
        head.extend(self.peers.iter().map(|peer| peer.name.to_owned()));
        head.extend(["ours / best", "best"].map(str::to_owned));
        let line = |line: &Line| {
            let figure = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
            let mut cells = vec![line.query.to_owned(), figure(Some(line.ours))];
            cells.extend(line.theirs.iter().map(|median| figure(*median)));
            let best = self.best(line);
            cells.push(figure(best.map(|(_, ratio)| ratio)));
            cells.push(best.map_or("-", |(name, _)| name).to_owned());
            cells
        };
        std::iter::once(head).chain(self.lines.iter().map(line)).collect()
    }

    /// Who was left out of which query types for one reason.
    fn reasons(&self) -> Vec<(&'static str, Vec<&'static str>, &str)> {
        let mut reasons: Vec<(&'static str, Vec<&'static str>, &str)> = Vec::new();
        for LeftOut { peer, query, why } in &self.left_out {
            match reasons.iter_mut().find(|(other, _, reason)| other == peer && reason == why) {
                Some((_, queries, _)) => queries.push(*query),
                None => reasons.push((*peer, vec![*query], why.as_str())),
            }
        }
        reasons
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Meridian against two, of which one knows one type less.
    pub(crate) fn table() -> Table {
        let line = |query, ours, theirs: [Option<f64>; 2]| Line { query, ours, theirs: theirs.to_vec() };
        let left = |query| LeftOut { peer: "One", query, why: "it has no such query".into() };
        Table {
            setup: vec![("asked", "often".into())],
            ours: Asked { name: "Meridian", terms: "three copies" },
            peers: vec![Asked { name: "One", terms: "one copy" }, Asked { name: "Two", terms: "in process" }],
            lines: vec![
                line("cpu-max-all-8", 2.0, [Some(4.0), Some(5.0)]),
                line("high-cpu-all", 300.0, [Some(400.0), Some(200.0)]),
                line("lastpoint", 5.0, [None, Some(5.0)]),
                line("single-groupby-1-1-1", 1.0, [None, None]),
            ],
            bytes: (0.25, vec![None, Some(0.5)]),
            left_out: vec![left("lastpoint"), left("single-groupby-1-1-1")],
            skipped: vec![Skipped { name: "Third", remedy: "pip install third".into() }],
        }
    }

    #[test]
    fn the_table_reads_well() {
        let expected = "\
asked     often

median ms             Meridian     One     Two  ours / best  best
cpu-max-all-8             2.00    4.00    5.00         0.50   One
high-cpu-all            300.00  400.00  200.00         1.50   Two
lastpoint                 5.00       -    5.00         1.00   Two
single-groupby-1-1-1      1.00       -       -            -     -

2 of 4 query types take at most as long as at the fastest peer, 1 at most half as long.

Bytes a point on disk, one copy with its index: Meridian 0.250, Two 0.500.

Meridian: three copies.
One: one copy.
Two: in process.
One: left out of lastpoint, single-groupby-1-1-1: it has no such query.
Third: SKIPPED, it is not installed: pip install third.
";
        assert_eq!(table().text(), expected);
    }

    #[test]
    fn json_holds_the_same() {
        let object: Value = serde_json::from_str(&table().json()).expect("JSON");
        assert_eq!((&object["at_most_the_best"], &object["at_most_half_the_best"]), (&json!(2), &json!(1)));
        assert_eq!(object["queries"][1]["ratio"], 1.5);
        assert_eq!(object["queries"][1]["best_peer"], "Two");
        assert_eq!(object["queries"][2]["peers_median_ms"], json!({ "One": null, "Two": 5.0 }));
        assert_eq!(object["queries"][3]["ratio"], Value::Null, "nobody else has answered");
        assert_eq!(object["bytes_a_point"], json!({ "Meridian": 0.25, "Two": 0.5 }));
        assert_eq!(table().bytes_beside("Two"), Some((0.25, 0.5)));
        assert_eq!(object["left_out"][0]["why"], "it has no such query");
        assert_eq!(object["skipped"][0], "Third");
    }
}
