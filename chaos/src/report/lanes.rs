//! What stands in the lanes of a report: bars over simulated time, made from a run and kept within limits. Pure. Knows
//! nothing of how they are drawn, but for the names of their classes in `style.css`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::{Fault, Reign, Run, Shard, Target, seconds};

/// Bars of one section; neighbours are joined until there are no more.
const BARS_MAX: usize = 4_000;
/// Lanes of one section; all that follow share one.
pub(super) const LANES_MAX: usize = 200;
/// Shorter times without an acknowledgement are nothing to look at, unless a shard has no longer one.
const GAP_MIN: Duration = Duration::from_millis(500);
/// Colours of nodes in `style.css`; more nodes have the same ones with stripes.
const COLOURS: usize = 8;
/// Kinds of faults with a look of their own in `style.css`, the same one in every report; all others share one.
const KINDS: [&str; 8] =
    ["crash", "away", "pause", "partition", "one-way partition", "disk full", "slow disk", "slow link"];

/// Something with a length in a lane, kept within the axis.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) start: Duration,
    pub(super) end: Duration,
    pub(super) class: String,
    /// Shown as far as they fit, the first one first.
    pub(super) labels: Vec<String>,
    pub(super) what: String,
    /// How many it stands for.
    pub(super) count: usize,
}

impl Bar {
    pub(super) fn new(run: &Run, time: &Range<Duration>, class: &str, labels: &[&str]) -> Self {
        let start = time.start.min(run.length);
        let labels: Vec<_> = labels.iter().map(|label| (*label).to_owned()).collect();
        let end = time.end.min(run.length).max(start);
        Self { start, end, class: class.to_owned(), what: labels.join(", "), labels, count: 1 }
    }

    /// From now on it stands for `other` as well, which does not start before it.
    fn absorb(&mut self, other: &Self) {
        self.end = self.end.max(other.end);
        self.count += other.count;
        if self.class != other.class {
            self.class = "mixed".to_owned();
            self.labels.clear();
        }
    }

    pub(super) fn words(&self) -> String {
        let Self { what, count, .. } = self;
        if *count == 1 { what.clone() } else { format!("{count} of them; the first: {what}") }
    }
}

/// Bars that belong to one thing, in the order of their starts.
pub(super) struct Lane {
    pub(super) name: String,
    /// The colour beside the name, if it has one.
    pub(super) class: String,
    pub(super) bars: Vec<Bar>,
}

impl Lane {
    pub(super) fn new(name: &str, class: &str, mut bars: Vec<Bar>) -> Self {
        bars.sort_by_key(|bar| (bar.start, bar.end));
        Self { name: name.to_owned(), class: class.to_owned(), bars }
    }
}

/// A lane for each node, hit or not, then one for each link that was hit.
pub(super) fn faults(run: &Run, nodes: &[&str]) -> Vec<Lane> {
    let node_key = |node| (false, natural(node), natural(""));
    let mut lanes: BTreeMap<_, Vec<Bar>> = nodes.iter().map(|node| (node_key(*node), Vec::new())).collect();
    for Fault { kind, target, start, end, detail } in &run.faults {
        let mut bar = Bar::new(run, &(*start..*end), &look(kind), &[kind]);
        let key = match target {
            Target::Node(node) => node_key(node),
            Target::Link { from, to, one_way } => {
                bar.labels.extend(one_way.then(|| format!("{from} → {to}")));
                let (a, b) = (natural(from), natural(to));
                (true, a.min(b), a.max(b))
            }
        };
        bar.what = format!("{}. {detail}", bar.labels.join(", ")).trim_end_matches(['.', ' ']).to_owned();
        lanes.entry(key).or_default().push(bar);
    }
    let lanes = lanes.into_iter().enumerate().map(|(i, ((is_link, a, b), bars))| {
        if is_link { Lane::new(&format!("{} – {}", a.2, b.2), "", bars) } else { Lane::new(a.2, &colour(i), bars) }
    });
    lanes.collect()
}

pub(super) fn leaders(run: &Run, shard: &Shard, nodes: &[&str]) -> Lane {
    let bars = shard.reigns.iter().map(|Reign { node, term, start, end }| {
        let class = colour(nodes.iter().position(|other| other == node).unwrap_or_default());
        let bar = Bar::new(run, &(*start..*end), &class, &[node, &format!("t{term}")]);
        Bar { what: format!("{node} leads in term {term}"), ..bar }
    });
    Lane::new(&shard.name, "", bars.collect())
}

/// When clients wrote, but nobody was told of a write to this shard: the longest of these times, and all long ones.
pub(super) fn gaps(run: &Run, shard: &Shard) -> Vec<Bar> {
    let mut times: Vec<_> = shard.acks.iter().copied().filter(|ack| run.writes.contains(ack)).collect();
    times.extend([run.writes.start, run.writes.end.max(run.writes.start)]);
    times.sort_unstable();
    let pairs = || times.windows(2).map(|pair| (pair[0], pair[1] - pair[0]));
    let longest = pairs().map(|(_, length)| length).max().unwrap_or_default();
    let gap = |(start, length): (Duration, Duration)| {
        let text = seconds(length);
        let (class, labels): (_, &[_]) =
            if length == longest { ("gap longest", &[&text, "longest"]) } else { ("gap", &[&text]) };
        let bar = Bar::new(run, &(start..start + length), class, labels);
        Bar { what: format!("nothing acknowledged over gRPC for {}", bar.what), ..bar }
    };
    pairs().filter(|(_, length)| !length.is_zero() && *length >= GAP_MIN.min(longest)).map(gap).collect()
}

/// Keeps a section within its limits: joins neighbours that lie within an ever longer time.
pub(super) fn bounded(run: &Run, mut lanes: Vec<Lane>) -> Vec<Lane> {
    if lanes.len() > LANES_MAX {
        let rest = lanes.split_off(LANES_MAX - 1);
        let name = format!("{} more", rest.len());
        lanes.push(Lane::new(&name, "", rest.into_iter().flat_map(|lane| lane.bars).collect()));
    }
    let mut grain = run.length / BARS_MAX as u32;
    while lanes.iter().map(|lane| lane.bars.len()).sum::<usize>() > BARS_MAX {
        grain = (2 * grain).max(Duration::from_nanos(1));
        for lane in &mut lanes {
            lane.bars.dedup_by(|bar, last| {
                let is_near = bar.end.max(last.end) - last.start <= grain;
                if is_near {
                    last.absorb(bar);
                }
                is_near
            });
        }
    }
    lanes
}

/// Bars of one lane in as few rows as have no overlap.
pub(super) fn rows(bars: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut rows: Vec<Vec<&Bar>> = vec![Vec::new()];
    for bar in bars {
        let is_free = |row: &Vec<&Bar>| row.last().is_none_or(|last| last.end <= bar.start && last.start < bar.start);
        match rows.iter().position(is_free) {
            Some(row) => rows[row].push(bar),
            None => rows.push(vec![bar]),
        }
    }
    rows
}

/// Sorts `n2` before `n10`.
pub(super) fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or_default(), name)
}

/// The class of the node with this place in the order of nodes.
pub(super) fn colour(node: usize) -> String {
    format!("c{}{}", node % COLOURS, if (node / COLOURS).is_multiple_of(2) { "" } else { " alt" })
}

/// The class of a kind of fault.
pub(super) fn look(kind: &str) -> String {
    format!("k{}", KINDS.iter().position(|known| *known == kind).unwrap_or(KINDS.len()))
}
