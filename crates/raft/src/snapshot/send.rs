//! The sender's end: offers a machine's files, sends what the receiver lacks, waits until it has installed them.
//!
//! A node sends two snapshots at a time and no more bytes in a second than it is set to, over connections that carry nothing
//! else. Every failure is one that openraft waits after and tries again, with the files of that time.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use meridian_env::{Class, Clock, Instant, deadline, run};
use meridian_proto::v1;
use meridian_proto::v1::snapshot_part::Part;
use meridian_proto::v1::snapshot_reply::Reply;
use meridian_types::{GroupId, ReplicaId, limits};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tonic::Streaming;
use xxhash_rust::xxh3::Xxh3;

use super::offer::offer_out;
use crate::machine::{Content, View, ViewFile, decode_mark};
use crate::network::{Link, Purpose, RpcError, unreachable};
use crate::types::Vote;
use crate::wire;

/// Snapshots that a node sends at a time.
const TRANSFERS_MAX: usize = 2;
/// Longest silence of a receiver, and longest wait until it takes the next part.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// Parts that wait for the connection.
const PARTS_AHEAD: usize = 2;
/// Smallest part, however slow the node is set.
const PART_BYTES_MIN: u64 = 4 << 10;

/// What all transfers of a node share.
#[derive(Debug)]
pub(crate) struct Transfers {
    clock: Arc<dyn Clock>,
    bytes_per_second: u64,
    permits: Semaphore,
    /// When the next part may go.
    next: Mutex<Option<Instant>>,
    /// Up to which entry each transfer's files stand.
    under_way: Mutex<BTreeMap<(GroupId, u64), u64>>,
    /// What was found wrong with the files of this node's own replicas.
    suspicions: Mutex<BTreeMap<(GroupId, ReplicaId), String>>,
    count: AtomicU64,
    sent_bytes: AtomicU64,
}

impl Transfers {
    pub(crate) fn new(clock: Arc<dyn Clock>, bytes_per_second: u64) -> Self {
        Self {
            clock,
            bytes_per_second: bytes_per_second.max(1),
            permits: Semaphore::new(TRANSFERS_MAX),
            next: Mutex::default(),
            under_way: Mutex::default(),
            suspicions: Mutex::default(),
            count: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
        }
    }

    /// Bytes of files that were sent since the node started.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// The entry behind which a follower of the group will need the log, once it has the snapshot that is on its way to it.
    pub(crate) fn needed_after(&self, group: GroupId) -> Option<u64> {
        self.under_way.lock().range((group, 0)..=(group, u64::MAX)).map(|(_, last)| *last).min()
    }

    /// What was found wrong with a replica's files while they were sent, once.
    pub(crate) fn take_suspicion(&self, group: GroupId, replica: ReplicaId) -> Option<String> {
        self.suspicions.lock().remove(&(group, replica))
    }

    fn begin(&self, group: GroupId, last: u64) -> UnderWay<'_> {
        let key = (group, self.count.fetch_add(1, Ordering::Relaxed));
        self.under_way.lock().insert(key, last);
        UnderWay { transfers: self, key }
    }

    fn part_bytes(&self) -> u64 {
        (self.bytes_per_second / 8).clamp(PART_BYTES_MIN, limits::SNAPSHOT_PART_BYTES_MAX as u64)
    }

    /// Waits until `bytes` more may be sent.
    async fn take(&self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let at = {
            let (mut next, now) = (self.next.lock(), self.clock.now());
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + span);
            at
        };
        self.clock.sleep_until(at).await;
    }
}

/// Counts a transfer for as long as it lives.
struct UnderWay<'a> {
    transfers: &'a Transfers,
    key: (GroupId, u64),
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.transfers.under_way.lock().remove(&self.key);
    }
}

/// Sends a snapshot until the receiver has installed it; its vote.
pub(crate) async fn send(link: &Link, transfers: &Transfers, vote: Vote, view: View) -> Result<Vote, RpcError> {
    let busy = |_| unreachable(&format!("{TRANSFERS_MAX} snapshots are being sent by this node"));
    let _permit = transfers.permits.try_acquire().map_err(busy)?;
    let (last, _) = decode_mark(&view.applied).map_err(|error| unreachable(&error.to_string()))?;
    let _under_way = transfers.begin(GroupId(link.group.group), last.map_or(0, |id| id.index));
    let (parts, outbound) = mpsc::channel(PARTS_AHEAD);
    let offer = v1::SnapshotPart { part: Some(Part::Offer(offer_out(link.group, &vote, &view))) };
    parts.try_send(offer).expect("there is room for the first part");
    let mut replies = open(link, outbound).await?;
    let have = loop {
        match next(link, &mut replies).await? {
            Reply::Busy(_) => {}
            Reply::Installed(vote) => return vote_in(vote),
            Reply::Have(have) => break have.bytes,
        }
    };
    if have.len() != view.files.len() || have.iter().zip(&view.files).any(|(have, file)| *have > file.bytes) {
        return Err(unreachable("the receiver has more of the snapshot than there is"));
    }
    let mut answer = pin!(installed(link, &mut replies));
    let sent = tokio::select! {
        biased;
        answered = &mut answer => return answered,
        sent = send_missing(link, transfers, &view, &have, &parts) => sent,
    };
    sent?;
    answer.await
}

async fn open(
    link: &Link,
    outbound: mpsc::Receiver<v1::SnapshotPart>,
) -> Result<Streaming<v1::SnapshotReply>, RpcError> {
    let mut client = link.client(Purpose::Bulk)?;
    let call = client.snapshot(link.request(stream(outbound)));
    let clock = link.clock();
    match deadline(clock, clock.now() + IDLE_MAX, call).await {
        Ok(Ok(replies)) => Ok(replies.into_inner()),
        Ok(Err(status)) => Err(unreachable(&format!("{}: {status}", link.node))),
        Err(_) => Err(silent(link)),
    }
}

fn stream(outbound: mpsc::Receiver<v1::SnapshotPart>) -> impl Stream<Item = v1::SnapshotPart> + Send + 'static {
    futures::stream::unfold(outbound, |mut outbound| async { outbound.recv().await.map(|part| (part, outbound)) })
}

async fn next(link: &Link, replies: &mut Streaming<v1::SnapshotReply>) -> Result<Reply, RpcError> {
    let clock = link.clock();
    match deadline(clock, clock.now() + IDLE_MAX, replies.message()).await {
        Ok(Ok(Some(reply))) => reply.reply.ok_or_else(|| unreachable("an empty reply to a snapshot")),
        Ok(Ok(None)) => Err(unreachable(&format!("{} ended the transfer of a snapshot", link.node))),
        Ok(Err(status)) => Err(unreachable(&format!("{}: {status}", link.node))),
        Err(_) => Err(silent(link)),
    }
}

fn silent(link: &Link) -> RpcError {
    unreachable(&format!("{} has been silent for {} s", link.node, IDLE_MAX.as_secs()))
}

async fn installed(link: &Link, replies: &mut Streaming<v1::SnapshotReply>) -> Result<Vote, RpcError> {
    loop {
        match next(link, replies).await? {
            Reply::Busy(_) => {}
            Reply::Installed(vote) => return vote_in(vote),
            Reply::Have(_) => return Err(unreachable("the receiver said twice what it has of the snapshot")),
        }
    }
}

fn vote_in(vote: v1::Vote) -> Result<Vote, RpcError> {
    wire::vote_in(Some(vote)).map_err(|error| unreachable(&error.to_string()))
}

async fn send_missing(
    link: &Link,
    transfers: &Transfers,
    view: &View,
    have: &[u64],
    parts: &mpsc::Sender<v1::SnapshotPart>,
) -> Result<(), RpcError> {
    let clock = link.clock();
    for (index, (file, have)) in (0..).zip(view.files.iter().zip(have)).filter(|(_, (file, have))| **have < file.bytes)
    {
        let (mut hasher, mut offset) = (Xxh3::new(), 0);
        while offset < *have {
            let len = (have - offset).min(limits::SNAPSHOT_PART_BYTES_MAX as u64);
            let data = read(link, file, offset, len).await;
            hasher.update(&data.map_err(|why| distrust(link, transfers, why))?);
            offset += len;
        }
        while offset < file.bytes {
            let len = (file.bytes - offset).min(transfers.part_bytes());
            transfers.take(len).await;
            let data = read(link, file, offset, len).await;
            let data = data.map_err(|why| distrust(link, transfers, why))?;
            hasher.update(&data);
            let part = v1::SnapshotPart { part: Some(Part::Data(v1::SnapshotData { file: index, offset, data })) };
            let sent = deadline(clock, clock.now() + IDLE_MAX, parts.send(part)).await.map_err(|_| silent(link))?;
            sent.map_err(|_| unreachable(&format!("{} takes no more of the snapshot", link.node)))?;
            transfers.sent_bytes.fetch_add(len, Ordering::Relaxed);
            offset += len;
        }
        // The receiver can only ask for it again: who sends it must notice that it is not what was written.
        if hasher.digest128() != file.hash {
            return Err(distrust(link, transfers, format!("{} has another hash than when it was written", file.name)));
        }
    }
    Ok(())
}

/// This node's own file is not what it was: its replica must leave service.
fn distrust(link: &Link, transfers: &Transfers, why: String) -> RpcError {
    let replica = (GroupId(link.group.group), ReplicaId(link.group.from));
    tracing::error!(group = %replica.0, replica = %replica.1, why, "a snapshot is not sent");
    let error = unreachable(&why);
    transfers.suspicions.lock().insert(replica, why);
    error
}

async fn read(link: &Link, file: &ViewFile, offset: u64, len: u64) -> Result<Bytes, String> {
    let bytes = match &file.content {
        Content::Memory(bytes) => {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let end = from.saturating_add(len as usize);
            (end <= bytes.len()).then(|| bytes.slice(from..end)).ok_or_else(|| "it is shorter than it says".to_owned())
        }
        Content::File(handle) => {
            let handle = Arc::clone(handle);
            let job = move || {
                let mut buffer = vec![0; len as usize];
                handle.read_exact_at(&mut buffer, offset).map(|()| Bytes::from(buffer))
            };
            run(link.work(), Class::Flush, job).await.map_err(|error| error.to_string())
        }
    };
    bytes.map_err(|error| format!("{} cannot be read at byte {offset}: {error}", file.name))
}
