//! The catalogue as it changes: whole at first, then the sections that differ, and at least once a second the version alone,
//! so that a watcher knows that the silence is not a dead connection.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_env::deadline;
use meridian_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use super::{Node, convert};

const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// What a watcher has been sent.
#[derive(Default)]
struct Sent {
    begun: bool,
    nodes: v1::NodeList,
    databases: v1::DatabaseList,
    shards: v1::ShardList,
    epochs: v1::EpochList,
    fields: u64,
}

pub(super) fn serve(node: Node) -> BoxStream<'static, Result<v1::CatalogueUpdate, Status>> {
    let versions = node.meta.machine().read().versions();
    let state = (node, versions, Sent::default());
    futures::stream::unfold(state, |(node, mut versions, mut sent)| async move {
        if sent.begun {
            wait(&node, &mut versions).await;
        }
        versions.mark_unchanged();
        let update = update(&node, &mut sent);
        Some((Ok(update), (node, versions, sent)))
    })
    .boxed()
}

async fn wait(node: &Node, versions: &mut watch::Receiver<u64>) {
    let clock = &*node.env.clock;
    // Neither a new version nor the time is missed: whatever comes first, the update says what is.
    drop(deadline(clock, clock.now() + REPEAT_EVERY, versions.changed()).await);
}

fn update(node: &Node, sent: &mut Sent) -> v1::CatalogueUpdate {
    let machine = node.meta.machine().read();
    let catalogue = machine.catalogue();
    let (fields, cursor) = catalogue.fields_since(sent.fields);
    let fields = v1::FieldList { replace: !sent.begun, fields: fields.iter().map(convert::field).collect() };
    let update = v1::CatalogueUpdate {
        version: catalogue.version(),
        cluster: node.cluster.to_string(),
        nodes: changed(&mut sent.nodes, convert::nodes(catalogue)),
        databases: changed(&mut sent.databases, convert::databases(catalogue)),
        shards: changed(&mut sent.shards, convert::shards(catalogue)),
        epochs: changed(&mut sent.epochs, convert::epochs(catalogue)),
        fields: (fields.replace || !fields.fields.is_empty()).then_some(fields),
    };
    sent.fields = cursor;
    sent.begun = true;
    update
}

fn changed<T: PartialEq + Clone>(sent: &mut T, now: T) -> Option<T> {
    (*sent != now).then(|| {
        *sent = now.clone();
        now
    })
}
