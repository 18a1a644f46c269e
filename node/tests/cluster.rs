//! Three nodes over TCP on loopback, in one process: they form a cluster, keep what they acknowledge over a restart, and
//! refuse to come back on an empty disk.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use meridian_client::{Cluster, Proposal, Session};
use meridian_env::{Context, Env, real};
use meridian_frame::FrameBuilder;
use meridian_node::{Config, Listen, LogSettings, Member, RunError, Timing};
use meridian_proto::v1;
use meridian_query::Plan;
use meridian_types::{Code, FieldType, NodeId, SeriesKey, TimeRange, Timestamp, ValueRef};
use tokio::sync::watch;
use tokio::task::JoinSet;

struct Nodes {
    running: JoinSet<Result<(), RunError>>,
    stop: watch::Sender<bool>,
    seeds: Vec<String>,
}

async fn members(env: &Env) -> BTreeMap<NodeId, Member> {
    let mut held = Vec::new();
    let mut free = async || {
        let listener = env.net.listen("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr();
        held.push(listener);
        address
    };
    let mut members = BTreeMap::new();
    for node in 1..=3 {
        let member = Member { region: format!("r{node}"), data: free().await, raft: free().await, http: free().await };
        members.insert(NodeId(node), member);
    }
    members
}

fn config(dir: &Path, members: &BTreeMap<NodeId, Member>, node: NodeId, first_start: bool) -> Config {
    let member = &members[&node];
    Config {
        data: dir.join(node.to_string()),
        cluster: 7,
        node,
        listen: Listen { data: member.data.clone(), raft: member.raft.clone(), http: member.http.clone() },
        members: members.clone(),
        shards: 2,
        replication: 3,
        first_start,
        timing: Timing::default(),
        log: LogSettings { segment_bytes: 1 << 20, ..LogSettings::default() },
    }
}

async fn start(env: &Env, dir: &Path, first_start: bool) -> Nodes {
    let members = members(env).await;
    let (stop, stopped) = watch::channel(false);
    let mut running = JoinSet::new();
    for node in members.keys() {
        let (env, config) = (env.clone(), config(dir, &members, *node, first_start));
        let mut stopped = stopped.clone();
        let stop = async move { drop(stopped.wait_for(|s| *s).await) };
        running.spawn(async move { meridian_node::run(env, config, |_| {}, stop).await });
    }
    Nodes { running, stop, seeds: members.values().map(|m| m.data.clone()).collect() }
}

impl Nodes {
    async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(ended) = self.running.join_next().await {
            ended.expect("no panic").expect("a clean stop");
        }
    }
}

fn context(env: &Env) -> Context {
    Context::own(env.clock.now() + Duration::from_secs(30))
}

async fn write(env: &Env, cluster: &Cluster) {
    let request = v1::CreateDatabaseRequest { name: "db".into(), if_absent: true, ..Default::default() };
    let database = cluster.create_database(&context(env), request).await.expect("the database is made");
    let known = cluster.map();
    assert_eq!(known.databases["db"].id.0, database.id, "it is known once it is made");
    let database = &known.databases["db"];
    let field = ("m".to_owned(), "v".to_owned(), FieldType::I64);
    let conflicts = cluster.register_fields(&context(env), database.id, vec![field]).await.expect("registered");
    assert!(conflicts.is_empty());
    let session = Session::begin(env);
    for i in 0..20_i64 {
        let key = SeriesKey::from_tags(&mut [("host", &format!("h{}", i % 5))]).expect("a key");
        let time = Timestamp::new(i).expect("in range");
        let mut frame = FrameBuilder::new();
        frame.push("m", &key, time, &[("v", ValueRef::I64(i))]).expect("a row");
        let pending = session.request();
        let proposal = Proposal {
            shard: cluster.map().shard_of(database, "m", &key, time).expect("an owner"),
            database: database.id,
            request: pending.id,
            pending_from: pending.pending_from(),
            frame: frame.finish(),
        };
        let first = cluster.propose(&context(env), proposal.clone()).await.expect("stored");
        assert_eq!(first.points, 1);
        let again = cluster.propose(&context(env), proposal).await.expect("answered again");
        assert_eq!(first, again, "the same request is applied once and answered alike");
    }
}

async fn count(env: &Env, cluster: &Cluster) -> usize {
    let map = cluster.refresh(&context(env)).await.expect("a fresh map");
    let database = map.databases["db"].id;
    let fields = [("v".to_owned(), FieldType::I64)];
    let plan = Plan::builder("m", TimeRange::ALL).fields(fields).build().expect("a plan");
    let mut rows = 0;
    for shard in map.shards_in(TimeRange::ALL) {
        let bytes = plan.encode().into();
        let mut scan = cluster.scan(&context(env), shard, database, bytes).await.expect("the shard answers");
        while let Some(batch) = scan.next().await.expect("a batch") {
            rows += meridian_query::Batch::decode(&plan, &batch).expect("well-formed").len();
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_there_after_a_restart() {
    let env = real::env().expect("the real world");
    let dir = tempfile::tempdir().expect("a directory");
    let nodes = start(&env, dir.path(), true).await;
    let cluster = Cluster::connect(&env, nodes.seeds.clone());
    write(&env, &cluster).await;
    assert_eq!(count(&env, &cluster).await, 20);
    drop(cluster);
    nodes.stop().await;

    let nodes = start(&env, dir.path(), false).await;
    let cluster = Cluster::connect(&env, nodes.seeds.clone());
    assert_eq!(count(&env, &cluster).await, 20);
    drop_and_make_again(&env, &cluster).await;
    nodes.stop().await;
}

/// A dropped database answers nothing by its old id, not even emptily, and its name is free for a new one.
async fn drop_and_make_again(env: &Env, cluster: &Cluster) {
    let map = cluster.map();
    let (old, shard) = (map.databases["db"].id, map.shards_in(TimeRange::ALL)[0]);
    cluster.drop_database(&context(env), "db").await.expect("dropped on every shard");
    let fields = [("v".to_owned(), FieldType::I64)];
    let plan = Plan::builder("m", TimeRange::ALL).fields(fields).build().expect("a plan");
    let answer = cluster.scan(&context(env), shard, old, plan.encode().into()).await;
    assert_eq!(answer.expect_err("the shard has forgotten it").code, Code::NoDatabase);
    let request = v1::CreateDatabaseRequest { name: "db".into(), ..Default::default() };
    let new = cluster.create_database(&context(env), request).await.expect("the name is free");
    assert_ne!(new.id, old.0, "ids are never reused");
}

#[tokio::test]
async fn an_empty_disk_under_an_old_name_is_refused() {
    let env = real::env().expect("the real world");
    let dir = tempfile::tempdir().expect("a directory");
    let members = members(&env).await;
    let config = config(dir.path(), &members, NodeId(2), false);
    let ended = meridian_node::run(env, config, |_| panic!("it must not start"), std::future::pending()).await;
    let error = ended.expect_err("it is refused").to_string();
    assert!(error.contains("is empty, but n2 has run before"), "{error}");
}
