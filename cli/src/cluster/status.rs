//! The state of a cluster as operators read it: one row a replica, each row complete in itself. Pure. Shows what nodes say
//! and never guesses what a silent one would.

use std::collections::BTreeMap;

use meridian_proto::v1;
use meridian_types::{GroupId, Incarnation, NodeId, ReplicaId, ShardId};
use serde::Serialize;

use crate::output::counted;
use crate::table::{self, number, text};

/// What `--json` prints. Unknown numbers are null; ids are as they print everywhere.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    cluster: String,
    map_version: u64,
    nodes: Vec<Node>,
    groups: Vec<Group>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: String,
    region: String,
    address: String,
    /// Where its metrics are.
    http_address: String,
    reachable: bool,
    /// Why it is not.
    error: Option<String>,
}

/// A group as its replicas tell it.
#[derive(Debug, Serialize)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) incarnation: Option<String>,
    /// The node that leads.
    pub(crate) leader: Option<String>,
    pub(crate) replicas: Vec<Replica>,
}

/// A replica as its node tells, or with nothing but its place where the node does not.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) node: String,
    /// What it says it is; `unreachable` or `missing` where it says nothing.
    pub(crate) role: String,
    pub(crate) term: Option<u64>,
    pub(crate) last: Option<u64>,
    pub(crate) committed: Option<u64>,
    pub(crate) applied: Option<u64>,
    /// Entries in the leader's log that it has yet to apply.
    pub(crate) lag: Option<u64>,
    pub(crate) series: Option<u64>,
    pub(crate) points: Option<u64>,
}

/// The replicas of one group by id: the node of each, and what it says.
type Told = BTreeMap<u64, (u32, Option<v1::GroupState>)>;

impl From<v1::ClusterStatusReply> for Status {
    fn from(reply: v1::ClusterStatusReply) -> Self {
        let mut told: BTreeMap<u32, Told> = BTreeMap::new();
        for shard in &reply.shards {
            let replicas = shard.replicas.iter().map(|replica| (replica.id, (replica.node, None)));
            told.insert(shard.id, replicas.collect());
        }
        let mut nodes = BTreeMap::new();
        for state in reply.nodes {
            let node = state.node.unwrap_or_default();
            for group in state.groups {
                told.entry(group.group).or_default().insert(group.replica, (node.id, Some(group)));
            }
            let view = Node {
                id: NodeId(node.id).to_string(),
                region: node.region,
                address: node.data_address,
                http_address: node.http_address,
                reachable: state.reachable,
                error: (!state.error.is_empty()).then_some(state.error),
            };
            nodes.insert(node.id, view);
        }
        let groups = told.into_iter().map(|(id, told)| group(id, &told, &nodes)).collect();
        let nodes = nodes.into_values().collect();
        Self { cluster: reply.cluster, map_version: reply.map_version, nodes, groups }
    }
}

fn group(id: u32, told: &Told, nodes: &BTreeMap<u32, Node>) -> Group {
    let states = || told.values().filter_map(|(node, state)| Some((*node, state.as_ref()?)));
    // A leader that was cut off may not know yet that there is a newer one.
    let leader = states().filter(|(_, state)| state.role == "leader").max_by_key(|(_, state)| state.term);
    let last = leader.and_then(|(_, state)| state.last_index);
    let mut replicas: Vec<_> = told.iter().collect();
    replicas.sort_by_key(|(id, (node, _))| (*node, **id));
    let replica = |(id, (node, state)): (&u64, &(u32, Option<v1::GroupState>))| {
        let place = Replica {
            id: ReplicaId(*id).to_string(),
            node: NodeId(*node).to_string(),
            role: if nodes.get(node).is_some_and(|n| n.reachable) { "missing" } else { "unreachable" }.into(),
            ..Replica::default()
        };
        let Some(state) = state else { return place };
        Replica {
            role: state.role.clone(),
            term: Some(state.term),
            last: state.last_index,
            committed: state.committed_index,
            applied: state.applied_index,
            lag: last.map(|last| behind(last, state.applied_index)),
            series: Some(state.series),
            points: Some(state.points),
            ..place
        }
    };
    Group {
        id: if id == GroupId::META.0 { GroupId::META.to_string() } else { ShardId(id).to_string() },
        incarnation: states().map(|(_, s)| s.incarnation).max().map(|i| Incarnation(i).to_string()),
        leader: leader.map(|(node, _)| NodeId(node).to_string()),
        replicas: replicas.into_iter().map(replica).collect(),
    }
}

/// Entries up to `last` that are not applied; the first entry of a log has index 0.
fn behind(last: u64, applied: Option<u64>) -> u64 {
    match applied {
        Some(applied) => last.saturating_sub(applied),
        None => last.saturating_add(1),
    }
}

impl Status {
    /// The shards: all groups but the one that holds the catalogue.
    pub(crate) fn shards(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().filter(|group| group.id != GroupId::META.to_string())
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are always JSON") + "\n"
    }

    /// One row a replica, and one for each node that has none.
    pub(crate) fn table(&self) -> String {
        let headings = [
            text("shard"),
            text("node"),
            text("region"),
            text("address"),
            text("role"),
            number("term"),
            number("last"),
            number("committed"),
            number("applied"),
            number("lag"),
            number("series"),
            number("points"),
        ];
        let replicas = self.groups.iter().flat_map(|group| group.replicas.iter().map(|r| self.row(&group.id, r)));
        let holds_nothing = |node: &&Node| !self.groups.iter().flat_map(|g| &g.replicas).any(|r| r.node == node.id);
        let idle = self.nodes.iter().filter(holds_nothing).map(|node| {
            let role = if node.reachable { "-" } else { "unreachable" };
            self.row("-", &Replica { node: node.id.clone(), role: role.into(), ..Replica::default() })
        });
        table::render(&headings, replicas.chain(idle))
    }

    fn row(&self, group: &str, replica: &Replica) -> Vec<String> {
        let node = self.nodes.iter().find(|node| node.id == replica.node);
        let place = |part: fn(&Node) -> &String| node.map_or_else(|| "-".to_owned(), |node| part(node).clone());
        let numbers = [
            replica.term,
            replica.last,
            replica.committed,
            replica.applied,
            replica.lag,
            replica.series,
            replica.points,
        ];
        let mut row = vec![group.to_owned(), replica.node.clone(), place(|n| &n.region), place(|n| &n.address)];
        row.push(replica.role.clone());
        row.extend(numbers.map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string())));
        row
    }

    /// The whole in a few lines for people: what is well, then what is not.
    pub(crate) fn summary(&self) -> String {
        let mut summary = format!(
            "cluster {}, map version {}: {}, {}\n",
            self.cluster,
            self.map_version,
            counted(self.nodes.len() as u64, "node"),
            counted(self.shards().count() as u64, "shard"),
        );
        for node in self.nodes.iter().filter(|node| !node.reachable) {
            let why = node.error.as_deref().unwrap_or("no reason is known");
            summary += &format!("{} at {} is unreachable: {why}\n", node.id, node.address);
        }
        for group in self.groups.iter().filter(|group| group.leader.is_none()) {
            summary += &format!("{} has no leader that could be asked\n", group.id);
        }
        summary
    }
}

#[cfg(test)]
pub(crate) mod tests;
