//! Which nodes get the replicas of each shard. Pure and deterministic: equal nodes give equal seats. Decides from the list
//! of nodes alone, never from load.

use std::collections::{BTreeMap, BTreeSet};

use meridian_types::NodeId;

use crate::command::NodeSpec;

/// Where the copies of one shard go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seats {
    /// One node for each copy, all different.
    pub nodes: Vec<NodeId>,
    /// The one of them that should lead.
    pub preferred: NodeId,
}

/// Seats for `replication` copies of each of `shards` shards. Copies of a shard go to different regions first, then to
/// different nodes; regions and the nodes in them are filled evenly, and so is leadership. `None` unless `replication` is
/// at least 1 and at most the number of nodes.
pub fn place(nodes: &BTreeMap<NodeId, NodeSpec>, shards: u32, replication: u8) -> Option<Vec<Seats>> {
    if replication == 0 || usize::from(replication) > nodes.len() {
        return None;
    }
    let mut regions = BTreeMap::<&str, Region>::new();
    for node in nodes.values() {
        regions.entry(&node.region).or_default().copies.insert(node.id, 0);
    }
    let mut seats = Vec::new();
    for _ in 0..shards {
        let mut taken = Vec::new();
        for _ in 0..replication {
            taken.push(take_seat(&mut regions, nodes, &taken));
        }
        seats.push(taken);
    }
    let leaders = lead_evenly(&seats);
    Some(seats.into_iter().zip(leaders).map(|(nodes, preferred)| Seats { nodes, preferred }).collect())
}

/// The nodes that vote on the catalogue: 1, 3 or 5 of them, since even numbers add a vote to wait for and no more failures
/// survived. One of each region first, and of a region those that joined first.
pub fn voters(nodes: &BTreeMap<NodeId, NodeSpec>) -> BTreeSet<NodeId> {
    let count = match nodes.len() {
        0..=2 => 1,
        3..=4 => 3,
        _ => 5,
    };
    // How many of its own region came before each: a first of a region goes before every second.
    let mut seen = BTreeMap::<&str, u32>::new();
    let mut ranked: Vec<_> = nodes
        .values()
        .map(|node| {
            let before = seen.entry(&node.region).or_default();
            *before += 1;
            (*before, node.id)
        })
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(count).map(|(_, id)| id).collect()
}

/// The nodes of a region and how many copies each has so far.
#[derive(Default)]
struct Region {
    copies: BTreeMap<NodeId, u64>,
}

impl Region {
    fn total(&self) -> u64 {
        self.copies.values().sum()
    }

    fn size(&self) -> u64 {
        self.copies.len() as u64
    }
}

/// Takes one more seat for the shard that has `taken` so far: in the region with the fewest of them, among those in the
/// one with the fewest copies a node, and there on the node with the fewest copies.
fn take_seat(regions: &mut BTreeMap<&str, Region>, nodes: &BTreeMap<NodeId, NodeSpec>, taken: &[NodeId]) -> NodeId {
    let here = |name: &str| taken.iter().filter(|id| nodes[id].region == name).count();
    let (_, region) = regions
        .iter_mut()
        .filter(|(name, region)| here(name) < region.copies.len())
        .min_by(|(a_name, a), (b_name, b)| {
            // a.total / a.size against b.total / b.size, without division.
            let by_share = (a.total() * b.size()).cmp(&(b.total() * a.size()));
            here(a_name).cmp(&here(b_name)).then(by_share)
        })
        .expect("there are at least as many nodes as copies");
    let free = region.copies.iter_mut().filter(|(id, _)| !taken.contains(id));
    let (id, copies) = free.min_by_key(|(id, copies)| (**copies, **id)).expect("the region has a free node");
    *copies += 1;
    *id
}

/// A leader for each shard, so that nodes lead as equally often as their seats allow. A shard whose own nodes all lead more
/// than others do takes its leader from an earlier shard, which takes its own from an earlier one, and so on to a node that
/// leads least: the augmenting path of a flow, so that no choice made early spoils the whole.
fn lead_evenly(seats: &[Vec<NodeId>]) -> Vec<NodeId> {
    let mut leads: BTreeMap<NodeId, u32> = seats.iter().flatten().map(|id| (*id, 0)).collect();
    let mut leaders: Vec<NodeId> = Vec::new();
    for (shard, own) in seats.iter().enumerate() {
        let least = leads.values().min().copied();
        // Which shard a node would lead in addition, and the nodes in the order in which they were reached.
        let mut would_lead: BTreeMap<NodeId, usize> = own.iter().map(|id| (*id, shard)).collect();
        let mut reached = own.clone();
        let mut next = 0;
        while next < reached.len() && !reached.iter().any(|id| leads.get(id).copied() == least) {
            let leader = reached[next];
            for other in (0..shard).filter(|other| leaders[*other] == leader) {
                for id in &seats[other] {
                    would_lead.entry(*id).or_insert_with(|| {
                        reached.push(*id);
                        other
                    });
                }
            }
            next += 1;
        }
        let mut id = *reached.iter().min_by_key(|id| leads[id]).expect("at least one copy");
        *leads.entry(id).or_default() += 1;
        leaders.push(own[0]);
        loop {
            let led = would_lead[&id];
            let before = std::mem::replace(&mut leaders[led], id);
            if led == shard {
                break;
            }
            id = before;
        }
    }
    leaders
}

#[cfg(test)]
mod tests;
