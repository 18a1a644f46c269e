//! The catalogue as it changes: whole at first, then the sections that differ, and at least once a second the version alone,
//! so that a watcher knows that the silence is not a dead connection.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use meridian_env::deadline;
use meridian_meta::{Catalogue, FieldRecord};
use meridian_proto::v1;
use tokio::sync::watch;
use tonic::Status;

use super::{Node, convert};

const REPEAT_EVERY: Duration = Duration::from_secs(1);

/// Bytes of field entries after which an update is cut: a message has a limit, the fields of a cluster have none.
const FIELDS_BYTES_MAX: usize = 1 << 20;

/// What a watcher has been sent.
#[derive(Default)]
struct Sent {
    begun: bool,
    /// Fields are still to be sent of the version under way.
    more: bool,
    nodes: v1::NodeList,
    databases: v1::DatabaseList,
    shards: v1::ShardList,
    epochs: v1::EpochList,
    fields: u64,
}

pub(super) fn serve(node: Node) -> BoxStream<'static, Result<v1::CatalogueUpdate, Status>> {
    let (catalogues, closed) = (node.catalogues(), node.closed());
    let state = (node, catalogues, Sent::default());
    futures::stream::unfold(state, |(node, mut catalogues, mut sent)| async move {
        if sent.begun && !sent.more {
            wait(&node, &mut catalogues).await;
        }
        let catalogue = Arc::clone(&catalogues.borrow_and_update());
        let update = update(&node, &catalogue, &mut sent);
        Some((Ok(update), (node, catalogues, sent)))
    })
    .take_until(closed)
    .boxed()
}

async fn wait(node: &Node, catalogues: &mut watch::Receiver<Arc<Catalogue>>) {
    let clock = &*node.env.clock;
    // Neither a new version nor the time is missed: whatever comes first, the update says what is.
    drop(deadline(clock, clock.now() + REPEAT_EVERY, catalogues.changed()).await);
}

/// The next update. While fields are left over it has version 0, so that nobody takes half a catalogue for a whole one.
fn update(node: &Node, catalogue: &Catalogue, sent: &mut Sent) -> v1::CatalogueUpdate {
    let (records, _) = catalogue.fields_since(sent.fields);
    let mut bytes = 0;
    let fits = |record: &&FieldRecord| {
        let first = bytes == 0;
        bytes += record.measurement.len() + record.field.len() + 16;
        first || bytes <= FIELDS_BYTES_MAX
    };
    let taken = records.iter().take_while(fits).count();
    sent.more = taken < records.len();
    if let Some(last) = records[..taken].last() {
        sent.fields = last.seq + 1;
    }
    let fields = v1::FieldList { replace: !sent.begun, fields: records[..taken].iter().map(convert::field).collect() };
    sent.begun = true;
    v1::CatalogueUpdate {
        version: if sent.more { 0 } else { catalogue.version() },
        cluster: node.cluster.to_string(),
        nodes: changed(&mut sent.nodes, v1::NodeList { nodes: convert::nodes(catalogue) }),
        databases: changed(&mut sent.databases, convert::databases(catalogue)),
        shards: changed(&mut sent.shards, convert::shards(catalogue)),
        epochs: changed(&mut sent.epochs, convert::epochs(catalogue)),
        fields: (fields.replace || !fields.fields.is_empty()).then_some(fields),
    }
}

fn changed<T: PartialEq + Clone>(sent: &mut T, now: T) -> Option<T> {
    (*sent != now).then(|| {
        *sent = now.clone();
        now
    })
}
