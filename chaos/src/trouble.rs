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
    /// Messages are lost, and their connections with them.
    Flaky { from: String, to: String },
    /// Messages take up to so long.
    Slow { from: String, to: String, latency: Duration },
    /// Hardly any space is left.
    Full { node: NodeId, bytes: u64 },
    /// The next sync fails: the node must halt.
    FailSync { node: NodeId },
    /// The wall clock is wrong by so many nanoseconds.
    Clock { host: String, ahead: i64 },
    /// A router dies, and is started again.
    RouterDown { router: String },
    /// A bit of a block turns over; which block and which bit, by numbers that are taken modulo how many there are.
    Rot { node: NodeId, block: u64, bit: u64 },
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
            Self::Flaky { .. } => "lossy link",
            Self::Slow { .. } => "slow link",
            Self::Full { .. } => "disk full",
            Self::FailSync { .. } => "failing sync",
            Self::Clock { .. } => "wrong clock",
            Self::RouterDown { .. } => "crash",
            Self::Rot { .. } => "bit rot",
        }
    }

    /// What it hits: a node, or each link.
    pub(crate) fn targets(&self) -> Vec<Target> {
        let link = |from: &String, to: &String, one_way| Target::Link { from: from.clone(), to: to.clone(), one_way };
        match self {
            Self::Cut { from, to, one_way } => {
                from.iter().flat_map(|a| to.iter().map(move |b| link(a, b, *one_way))).collect()
            }
            Self::Flaky { from, to } | Self::Slow { from, to, .. } => vec![link(from, to, false)],
            Self::Full { node, .. } | Self::FailSync { node } | Self::Rot { node, .. } => {
                vec![Target::Node(node.to_string())]
            }
            Self::Clock { host, .. } => vec![Target::Node(host.clone())],
            Self::RouterDown { router } | Self::CutLeader { router } => vec![Target::Node(router.clone())],
        }
    }

    /// More about it.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::Slow { latency, .. } => format!("up to {} ms", latency.as_millis()),
            Self::Full { bytes, .. } => format!("{bytes} bytes left"),
            Self::Clock { ahead, .. } => format!("{:+.1} s", *ahead as f64 / 1e9),
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
    /// The one node whose files rot: a majority of every shard stays whole.
    rotten: NodeId,
}

impl Layer {
    pub(crate) fn new(kind: LayerKind, shape: &Shape, rng: &Rng) -> Self {
        let rng = rng.child(kind.name());
        let rotten = NodeId(rng.below(shape.nodes.into()) as u32 + 1);
        Self { kind, shape: shape.clone(), rng, rotten }
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
        match self.rng.below(5) {
            // The busiest leader, with a router through which clients still reach it: it must not answer them.
            0 => Trouble::CutLeader { router: self.router() },
            // One node alone, or with some of the others.
            1 => {
                let alone = self.node().to_string();
                let with = |host: &String| *host == alone || self.rng.chance(0.25);
                let (from, to): (Vec<_>, Vec<_>) = self.shape.servers().partition(with);
                if to.is_empty() { self.one_link(one_way) } else { Trouble::Cut { from, to, one_way } }
            }
            2 => self.one_link(one_way),
            3 => {
                let (from, to) = self.link();
                Trouble::Flaky { from, to }
            }
            _ => {
                let (from, to) = self.link();
                Trouble::Slow { from, to, latency: self.ms(40, 250) }
            }
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
        let wait = self.ms(300, 4_000);
        let trouble = match self.kind {
            LayerKind::Network => self.network(),
            LayerKind::Disk if self.rng.chance(0.5) => Trouble::FailSync { node: self.node() },
            LayerKind::Disk => Trouble::Full { node: self.node(), bytes: self.rng.below(96 << 10) },
            LayerKind::Clock => self.clock(),
            LayerKind::Routers => Trouble::RouterDown { router: self.router() },
            LayerKind::Rot => Trouble::Rot { node: self.rotten, block: self.rng.u64(), bit: self.rng.u64() },
        };
        let lasts = match trouble {
            Trouble::FailSync { .. } | Trouble::RouterDown { .. } | Trouble::Rot { .. } => self.ms(100, 1_500),
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
            for kind in LayerKind::ALL {
                for (_, trouble, lasts) in Layer::new(kind, &shape, &rng).take(20) {
                    assert!(lasts < Duration::from_secs(6));
                    assert!(!trouble.targets().is_empty(), "{trouble:?}");
                    kinds.insert(trouble.kind());
                }
            }
        }
        assert_eq!(kinds.len(), 9, "{kinds:?}");
    }
}
