//! The catalogue over crashes, lost registries and damaged files.

use std::path::Path;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_env::Rng;
use meridian_env::sim::{Faults, SimHost};
use meridian_meta::ClusterId;
use meridian_raft::Header;
use meridian_types::{DatabaseId, LogIndex, RequestId, SessionId, Stamp, Timestamp};
use proptest::prelude::*;

use super::*;

const DIR: &str = "/data/registry";
const FILE: &str = "/data/catalogue.snapshot";

fn host() -> SimHost {
    let host = SimHost::new("n1", &Rng::from_seed(1));
    host.env_inline().disk.create_dir(Path::new(DIR)).expect("a directory");
    host
}

fn open(host: &SimHost) -> Meta {
    Meta::open(&host.env_inline(), Path::new(DIR)).expect("it opens")
}

/// A mark as raft makes them: the entry at `index`, no membership.
fn mark(index: u64) -> Applied {
    let mut bytes = BytesMut::new();
    bytes.put_u8(1);
    [1, 2, index].into_iter().for_each(|part| bytes.put_u64_le(part));
    bytes.put_bytes(0, 25 + 3);
    Applied(bytes.freeze())
}

fn form() -> Command {
    Command::Init { cluster: ClusterId(7), nodes: 3, shards: 2, replication: 3 }
}

/// One more node.
fn moved(port: u64) -> Command {
    let at = |n: u8| format!("n{port}:{n}");
    Command::Join { nonce: port, region: "r1".into(), addr_data: at(1), addr_raft: at(2), addr_http: at(3) }
}

fn apply(meta: &mut Meta, index: u64, command: Option<&Command>) {
    let session = SessionId { birth: Timestamp::default(), nonce: 1 };
    let header = Header {
        kind: KIND_COMMAND,
        map_version: 0,
        stamp: Stamp(0),
        request: RequestId { session, seq: index },
        pending_from: 0,
        database: DatabaseId(0),
    };
    let entry = |command: &Command| Entry { index: LogIndex(index), header, payload: Bytes::from(command.encode()) };
    let run: Vec<Entry> = command.into_iter().map(entry).collect();
    let mut answered = Vec::new();
    meta.apply(&run, &mark(index), &mut |place, _| answered.push(place)).expect("no halt");
    assert!(answered.into_iter().eq(0..run.len()));
}

/// Whether there was something to write.
fn flush(meta: &mut Meta) -> bool {
    let Some(job) = meta.freeze() else { return false };
    let done = job().expect("the disk is fine");
    meta.install(done);
    true
}

fn filed(meta: &Meta) -> Option<u64> {
    meta.view().and_then(|view| view.applied.index()).map(|index| index.0)
}

fn received(at: &str, index: u64) -> Received {
    Received { applied: mark(index), dir: "/data".into(), files: vec![(file::NAME.into(), at.into())] }
}

#[test]
fn the_file_is_written_when_it_is_worth_it() {
    let host = host();
    let mut meta = open(&host);
    assert!(!flush(&mut meta), "nothing is applied");
    apply(&mut meta, 1, Some(&form()));
    assert!(flush(&mut meta));
    assert_eq!(filed(&meta), Some(1));
    apply(&mut meta, 2, None);
    assert!(!flush(&mut meta), "the catalogue is the same");
    apply(&mut meta, 3, Some(&moved(9)));
    assert!(flush(&mut meta), "it changed");
    apply(&mut meta, 1_002, None);
    assert!(!flush(&mut meta));
    apply(&mut meta, 1_003, None);
    assert!(flush(&mut meta), "the log wants to go");
    assert_eq!(filed(&meta), Some(1_003));
}

#[test]
fn a_registry_that_is_gone_or_behind_is_rebuilt_from_the_file() {
    let host = host();
    let mut meta = open(&host);
    apply(&mut meta, 1, Some(&form()));
    assert!(flush(&mut meta));
    apply(&mut meta, 2, Some(&moved(9)));
    let (newest, content) = (meta.catalogue.encode(), host.env_inline());
    drop(meta);
    host.catalogues().damage(Path::new(DIR));
    let mut meta = open(&host);
    assert_eq!((meta.applied(), filed(&meta)), (Some(mark(1)), Some(1)), "the log goes on from the file");
    apply(&mut meta, 2, Some(&moved(9)));
    assert_eq!(meta.catalogue.encode(), newest);
    assert!(flush(&mut meta));
    drop(meta);

    // As a crash in the middle of an adoption leaves it: the file is newer than the registry.
    let store = content.catalogue.open(Path::new(DIR)).expect("a store");
    store.commit(vec![(KEY_APPLIED.to_vec(), Some(mark(1).0.to_vec()))]).expect("a commit");
    drop(store);
    let meta = open(&host);
    assert_eq!((meta.applied(), meta.catalogue.encode()), (Some(mark(2)), newest));
    drop(meta);
    assert_eq!(open(&host).applied(), Some(mark(2)), "the rebuilt registry stays");
}

#[test]
fn a_damaged_file_is_noticed_and_written_anew() {
    let host = host();
    let mut meta = open(&host);
    apply(&mut meta, 1, Some(&form()));
    assert!(flush(&mut meta));
    drop(meta);
    host.disk().flip_bit(Path::new(FILE), 8 * 200).expect("there is such a bit");
    let mut meta = open(&host);
    assert_eq!((meta.applied(), filed(&meta)), (Some(mark(1)), None), "the registry is fine");
    assert!(flush(&mut meta));
    assert_eq!(filed(&meta), Some(1));
}

#[test]
fn a_file_for_which_there_is_no_space_leaves_no_trace() {
    let host = host();
    let mut meta = open(&host);
    apply(&mut meta, 1, Some(&form()));
    host.disk().set_faults(Faults { capacity_bytes: Some(100), ..Faults::default() });
    let job = meta.freeze().expect("it is worth writing");
    assert!(matches!(job(), Err(JobError::Full(_))));
    let left = host.env_inline().disk.list(Path::new("/data")).expect("a directory");
    assert!(left.iter().all(|name| name == "registry"), "{left:?}");
    host.disk().set_faults(Faults::default());
    assert!(flush(&mut meta), "it is handed out again");
}

#[test]
fn a_snapshot_takes_the_place_of_everything() {
    let (leader, follower) = (host(), host());
    let mut meta = open(&leader);
    apply(&mut meta, 1, Some(&form()));
    apply(&mut meta, 2, Some(&moved(9)));
    assert!(flush(&mut meta));
    let view = meta.view().expect("it was flushed");
    let mut bytes = vec![0; view.files[0].bytes as usize];
    let meridian_raft::Content::File(content) = &view.files[0].content else { panic!("it is in a file") };
    content.read_exact_at(&mut bytes, 0).expect("pinned");
    assert_eq!(view.files[0].hash, xxhash_rust::xxh3::xxh3_128(&bytes));

    let disk = follower.env_inline().disk;
    let stage = |bytes: &[u8]| disk.replace(Path::new("/data/came"), bytes).expect("staged");
    let mut behind = open(&follower);
    let mut news = behind.published();
    let damaged = |meta: &mut Meta, received| matches!(meta.adopt(received)(), Err(JobError::Damaged(_)));
    stage(&bytes[..bytes.len() - 1]);
    assert!(damaged(&mut behind, received("/data/came", 2)), "cut short");
    stage(&bytes);
    assert!(damaged(&mut behind, received("/data/came", 3)), "another place in the log");
    assert!(damaged(&mut behind, received("/data/nothing", 2)), "not there");
    assert_eq!((behind.applied(), filed(&behind)), (None, None));

    let done = behind.adopt(received("/data/came", 2))().expect("it fits");
    behind.install(done);
    assert_eq!((behind.applied(), filed(&behind)), (Some(mark(2)), Some(2)));
    assert_eq!(behind.catalogue.encode(), meta.catalogue.encode());
    assert!(news.has_changed().expect("it lives"), "routers hear of it");
    assert_eq!(news.borrow_and_update().version(), meta.catalogue.version());
    drop(behind);
    let reopened = open(&follower);
    assert_eq!((reopened.applied(), reopened.catalogue.encode()), (Some(mark(2)), meta.catalogue.encode()));
}

fn example() -> Vec<u8> {
    let mut catalogue = Catalogue::default();
    catalogue.apply(&form());
    file::encode(&mark(5), &catalogue)
}

/// Head and mark byte by byte; for the sections, which are pinned where they are made, size and hash stand.
#[test]
fn the_format_is_as_documented() {
    let bytes = example();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!(
        "head {}\nmark {}\nbytes {} hash {:032x}\n",
        hex(&bytes[..20]),
        hex(&bytes[20..20 + 4 + 53]),
        bytes.len(),
        xxhash_rust::xxh3::xxh3_128(&bytes)
    );
    assert_eq!(text, include_str!("../../testdata/catalogue_v1.txt"), "the format changed: raise its version");
    let (applied, catalogue) = file::decode(&bytes).expect("it is one");
    assert_eq!(file::encode(&applied, &catalogue), bytes);
}

#[test]
fn another_version_and_another_file_are_told_apart() {
    let mut bytes = example();
    bytes[4] = 2;
    assert!(matches!(file::decode(&bytes), Err(file::FileError::Version(2))));
    bytes[0] = b'x';
    assert!(matches!(file::decode(&bytes), Err(file::FileError::Magic)));
    assert!(file::decode(&[]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_detected(at: prop::sample::Index, bit in 0..8_u8, cut: prop::sample::Index) {
        let mut bytes = example();
        prop_assert!(file::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(file::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_give_a_catalogue_or_a_refusal(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = b"MCAT\x01\0\0\0".to_vec();
        bytes.put_u64_le(body.len() as u64);
        bytes.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(&bytes), &body));
        bytes.extend(body);
        if let Ok((applied, catalogue)) = file::decode(&bytes) {
            prop_assert_eq!(file::decode(&file::encode(&applied, &catalogue)).expect("it is one").0, applied);
        }
    }
}
