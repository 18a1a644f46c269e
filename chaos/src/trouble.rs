//! What goes wrong besides processes that end: links, disks, clocks and routers. Drawn from a seed, one after the other in each
//! layer. Pure.

use std::time::Duration;

use meridian_env::Rng;
use meridian_types::NodeId;

use crate::report::Target;
use crate::shape::{LayerKind, Shape};

/// One trouble.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Trouble {
    /// Nothing passes between the two sides, or nothing from the first to the second.
    Cut { from: Vec<String>, to: Vec<String>, one_way: bool },
    /// The node that leads most, and a router, are cut off from all others.
    CutLeader { router: String },
    /// Nothing passes between two hosts, again and again for a moment.
    Flap { from: String, to: String },
    /// Messages are lost, and their connections with them.
    Flaky { from: String, to: String },
    /// Messages take up to so long.
    Slow { from: String, to: String, latency: Duration },
    /// Hardly any space is left.
    Full { node: NodeId, bytes: u64 },
    /// Whatever writes files waits so much longer.
    SlowDisk { node: NodeId, wait: Duration },
    /// The next sync fails: the node must halt.
    FailSync { node: NodeId },
    /// The wall clock is wrong by so many nanoseconds.
    Clock { host: String, ahead: i64 },
    /// The wall clock gains so many nanoseconds a second, or loses them.
    Drift { host: String, a_second: i64 },
    /// A router dies, and is started again.
    RouterDown { router: String },
    /// Nodes die at once, and are started again: those of a region, or one of them again and again.
    NodesDown { kind: &'static str, nodes: Vec<NodeId> },
    /// A bit of a block turns over; which block and which bit, by numbers that are taken modulo how many there are.
    Rot { node: NodeId, block: u64, bit: u64 },
    /// The same with the file that names a shard's blocks: found at the next start.
    RotManifest { node: NodeId, shard: u64, bit: u64 },
    /// The next write of a block lands elsewhere.
    Misdirect { node: NodeId },
}

impl Trouble {
    /// The same with the leader's name in it.
    pub(crate) fn resolved(self, leader: NodeId, shape: &Shape) -> Self {
        let Self::CutLeader { router } = self else { return self };
        let with = |host: &String| *host == leader.to_string() || *host == router;
        let (from, to) = shape.servers().partition(with);
        Self::Cut { from, to, one_way: false }
    }

    /// In a plain word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Cut { one_way: false, .. } | Self::CutLeader { .. } => "partition",
            Self::Cut { one_way: true, .. } => "one-way partition",
            Self::Flap { .. } => "flapping link",
            Self::Flaky { .. } => "lossy link",
            Self::Slow { .. } => "slow link",
            Self::Full { .. } => "disk full",
            Self::SlowDisk { .. } => "slow disk",
            Self::FailSync { .. } => "failing sync",
            Self::Clock { .. } => "wrong clock",
            Self::RouterDown { .. } => "crash",
            Self::NodesDown { kind, .. } => kind,
            Self::Drift { .. } => "drifting clock",
            Self::Rot { .. } | Self::RotManifest { .. } => "bit rot",
            Self::Misdirect { .. } => "misdirected write",
        }
    }

    /// What it hits: a node, or each link.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let link = |from: &String, to: &String, one_way| Target::Link { from: from.clone(), to: to.clone(), one_way };
        match self {
            Self::Cut { from, to, one_way } => {
                from.iter().flat_map(|a| to.iter().map(move |b| link(a, b, *one_way))).collect()
            }
            Self::Flap { from, to } | Self::Flaky { from, to } | Self::Slow { from, to, .. } => {
                vec![link(from, to, false)]
            }
            Self::Full { node, .. }
            | Self::SlowDisk { node, .. }
            | Self::FailSync { node }
            | Self::Rot { node, .. }
            | Self::RotManifest { node, .. }
            | Self::Misdirect { node } => vec![Target::Node(node.to_string())],
            Self::NodesDown { nodes, .. } => nodes.iter().map(|node| Target::Node(node.to_string())).collect(),
            Self::Clock { host, .. } | Self::Drift { host, .. } => vec![Target::Node(host.clone())],
            Self::RouterDown { router } | Self::CutLeader { router } => vec![Target::Node(router.clone())],
        }
    }

    /// More about it.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Slow { latency, .. } => format!("up to {} ms", latency.as_millis()),
            Self::Full { bytes, .. } => format!("{bytes} bytes left"),
            Self::SlowDisk { wait, .. } => format!("{} ms a write", wait.as_millis()),
            Self::Clock { ahead, .. } => format!("{:+.1} s", *ahead as f64 / 1e9),
            Self::Drift { a_second, .. } => format!("{:+.3} s a second", *a_second as f64 / 1e9),
            Self::RotManifest { .. } => "of the manifest".to_owned(),
            _ => String::new(),
        }
    }
}

/// An endless list of troubles of one layer: the time to wait, what happens, and for how long.
#[derive(Debug)]
pub(crate) struct Layer {
    kind: LayerKind,
    shape: Shape,
    rng: Rng,
    /// What comes again and again, and how often it still does.
    burst: Option<(Trouble, u64)>,
    /// The one node whose files rot: a majority of every shard stays whole.
    rotten: NodeId,
}

impl Layer {
    pub(crate) fn new(kind: LayerKind, shape: &Shape, rng: &Rng) -> Self {
        let rotten = NodeId(rng.child(LayerKind::Rot.name()).below(shape.nodes.into()) as u32 + 1);
        let rng = rng.child(kind.name());
        if LayerKind::FIRST.contains(&kind) {
            // Each of them once drew a rotten node of its own; what they draw next stays what it was.
            rng.u64();
        }
        Self { kind, shape: shape.clone(), rng, burst: None, rotten }
    }

    fn ms(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.rng.below(to - from))
    }

    fn node(&self) -> NodeId {
        NodeId(self.rng.below(self.shape.nodes.into()) as u32 + 1)
    }

    fn router(&self) -> String {
        format!("r{}", self.rng.below(self.shape.routers.into()) + 1)
    }

    /// Two different hosts of which the first is a node.
    fn link(&self) -> (String, String) {
        let from = self.node();
        let others: Vec<String> = self.shape.servers().filter(|host| *host != from.to_string()).collect();
        (from.to_string(), others[self.rng.below(others.len() as u64) as usize].clone())
    }

    fn network(&self) -> Trouble {
        let one_way = self.rng.chance(0.35);
        match self.rng.below(7) {
            // The busiest leader, with a router through which clients still reach it: it must not answer them.
            0 | 1 => Trouble::CutLeader { router: self.router() },
            // One node alone, or with some of the others.
            2 => {
                let alone = self.node().to_string();
                let with = |host: &String| *host == alone || self.rng.chance(0.25);
                self.sides(with, one_way)
            }
            3 => self.one_link(one_way),
            4 => {
                let (from, to) = self.link();
                Trouble::Flaky { from, to }
            }
            5 => {
                let (from, to) = self.link();
                Trouble::Flap { from, to }
            }
            _ => {
                let (from, to) = self.link();
                Trouble::Slow { from, to, latency: self.ms(40, 250) }
            }
        }
    }

    /// Those hosts are cut off from the others, if there are others.
    fn sides(&self, with: impl Fn(&String) -> bool, one_way: bool) -> Trouble {
        let (from, to): (Vec<_>, Vec<_>) = self.shape.servers().partition(with);
        if to.is_empty() { self.one_link(one_way) } else { Trouble::Cut { from, to, one_way } }
    }

    /// A region loses its power, or its lines to the others.
    fn region(&self) -> Trouble {
        let region = self.rng.below(self.shape.regions.into()) as u32;
        let is_there = |number: u32| self.shape.region(number) == region;
        if self.rng.chance(0.5) {
            let nodes = self.shape.nodes().filter(|node| is_there(node.0)).collect();
            return Trouble::NodesDown { kind: "region crash", nodes };
        }
        let with = |host: &String| host[1..].parse().is_ok_and(is_there);
        self.sides(with, self.rng.chance(0.35))
    }

    fn disk(&self) -> Trouble {
        match self.rng.below(3) {
            0 => Trouble::FailSync { node: self.node() },
            1 => Trouble::Full { node: self.node(), bytes: self.rng.below(96 << 10) },
            _ => Trouble::SlowDisk { node: self.node(), wait: self.ms(5, 400) },
        }
    }

    /// The two ends still reach each other by way of others.
    fn one_link(&self, one_way: bool) -> Trouble {
        let (from, to) = self.link();
        Trouble::Cut { from: vec![from], to: vec![to], one_way }
    }

    fn clock(&self) -> Trouble {
        let host = if self.rng.chance(0.75) { self.node().to_string() } else { self.router() };
        let seconds = [1, 20, 300, 7_200][self.rng.below(4) as usize];
        let nanos = (1 + self.rng.below(seconds * 1_000_000_000)).cast_signed();
        Trouble::Clock { host, ahead: if self.rng.chance(0.5) { nanos } else { -nanos } }
    }
}

impl Iterator for Layer {
    type Item = (Duration, Trouble, Duration);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((trouble, left)) = self.burst.take() {
            self.burst = (left > 1).then(|| (trouble.clone(), left - 1));
            return Some((self.ms(20, 300), trouble, self.ms(20, 300)));
        }
        let wait = self.ms(300, 4_000);
        let trouble = match self.kind {
            LayerKind::Network => self.network(),
            LayerKind::Disk => self.disk(),
            LayerKind::Clock => self.clock(),
            LayerKind::Routers => Trouble::RouterDown { router: self.router() },
            LayerKind::Rot => Trouble::Rot { node: self.rotten, block: self.rng.u64(), bit: self.rng.u64() },
            LayerKind::Regions => self.region(),
            LayerKind::Files => match self.rng.chance(0.5) {
                true => Trouble::Misdirect { node: self.rotten },
                false => Trouble::RotManifest { node: self.rotten, shard: self.rng.u64(), bit: self.rng.u64() },
            },
            LayerKind::Drift => {
                let Trouble::Clock { host, ahead } = self.clock() else { unreachable!("a clock is wrong") };
                // Up to a minute each second.
                Trouble::Drift { host, a_second: ahead / 120 }
            }
            LayerKind::Storms => Trouble::NodesDown { kind: "restart storm", nodes: vec![self.node()] },
        };
        let lasts = match trouble {
            Trouble::Flap { .. } | Trouble::NodesDown { kind: "restart storm", .. } => {
                self.burst = Some((trouble.clone(), 2 + self.rng.below(6)));
                self.ms(20, 300)
            }
            Trouble::FailSync { .. }
            | Trouble::RouterDown { .. }
            | Trouble::NodesDown { .. }
            | Trouble::Rot { .. }
            | Trouble::RotManifest { .. } => self.ms(100, 1_500),
            // So long that the others have a leader, and write what the old one does not know.
            Trouble::CutLeader { .. } => self.ms(1_500, 5_000),
            _ => self.ms(200, 5_000),
        };
        Some((wait, trouble, lasts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_and_no_side_of_a_cut_is_empty() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..30 {
            let rng = Rng::from_seed(seed);
            let shape = Shape::draw(&rng);
            for kind in LayerKind::all() {
                for (_, trouble, lasts) in Layer::new(kind, &shape, &rng).take(40) {
                    assert!(lasts < Duration::from_secs(6));
                    assert!(!trouble.targets().is_empty(), "{trouble:?}");
                    kinds.insert(trouble.kind());
                }
            }
        }
        assert_eq!(kinds.len(), 15, "{kinds:?}");
    }
}
