//! Shards as operators read them: one row a shard. Pure. Shows what nodes say and never guesses what a silent one would.

use serde::Serialize;

use crate::cluster::status::{Group, Replica, Status};
use crate::output::counted;
use crate::table::{self, number, text};

/// One shard as `--json` prints it. What nobody says is null.
#[derive(Debug, Serialize)]
struct Shard<'a> {
    id: &'a str,
    incarnation: Option<&'a str>,
    leader: Option<&'a str>,
    /// The leader's.
    term: Option<u64>,
    /// What the leader holds; without one what the fullest replica does.
    series: Option<u64>,
    points: Option<u64>,
    replicas: &'a [Replica],
}

impl<'a> From<&'a Group> for Shard<'a> {
    fn from(group: &'a Group) -> Self {
        let leader = group.replicas.iter().filter(|replica| Some(&replica.node) == group.leader.as_ref());
        let leader = leader.max_by_key(|replica| replica.term);
        let of = |what: fn(&Replica) -> Option<u64>| match leader {
            Some(leader) => what(leader),
            None => group.replicas.iter().filter_map(what).max(),
        };
        Self {
            id: &group.id,
            incarnation: group.incarnation.as_deref(),
            leader: group.leader.as_deref(),
            term: leader.and_then(|leader| leader.term),
            series: of(|replica| replica.series),
            points: of(|replica| replica.points),
            replicas: &group.replicas,
        }
    }
}

/// One JSON object a shard and line.
pub(super) fn json(status: &Status) -> String {
    let line = |group| serde_json::to_string(&Shard::from(group)).expect("strings and numbers are always JSON") + "\n";
    status.shards().map(line).collect()
}

/// One row a shard.
pub(super) fn table(status: &Status) -> String {
    let headings = [
        text("shard"),
        text("incarnation"),
        text("leader"),
        number("term"),
        number("series"),
        number("points"),
        text("replicas"),
    ];
    let or_dash = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let row = |group| {
        let shard = Shard::from(group);
        let [term, series, points] =
            [shard.term, shard.series, shard.points].map(|n| n.map_or_else(|| "-".to_owned(), |n| n.to_string()));
        let replicas: Vec<_> = shard.replicas.iter().map(replica).collect();
        let incarnation = or_dash(shard.incarnation);
        vec![shard.id.to_owned(), incarnation, or_dash(shard.leader), term, series, points, replicas.join(", ")]
    };
    table::render(&headings, status.shards().map(row))
}

fn replica(replica: &Replica) -> String {
    let Replica { node, role, lag, .. } = replica;
    match lag {
        Some(lag) if *lag > 0 && role != "leader" => format!("{node} {role} {lag} behind"),
        _ => format!("{node} {role}"),
    }
}

/// The whole in a line for people, and what to look at.
pub(super) fn summary(status: &Status) -> String {
    let headless: Vec<_> = status.shards().filter(|group| group.leader.is_none()).map(|group| &*group.id).collect();
    let mut summary = counted(status.shards().count() as u64, "shard") + "\n";
    if !headless.is_empty() {
        summary +=
            &format!("without a leader that could be asked: {}; see `meridian cluster status`\n", headless.join(", "));
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::status::tests::cluster;

    #[test]
    fn shards_in_trouble_are_shown_as_they_are() {
        let status = Status::from(cluster());
        let found = format!("{}---\n{}---\n{}", table(&status), summary(&status), json(&status));
        assert_eq!(found, include_str!("../../testdata/shards.txt"));
    }

    #[test]
    fn no_shards_are_no_error() {
        let status = Status::from(meridian_proto::v1::ClusterStatusReply::default());
        assert_eq!(summary(&status), "0 shards\n");
        assert_eq!(json(&status), "");
    }
}
