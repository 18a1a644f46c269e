//! Where a group's snapshots arrive: one directory, one file for each offered one, named by its hash and name. It outlives
//! transfers, processes and crashes; what an offer does not name is removed, and all of it once a snapshot is installed, or when
//! there is no space for the rest.
//!
//! A file is trusted only when all of it is there and has the offered hash: before that its length says where to go on, no
//! more. Nothing is allocated by what a peer says.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_env::{Class, Disk, Elapsed, Env, File, Halt, Open, deadline, is_full, run};
use meridian_proto::v1;
use meridian_types::{Code, limits};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, watch};
use tonic::{Status, Streaming};
use xxhash_rust::xxh3::Xxh3;

use super::offer::{Offer, OfferedFile};
use super::reply;
use crate::groups::halt;
use crate::machine::{Content, Received, View, ViewFile};
use crate::service::refuse;
use crate::types::Vote;

/// Longest silence of a sender.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a new transfer waits for an earlier one to the same replica to end.
const TURN_MAX: Duration = Duration::from_secs(2);
/// Bytes after which what has arrived is synced, so that a crash costs no more.
const SYNC_BYTES: u64 = 8 << 20;
/// Bytes that one job hashes, and that it reads at a time.
const HASH_BYTES: u64 = 8 << 20;
const READ_BYTES: usize = 256 << 10;

/// What the sender is answered.
pub(crate) type Replies = mpsc::Sender<Result<v1::SnapshotReply, Status>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct Incoming {
    env: Env,
    dir: PathBuf,
    turn: Arc<Mutex<()>>,
    /// The last entry that came by a leader's appends, and its vote.
    appended: parking_lot::Mutex<Option<(Vote, u64)>>,
    halted: watch::Sender<Option<Halt>>,
}

impl Incoming {
    pub(crate) fn new(env: Env, dir: PathBuf, halted: watch::Sender<Option<Halt>>) -> Self {
        Self { env, dir, turn: Arc::default(), appended: parking_lot::Mutex::default(), halted }
    }

    /// Entries up to `index` come by appends of the leader with this vote.
    pub(crate) fn note_append(&self, vote: Vote, index: u64) {
        let mut appended = self.appended.lock();
        let before = appended.filter(|(known, _)| *known == vote).map_or(0, |(_, index)| index);
        *appended = Some((vote, index.max(before)));
    }

    /// Whether entries up to `index` have come by appends of the leader with this vote.
    pub(super) fn has_appended(&self, vote: &Vote, index: u64) -> bool {
        self.appended.lock().is_some_and(|(known, last)| known == *vote && last >= index)
    }

    /// The right to use the directory, for one transfer at a time.
    pub(super) async fn turn(&self) -> Result<OwnedMutexGuard<()>, Status> {
        let clock = &*self.env.clock;
        let turn = Arc::clone(&self.turn).lock_owned();
        let refused = |Elapsed| refuse(Code::NotReady, "another snapshot for this replica is under way");
        deadline(clock, clock.now() + TURN_MAX, turn).await.map_err(refused)
    }

    /// Stages what was offered: says what is there, takes what is missing, verifies everything. A file that is in `own` is
    /// copied, so that one snapshot after another brings only what is new, and a replica catches up at last.
    pub(super) async fn receive(
        &self,
        offer: &Offer,
        own: Option<View>,
        parts: &mut Streaming<v1::SnapshotPart>,
        replies: &Replies,
    ) -> Result<Received, Status> {
        let mut have = self.prepare(offer).await?;
        let own: BTreeMap<u128, ViewFile> = own.into_iter().flat_map(|view| view.files).map(|f| (f.hash, f)).collect();
        for (file, have) in offer.files.iter().zip(&mut have).filter(|(file, have)| **have < file.bytes) {
            let same = own.get(&file.hash).filter(|same| same.bytes == file.bytes);
            if let Some(Content::File(same)) = same.map(|same| &same.content) {
                *have = self.copy(file, same).await?;
            }
        }
        let missing: u64 = offer.files.iter().zip(&have).map(|(file, have)| file.bytes - have).sum();
        tracing::info!(dir = %self.dir.display(), files = offer.files.len(), missing, "a snapshot arrives");
        let answer = v1::SnapshotHave { bytes: have.clone() };
        let sent = replies.send(Ok(reply(v1::snapshot_reply::Reply::Have(answer)))).await;
        sent.map_err(|_| refuse(Code::Unreachable, "the sender has gone"))?;
        for (index, (file, have)) in offer.files.iter().zip(&have).enumerate() {
            if *have < file.bytes {
                self.take_file(index, file, *have, parts).await?;
                self.verify(file).await?;
            }
        }
        for (file, have) in offer.files.iter().zip(&have) {
            if *have == file.bytes {
                self.verify(file).await?;
            }
        }
        let files = offer.files.iter().map(|file| (file.name.clone(), self.path(file))).collect();
        Ok(Received { applied: offer.applied.clone(), dir: self.dir.clone(), files })
    }

    /// Removes whatever is staged.
    pub(crate) async fn clear(&self) -> Result<(), Status> {
        self.job(|disk, dir| prepare(disk, dir, &BTreeMap::new())).await.map(drop)
    }

    fn path(&self, file: &OfferedFile) -> PathBuf {
        self.dir.join(staged_name(file))
    }

    /// How many bytes of each offered file are there.
    async fn prepare(&self, offer: &Offer) -> Result<Vec<u64>, Status> {
        let wanted: BTreeMap<String, u64> = offer.files.iter().map(|file| (staged_name(file), file.bytes)).collect();
        let there = self.job(move |disk, dir| prepare(disk, dir, &wanted)).await?;
        Ok(offer.files.iter().map(|file| there.get(&staged_name(file)).copied().unwrap_or(0)).collect())
    }

    /// Stages a file from one of this replica's own. How much is there then: all of it, or nothing if the own file is not what
    /// it was, for a copy of that would be refused again and again.
    async fn copy(&self, file: &OfferedFile, from: &Arc<dyn File>) -> Result<u64, Status> {
        let path = self.path(file);
        let staged: Arc<dyn File> = self.job(move |disk, dir| open(disk, dir, &path, true)).await?;
        let (mut hasher, mut at) = (Box::new(Xxh3::new()), 0);
        while at < file.bytes {
            let (from, into) = (Arc::clone(from), Arc::clone(&staged));
            let len = (file.bytes - at).min(limits::SNAPSHOT_PART_BYTES_MAX as u64);
            let copy = move |_: &dyn Disk, _: &Path| {
                let mut buffer = vec![0; len as usize];
                if from.read_exact_at(&mut buffer, at).is_err() {
                    return Ok(None);
                }
                hasher.update(&buffer);
                into.write_at(&buffer, at).map(|()| Some(hasher))
            };
            let Some(read) = self.job(copy).await? else { return Ok(0) };
            (hasher, at) = (read, at + len);
        }
        if hasher.digest128() != file.hash {
            tracing::warn!(file = file.name, "the replica's own file has rotten: the sender's takes its place");
            return Ok(0);
        }
        self.job(move |_, _| staged.sync_data()).await?;
        Ok(at)
    }

    /// Takes the rest of one file, in order, and syncs it.
    async fn take_file(
        &self,
        index: usize,
        file: &OfferedFile,
        have: u64,
        parts: &mut Streaming<v1::SnapshotPart>,
    ) -> Result<(), Status> {
        let (path, mut at, mut unsynced) = (self.path(file), have, 0);
        let open = move |disk: &dyn Disk, dir: &Path| open(disk, dir, &path, have == 0);
        let staged: Arc<dyn File> = self.job(open).await?;
        while at < file.bytes {
            let data = self.next_data(parts, (index, at, file.bytes - at)).await?;
            let len = data.len() as u64;
            unsynced += len;
            let is_sync = unsynced >= SYNC_BYTES || at + len == file.bytes;
            let into = Arc::clone(&staged);
            let write = move |_: &dyn Disk, _: &Path| {
                into.write_at(&data, at)?;
                if is_sync { into.sync_data() } else { Ok(()) }
            };
            self.job(write).await?;
            at += len;
            unsynced = if is_sync { 0 } else { unsynced };
        }
        Ok(())
    }

    /// The next part's bytes, which must be those of the file at `index` from `at` on and no more than are `left`.
    async fn next_data(
        &self,
        parts: &mut Streaming<v1::SnapshotPart>,
        (index, at, left): (usize, u64, u64),
    ) -> Result<Bytes, Status> {
        let clock = &*self.env.clock;
        let silent = |Elapsed| refuse(Code::Unreachable, "the sender of the snapshot has fallen silent");
        let part = deadline(clock, clock.now() + IDLE_MAX, parts.message()).await.map_err(silent)??;
        let part = part.ok_or_else(|| refuse(Code::BadRequest, "the snapshot's data end before the snapshot does"))?;
        let Some(v1::snapshot_part::Part::Data(data)) = part.part else {
            return Err(refuse(Code::BadRequest, "data must follow the offer of a snapshot"));
        };
        if (data.file as usize, data.offset) != (index, at) {
            let message = format!("file {index} from byte {at} on is awaited, not {} from {}", data.file, data.offset);
            return Err(refuse(Code::BadRequest, message));
        }
        let len = data.data.len();
        if len == 0 || len > limits::SNAPSHOT_PART_BYTES_MAX || len as u64 > left {
            let message = format!(
                "a part of {len} bytes, where 1 to {} are taken and {left} are left of the file",
                limits::SNAPSHOT_PART_BYTES_MAX
            );
            return Err(refuse(Code::BadRequest, message));
        }
        Ok(data.data)
    }

    /// Compares a whole file with its hash; one that differs is removed, so that the next transfer sends it anew.
    async fn verify(&self, file: &OfferedFile) -> Result<(), Status> {
        let path = self.path(file);
        let staged = {
            let path = path.clone();
            self.job(move |disk, _| disk.open(&path, Open::Read).map(Arc::from)).await?
        };
        let mut hasher = Box::new(Xxh3::new());
        let mut at = 0;
        while at < file.bytes {
            let (from, end) = (Arc::clone(&staged), file.bytes.min(at + HASH_BYTES));
            hasher = self.job(move |_, _| hash_range(&*from, at, end, hasher)).await?;
            at = end;
        }
        if hasher.digest128() == file.hash {
            return Ok(());
        }
        let name = file.name.clone();
        tracing::error!(file = name, bytes = file.bytes, "a file of a snapshot has another hash than was offered");
        self.job(move |disk, dir| disk.remove(&path).and_then(|()| disk.sync_dir(dir))).await?;
        Err(refuse(Code::NotReady, format!("{name} has another hash than was offered: send it again")))
    }

    /// Runs disk work. No space left is the sender's to wait for, and what is gone it sends again: a replica that gives way to a new
    /// one leaves its files to that one, which clears them away. Any other error is this node's end.
    async fn job<T: Send + 'static>(
        &self,
        job: impl FnOnce(&dyn Disk, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Status> {
        let (disk, dir) = (Arc::clone(&self.env.disk), self.dir.clone());
        let job = move || {
            let done = job(&*disk, &dir);
            if matches!(&done, Err(error) if is_full(error)) {
                // The space is the log's, which waits for it: what is staged is sent again.
                prepare(&*disk, &dir, &BTreeMap::new())?;
            }
            done
        };
        let result = run(&*self.env.work, Class::Flush, job).await;
        result.map_err(|error| {
            if is_full(&error) {
                return refuse(Code::Overloaded, format!("no space is left for the snapshot: {error}"));
            }
            if error.kind() == io::ErrorKind::NotFound {
                return refuse(
                    Code::NotReady,
                    format!("what was staged has been cleared away: {error}: send it again"),
                );
            }
            let reason = Halt::io(format_args!("staging a snapshot in {}", self.dir.display()), &error);
            halt(&self.halted, reason.clone());
            refuse(Code::NotReady, reason.to_string())
        })
    }
}

fn staged_name(file: &OfferedFile) -> String {
    format!("{:032x}-{}", file.hash, file.name)
}

/// Removes what is not wanted or too long, and gives the sizes of the rest.
fn prepare(disk: &dyn Disk, dir: &Path, wanted: &BTreeMap<String, u64>) -> io::Result<BTreeMap<String, u64>> {
    disk.create_dir(dir)?;
    let mut there = BTreeMap::new();
    for name in disk.list(dir)? {
        let path = dir.join(&name);
        if let Some(bytes) = wanted.get(&name) {
            let len = disk.open(&path, Open::Read)?.len()?;
            if len <= *bytes {
                there.insert(name, len);
                continue;
            }
        }
        disk.remove(&path)?;
    }
    // No part is ever sent of an empty file.
    for (name, _) in wanted.iter().filter(|(name, bytes)| **bytes == 0 && !there.contains_key(*name)) {
        disk.open(&dir.join(name), Open::Create)?.sync_data()?;
    }
    disk.sync_dir(dir)?;
    Ok(there)
}

fn open(disk: &dyn Disk, dir: &Path, path: &Path, is_empty: bool) -> io::Result<Arc<dyn File>> {
    let file = match disk.open(path, Open::Write) {
        Err(error) if is_empty && error.kind() == io::ErrorKind::NotFound => {
            let file = disk.open(path, Open::Create)?;
            disk.sync_dir(dir)?;
            file
        }
        file => file?,
    };
    Ok(Arc::from(file))
}

fn hash_range(file: &dyn File, mut at: u64, end: u64, mut hasher: Box<Xxh3>) -> io::Result<Box<Xxh3>> {
    let mut buffer = vec![0; READ_BYTES];
    while at < end {
        let len = (end - at).min(READ_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..len], at)?;
        hasher.update(&buffer[..len]);
        at += len as u64;
    }
    Ok(hasher)
}
