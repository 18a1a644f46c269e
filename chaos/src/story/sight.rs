//! What can be seen of a cluster from outside: who leads what, and what processes serve as metrics.

use std::io;

use meridian_env::{Env, deadline};
use meridian_proto::v1;
use meridian_trial::Broken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Failed, LOOK_EVERY};
use crate::shape::Shape;
use crate::workload::{HEAL_MAX, look};

/// Of a page of metrics.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Who looks.
pub(super) struct Sight {
    env: Env,
    pub(super) shape: Shape,
    /// The ids of the nodes, by their hosts' numbers less one: they need not be alike.
    ids: Vec<u32>,
    /// The host that was called leader or follower last.
    called: Option<String>,
}

impl Sight {
    /// Looks at a cluster whose nodes all run.
    pub(super) async fn begin(env: &Env, shape: Shape) -> Self {
        let seen = look(env, &shape.addresses()).await;
        let ids = seen.iter().map(|status| status.as_ref().map_or(0, |status| status.node)).collect();
        Self { env: env.clone(), shape, ids, called: None }
    }

    /// The id of the node on a host.
    pub(super) fn id(&self, host: &str) -> u32 {
        let at = self.shape.nodes().position(|node| node.to_string() == host);
        at.and_then(|at| self.ids.get(at)).copied().unwrap_or(0)
    }

    pub(super) fn last_called(&self) -> Result<String, Failed> {
        self.called.clone().ok_or_else(|| Failed::Story("no line above calls a node leader or follower".into()))
    }

    /// What each host's node says of its replica of a group.
    async fn replicas(&self, group: u32) -> Vec<(String, v1::GroupState)> {
        let seen = look(&self.env, &self.shape.addresses()).await;
        let of_host = self.shape.nodes().zip(seen).filter_map(|(node, status)| {
            let replica = status?.groups.into_iter().find(|replica| replica.group == group)?;
            Some((node.to_string(), replica))
        });
        of_host.collect()
    }

    /// The host whose node leads, of several that say so the latest.
    async fn seen_leader(&self, group: u32) -> Option<String> {
        let replicas = self.replicas(group).await;
        let leading = replicas.into_iter().filter(|(_, replica)| replica.role == "leader");
        leading.max_by_key(|(_, replica)| replica.term).map(|(host, _)| host)
    }

    /// Waits for a leader.
    pub(super) async fn leader(&mut self, group: u32) -> Result<String, Failed> {
        let until = self.env.clock.now() + HEAL_MAX;
        loop {
            if let Some(host) = self.seen_leader(group).await {
                tracing::info!(host, group, "the leader");
                self.called = Some(host.clone());
                return Ok(host);
            }
            if self.env.clock.now() >= until {
                return Err(Broken::Liveness(format!("g{group} has no leader")).into());
            }
            self.env.clock.sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for a leader, and takes the first that is none.
    pub(super) async fn follower(&mut self, group: u32) -> Result<String, Failed> {
        let leader = self.leader(group).await?;
        let replicas = self.replicas(group).await;
        let host = replicas.into_iter().map(|(host, _)| host).find(|host| *host != leader);
        self.called = host.clone();
        host.ok_or_else(|| Failed::Story(format!("g{group} has no running follower")))
    }

    /// Whether this host's node leads; who else does, if not.
    pub(super) async fn leads(&self, host: &str, group: u32) -> Result<(), String> {
        match self.seen_leader(group).await {
            Some(leader) if leader == host => Ok(()),
            Some(leader) => Err(format!("{leader} leads")),
            None => Err("nobody leads".into()),
        }
    }

    pub(super) async fn is_led(&self, group: u32) -> Result<(), String> {
        self.seen_leader(group).await.map(drop).ok_or_else(|| "nobody leads".into())
    }

    /// Whether a metric has a value; what it has, if not.
    pub(super) async fn metric(&self, host: &str, name: &str, wanted: u64) -> Result<(), String> {
        let port = if host.starts_with('r') { 8086 } else { 7174 };
        let soon = self.env.clock.now() + HEAL_MAX;
        let page = deadline(&*self.env.clock, soon, self.page(&format!("{host}:{port}"))).await;
        let page = page.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
        let value = page.lines().find_map(value).ok_or_else(|| format!("{host} has no metric {name}"))?;
        if value.parse() == Ok(wanted) { Ok(()) } else { Err(format!("it is {value}")) }
    }

    async fn page(&self, at: &str) -> io::Result<String> {
        let mut conn = self.env.net.connect(at).await?;
        let request = format!("GET /metrics HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
        conn.write_all(request.as_bytes()).await?;
        let mut page = String::new();
        conn.take(PAGE_BYTES_MAX).read_to_string(&mut page).await?;
        Ok(page)
    }
}
