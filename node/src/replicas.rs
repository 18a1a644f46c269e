//! This node's replicas of shards, and the groups that it leads: starts what the catalogue places here, asks for another
//! replica where the files are damaged, lets go of one that was replaced, and brings a group's members to what the catalogue
//! says. Each pass looks at the state and does what is missing.
//!
//! It must never let a replica whose files are damaged serve or vote again, and never give its id to another one.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_env::{Class, Context, Halt};
use meridian_raft::{Group, GroupSpec, Groups, JobError, Members};
use meridian_types::{NodeId, ReplicaId, ShardId};

use crate::config::StorageSettings;
use crate::damage::{self, Damage};
use crate::service::Node;
use crate::shard::{Files, Shard};

/// Where the replicas' files are, below the node's directory.
const SHARDS: &str = "shards";
/// The longest that one step of a pass may take.
const STEP_MAX: Duration = Duration::from_secs(5);
/// Entries that a new replica may lack when it becomes a voter: it has them before the change is through.
const LAG_MAX: u64 = 1_000;

/// Does what is missing.
pub(crate) async fn pass(node: &Node, groups: &Groups, settings: &StorageSettings) -> Result<(), Halt> {
    let catalogue = node.catalogue();
    for shard in catalogue.shards().values() {
        if let Some(replica) = shard.replicas.iter().find(|replica| replica.node == node.id) {
            keep(node, groups, settings, shard, replica.id).await?;
        }
        let group = node.shards.read().get(&shard.id).cloned();
        if let Some(group) = group.filter(Group::is_leader) {
            let wanted = shard.replicas.iter().map(|replica| (replica.id, replica.node)).collect();
            lead(node, &group, &wanted).await;
        }
    }
    Ok(())
}

/// Sees to it that `replica` is the one that runs here, unless its files are damaged.
async fn keep(
    node: &Node,
    groups: &Groups,
    settings: &StorageSettings,
    shard: &meridian_meta::Shard,
    replica: ReplicaId,
) -> Result<(), Halt> {
    let damage = node.damages.lock().get(&shard.id).cloned();
    let running = node.shards.read().get(&shard.id).map(Group::spec);
    let here = running.map(|spec| spec.replica).or(damage.as_ref().map(|damage| damage.replica));
    if here.is_some_and(|here| here > replica) {
        // A catalogue that is being rebuilt tells of an earlier one: ids only rise.
        return Ok(());
    }
    if let Some(old) = here.filter(|old| *old != replica) {
        tracing::info!(node = %node.id, shard = %shard.id, %old, new = %replica, "a replica gives way to a new one");
        node.shards.write().remove(&shard.id);
        groups.remove(shard.id.into(), shard.incarnation).await?;
        if !wipe(node, shard.id).await? {
            return Ok(());
        }
        node.damages.lock().remove(&shard.id);
        return start(node, groups, settings, shard, replica).await;
    }
    match damage {
        Some(damage) => {
            remember(node, shard.id, damage).await?;
            if node.shards.write().remove(&shard.id).is_some() {
                groups.stop(shard.id.into()).await;
            }
            if groups.is_untouched(shard.id.into(), shard.incarnation) {
                // It has promised nothing to anybody yet, so it begins again as itself: nobody else would form its group.
                if wipe(node, shard.id).await? {
                    node.damages.lock().remove(&shard.id);
                    start(node, groups, settings, shard, replica).await?;
                }
                return Ok(());
            }
            let context = Context::own(node.env.clock.now() + STEP_MAX);
            if let Err(failure) = node.client.replace_replica(&context, shard.id, replica).await {
                tracing::warn!(shard = %shard.id, %replica, %failure, "no other replica takes its place yet");
            }
            Ok(())
        }
        None if running.is_none() => start(node, groups, settings, shard, replica).await,
        None => Ok(()),
    }
}

/// Sees to it that a restart does not bring a damaged replica back. A disk that has no room for that is told at the next pass.
async fn remember(node: &Node, shard: ShardId, damage: Damage) -> Result<(), Halt> {
    let (disk, shards) = (std::sync::Arc::clone(&node.env.disk), node.dir.join(SHARDS));
    let job = move || match damage::kept(&*disk, &shards, shard, damage.replica)? {
        Some(kept) if kept.replica >= damage.replica => Ok(()),
        _ => damage::keep(&*disk, &shards, shard, &damage),
    };
    match meridian_env::run(&*node.env.work, Class::Flush, job).await {
        Err(JobError::Halt(halt)) => Err(halt),
        Err(error) => {
            tracing::warn!(%shard, %error, "that a replica is damaged is remembered later");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Removes the files of a replica that gave way, whatever is left of them; whether that worked.
async fn wipe(node: &Node, shard: ShardId) -> Result<bool, Halt> {
    let (disk, dir, shards) = (std::sync::Arc::clone(&node.env.disk), files_of(node, shard), node.dir.join(SHARDS));
    let job = move || {
        Shard::wipe(std::sync::Arc::clone(&disk), &dir)?;
        damage::forget(&*disk, &shards, shard)
    };
    match meridian_env::run(&*node.env.work, Class::Flush, job).await {
        Ok(()) => Ok(true),
        Err(JobError::Halt(halt)) => Err(halt),
        Err(error) => {
            tracing::warn!(%shard, %error, "the files of a replica that gave way are removed later");
            Ok(false)
        }
    }
}

fn files_of(node: &Node, shard: ShardId) -> std::path::PathBuf {
    node.dir.join(SHARDS).join(shard.to_string())
}

async fn start(
    node: &Node,
    groups: &Groups,
    settings: &StorageSettings,
    shard: &meridian_meta::Shard,
    replica: ReplicaId,
) -> Result<(), Halt> {
    let files = Files {
        disk: std::sync::Arc::clone(&node.env.disk),
        dir: files_of(node, shard.id),
        partition_max: i64::try_from(settings.partition_max.as_nanos()).unwrap_or(i64::MAX),
        catalogue: node.catalogues(),
        stamps: std::sync::Arc::clone(&node.stamps),
    };
    let (id, incarnation, seed) = (shard.id, shard.incarnation, node.env.rng.u64());
    let open = || {
        let (files, shards) = (files.clone(), node.dir.join(SHARDS));
        let job = move || match damage::kept(&*files.disk, &shards, id, replica)? {
            Some(damage) if damage.replica == replica => Err(JobError::Damaged(damage.why)),
            // One that is being rebuilt from its log.
            Some(damage) if damage.replica > replica => {
                Err(JobError::Full(format!("{} was here, and the catalogue still tells of {replica}", damage.replica)))
            }
            _ => Shard::open(id, incarnation, replica, files, seed),
        };
        meridian_env::run(&*node.env.work, Class::Flush, job)
    };
    let mut opened = open().await;
    if matches!(opened, Ok(None)) {
        // The log goes before the files: after a crash in between, these still tell that it is not this replica's.
        groups.remove(id.into(), incarnation).await?;
        if !wipe(node, id).await? {
            return Ok(());
        }
        opened = open().await;
    }
    let machine = match opened {
        Ok(Some(machine)) => machine,
        Ok(None) => return Ok(()),
        Err(JobError::Halt(halt)) => return Err(halt),
        Err(JobError::Full(why)) => {
            tracing::warn!(shard = %id, why, "the replica is started later");
            return Ok(());
        }
        Err(JobError::Damaged(why)) => {
            node.note_damage(id, replica, why);
            return Ok(());
        }
    };
    let group = groups.start(GroupSpec { group: id.into(), incarnation, replica }, machine).await?;
    if shard.former == Some(replica) {
        let members: BTreeMap<ReplicaId, NodeId> = shard.replicas.iter().map(|r| (r.id, r.node)).collect();
        group.initialize(&members).await?;
    }
    node.shards.write().insert(id, group);
    tracing::info!(node = %node.id, shard = %id, %replica, "replica started");
    Ok(())
}

/// What a group's leader does next to its members.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Learner(ReplicaId, NodeId),
    Voters,
    Nothing,
}

/// A new replica first follows, and votes once it has what the others have.
fn step(members: &Members, wanted: &BTreeMap<ReplicaId, NodeId>, has: impl Fn(ReplicaId) -> u64, last: u64) -> Step {
    if members.voters.is_empty() || (members.voters == *wanted && members.learners.is_empty() && !members.is_changing) {
        return Step::Nothing;
    }
    let follows = |id: &ReplicaId| members.voters.contains_key(id) || members.learners.contains_key(id);
    if let Some((replica, on)) = wanted.iter().find(|(id, _)| !follows(id)) {
        return Step::Learner(*replica, *on);
    }
    let mut new = wanted.keys().filter(|id| !members.voters.contains_key(id));
    if new.all(|id| has(*id) + LAG_MAX >= last) { Step::Voters } else { Step::Nothing }
}

async fn lead(node: &Node, group: &Group<Shard>, wanted: &BTreeMap<ReplicaId, NodeId>) {
    let (members, status) = (group.members(), group.status());
    let has = |replica: ReplicaId| status.replication.get(&replica).map_or(0, |index| index.0);
    let at = node.env.clock.now() + STEP_MAX;
    let shard = ShardId(group.spec().group.0);
    let done = match step(&members, wanted, has, status.last.map_or(0, |index| index.0)) {
        Step::Nothing => return,
        Step::Learner(replica, on) => group.add_learner(replica, on, at).await,
        Step::Voters => group.set_voters(wanted, at).await,
    };
    match done {
        Ok(()) => tracing::info!(%shard, ?wanted, "the members of a shard come closer to what the catalogue says"),
        Err(error) => tracing::warn!(%shard, %error, "the members of a shard are changed later"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(ids: &[u64]) -> BTreeMap<ReplicaId, NodeId> {
        ids.iter().map(|id| (ReplicaId(*id), NodeId(u32::try_from(*id % 3).expect("small")))).collect()
    }

    fn members(voters: &[u64], learners: &[u64], is_changing: bool) -> Members {
        Members { voters: all(voters), learners: all(learners), is_changing }
    }

    #[test]
    fn a_new_replica_follows_before_it_votes_and_the_old_one_goes() {
        let wanted = all(&[1, 2, 6]);
        let step = |m: Members, has| step(&m, &wanted, |_| has, 5_000);
        assert_eq!(step(members(&[], &[], false), 0), Step::Nothing, "not formed");
        assert_eq!(step(members(&[1, 2, 3], &[], false), 0), Step::Learner(ReplicaId(6), NodeId(0)));
        assert_eq!(step(members(&[1, 2, 3], &[6], false), 3_000), Step::Nothing, "it lacks too much");
        assert_eq!(step(members(&[1, 2, 3], &[6], false), 4_000), Step::Voters);
        assert_eq!(step(members(&[1, 2, 3, 6], &[], true), 4_000), Step::Voters, "left half done");
        assert_eq!(step(members(&[1, 2, 6], &[3], false), 4_000), Step::Voters, "a learner that nobody wants");
        assert_eq!(step(members(&[1, 2, 6], &[], false), 0), Step::Nothing);
    }
}
