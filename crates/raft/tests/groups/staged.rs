//! Snapshots from a peer that claims to lead: what is wrong with them is refused, what is damaged is sent again, what cannot
//! be taken over takes the replica out of service and not the node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use meridian_env::sim::{Faults, SimDisk, SimHost, seed_ambient};
use meridian_env::{ChannelSettings, Rng, channel};
use meridian_proto::v1::peer_client::PeerClient;
use meridian_proto::v1::snapshot_part::Part;
use meridian_proto::v1::snapshot_reply::Reply;
use meridian_proto::{failure_of, v1};
use meridian_types::{GroupId, NodeId};
use parking_lot::Mutex;
use tonic::transport::Channel;
use xxhash_rust::xxh3::xxh3_128;

use crate::node::Node;
use crate::refused::{RIGHT, VOTED, request};

const TERM: u64 = 7;

/// The mark of an entry of the peer's own, and of the group's membership.
fn mark(index: u64) -> Bytes {
    let mut mark = BytesMut::new();
    for index in [index, 1] {
        mark.put_u8(1);
        [TERM, VOTED, index].into_iter().for_each(|part| mark.put_u64_le(part));
    }
    mark.put_u8(1);
    mark.put_u16_le(2);
    [11, 12].into_iter().for_each(|voter| mark.put_u64_le(voter));
    mark.put_u16_le(2);
    for (replica, node) in [(11, 1), (12, 2)] {
        mark.put_u64_le(replica);
        mark.put_u32_le(node);
    }
    mark.freeze()
}

fn file(name: &str, content: &[u8]) -> v1::SnapshotFile {
    let hash = Bytes::copy_from_slice(&xxh3_128(content).to_be_bytes());
    v1::SnapshotFile { name: name.into(), bytes: content.len() as u64, hash }
}

fn offer(index: u64, files: Vec<v1::SnapshotFile>) -> v1::SnapshotOffer {
    let group = Some(v1::GroupRef { group: 1, incarnation: 1, from: VOTED, to: 11 });
    let vote = Some(v1::Vote { term: TERM, replica: VOTED, committed: true });
    v1::SnapshotOffer { group, vote, applied: mark(index), files }
}

fn data(file: u32, offset: u64, data: &[u8]) -> v1::SnapshotData {
    v1::SnapshotData { file, offset, data: Bytes::copy_from_slice(data) }
}

/// What was answered to an offer and these parts: how much of each file was there, and the vote or why there is none.
async fn send(
    client: &mut PeerClient<Channel>,
    offer: v1::SnapshotOffer,
    parts: Vec<v1::SnapshotData>,
) -> (Vec<u64>, Result<v1::Vote, String>) {
    let parts = std::iter::once(Part::Offer(offer)).chain(parts.into_iter().map(Part::Data));
    let parts: Vec<_> = parts.map(|part| v1::SnapshotPart { part: Some(part) }).collect();
    let text = |status| failure_of(&status, true).message;
    let mut replies = match client.snapshot(request(&RIGHT, futures::stream::iter(parts))).await {
        Ok(replies) => replies.into_inner(),
        Err(status) => return (Vec::new(), Err(text(status))),
    };
    let mut have = Vec::new();
    loop {
        match replies.message().await {
            Ok(reply) => match reply.and_then(|reply| reply.reply).expect("a reply") {
                Reply::Have(there) => have = there.bytes,
                Reply::Busy(_) => {}
                Reply::Installed(vote) => return (have, Ok(vote)),
            },
            Err(status) => return (have, Err(text(status))),
        }
    }
}

const BLOCK: &[u8] = &[7; 3 * 256];

async fn refusals(client: &mut PeerClient<Channel>) {
    let fine = || offer(9, vec![file("block", BLOCK)]);
    let vote = |term, committed| Some(v1::Vote { term, replica: VOTED, committed });
    let changed = |change: fn(&mut v1::SnapshotOffer)| {
        let mut offer = fine();
        change(&mut offer);
        offer
    };
    let cases = [
        (v1::SnapshotOffer { vote: vote(TERM, false), ..fine() }, "its vote is not committed"),
        (v1::SnapshotOffer { vote: vote(u64::MAX, true), ..fine() }, "no election reaches"),
        (v1::SnapshotOffer { vote: vote(TERM - 1, true), ..fine() }, "a later leader than its own"),
        (offer(u64::MAX, Vec::new()), "no entry follows the last index"),
        (offer(0, Vec::new()), "membership is none of its entries"),
        (changed(|offer| offer.applied = Bytes::new()), "the mark is cut short"),
        (changed(|offer| offer.applied = mark(9).slice(..60)), "cut short"),
        (changed(|offer| offer.files[0].name = "../block".into()), "a name that names no file"),
        (changed(|offer| offer.files[0].name = ".hidden".into()), "a name that names no file"),
        (changed(|offer| offer.files[0].name = String::new()), "a name that names no file"),
        (changed(|offer| offer.files[0].name = "x".repeat(201)), "a name that names no file"),
        (changed(|offer| offer.files[0].hash = Bytes::new()), "a file's hash has 16 bytes"),
        (changed(|offer| offer.files[0].bytes = u64::MAX), "too many bytes"),
        (changed(|offer| offer.files.push(offer.files[0].clone())), "two files of a snapshot have one name"),
        (changed(|offer| offer.files = vec![offer.files[0].clone(); 65_537]), "too many files"),
    ];
    for (offer, text) in cases {
        let (have, answer) = send(client, offer, Vec::new()).await;
        assert!(have.is_empty());
        let answer = answer.expect_err(text);
        assert!(answer.contains(text), "{answer}: {text}");
    }
    let parts = [
        (data(0, 1, BLOCK), "file 0 from byte 0 on is awaited, not 0 from 1"),
        (data(1, 0, BLOCK), "file 0 from byte 0 on is awaited, not 1 from 0"),
        (data(0, 0, &[]), "a part of 0 bytes"),
        (data(0, 0, &[7; 769]), "768 are left of the file"),
    ];
    for (part, text) in parts {
        let (have, answer) = send(client, fine(), vec![part]).await;
        assert_eq!(have, [0]);
        let answer = answer.expect_err(text);
        assert!(answer.contains(text), "{answer}: {text}");
    }
}

async fn damage_and_resume(client: &mut PeerClient<Channel>) {
    let fine = || offer(9, vec![file("empty", &[]), file("block", BLOCK)]);
    let (have, answer) = send(client, fine(), vec![data(1, 0, &BLOCK[..300])]).await;
    assert_eq!(have, [0, 0]);
    assert!(answer.expect_err("the rest is missing").contains("end before the snapshot does"));
    let (have, answer) = send(client, fine(), vec![data(1, 300, &[8; 468])]).await;
    assert_eq!(have, [0, 300], "what came before is there");
    assert!(answer.expect_err("it is not what was offered").contains("another hash than was offered"));
    // Staged under another name it is another file, and the first is not wanted any more.
    let (have, _) = send(client, offer(9, vec![file("other", BLOCK)]), vec![data(0, 0, &BLOCK[..10])]).await;
    assert_eq!(have, [0]);
    let (have, answer) = send(client, fine(), Vec::new()).await;
    assert_eq!(have, [0, 0], "nothing of it is kept");
    assert!(answer.is_err());
}

/// A disk without space is waited for: nothing halts, and what had come before gives its space back to the log.
async fn no_space(client: &mut PeerClient<Channel>, disk: &SimDisk) {
    let offer = || offer(9, vec![file("block", BLOCK)]);
    let (have, _) = send(client, offer(), vec![data(0, 0, &BLOCK[..300])]).await;
    assert_eq!(have, [0]);
    disk.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let (have, answer) = send(client, offer(), vec![data(0, 300, &BLOCK[300..])]).await;
    assert_eq!(have, [300]);
    assert!(answer.expect_err("it does not fit").contains("no space is left for the snapshot"));
    disk.set_faults(Faults::default());
    let (have, _) = send(client, offer(), Vec::new()).await;
    assert_eq!(have, [0]);
}

/// The blocks that list values 10 times their places in the log, and the manifest that names them.
fn list_of(last: u64, blocks: &[&[u64]]) -> Vec<(String, Vec<u8>)> {
    let mut manifest: String = mark(last).iter().map(|byte| format!("{byte:02x}")).collect();
    manifest.push('\n');
    let mut files = Vec::new();
    for places in blocks {
        let mut block = Vec::new();
        for index in *places {
            block.extend(index.to_be_bytes());
            block.extend((index * 10).to_be_bytes());
            block.resize(block.len().next_multiple_of(256), 0);
        }
        let name = format!("block-{}-{}", places[0], places[places.len() - 1]);
        manifest += &format!("{name} {} {:032x}\n", block.len(), xxh3_128(&block));
        files.push((name, block));
    }
    files.push(("MANIFEST".to_owned(), manifest.into_bytes()));
    files
}

fn offer_of(last: u64, files: &[(String, Vec<u8>)]) -> v1::SnapshotOffer {
    offer(last, files.iter().map(|(name, content)| file(name, content)).collect())
}

async fn install(client: &mut PeerClient<Channel>) {
    let files = list_of(9, &[&[2, 5, 9]]);
    let parts = || vec![data(0, 0, &files[0].1), data(1, 0, &files[1].1)];
    let (have, answer) = send(client, offer_of(9, &files), parts()).await;
    assert_eq!((have, answer.map(|vote| vote.term)), (vec![0, 0], Ok(TERM)));
    let (have, answer) = send(client, offer_of(9, &files), Vec::new()).await;
    assert_eq!((have, answer.map(|vote| vote.term)), (vec![], Ok(TERM)), "it is there: nothing is to be sent");
    // A later term with an earlier place contradicts what is committed: openraft would panic.
    let mut earlier = offer_of(8, &files);
    let mut bytes = BytesMut::from(&earlier.applied[..]);
    bytes[1..9].copy_from_slice(&(TERM + 1).to_le_bytes());
    earlier.applied = bytes.freeze();
    earlier.vote = Some(v1::Vote { term: TERM + 1, replica: VOTED, committed: true });
    let (_, answer) = send(client, earlier, parts()).await;
    assert!(answer.expect_err("refused").contains("which is committed"));
}

/// What the replica has itself is not sent again, unless it has rotten: then what is sent takes its place.
async fn own_files(client: &mut PeerClient<Channel>, disk: &SimDisk) {
    let files = list_of(12, &[&[2, 5, 9], &[12]]);
    let len = files[0].1.len() as u64;
    let (have, answer) =
        send(client, offer_of(12, &files), vec![data(1, 0, &files[1].1), data(2, 0, &files[2].1)]).await;
    assert_eq!((have, answer.map(|vote| vote.term)), (vec![len, 0, 0], Ok(TERM)));
    let own = disk.files().into_iter().find(|(path, _)| path.ends_with(&files[0].0)).expect("its block").0;
    disk.flip_bit(&own, 1000).expect("there is such a bit");
    let files = list_of(15, &[&[2, 5, 9], &[12], &[15]]);
    let parts = [0, 2, 3].map(|at| data(at as u32, 0, &files[at].1));
    let (have, answer) = send(client, offer_of(15, &files), parts.into()).await;
    assert_eq!((have, answer.map(|vote| vote.term)), (vec![0, 256, 0, 0], Ok(TERM)));
    assert_eq!(disk.mount().read(&own, len).expect("it is there"), files[0].1);
}

async fn damage(client: &mut PeerClient<Channel>) {
    let (_, answer) =
        send(client, offer(20, vec![file("MANIFEST", b"what is this")]), vec![data(0, 0, b"what is this")]).await;
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn a_snapshot_is_installed_only_if_all_of_it_is_right() {
    seed_ambient(1);
    let world = Rng::from_seed(1);
    let mut sim =
        turmoil::Builder::new().rng_seed(1).tcp_capacity(65_536).simulation_duration(Duration::from_secs(60)).build();
    let host = SimHost::new("n1", &world);
    let disk = host.disk().clone();
    let place: Arc<Mutex<Option<Node>>> = Arc::default();
    let running = Arc::clone(&place);
    sim.host("n1", move || {
        let (env, running) = (host.env(), Arc::clone(&running));
        async move {
            let listener = env.net.listen("0.0.0.0:7000").await?;
            let (node, server) = Node::start(NodeId(1), env, Path::new("/data"), listener, &BTreeMap::new()).await?;
            *running.lock() = Some(node);
            server.await?;
            Ok(())
        }
    });
    let peer = SimHost::new("peer", &world);
    sim.client("peer", async move {
        let to = channel(peer.env().net, "n1:7000", ChannelSettings::default());
        let mut client = PeerClient::new(to);
        refusals(&mut client).await;
        damage_and_resume(&mut client).await;
        no_space(&mut client, &disk).await;
        install(&mut client).await;
        let node = place.lock().clone().expect("it runs");
        let list = &node.replicas[&GroupId(1)];
        assert_eq!(node.list(GroupId(1)).iter().map(|(_, value)| *value).collect::<Vec<_>>(), [20, 50, 90]);
        assert_eq!(list.status().snapshot.map(|index| index.0), Some(9));
        own_files(&mut client, &disk).await;
        assert_eq!(list.status().snapshot.map(|index| index.0), Some(15));
        damage(&mut client).await;
        assert_eq!(list.status().role, "damaged");
        assert!(list.flush().await.is_err(), "nothing is written behind it");
        assert_eq!(node.groups.halted().now_or_never(), None, "the node and its other replicas go on");
        assert_ne!(node.replicas[&GroupId(2)].status().role, "damaged");
        Ok(())
    });
    sim.run().expect("the simulation ends well");
}
