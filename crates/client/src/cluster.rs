//! The handle to a cluster: follows the catalogue, knows who leads, and retries what certainly was not applied or is safe
//! to send again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use meridian_env::{Clock, Context, Elapsed, Env, Instant, deadline};
use meridian_proto::{failure_of, leader_of, v1};
use meridian_types::{Code, Failure, GroupId, Kind, NodeId};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tonic::Status;

use crate::map::Map;
use crate::nodes::Channels;
use crate::propose::Pipes;

/// Pauses between tries: doubled from the first to the last, and shortened at random so that callers spread.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long somebody waits for a version before another node is watched.
const WATCH_LAG_MAX: Duration = Duration::from_millis(700);
/// How long one try of what may be repeated waits: longer than a slow disk, shorter than a caller's patience with a node
/// that is cut off and does not know it.
const TRY_MAX: Duration = Duration::from_secs(3);
/// How long it waits for a node that says nothing to anybody: one that has lost its power or its lines sends no word, and
/// another one may lead by then. A node that answers others is only slow, and must not be given the same to do once more.
const SILENCE_MAX: Duration = Duration::from_millis(400);
/// Silence after which a watch is asked of another node: nodes repeat the version at least once a second.
const WATCH_SILENCE_MAX: Duration = Duration::from_secs(3);

/// A cluster as its clients reach it. Clones share everything.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) env: Env,
    pub(crate) channels: Channels,
    pub(crate) pipes: Pipes,
    map: watch::Sender<Arc<Map>>,
    /// Somebody waits for a version that the watched node has not told of.
    behind: Notify,
    leaders: Mutex<BTreeMap<GroupId, NodeId>>,
    /// When each node answered last.
    heard: Mutex<BTreeMap<NodeId, Instant>>,
    /// Nodes that did not answer when they were asked last: others are asked first.
    silent: Mutex<BTreeSet<NodeId>>,
}

/// What one try of a call came to.
pub(crate) struct Tried {
    pub(crate) failure: Failure,
    /// Who leads instead, if the one asked said so.
    pub(crate) leader: Option<NodeId>,
}

impl Tried {
    /// What a status came to; with `sent`, the request may have arrived, unless no connection was made.
    pub(crate) fn status(status: &Status, sent: bool) -> Self {
        let mut cause = std::error::Error::source(status);
        let mut connected = true;
        while let Some(error) = cause {
            connected &= !error.is::<tonic::ConnectError>();
            cause = error.source();
        }
        Self { failure: failure_of(status, sent && connected), leader: leader_of(status) }
    }
}

impl Cluster {
    /// Follows the catalogue of the cluster that the nodes at `seeds` (`host:port` of their gRPC) belong to, for as long as
    /// a clone of the handle is held.
    pub fn connect(env: &Env, seeds: Vec<String>) -> Self {
        let inner = Inner {
            env: env.clone(),
            channels: Channels::new(env.clone()),
            pipes: Pipes::default(),
            map: watch::Sender::new(Arc::default()),
            behind: Notify::new(),
            leaders: Mutex::default(),
            heard: Mutex::default(),
            silent: Mutex::default(),
        };
        let cluster = Self { inner: Arc::new(inner) };
        tokio::spawn(follow(Arc::downgrade(&cluster.inner), seeds.into_iter().map(Arc::from).collect()));
        cluster
    }

    /// The newest map that is known here.
    pub fn map(&self) -> Arc<Map> {
        Arc::clone(&self.inner.map.borrow())
    }

    /// The map once it has at least `version`.
    pub async fn map_at(&self, context: &Context, version: u64) -> Result<Arc<Map>, Failure> {
        let clock = &*self.inner.env.clock;
        let mut updates = self.inner.map.subscribe();
        while clock.now() < context.deadline {
            let end = context.deadline.min(clock.now() + WATCH_LAG_MAX);
            if let Ok(Ok(map)) = deadline(clock, end, updates.wait_for(|map| map.version >= version)).await {
                return Ok(Arc::clone(&map));
            }
            // The node that is watched may be cut off from the others: another one is.
            self.inner.behind.notify_one();
        }
        Err(Failure::new(Code::NotReady, "the catalogue has not reached this process in time"))
    }

    /// The map with all that was acknowledged anywhere before this call.
    pub async fn refresh(&self, context: &Context) -> Result<Arc<Map>, Failure> {
        let version = self.catalogue_version(context).await?;
        self.map_at(context, version).await
    }

    /// Tries `call` on the node that should lead `group`, then on the others, until it succeeds, its failure is final, or
    /// the deadline passes. With `repeatable`, an unknown outcome is tried again too.
    pub(crate) async fn on_leader<'a, T>(
        &'a self,
        context: &'a Context,
        group: GroupId,
        repeatable: bool,
        call: impl Fn(NodeId, Arc<str>) -> BoxFuture<'a, Result<T, Tried>>,
    ) -> Result<T, Failure> {
        let clock = &*self.inner.env.clock;
        let mut maybe_applied = None;
        let mut last = Failure::new(Code::NoLeader, format!("{group} has no leader that could be reached in time"));
        for attempt in 0_u32.. {
            if let Some((node, address)) = self.target(group, attempt) {
                let tried = match self.try_on(context, node, repeatable, call(node, address)).await {
                    Ok(value) => {
                        self.inner.leaders.lock().insert(group, node);
                        return Ok(value);
                    }
                    Err(tried) => tried,
                };
                self.note_leader(group, node, tried.leader);
                match tried.failure.kind() {
                    // The same bytes would be answered the same.
                    _ if tried.failure.code == Code::SendKeys => return Err(tried.failure),
                    Kind::Retry => last = tried.failure,
                    // An earlier try may have been applied: what refuses this one says nothing about that.
                    Kind::Overloaded if maybe_applied.is_some() => {}
                    Kind::Unknown if repeatable && tried.failure.code != Code::SessionExpired => {
                        maybe_applied = Some(tried.failure);
                    }
                    _ => return Err(tried.failure),
                }
                if tried.leader.is_some() && attempt < 3 {
                    continue;
                }
            }
            let pause = pause(&self.inner.env, attempt);
            if clock.now() + pause >= context.deadline {
                break;
            }
            clock.sleep(pause).await;
        }
        Err(maybe_applied.unwrap_or(last))
    }

    /// One try of a call to a node; with `repeatable`, it is given up earlier than the caller gives up.
    pub(crate) async fn try_on<T>(
        &self,
        context: &Context,
        node: NodeId,
        repeatable: bool,
        call: BoxFuture<'_, Result<T, Tried>>,
    ) -> Result<T, Tried> {
        let end = if repeatable { self.inner.env.clock.now() + TRY_MAX } else { context.deadline };
        let tried = match self.patiently(node, repeatable, end.min(context.deadline), call).await {
            Ok(tried) => tried,
            Err(_) => {
                let failure = Failure::new(Code::Unknown, format!("{node} did not answer in time"));
                self.note_silence(node, true);
                return Err(Tried { failure, leader: None });
            }
        };
        self.note_silence(node, tried.as_ref().is_err_and(|tried| tried.failure.code == Code::Unreachable));
        tried
    }

    /// Waits for a call until `end`; with `repeatable`, no longer than the node is silent to everybody.
    async fn patiently<T>(
        &self,
        node: NodeId,
        repeatable: bool,
        end: Instant,
        mut call: BoxFuture<'_, T>,
    ) -> Result<T, Elapsed> {
        let clock = &*self.inner.env.clock;
        loop {
            let since = clock.now();
            let step = if repeatable { end.min(since + SILENCE_MAX) } else { end };
            match deadline(clock, step, &mut call).await {
                Err(_) if step < end && self.inner.heard.lock().get(&node).is_some_and(|heard| *heard >= since) => {}
                ended => return ended,
            }
        }
    }

    /// Whom to ask at this attempt: the leader as last heard, else the replicas in turn, the preferred one first, and those that
    /// were silent only if all were.
    fn target(&self, group: GroupId, attempt: u32) -> Option<(NodeId, Arc<str>)> {
        let map = self.map();
        let known = self.inner.leaders.lock().get(&group).copied();
        let candidates: Vec<NodeId> = match map.shards.get(&meridian_types::ShardId(group.0)) {
            Some(shard) => shard.preferred.into_iter().chain(shard.replicas.values().copied()).collect(),
            None => map.nodes.keys().copied().collect(),
        };
        let silent = self.inner.silent.lock();
        let heard: Vec<NodeId> = candidates.iter().copied().filter(|node| !silent.contains(node)).collect();
        let candidates = if heard.is_empty() { candidates } else { heard };
        let turn = candidates.get(attempt as usize % candidates.len().max(1)).copied();
        let node = known.filter(|node| map.nodes.contains_key(node)).or(turn)?;
        map.nodes.get(&node).map(|n| (node, Arc::clone(&n.data_address)))
    }

    /// The node that led `group` when it was last heard of, and its address.
    pub(crate) fn known_leader(&self, group: GroupId) -> Option<(NodeId, Arc<str>)> {
        let node = self.inner.leaders.lock().get(&group).copied()?;
        self.map().nodes.get(&node).map(|known| (node, Arc::clone(&known.data_address)))
    }

    fn note_silence(&self, node: NodeId, is_silent: bool) {
        if is_silent {
            self.inner.silent.lock().insert(node);
        } else {
            self.inner.silent.lock().remove(&node);
            self.inner.heard.lock().insert(node, self.inner.env.clock.now());
        }
    }

    pub(crate) fn note_leader(&self, group: GroupId, asked: NodeId, leader: Option<NodeId>) {
        let mut leaders = self.inner.leaders.lock();
        match leader {
            Some(leader) if leader != asked => leaders.insert(group, leader),
            _ => leaders.remove(&group),
        };
    }
}

/// How long to wait behind the try of this number, counted from 0.
pub(crate) fn pause(env: &Env, attempt: u32) -> Duration {
    let pause = PAUSE_MAX.min(PAUSE_MIN * 2_u32.saturating_pow(attempt.min(8)));
    pause.mul_f64(0.5 + env.rng.below(500) as f64 / 1_000.0)
}

/// Keeps the map of `inner` current until nobody holds it: watches one node after the other.
async fn follow(inner: Weak<Inner>, seeds: Vec<Arc<str>>) {
    let mut turn = 0_usize;
    loop {
        let Some(held) = inner.upgrade() else { return };
        let map = Arc::clone(&held.map.borrow());
        let known = map.nodes.values().map(|n| Arc::clone(&n.data_address));
        let addresses: Vec<_> = known.chain(seeds.iter().cloned()).collect();
        let Some(address) = addresses.get(turn % addresses.len().max(1)).cloned() else { return };
        let clock = Arc::clone(&held.env.clock);
        drop(held);
        if let Err(why) = watch_one(&inner, &address, &*clock).await {
            tracing::debug!(%address, why, "the watch of the catalogue ended");
        }
        turn += 1;
        clock.sleep(PAUSE_MAX).await;
    }
}

async fn watch_one(inner: &Weak<Inner>, address: &Arc<str>, clock: &dyn Clock) -> Result<(), String> {
    let held = inner.upgrade().ok_or("closed")?;
    let mut client = held.channels.shards(address);
    drop(held);
    let ask = client.watch(v1::WatchRequest { watcher: "client".into() });
    let reply = deadline(clock, clock.now() + WATCH_SILENCE_MAX, ask).await.map_err(|e| e.to_string())?;
    let mut updates = reply.map_err(|e| e.to_string())?.into_inner();
    // A node that is behind tells an older story; it may know fewer fields, so its first update is taken whole or not at all.
    let mut base: Option<Arc<Map>> = None;
    loop {
        let behind = async {
            match inner.upgrade() {
                Some(held) => held.behind.notified().await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            next = deadline(clock, clock.now() + WATCH_SILENCE_MAX, updates.message()) => next,
            () = behind => return Err("the node is behind".into()),
        };
        let update = next.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?.ok_or("the node ended it")?;
        let map = base.as_deref().cloned().unwrap_or_default().updated(update).map_err(|e| e.to_string())?;
        let map = Arc::new(map);
        base = Some(Arc::clone(&map));
        let held = inner.upgrade().ok_or("closed")?;
        let known = held.map.borrow().cluster.clone();
        if !known.is_empty() && known != map.cluster {
            return Err(format!("{address} belongs to cluster {}, not to {known}", map.cluster));
        }
        held.map.send_if_modified(|known| {
            let newer = map.version > known.version;
            if newer {
                *known = map;
            }
            newer
        });
    }
}
