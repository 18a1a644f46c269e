//! Nodes over TCP on loopback, in one process: they come together, keep what they acknowledge over a restart, and come back
//! only as who they were.

mod damage;
mod joining;
mod nodes;

use std::path::Path;
use std::time::Duration;

use meridian_client::{Cluster, Deletion, Proposal, Session, Written};
use meridian_env::{Context, Env, real};
use meridian_frame::FrameBuilder;
use meridian_node::{InspectError, Part};
use meridian_proto::v1;
use meridian_query::{Plan, Selection};
use meridian_types::{Code, FieldType, NodeId, SeriesKey, TimeRange, Timestamp, ValueRef};

use crate::nodes::{config, start, three};

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
        let without_numbers = Written { series: Vec::new(), ..first };
        assert_eq!(without_numbers, again, "the same request is applied once and answered alike");
    }
}

/// Every shard deletes once, however often it is asked, and takes nothing else for the same request.
async fn delete(env: &Env, cluster: &Cluster) {
    let map = cluster.map();
    let range = |end| TimeRange::new(Timestamp::MIN, Timestamp::new(end).expect("in range")).expect("not empty");
    let bytes = |end| Selection::builder(range(end)).build().expect("valid").encode().into();
    let session = Session::begin(env);
    let pending = session.request();
    for shard in map.shards_in(TimeRange::ALL) {
        let (request, pending_from) = (pending.id, pending.pending_from());
        let ask = async |selection| {
            let database = map.databases["db"].id;
            cluster.delete(&context(env), Deletion { shard, database, request, pending_from, selection }).await
        };
        let first = ask(bytes(5)).await.expect("deleted");
        assert_eq!(first.shard, shard);
        assert_eq!(ask(bytes(5)).await, Ok(first), "the same request is applied once and answered alike");
        assert_eq!(ask(bytes(6)).await.expect_err("another request").code, Code::RequestIdReused);
        assert_eq!(ask("poison".into()).await.expect_err("no selection").code, Code::WrongVersion);
    }
}

async fn count(env: &Env, cluster: &Cluster) -> usize {
    let map = cluster.refresh(&context(env)).await.expect("a fresh map");
    let database = map.databases["db"].id;
    let fields = [("v".to_owned(), FieldType::I64)];
    let plan = Plan::builder("m", TimeRange::ALL).fields(fields).build().expect("a plan");
    let mut rows = 0;
    let shards = map.shards_in(TimeRange::ALL);
    let scans = cluster.scan(&context(env), &shards, database, &plan.encode().into()).await;
    for mut scan in scans.expect("the shards answer") {
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
    let nodes = three(&env, dir.path()).await;
    let at: Vec<_> = nodes.iter().map(|node| node.at.clone()).collect();
    let seeds = || at.iter().map(|at| at.data.clone()).collect();
    let cluster = Cluster::connect(&env, seeds());
    write(&env, &cluster).await;
    assert_eq!(count(&env, &cluster).await, 20);
    delete(&env, &cluster).await;
    assert_eq!(count(&env, &cluster).await, 15, "five rows are gone");
    drop(cluster);
    for node in nodes {
        node.stop().await;
    }

    let mut nodes = Vec::new();
    for (n, at) in (1..).zip(&at) {
        // Nobody is told whom to join: they know each other.
        let config = config(&dir.path().join(n.to_string()), at.clone(), &format!("r{n}"), &[]);
        nodes.push(start(&env, config).await);
    }
    let cluster = Cluster::connect(&env, seeds());
    assert_eq!(count(&env, &cluster).await, 15, "and stay gone");
    hand_over(&env, &cluster).await;
    assert_eq!(count(&env, &cluster).await, 15, "under the new leader too");
    drop_and_make_again(&env, &cluster).await;
    inspect_one(&env, dir.path(), true);
    for node in nodes {
        node.stop().await;
    }
    inspect_one(&env, dir.path(), false);
}

/// A node that runs is left alone; of one that is stopped the directory tells what it knew.
fn inspect_one(env: &Env, dir: &Path, runs: bool) {
    let found = meridian_node::inspect(env, &dir.join("2"), &dir.join("scratch"), false);
    if runs {
        return assert!(matches!(found, Err(InspectError::InUse { .. })));
    }
    let report = found.expect("it is stopped");
    let Part::Read(catalogue) = &report.catalogue else { panic!("{report:?}") };
    assert_eq!((catalogue.nodes.len(), catalogue.shards.len(), catalogue.databases.len()), (3, 2, 1), "{catalogue:?}");
    assert_eq!((&*catalogue.databases[0].name, catalogue.fields), ("db", 0), "it was made anew");
    let Part::Read(usage) = &report.usage else { panic!("{report:?}") };
    assert!(usage.iter().any(|entry| entry.path == "log" && entry.bytes > 0), "{usage:?}");
}

/// A shard goes to the leader that is named, once; what cannot be is refused.
async fn hand_over(env: &Env, cluster: &Cluster) {
    let map = cluster.map();
    let shard = map.shards_in(TimeRange::ALL)[0];
    for to in map.nodes.keys() {
        let first = cluster.transfer_leader(&context(env), shard, *to).await.expect("it takes over");
        let again = cluster.transfer_leader(&context(env), shard, *to).await.expect("it leads");
        assert!(!again.changed && again.term >= first.term, "{first:?}, {again:?}");
        let status = cluster.node_status(&context(env), *to).await.expect("it answers");
        let role = status.groups.iter().find(|group| group.group == shard.0).map(|group| &*group.role);
        assert_eq!(role, Some("leader"));
    }
    let nowhere = cluster.transfer_leader(&context(env), shard, NodeId(9)).await;
    assert_eq!(nowhere.expect_err("it has no replica").code, Code::NoGroup);
}

/// A dropped database answers nothing by its old id, not even emptily, and its name is free for a new one.
async fn drop_and_make_again(env: &Env, cluster: &Cluster) {
    let map = cluster.map();
    let (old, shard) = (map.databases["db"].id, map.shards_in(TimeRange::ALL)[0]);
    cluster.drop_database(&context(env), "db").await.expect("dropped on every shard");
    let fields = [("v".to_owned(), FieldType::I64)];
    let plan = Plan::builder("m", TimeRange::ALL).fields(fields).build().expect("a plan");
    let answer = cluster.scan(&context(env), &[shard], old, &plan.encode().into()).await;
    assert_eq!(answer.expect_err("the shard has forgotten it").code, Code::NoDatabase);
    let request = v1::CreateDatabaseRequest { name: "db".into(), ..Default::default() };
    let new = cluster.create_database(&context(env), request).await.expect("the name is free");
    assert_ne!(new.id, old.0, "ids are never reused");
}
