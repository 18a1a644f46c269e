//! Retention's clock: the leader of a shard proposes, for each database that does not keep its points for ever, up to when
//! they are too old. Decides nothing about points: from the entry on, every replica applies the same cutoff, whatever its own
//! clock says. Never proposes a cutoff that is not above the last that this node has proposed for the shard.

use std::collections::BTreeMap;
use std::time::Duration as Wait;

use futures::future::join_all;
use meridian_raft::{Group, Header};
use meridian_types::{DatabaseId, Duration, RequestId, SessionId, ShardId, Stamp, Timestamp};

use crate::service::Node;
use crate::shard::{KIND_CUTOFF, Reply, Shard};

/// Between two looks at the clock: the shortest step of a cutoff.
const PASS_EVERY: Wait = Wait::from_secs(1);
/// The longest that one cutoff may take.
const STEP_MAX: Wait = Wait::from_secs(5);
/// A cutoff moves on by this part of the retention, within these bounds: how late points go, against how many entries the
/// log gets.
const STEPS: i64 = 64;
const STEP_NANOS_MIN: i64 = 1_000_000_000;
const STEP_NANOS_MAX: i64 = 60 * 1_000_000_000;

/// Proposes cutoffs for as long as it is polled.
pub(crate) async fn run(node: Node) {
    let mut cutoffs = Cutoffs::default();
    loop {
        node.env.clock.sleep(PASS_EVERY).await;
        pass(&node, &mut cutoffs).await;
    }
}

async fn pass(node: &Node, cutoffs: &mut Cutoffs) {
    let kept = |database: &meridian_meta::Database| (database.id, database.retention);
    let databases = node.catalogue().databases().values().map(kept).filter(|(_, r)| r.nanos() > 0).collect();
    let groups = node.shards.read().clone();
    let shards = groups.iter().map(|(id, group)| (*id, group.is_leader())).collect();
    let due = cutoffs.due(node.env.clock.wall(), &shards, &databases);
    // Shards side by side, so that one without a majority holds up no other.
    let proposing = due.into_iter().filter_map(|(shard, list)| Some(propose(node, groups.get(&shard)?, shard, list)));
    for (shard, applied) in join_all(proposing).await {
        cutoffs.applied(shard, applied);
    }
}

/// Proposes cutoffs of one shard in turn, up to the first that does not get through; which got through.
async fn propose(node: &Node, group: &Group<Shard>, shard: ShardId, list: Vec<Cutoff>) -> (ShardId, Vec<Cutoff>) {
    let mut applied = Vec::new();
    for cutoff in list {
        let now = node.env.clock.wall();
        let header = Header {
            kind: KIND_CUTOFF,
            map_version: node.catalogue().version(),
            stamp: Stamp(now.nanos()),
            // Nobody asks for its outcome: a cutoff that comes twice changes nothing.
            request: RequestId { session: SessionId { birth: now, nonce: 0 }, seq: 0 },
            pending_from: 0,
            database: cutoff.database,
        };
        let payload = cutoff.time.nanos().to_le_bytes().to_vec().into();
        let Cutoff { database, time } = cutoff;
        match group.propose(header, payload, node.env.clock.now() + STEP_MAX).await {
            Ok((_, reply @ Reply::Cut)) => {
                node.metrics.applied(&reply);
                applied.push(cutoff);
            }
            Ok((_, reply)) => tracing::debug!(%shard, %database, cutoff = %time, ?reply, "the shard took no cutoff"),
            Err(error) => {
                tracing::debug!(%shard, %database, cutoff = %time, %error, "the cutoff is proposed again");
                break;
            }
        }
    }
    (shard, applied)
}

/// What is older than `time` goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cutoff {
    database: DatabaseId,
    time: Timestamp,
}

/// What this node has proposed. Pure: is told the time, reads none.
#[derive(Debug, Default)]
struct Cutoffs {
    last: BTreeMap<(ShardId, DatabaseId), Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    time: Timestamp,
    /// Whether it got through, in a time in which this node has led ever since.
    is_applied: bool,
}

impl Cutoffs {
    /// Which to propose at `now`, by shard: of the shards that are here, those that are led from here; of the databases, all.
    fn due(
        &mut self,
        now: Timestamp,
        shards: &BTreeMap<ShardId, bool>,
        databases: &BTreeMap<DatabaseId, Duration>,
    ) -> BTreeMap<ShardId, Vec<Cutoff>> {
        self.last.retain(|(shard, database), _| shards.contains_key(shard) && databases.contains_key(database));
        let mut due: BTreeMap<ShardId, Vec<Cutoff>> = BTreeMap::new();
        for ((shard, is_led), (database, retention)) in
            shards.iter().flat_map(|shard| databases.iter().map(move |database| (shard, database)))
        {
            let last = self.last.get_mut(&(*shard, *database));
            if !is_led {
                // Whoever leads now may be ahead or behind: the first cutoff after that does not wait.
                last.into_iter().for_each(|last| last.is_applied = false);
                continue;
            }
            let time = now.saturating_add(-retention.nanos());
            let floor = match last {
                None => Timestamp::MIN.saturating_add(1),
                Some(Last { time, is_applied: true }) => time.saturating_add(step(*retention)),
                Some(Last { time, is_applied: false }) => time.saturating_add(1),
            };
            if time >= floor {
                self.last.insert((*shard, *database), Last { time, is_applied: false });
                due.entry(*shard).or_default().push(Cutoff { database: *database, time });
            }
        }
        due
    }

    /// These got through.
    fn applied(&mut self, shard: ShardId, list: Vec<Cutoff>) {
        for Cutoff { database, time } in list {
            let last = self.last.get_mut(&(shard, database)).filter(|last| last.time == time);
            last.into_iter().for_each(|last| last.is_applied = true);
        }
    }
}

/// By how much a cutoff moves on at least.
fn step(retention: Duration) -> i64 {
    (retention.nanos() / STEPS).clamp(STEP_NANOS_MIN, STEP_NANOS_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const DAY: i64 = 86_400 * SECOND;

    fn span(nanos: i64) -> Duration {
        Duration::from_nanos(nanos).expect("not negative")
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().saturating_add(seconds * SECOND)
    }

    /// The cutoffs of one database in seconds, at `seconds`, by the shards given as led or not; all get through if `through`.
    fn due(cutoffs: &mut Cutoffs, seconds: i64, led: [bool; 2], retention: i64, through: bool) -> Vec<(u32, i64)> {
        let shards = led.into_iter().zip(1..).map(|(led, id)| (ShardId(id), led)).collect();
        let databases = BTreeMap::from([(DatabaseId(7), span(retention))]);
        let due = cutoffs.due(at(seconds), &shards, &databases);
        let flat = due.iter().flat_map(|(shard, list)| list.iter().map(|c| (shard.0, c.time.nanos() / SECOND)));
        let flat = flat.collect();
        if through {
            due.into_iter().for_each(|(shard, list)| cutoffs.applied(shard, list));
        }
        flat
    }

    #[test]
    fn cutoffs_move_on_in_steps_where_this_node_leads() {
        let mut cutoffs = Cutoffs::default();
        let mut due = |seconds, led, through| due(&mut cutoffs, seconds, led, 640 * SECOND, through);
        assert_eq!(due(1_000, [true, false], true), [(1, 360)], "the first does not wait");
        assert_eq!(due(1_009, [true, false], true), []);
        assert_eq!(due(1_010, [true, false], false), [(1, 370)], "a 64th of 640 s");
        assert_eq!(due(1_011, [true, false], true), [(1, 371)], "the last did not get through");
        assert_eq!(due(1_005, [true, false], true), [], "a clock that goes back takes nothing back");
        assert_eq!(due(1_012, [false, true], true), [(2, 372)], "another shard is led now");
        assert_eq!(due(1_013, [true, true], true), [(1, 373)], "led again: does not wait");
    }

    #[test]
    fn steps_are_bounded() {
        assert_eq!(step(span(1)), SECOND);
        assert_eq!(step(span(640 * SECOND)), 10 * SECOND);
        assert_eq!(step(span(30 * DAY)), 60 * SECOND);
    }

    #[test]
    fn what_is_gone_is_forgotten_and_all_of_time_is_no_cutoff() {
        let mut cutoffs = Cutoffs::default();
        assert_eq!(due(&mut cutoffs, 0, [true, true], i64::MAX, true), [], "nothing is as old");
        assert_eq!(due(&mut cutoffs, 0, [true, true], DAY, true).len(), 2);
        cutoffs.due(at(0), &BTreeMap::from([(ShardId(1), true)]), &BTreeMap::new());
        assert!(cutoffs.last.is_empty());
    }

    proptest! {
        /// Whatever clocks, elections and the network do: nothing where another leads, and per shard always further on.
        #[test]
        fn only_leaders_propose_and_cutoffs_only_rise(
            passes in proptest::collection::vec((0_i64..10_000, any::<[bool; 2]>(), any::<bool>()), 0..60),
        ) {
            let mut cutoffs = Cutoffs::default();
            let mut highest = [i64::MIN; 2];
            for (seconds, led, through) in passes {
                for (shard, cutoff) in due(&mut cutoffs, seconds, led, 640 * SECOND, through) {
                    let index = shard as usize - 1;
                    prop_assert!(led[index], "s{shard} is led elsewhere");
                    prop_assert!(cutoff > highest[index], "s{shard}: {cutoff} after {}", highest[index]);
                    prop_assert_eq!(cutoff, seconds - 640);
                    highest[index] = cutoff;
                }
            }
        }
    }
}
