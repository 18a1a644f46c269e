//! Replicas whose files are damaged, remembered beside them: one that has left service stays out of it over a restart, for it
//! would vote for what it no longer has.
//!
//! Only the replica that is named is meant: the one that took its place under a new id is sound. One with a lower id was there
//! before it: whoever is told to start that one hears of an old catalogue.

use std::io;
use std::path::{Path, PathBuf};

use meridian_env::{Disk, Halt};
use meridian_raft::JobError;
use meridian_types::{ReplicaId, ShardId};
use serde::{Deserialize, Serialize};

const FILE_BYTES_MAX: u64 = 64 << 10;
/// Of the reason, so that the file stays small.
const WHY_BYTES_MAX: usize = 4 << 10;

/// A replica that left service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Damage {
    pub(crate) replica: ReplicaId,
    pub(crate) why: String,
}

/// The damage that is kept of a shard. What cannot be read is damage of the replica that is asked for: something is wrong with the
/// disk, and some replica was out of service.
pub(crate) fn kept(disk: &dyn Disk, shards: &Path, shard: ShardId, replica: ReplicaId) -> Result<Option<Damage>, Halt> {
    let path = path(shards, shard);
    let bytes = match disk.read(&path, FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::UnexpectedEof) => Vec::new(),
        read => read.map_err(|error| Halt::io(format_args!("reading {}", path.display()), &error))?,
    };
    let damage: Option<Damage> = std::str::from_utf8(&bytes).ok().and_then(|text| toml::from_str(text).ok());
    Ok(Some(damage.unwrap_or_else(|| Damage { replica, why: format!("{} cannot be read", path.display()) })))
}

/// Keeps it.
pub(crate) fn keep(disk: &dyn Disk, shards: &Path, shard: ShardId, damage: &Damage) -> Result<(), JobError> {
    let why = damage.why[..damage.why.floor_char_boundary(WHY_BYTES_MAX)].to_owned();
    let text = toml::to_string(&Damage { why, ..*damage }).expect("a number and a text are TOML");
    write(&path(shards, shard), |path| {
        disk.create_dir(shards)?;
        disk.replace(path, text.as_bytes())
    })
}

/// Forgets what is kept of a shard.
pub(crate) fn forget(disk: &dyn Disk, shards: &Path, shard: ShardId) -> Result<(), JobError> {
    write(&path(shards, shard), |path| match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| disk.sync_dir(shards)),
    })
}

fn path(shards: &Path, shard: ShardId) -> PathBuf {
    shards.join(format!("{shard}.damaged"))
}

fn write(path: &Path, writing: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), JobError> {
    writing(path).map_err(|error| JobError::io(format_args!("writing {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;
    use meridian_env::sim::SimHost;

    use super::*;

    #[test]
    fn damage_is_remembered_of_the_replica_that_has_it() {
        let host = SimHost::new("n1", &Rng::from_seed(1));
        let (env, shards, shard) = (host.env(), Path::new("/data/shards"), ShardId(4));
        let kept = |replica| kept(&*env.disk, shards, shard, ReplicaId(replica)).expect("it is read");
        assert_eq!(kept(7), None);
        let damage = Damage { replica: ReplicaId(7), why: "a \"block\" has another hash".into() };
        keep(&*env.disk, shards, shard, &damage).expect("kept");
        host.crash();
        let env = host.env();
        let kept = |replica| super::kept(&*env.disk, shards, shard, ReplicaId(replica)).expect("it is read");
        assert_eq!((kept(7), kept(8)), (Some(damage.clone()), Some(damage)));
        env.disk.replace(&path(shards, shard), b"\xff").expect("replaced");
        assert_eq!(kept(8).map(|damage| damage.replica), Some(ReplicaId(8)), "what is unreadable is no sign of health");
        forget(&*env.disk, shards, shard).expect("forgotten");
        forget(&*env.disk, shards, shard).expect("it was forgotten");
        assert_eq!(kept(7), None);
    }
}
