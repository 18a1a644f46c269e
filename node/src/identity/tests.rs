//! A directory says whose it is, or why it is nobody's.

use meridian_env::Rng;
use meridian_env::sim::SimHost;

use super::*;

fn host() -> SimHost {
    SimHost::new("n1", &Rng::from_seed(1))
}

fn open(env: &Env, region: &str) -> Result<Home, HomeError> {
    Home::read(env.clone(), "/data".into(), region.into())
}

fn says(result: Result<Home, HomeError>) -> (Code, String) {
    let failure = Failure::from(result.expect_err("it is refused"));
    (failure.code, failure.message)
}

async fn settled(env: &Env) -> Identity {
    let mut home = open(env, "a").expect("it opens");
    let founding = Some(Founding { nodes: 3, shards: 8, replication: 3 });
    let at = |id: u32| v1::Node { id, region: "a".into(), data_address: format!("n{id}:1"), ..v1::Node::default() };
    home.settle(("5f".repeat(16), NodeId(1), "a".into()), founding, vec![at(1), at(2)]).await.expect("written")
}

#[tokio::test]
async fn a_directory_keeps_what_it_drew_and_who_it_is() {
    let env = host().env_inline();
    let nonce = open(&env, "a").expect("an empty directory").nonce;
    let again = open(&env, "a").expect("not a node's yet");
    assert!(again.identity.is_none() && again.nonce == nonce, "drawn once");
    drop(again);
    let identity = settled(&env).await;
    let mut home = open(&env, "a").expect("a node's");
    assert_eq!((home.identity.as_ref(), home.nonce, home.nodes.len()), (Some(&identity), nonce, 2));
    home.founded().await.expect("written");
    drop(home);
    let home = open(&env, "a").expect("a node's");
    assert_eq!(home.identity.map(|i| (i.node(), i.founding)), Some((NodeId(1), None)));
}

#[tokio::test]
async fn a_directory_that_is_used_elsewhere_or_moved_is_refused() {
    let env = host().env_inline();
    settled(&env).await;
    let home = open(&env, "a").expect("it opens");
    assert_eq!(says(open(&env, "a")).0, Code::InUse);
    drop(home);
    let (code, message) = says(open(&env, "b"));
    assert_eq!(code, Code::WrongCluster);
    assert!(message.starts_with("/data belongs to n1 in region \"a\", not \"b\""), "{message}");
}

#[tokio::test]
async fn an_identity_without_its_log_is_a_lost_disk() {
    let env = host().env_inline();
    settled(&env).await;
    assert!(open(&env, "a").is_ok(), "it has not begun to keep anything");
    env.disk.create_dir(Path::new("/data/registry")).expect("made");
    let (code, message) = says(open(&env, "a"));
    assert_eq!(code, Code::LostDisk);
    assert!(message.starts_with("/data belongs to n1, but its log is gone"), "{message}");
    env.disk.create_dir(Path::new("/data/log")).expect("made");
    assert_eq!(says(open(&env, "a")).0, Code::LostDisk, "an empty log is none");
    env.disk.open(Path::new("/data/log/1"), meridian_env::Open::Create).expect("made");
    assert!(open(&env, "a").is_ok());
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_a_list_of_nodes_is_not_needed() {
    let env = host().env_inline();
    settled(&env).await;
    let write = |name: &str, text: &str| env.disk.replace(&Path::new("/data").join(name), text.as_bytes()).expect(name);
    write(NODES, "version = 2\nnode = 7");
    assert!(open(&env, "a").expect("the catalogue has it, too").nodes.is_empty());
    write(IDENTITY, "version = 1\ncluster = \"5f\"\nnode = 1\ncreated = \"then\"\n");
    let (code, message) = says(open(&env, "a"));
    assert_eq!(code, Code::WrongVersion);
    assert!(message.contains("identity.toml has format version 1, this binary reads version 2"), "{message}");
    write(IDENTITY, "version = 2\nnode = 1\n");
    let (code, message) = says(open(&env, "a"));
    assert_eq!(code, Code::Internal);
    assert!(message.contains("identity.toml is damaged"), "{message}");
}
