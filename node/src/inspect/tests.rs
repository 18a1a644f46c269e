//! Directories of nodes, whole, damaged, in use, and of nobody.

use meridian_env::{Open, real};

use super::*;

const TEXT: &str = "version = 1\ncluster = \"0f\"\nnode = 2\ncreated = \"2026-01-01T00:00:00Z\"\n";

struct Fixture {
    env: Env,
    root: tempfile::TempDir,
    dir: PathBuf,
}

impl Fixture {
    fn new(identity: &str) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("n2");
        let fixture = Self { env: real::env().expect("the real world"), root, dir };
        fixture.put("identity.toml", identity.as_bytes());
        fixture.put("log/1.seg", &[0; 100]);
        fixture.put("log/2.seg", &[0; 50]);
        fixture.put("shards/1/MANIFEST", b"12345");
        fixture.put("shards/2/blocks/a", b"1234567");
        fixture.put("shards/2/blocks/b", b"12");
        fixture
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.dir.join(path);
        self.env.disk.create_dir(path.parent().expect("a parent")).expect("made");
        self.env.disk.open(&path, Open::Create).and_then(|file| file.write_at(bytes, 0)).expect("written");
    }

    fn inspect(&self, force: bool) -> Result<Report, InspectError> {
        inspect(&self.env, &self.dir, &self.root.path().join("scratch"), force)
    }
}

#[test]
fn what_lies_there_is_counted_and_nothing_is_written() {
    let fixture = Fixture::new(TEXT);
    let report = fixture.inspect(false).expect("it can be inspected");
    let Part::Read(identity) = &report.identity else { panic!("{report:?}") };
    assert_eq!((&*identity["node"], &*identity["cluster"]), ("2", "0f"));
    let Part::Read(usage) = &report.usage else { panic!("{report:?}") };
    let usage: Vec<_> = usage.iter().map(|u| (&*u.path, u.files, u.bytes)).collect();
    let own = TEXT.len() as u64;
    let expected =
        [("identity.toml", 1, own), ("log", 2, 150), ("shards/1", 1, 5), ("shards/2", 2, 9), (".", 6, own + 164)];
    assert_eq!(usage, expected);
    assert!(matches!(&report.catalogue, Part::Unreadable(why) if !why.is_empty()), "there is no registry: {report:?}");
    assert_eq!(fixture.env.disk.list(&fixture.dir).expect("listed"), ["identity.toml", "log", "shards"]);
    assert_eq!(fixture.env.disk.list(fixture.root.path()).expect("listed"), ["n2"], "the copy is gone");
}

#[test]
fn a_damaged_part_hides_no_other() {
    let report = Fixture::new("not = [toml").inspect(false).expect("it can be inspected");
    assert!(matches!(report.identity, Part::Unreadable(_)));
    assert!(matches!(report.usage, Part::Read(_)));
}

#[test]
fn a_directory_in_use_is_left_alone_unless_forced() {
    let fixture = Fixture::new(TEXT);
    let held = fixture.env.disk.lock(&fixture.dir.join("LOCK")).expect("free");
    assert!(matches!(fixture.inspect(false), Err(InspectError::InUse { .. })));
    assert!(fixture.inspect(true).is_ok());
    drop(held);
    assert!(fixture.inspect(false).is_ok());
}

#[test]
fn what_is_no_node_is_told_with_the_nodes_in_it() {
    let fixture = Fixture::new(TEXT);
    let look = |dir: &Path| inspect(&fixture.env, dir, &fixture.root.path().join("scratch"), false);
    let text = look(fixture.root.path()).expect_err("no node").to_string();
    assert!(text.ends_with("it has no identity.toml; there are nodes in it: n2"), "{text}");
    assert!(matches!(look(&fixture.dir.join("log")), Err(InspectError::NoNode { nodes, .. }) if nodes.is_empty()));
    assert!(matches!(look(Path::new("absent")), Err(InspectError::Io { .. })));
}

#[test]
fn a_registry_is_read_and_stays_as_it_is() {
    let fixture = Fixture::new(TEXT);
    let registry = fixture.dir.join("registry");
    drop(crate::meta::Meta::open(&fixture.env, &registry).expect("a new registry"));
    let before = fixture.env.disk.list(&registry).expect("listed");
    let report = fixture.inspect(false).expect("it can be inspected");
    let Part::Read(catalogue) = &report.catalogue else { panic!("{report:?}") };
    assert_eq!((catalogue.version, &catalogue.cluster), (0, &None));
    assert_eq!(fixture.env.disk.list(&registry).expect("listed"), before);
    assert_eq!(fixture.env.disk.list(fixture.root.path()).expect("listed"), ["n2"], "the copy is gone");
}
