//! The Rust client's writer through a real router to real nodes, in one process: what it says is stored is there, also after the
//! numbers that it has learnt have lost their meaning, and after its router was replaced.
//!
//! `MERIDIAN_TEST_SECONDS` (15 if it is not set) bounds each wait.

use std::path::Path;
use std::time::Duration;

use meridian_client::{Report, Writer, WriterSettings, connect};
use meridian_env::{Env, real};
use meridian_proto::v1::admin_client::AdminClient;
use meridian_proto::v1::data_client::DataClient;
use meridian_proto::{failure_of, v1};
use meridian_types::{Code, SeriesKey, Timestamp, ValueRef};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

const DATABASE: &str = "db";
const SERIES: i64 = 20;

fn patience() -> Duration {
    let text = std::env::var("MERIDIAN_TEST_SECONDS");
    Duration::from_secs(text.map_or(15, |text| text.parse().expect("MERIDIAN_TEST_SECONDS is a number")))
}

/// Asks until there is an answer.
async fn until<T>(env: &Env, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = env.clock.now() + patience();
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(why) => assert!(env.clock.now() < end, "not within {} s: {why}", patience().as_secs()),
        }
        env.clock.sleep(Duration::from_millis(20)).await;
    }
}

/// A part of the cluster, and how to stop it.
struct Part {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
    /// Where it listens for gRPC.
    at: String,
}

impl Part {
    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.expect("no panic");
    }
}

fn stopping() -> (watch::Sender<bool>, impl Future<Output = ()> + Send) {
    let (stop, mut stopped) = watch::channel(false);
    (stop, async move { drop(stopped.wait_for(|stop| *stop).await) })
}

/// The next node of a cluster of which one listens at `join`.
async fn node(env: &Env, dir: &Path, join: Option<&str>) -> Part {
    let any = || "127.0.0.1:0".to_owned();
    let listen = meridian_node::Addresses { data: any(), raft: any(), http: any() };
    let config = meridian_node::Config {
        data: dir.to_owned(),
        advertise: listen.clone(),
        listen,
        region: dir.file_name().and_then(|name| name.to_str()).expect("a name").to_owned(),
        join: join.map(str::to_owned).into_iter().collect(),
        storage: meridian_node::StorageSettings::default(),
        timing: meridian_node::Timing::default(),
        log: meridian_node::LogSettings::default(),
    };
    let ((stop, stopped), (started, listening)) = (stopping(), oneshot::channel());
    let env = env.clone();
    let task = tokio::spawn(async move {
        let told = |at: meridian_node::Addresses| started.send(at.data).expect("the test waits for it");
        meridian_node::run(env, config, told, stopped).await.expect("a clean end");
    });
    Part { task, stop, at: listening.await.expect("it listens") }
}

/// A router that listens at `grpc`.
async fn router(env: &Env, nodes: &[Part], grpc: &str) -> Part {
    let config = meridian_router::Config {
        http: "127.0.0.1:0".into(),
        grpc: grpc.to_owned(),
        nodes: nodes.iter().map(|node| node.at.clone()).collect(),
        ..meridian_router::Config::default()
    };
    let ((stop, stopped), (started, listening)) = (stopping(), oneshot::channel());
    let env = env.clone();
    let task = tokio::spawn(async move {
        let told = |at: meridian_router::Started| started.send(at.grpc).expect("the test waits for it");
        meridian_router::run(env, config, told, stopped).await.expect("a clean end");
    });
    Part { task, stop, at: listening.await.expect("it listens") }
}

/// Three nodes with four shards.
async fn three_nodes(env: &Env, dir: &Path) -> Vec<Part> {
    let mut nodes = vec![node(env, &dir.join("a"), None).await];
    let seed = nodes[0].at.clone();
    let init = v1::InitClusterRequest { nodes: 3, shards: 4, replication: 3 };
    let mut admin = AdminClient::new(connect(env, &seed));
    until(env, async || admin.init_cluster(init).await.map(drop).map_err(|status| status.to_string())).await;
    for name in ["b", "c"] {
        nodes.push(node(env, &dir.join(name), Some(&seed)).await);
    }
    nodes
}

/// What a person does with a database, through a router.
struct Operator<'a> {
    env: &'a Env,
    router: String,
}

impl Operator<'_> {
    async fn create(&self) {
        until(self.env, async || {
            let request = v1::CreateDatabaseRequest { name: DATABASE.into(), if_absent: true, ..Default::default() };
            let mut admin = AdminClient::new(connect(self.env, &self.router));
            admin.create_database(request).await.map(drop).map_err(|status| status.to_string())
        })
        .await;
    }

    async fn drop_it(&self) {
        until(self.env, async || {
            let request = v1::DropDatabaseRequest { name: DATABASE.into() };
            match AdminClient::new(connect(self.env, &self.router)).drop_database(request).await {
                Ok(_) => Ok(()),
                // A try before may have done it.
                Err(status) if failure_of(&status, true).code == Code::NoDatabase => Ok(()),
                Err(status) => Err(status.to_string()),
            }
        })
        .await;
    }

    /// Rows with a value, by a query.
    async fn count(&self) -> u64 {
        until(self.env, async || {
            let select = v1::Select { database: DATABASE.into(), measurement: "m".into(), ..Default::default() };
            let asked = DataClient::new(connect(self.env, &self.router)).query(select).await;
            let mut answer = asked.map_err(|status| status.to_string())?.into_inner();
            while let Some(reply) = answer.message().await.map_err(|status| status.to_string())? {
                if let Some(end) = reply.end {
                    return Ok(end.rows);
                }
            }
            Err("the answer has no end".into())
        })
        .await
    }
}

/// Pushes a row of each series, at a time of its own.
async fn push(writer: &mut Writer, round: i64) {
    for host in 0..SERIES {
        let key = SeriesKey::from_tags(&mut [("host", &format!("h{host}"))]).expect("valid");
        let time = Timestamp::new(round * SERIES + host).expect("in range");
        writer.push("m", &key, time, &[("v", ValueRef::I64(host))]).await.expect("taken");
    }
}

async fn write(writer: &mut Writer, round: i64) -> Report {
    push(writer, round).await;
    writer.flush().await.expect("its task runs")
}

fn all_stored() -> Report {
    Report { rows: SERIES as u64, points: SERIES as u64, ..Report::default() }
}

fn numbered(writer: &mut Writer) -> usize {
    let key = |host: i64| SeriesKey::from_tags(&mut [("host", &format!("h{host}"))]).expect("valid");
    (0..SERIES).filter(|host| writer.series("m", &key(*host)).number().is_some()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_writer_calls_stored_is_there() {
    let env = real::env().expect("the real world");
    let dir = tempfile::tempdir().expect("a directory");
    let nodes = three_nodes(&env, dir.path()).await;
    let first = router(&env, &nodes, "127.0.0.1:0").await;
    let operator = Operator { env: &env, router: first.at.clone() };
    operator.create().await;

    let settings = WriterSettings { patience: patience(), ..WriterSettings::default() };
    let mut writer = Writer::open(&env, connect(&env, &first.at), DATABASE, settings);
    assert_eq!(write(&mut writer, 0).await, all_stored(), "by key");
    assert_eq!(numbered(&mut writer), SERIES as usize, "every shard has told");
    assert_eq!(write(&mut writer, 1).await, all_stored(), "by number");
    assert_eq!(operator.count().await, 2 * SERIES as u64);

    push(&mut writer, 2).await;
    let key = SeriesKey::from_tags(&mut [("host", "h3")]).expect("valid");
    let time = Timestamp::new(2 * SERIES + 3).expect("in range");
    let wrong = writer.push("m", &key, time, &[("v", ValueRef::F64(0.5))]).await.expect("the catalogue will refuse it");
    let report = writer.flush().await.expect("its task runs");
    assert_eq!((report.rows, report.unknown.len(), report.refused.len()), (SERIES as u64, 0, 1));
    assert_eq!((&*report.refused[0].rows, report.refused[0].failure.code), (&[wrong][..], Code::TypeConflict));
    assert_eq!(operator.count().await, 3 * SERIES as u64);

    // Numbers are a shard's in one database: those of the new one are others.
    operator.drop_it().await;
    operator.create().await;
    assert_eq!(write(&mut writer, 3).await, all_stored(), "by key once more");
    assert_eq!(numbered(&mut writer), SERIES as usize, "all are told anew");
    assert_eq!(operator.count().await, SERIES as u64);

    // The stream is gone with its router, and the next one is found at the same address.
    let at = first.at.clone();
    first.stop().await;
    let second = router(&env, &nodes, &at).await;
    assert_eq!(write(&mut writer, 4).await, all_stored(), "through the next router");
    assert_eq!(operator.count().await, 2 * SERIES as u64);
    second.stop().await;
    for node in nodes {
        node.stop().await;
    }
}
