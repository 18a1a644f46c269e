//! What a world consists of, and which kinds of trouble it has: drawn from its seed. Pure.
//!
//! Each seed draws its own few kinds at its own size, for faults that meet seldom find more than all of them at once.

use std::time::Duration;

use meridian_env::Rng;
use meridian_types::NodeId;

/// One world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shape {
    pub(crate) nodes: u32,
    pub(crate) routers: u32,
    pub(crate) shards: u32,
    /// Node `n` is in region `(n - 1) % regions`.
    pub(crate) regions: u32,
    /// Longest time of a message between the two regions that are farthest apart.
    pub(crate) far: Duration,
    /// Whether nodes die, stand still and stay away.
    pub(crate) processes: bool,
    /// What else goes wrong.
    pub(crate) layers: Vec<LayerKind>,
    /// Whether leaders are asked to hand over.
    pub(crate) transfers: bool,
    /// Most rows of a request.
    pub(crate) rows: u64,
    /// Those that write, delete and read; every router has a reader besides.
    pub(crate) clients: u32,
    /// A node that stays down at first when everything else is well again: the others must serve.
    pub(crate) lost: Option<Lost>,
}

/// See [`Shape::lost`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Lost {
    pub(crate) node: NodeId,
    pub(crate) disk: LostDisk,
}

/// What a lost node finds on its disk when it comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LostDisk {
    /// All that it had synced.
    Kept,
    /// Nothing: it must be refused.
    Wiped,
    /// What it had synced so long before the writes ended: the disk lied about every sync since. The others must bring it up again.
    Reverted(Duration),
}

impl LostDisk {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "lost node",
            Self::Wiped => "wiped disk",
            Self::Reverted(_) => "lying disk",
        }
    }
}

/// Troubles of one kind come one after the other, those of different kinds at any time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum LayerKind {
    Network,
    Disk,
    Clock,
    Routers,
    Rot,
    Regions,
    Storms,
    Files,
    Drift,
}

impl LayerKind {
    pub(crate) const FIRST: [Self; 7] =
        [Self::Network, Self::Disk, Self::Clock, Self::Routers, Self::Rot, Self::Regions, Self::Storms];
    /// Those that came later, and are drawn from a child of their own: worlds that have none of them stay what they were.
    const MORE: [Self; 2] = [Self::Files, Self::Drift];

    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Self::FIRST.into_iter().chain(Self::MORE)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Routers => "routers",
            Self::Rot => "rot",
            Self::Regions => "regions",
            Self::Storms => "storms",
            Self::Files => "files",
            Self::Drift => "drift",
        }
    }
}

/// Longest time of a message within a region.
pub(crate) const NEAR: Duration = Duration::from_millis(6);
/// Replicas of a shard in a cluster that has so many nodes.
const COPIES: usize = 3;

impl Shape {
    /// The shape that a seed's child draws.
    pub(crate) fn draw(rng: &Rng) -> Self {
        let one_of = |choices: &[u32]| choices[rng.below(choices.len() as u64) as usize];
        let (nodes, routers) = (one_of(&[3, 3, 3, 3, 4, 5, 5, 7, 9]), one_of(&[1, 2, 2, 3]));
        let (shards, regions) = (one_of(&[1, 1, 2, 3, 4]), one_of(&[1, 2, 3, 3, 3, 5, 7]).min(nodes));
        let chance = |kind: &LayerKind| if *kind == LayerKind::Network { 0.45 } else { 0.3 };
        let layers: Vec<_> = LayerKind::FIRST.into_iter().filter(|kind| rng.chance(chance(kind))).collect();
        // Files that have rotten unnoticed and a lost node are two of three replicas.
        let may_lose = rng.chance(0.4) && !layers.contains(&LayerKind::Rot);
        let mut shape = Self {
            nodes,
            routers,
            shards,
            regions,
            far: Duration::from_millis(6 + rng.below(20)),
            processes: layers.is_empty() || rng.chance(0.7),
            layers,
            transfers: rng.chance(0.4),
            rows: one_of(&[8, 8, 8, 50, 250]).into(),
            clients: [1, 6, 6, 6, 10, 17][rng.child("clients").below(6) as usize],
            lost: may_lose.then(|| {
                let node = NodeId(1 + rng.below(nodes.into()) as u32);
                Lost { node, disk: if rng.chance(0.5) { LostDisk::Wiped } else { LostDisk::Kept } }
            }),
        };
        let more = rng.child("more");
        shape.layers.extend(LayerKind::MORE.into_iter().filter(|_| more.chance(0.2)));
        let may_rot = [LayerKind::Rot, LayerKind::Files].iter().any(|kind| shape.layers.contains(kind));
        shape.lost = shape.lost.filter(|_| !may_rot);
        if shape.lost.is_none() && !may_rot && more.chance(0.9) {
            let (node, ms) = (NodeId(1 + more.below(nodes.into()) as u32), 500 + more.below(6_500));
            shape.lost = Some(Lost { node, disk: LostDisk::Reverted(Duration::from_millis(ms)) });
        }
        shape
    }

    /// One where nothing goes wrong by itself.
    pub(crate) fn calm(nodes: u32, routers: u32, shards: u32) -> Self {
        let (processes, layers, transfers) = (false, Vec::new(), false);
        let (rows, clients) = (1, 0);
        Self { nodes, routers, shards, regions: 1, far: NEAR, processes, layers, transfers, rows, clients, lost: None }
    }

    /// Replicas of a shard.
    pub(crate) fn copies(&self) -> usize {
        if self.nodes as usize >= COPIES { COPIES } else { 1 }
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId)
    }

    /// The routers' names.
    pub(crate) fn routers(&self) -> impl Iterator<Item = String> + use<> {
        (1..=self.routers).map(|router| format!("r{router}"))
    }

    /// The names of all nodes and routers.
    pub(crate) fn servers(&self) -> impl Iterator<Item = String> + use<> {
        self.nodes().map(|node| node.to_string()).chain(self.routers())
    }

    /// The region of a node or router with this number, as a number.
    pub(crate) fn region(&self, number: u32) -> u32 {
        (number - 1) % self.regions
    }

    /// Longest time of a message between two regions, by their numbers.
    pub(crate) fn apart(&self, a: u32, b: u32) -> Duration {
        let (near, far) = (a.min(b), a.max(b));
        if near == far { NEAR } else { NEAR.max(self.far * (2 + (5 * near + 3 * far) % 4) / 5) }
    }

    /// gRPC addresses of all nodes.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes().map(|node| format!("{node}:7172")).collect()
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { nodes, routers, shards, regions, rows, clients, .. } = self;
        let clients = clients + routers;
        write!(
            f,
            "{nodes} nodes in {regions} regions, {routers} routers, {shards} shards, {clients} clients, up to {rows} rows a \
             request; troubles:"
        )?;
        let own = [("processes", self.processes), ("transfers", self.transfers)];
        let own = own.into_iter().filter(|(_, on)| *on).map(|(name, _)| name);
        own.chain(self.lost.map(|lost| lost.disk.name()))
            .chain(self.layers.iter().map(|layer| layer.name()))
            .try_for_each(|name| write!(f, " {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_draw_different_worlds_and_each_has_some_trouble() {
        let shapes: Vec<_> = (0..200).map(|seed| Shape::draw(&Rng::from_seed(seed).child("shape"))).collect();
        assert_eq!(shapes[7], Shape::draw(&Rng::from_seed(7).child("shape")));
        assert!(shapes.iter().all(|shape| shape.processes || !shape.layers.is_empty()));
        for layer in LayerKind::all() {
            let with = shapes.iter().filter(|shape| shape.layers.contains(&layer)).count();
            assert!((25..125).contains(&with), "{layer:?} in {with} of 200");
        }
        assert!(shapes.iter().any(|shape| shape.nodes == 9) && shapes.iter().any(|shape| shape.regions == 7));
        assert!(shapes.iter().any(|shape| shape.routers == 3));
        for name in ["lost node", "wiped disk", "lying disk"] {
            assert!(shapes.iter().any(|shape| shape.lost.is_some_and(|lost| lost.disk.name() == name)), "{name}");
        }
    }
}
