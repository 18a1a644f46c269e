//! Peers that belong elsewhere, mean someone else or speak another version: refused before anything else, by every call.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use meridian_env::sim::{SimHost, seed_ambient};
use meridian_env::{ChannelSettings, Rng, channel};
use meridian_proto::v1::peer_client::PeerClient;
use meridian_proto::{failure_of, status_of, v1};
use meridian_types::{Code, Failure, NodeId};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::node::{CLUSTER, Node};

/// Cluster, receiver, version and sender that a peer names.
pub(crate) type Identity<'a> = [(&'static str, &'a str); 4];

pub(crate) const RIGHT: Identity<'static> =
    [("meridian-cluster", CLUSTER), ("meridian-to", "1"), ("meridian-protocol", "4"), ("meridian-from", "2")];

pub(crate) fn request<T>(identity: &Identity<'_>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (key, value) in identity {
        request.metadata_mut().insert(*key, value.parse().expect("ASCII"));
    }
    request
}

/// Whose vote every call carries.
pub(crate) const VOTED: u64 = 12;

/// What each of the service's calls answers, in the order of the service.
async fn ask(client: &mut PeerClient<Channel>, identity: &Identity<'_>, group: v1::GroupRef) -> Vec<Status> {
    let group = Some(group);
    let vote = Some(v1::Vote { term: 1 << 40, replica: VOTED, committed: false });
    let append = v1::AppendRequest { group, vote, ..Default::default() };
    let ballot = v1::VoteRequest { group, vote, ..Default::default() };
    let offer = v1::SnapshotOffer { group, vote, ..Default::default() };
    let part = v1::SnapshotPart { part: Some(v1::snapshot_part::Part::Offer(offer)) };
    let transfer = v1::TransferLeaderRequest { group, from_leader: vote, ..Default::default() };
    let stream = request(identity, futures::stream::iter([append.clone()]));
    let answers = [
        client.append(stream).await.map(drop),
        heartbeat(client, identity, append).await,
        client.vote(request(identity, ballot)).await.map(drop),
        client.pre_vote(request(identity, ballot)).await.map(drop),
        client.transfer_leader(request(identity, transfer)).await.map(drop),
        client.snapshot(request(identity, futures::stream::iter([part]))).await.map(drop),
    ];
    answers.into_iter().map(|answer| answer.expect_err("refused")).collect()
}

/// A heartbeat beside one that the node has no group for: each has its answer.
async fn heartbeat(
    client: &mut PeerClient<Channel>,
    identity: &Identity<'_>,
    append: v1::AppendRequest,
) -> Result<(), Status> {
    use v1::heartbeat_answer::Result as Part;
    let requests = vec![v1::AppendRequest::default(), append];
    let mut replies = client.heartbeats(request(identity, v1::HeartbeatsRequest { requests })).await?.into_inner();
    let mut answers = BTreeMap::new();
    while let Some(reply) = replies.message().await? {
        answers.extend(reply.answers.into_iter().map(|answer| (answer.place, answer.result)));
    }
    let mut refused = |place| match answers.remove(&place).flatten() {
        Some(Part::Refused(error)) => Err(status_of(&Failure::from(error))),
        Some(Part::Reply(_)) => Ok(()),
        None => panic!("no answer at {place}"),
    };
    let other = refused(0).expect_err("it names no group");
    assert_eq!(failure_of(&other, true).message, "the group is missing");
    refused(1)
}

/// What is said of one vote in each of these groups.
async fn confirm(
    client: &mut PeerClient<Channel>,
    identity: &Identity<'_>,
    groups: &[v1::GroupRef],
) -> Result<Vec<bool>, Status> {
    let vote = Some(v1::Vote { term: 1 << 40, replica: VOTED, committed: true });
    let leaderships = groups.iter().map(|group| v1::Leadership { group: Some(*group), vote }).collect();
    let reply = client.confirm(request(identity, v1::ConfirmRequest { leaderships })).await?;
    Ok(reply.into_inner().held)
}

async fn check(client: &mut PeerClient<Channel>) {
    let replica = v1::GroupRef { group: 1, incarnation: 1, from: VOTED, to: 11 };
    let [cluster, to, protocol, from] = RIGHT;
    let cases = [
        (
            [("meridian-cluster", "bad"), to, protocol, from],
            Code::WrongCluster,
            r#"peer belongs to cluster "bad", this node to "c1a5""#,
        ),
        ([cluster, ("meridian-to", "2"), protocol, from], Code::WrongCluster, "peer means n2, this node is n1"),
        (
            [cluster, to, ("meridian-protocol", "1"), from],
            Code::WrongVersion,
            r#"peer speaks protocol version "1", this node speaks 4"#,
        ),
        (
            [cluster, to, ("meridian-other", "1"), from],
            Code::WrongVersion,
            r#"peer speaks protocol version "", this node speaks 4"#,
        ),
        (
            [cluster, to, protocol, ("meridian-from", "1")],
            Code::WrongCluster,
            "peer says that it is n1, which is this node",
        ),
        (
            [cluster, to, protocol, ("meridian-from", "n2")],
            Code::BadRequest,
            r#"peer says that it is node "n2", which is no number"#,
        ),
        (
            [cluster, to, protocol, ("meridian-other", "2")],
            Code::BadRequest,
            r#"peer says that it is node "", which is no number"#,
        ),
    ];
    for (identity, code, message) in cases {
        let confirmed = confirm(client, &identity, &[replica]).await;
        for status in ask(client, &identity, replica).await.into_iter().chain(confirmed.err()) {
            let failure = failure_of(&status, true);
            assert_eq!((failure.code, &*failure.message), (code, message));
        }
    }
    let groups = [
        (v1::GroupRef { group: 9, ..replica }, Code::NoGroup, "n1 has no replica r11 of g9"),
        (v1::GroupRef { to: 12, ..replica }, Code::NoGroup, "n1 has no replica r12 of g1"),
        (v1::GroupRef { incarnation: 2, ..replica }, Code::NoGroup, "n1 has no replica r11 of g1"),
        (v1::GroupRef { from: 11, ..replica }, Code::BadRequest, "r11 of g1 asks itself"),
        (v1::GroupRef { from: 13, ..replica }, Code::BadRequest, "r13 of g1 sends the vote of r12, not its own"),
    ];
    for (group, code, message) in groups {
        for status in ask(client, &RIGHT, group).await {
            let failure = failure_of(&status, true);
            assert_eq!((failure.code, &*failure.message), (code, message));
        }
    }
    let asked = [replica].into_iter().chain(groups.map(|(group, ..)| group)).collect::<Vec<_>>();
    let held = confirm(client, &RIGHT, &asked).await.expect("the rest of those asked for is answered");
    assert_eq!(held, [false; 6], "nobody holds a vote that it did not give");
}

#[test]
fn whoever_does_not_belong_here_is_told_so() {
    seed_ambient(1);
    let world = Rng::from_seed(1);
    let mut sim = turmoil::Builder::new().rng_seed(1).simulation_duration(Duration::from_secs(30)).build();
    let host = SimHost::new("n1", &world);
    sim.host("n1", move || {
        let env = host.env();
        async move {
            let listener = env.net.listen("0.0.0.0:7000").await?;
            let (node, server) = Node::start(NodeId(1), env, Path::new("/data"), listener, &BTreeMap::new()).await?;
            server.await?;
            drop(node);
            Ok(())
        }
    });
    let peer = SimHost::new("peer", &world);
    sim.client("peer", async move {
        let to = channel(peer.env().net, "n1:7000", ChannelSettings::default());
        check(&mut PeerClient::new(to)).await;
        Ok(())
    });
    sim.run().expect("the simulation ends well");
}
