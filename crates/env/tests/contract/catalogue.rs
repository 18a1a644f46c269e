//! The contract of `Catalogues` and `Catalogue`.

use std::io::ErrorKind;

use meridian_env::Change;

use crate::World;

crate::on_both!(
    commits_are_read_back,
    scans_are_in_key_order,
    stores_reopen,
    stores_are_apart,
    destroyed_stores_are_empty,
    one_open_at_a_time,
);

fn set(key: &str, value: &[u8]) -> Change {
    (key.into(), Some(value.into()))
}

fn commits_are_read_back(world: &World) {
    let store = world.env.catalogue.open(&world.dir.join("a")).expect("opened");
    assert_eq!(store.get(b"k").expect("read"), None);
    store.commit(vec![set("k", b"1"), set("empty", b""), set("", b"no key")]).expect("committed");
    store.commit(vec![]).expect("nothing is nothing");
    assert_eq!(store.get(b"k").expect("read"), Some(b"1".to_vec()));
    assert_eq!(store.get(b"empty").expect("read"), Some(vec![]));
    assert_eq!(store.get(b"").expect("read"), Some(b"no key".to_vec()));
    store.commit(vec![set("k", b"2"), ("empty".into(), None), ("absent".into(), None)]).expect("committed");
    assert_eq!(store.scan(b"").expect("read"), [(vec![], b"no key".to_vec()), (b"k".to_vec(), b"2".to_vec())]);
    store.commit(vec![set("k", b"3"), ("k".into(), None)]).expect("committed");
    assert_eq!(store.get(b"k").expect("read"), None, "the last change of a key counts");
}

fn scans_are_in_key_order(world: &World) {
    let store = world.env.catalogue.open(&world.dir.join("a")).expect("opened");
    store.commit(["b/2", "a", "b", "b/1", "c", "b0"].iter().map(|key| set(key, b"v")).collect()).expect("committed");
    store.commit(vec![(vec![0xff], Some(vec![1])), (vec![0xff, 0xff], Some(vec![2]))]).expect("committed");
    let keys = |prefix: &[u8]| store.scan(prefix).expect("read").into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(b"b/"), [b"b/1", b"b/2"]);
    assert_eq!(keys(b"b"), [&b"b"[..], b"b/1", b"b/2", b"b0"]);
    assert_eq!(keys(&[0xff]), [vec![0xff], vec![0xff, 0xff]]);
    assert!(keys(b"d").is_empty());
    assert_eq!(keys(b"").len(), 8);
}

/// Values of up to 1 MiB: those that a store keeps apart from its log come back too.
fn stores_reopen(world: &World) {
    let dir = world.dir.join("deep/a");
    for round in 0..4_u8 {
        let store = world.env.catalogue.open(&dir).expect("opened");
        for earlier in 0..round {
            let size = 1 << (8 + 4 * earlier);
            assert_eq!(store.get(&[earlier]).expect("read"), Some(vec![earlier; size]), "round {round}");
        }
        store.commit(vec![(vec![round], Some(vec![round; 1 << (8 + 4 * round)]))]).expect("committed");
    }
}

fn stores_are_apart(world: &World) {
    let a = world.env.catalogue.open(&world.dir.join("a")).expect("opened");
    let b = world.env.catalogue.open(&world.dir.join("b")).expect("opened");
    a.commit(vec![set("k", b"a")]).expect("committed");
    assert_eq!(b.get(b"k").expect("read"), None);
    b.commit(vec![set("k", b"b")]).expect("committed");
    assert_eq!(a.get(b"k").expect("read"), Some(b"a".to_vec()));
}

fn destroyed_stores_are_empty(world: &World) {
    let (catalogues, dir) = (&world.env.catalogue, world.dir.join("a"));
    catalogues.destroy(&dir).expect("what is not there is destroyed");
    let store = catalogues.open(&dir).expect("opened");
    store.commit(vec![set("k", b"v")]).expect("committed");
    assert_eq!(catalogues.destroy(&dir).expect_err("it is open").kind(), ErrorKind::ResourceBusy);
    drop(store);
    catalogues.destroy(&dir).expect("destroyed");
    assert_eq!(catalogues.open(&dir).expect("opened").scan(b"").expect("read"), []);
}

fn one_open_at_a_time(world: &World) {
    let (catalogues, dir) = (&world.env.catalogue, world.dir.join("a"));
    let store = catalogues.open(&dir).expect("opened");
    assert_eq!(catalogues.open(&dir).expect_err("it is open").kind(), ErrorKind::ResourceBusy);
    store.commit(vec![set("k", b"v")]).expect("the first is unharmed");
    drop(store);
    catalogues.open(&dir).expect("opened");
}

/// Whatever becomes of its files, a store opens or fails, and after `destroy` it opens.
#[test]
fn a_damaged_real_store_fails_or_opens_but_never_panics() {
    let world = crate::real();
    let (catalogues, dir) = (&world.env.catalogue, world.dir.join("a"));
    let mut refused = 0;
    for step in 0..24_usize {
        let store = catalogues.open(&dir).expect("opened");
        for n in 0..50_u8 {
            store.commit(vec![(vec![n], Some(vec![n; 100]))]).expect("committed");
        }
        drop(store);
        let name = ["db", "db", "conf"][step % 3];
        let file = world.env.disk.open(&dir.join(name), meridian_env::Open::Write).expect("opened");
        let len = file.len().expect("known");
        file.write_at(&vec![0xa5; 40 * step], (step as u64 * 977) % len.min(6_000)).expect("damaged");
        refused += usize::from(catalogues.open(&dir).is_err());
        catalogues.destroy(&dir).expect("destroyed");
    }
    assert!(refused > 0, "no damage was seen");
}

#[test]
fn an_open_that_did_not_end_is_damage() {
    let world = crate::real();
    let (catalogues, dir) = (&world.env.catalogue, world.dir.join("a"));
    drop(catalogues.open(&dir).expect("opened"));
    world.env.disk.open(&dir.join("opening"), meridian_env::Open::Create).expect("as a panic in a release leaves it");
    let error = catalogues.open(&dir).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("destroy it"), "{error}");
    catalogues.destroy(&dir).expect("destroyed");
    catalogues.open(&dir).expect("opened");
}

#[test]
fn simulated_stores_survive_crashes_and_show_damage() {
    for seed in 0..20 {
        let host = meridian_env::sim::SimHost::new("n1", &meridian_env::Rng::from_seed(seed));
        let (dir, old) = (std::path::Path::new("/a"), host.env_inline());
        let store = old.catalogue.open(dir).expect("opened");
        store.commit(vec![set("k", b"1")]).expect("committed");
        host.catalogues().fail_next_commit();
        store.commit(vec![set("k", b"2"), set("l", b"2")]).expect_err("it fails");
        host.crash();
        assert!(store.get(b"k").is_err() && old.catalogue.open(dir).is_err(), "the old process is gone");
        let new = host.env_inline();
        let found = new.catalogue.open(dir).expect("opened").scan(b"").expect("read");
        assert!(
            found == [("k".into(), b"1".into())] || found.len() == 2 && found.iter().all(|(_, v)| v == b"2"),
            "{found:?}"
        );
        drop(store);
        host.catalogues().damage(dir);
        assert_eq!(new.catalogue.open(dir).expect_err("damaged").kind(), ErrorKind::InvalidData);
        new.catalogue.destroy(dir).expect("destroyed");
        assert_eq!(new.catalogue.open(dir).expect("opened").scan(b"").expect("read"), []);
    }
}
