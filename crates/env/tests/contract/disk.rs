//! The contract of `Disk`, `File` and `Lock`.

use std::io::ErrorKind;
use std::path::Path;

use meridian_env::{File, Open};

use crate::World;

crate::on_both!(
    names_are_taken_once,
    reads_see_writes_and_holes,
    the_end_of_a_file,
    renames_replace,
    removed_files_live_on_for_their_handles,
    lists_are_sorted,
    directories_come_with_their_parents,
    zeros_are_reserved,
    locks_exclude,
    read_and_replace_whole_files,
);

fn put(world: &World, name: &str, bytes: &[u8]) -> Box<dyn File> {
    let file = world.env.disk.open(&world.dir.join(name), Open::Create).expect("created");
    file.write_at(bytes, 0).expect("written");
    file
}

fn kind<T: std::fmt::Debug>(result: std::io::Result<T>) -> ErrorKind {
    result.expect_err("refused").kind()
}

fn names_are_taken_once(world: &World) {
    let (disk, a) = (&world.env.disk, world.dir.join("a"));
    assert_eq!(kind(disk.open(&a, Open::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&a, Open::Write)), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove(&a)), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename(&a, &world.dir.join("b"))), ErrorKind::NotFound);
    put(world, "a", b"x");
    assert_eq!(kind(disk.open(&a, Open::Create)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open(&world.dir.join("no/a"), Open::Create)), ErrorKind::NotFound);
    let message = disk.open(&world.dir.join("gone"), Open::Read).expect_err("refused").to_string();
    assert!(message.contains("gone"), "the path is named: {message}");
    let reader = disk.open(&a, Open::Read).expect("opened");
    assert!(reader.write_at(b"y", 0).is_err(), "open to read");
    assert_eq!(disk.read(&a, 1).expect("read"), b"x");
}

fn reads_see_writes_and_holes(world: &World) {
    let file = put(world, "a", b"hello");
    file.write_at(b"J", 0).expect("written");
    file.write_at(b"far", 2_000).expect("written");
    file.sync_data().expect("synced");
    file.write_at(b"F", 2_000).expect("written");
    file.write_at(b"", 9_000).expect("nothing is nothing");
    assert_eq!(file.len().expect("known"), 2_003);
    let mut bytes = vec![9; 2_003];
    file.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!((&bytes[..5], &bytes[2_000..]), (&b"Jello"[..], &b"Far"[..]));
    assert!(bytes[5..2_000].iter().all(|b| *b == 0), "a hole is zeros");
    let other = world.env.disk.open(&world.dir.join("a"), Open::Write).expect("opened");
    other.write_at(b"B", 0).expect("written");
    file.read_exact_at(&mut bytes[..5], 0).expect("read");
    assert_eq!(&bytes[..5], b"Bello", "every handle sees every write");
}

fn the_end_of_a_file(world: &World) {
    let file = put(world, "a", b"12345");
    let mut buffer = [0; 4];
    assert_eq!(file.read_at(&mut buffer, 3).expect("read"), 2);
    assert_eq!(&buffer[..2], b"45");
    assert_eq!(file.read_at(&mut buffer, 5).expect("read"), 0);
    assert_eq!(file.read_at(&mut buffer, 5_000).expect("read"), 0);
    assert_eq!(kind(file.read_exact_at(&mut buffer, 3)), ErrorKind::UnexpectedEof);
}

fn renames_replace(world: &World) {
    let (disk, a, b) = (&world.env.disk, world.dir.join("a"), world.dir.join("b"));
    put(world, "a", b"new").sync_data().expect("synced");
    let old = put(world, "b", b"old");
    disk.rename(&a, &b).expect("renamed");
    disk.sync_dir(&world.dir).expect("synced");
    assert_eq!(disk.list(&world.dir).expect("listed"), ["b"]);
    assert_eq!(disk.read(&b, 3).expect("read"), b"new");
    let mut bytes = [0; 3];
    old.read_exact_at(&mut bytes, 0).expect("read");
    assert_eq!(&bytes, b"old", "who has it open keeps the old file");
    disk.rename(&b, &b).expect("to itself is nothing");
    disk.create_dir(&world.dir.join("sub")).expect("made");
    disk.rename(&b, &world.dir.join("sub/c")).expect("to another directory");
    assert_eq!(disk.list(&world.dir).expect("listed"), ["sub"]);
    assert_eq!(disk.list(&world.dir.join("sub")).expect("listed"), ["c"]);
    assert_eq!(kind(disk.rename(&world.dir.join("sub/c"), &world.dir.join("no/c"))), ErrorKind::NotFound);
}

fn removed_files_live_on_for_their_handles(world: &World) {
    let file = put(world, "a", b"x");
    world.env.disk.remove(&world.dir.join("a")).expect("removed");
    assert_eq!(kind(world.env.disk.read(&world.dir.join("a"), 1)), ErrorKind::NotFound);
    file.write_at(b"yz", 0).expect("written");
    assert_eq!(file.len().expect("known"), 2);
}

fn lists_are_sorted(world: &World) {
    assert!(world.env.disk.list(&world.dir).expect("listed").is_empty());
    for name in ["b", "a", "c.tmp", "B", "a-"] {
        put(world, name, b"");
    }
    world.env.disk.create_dir(&world.dir.join("a1/deep")).expect("made");
    assert_eq!(world.env.disk.list(&world.dir).expect("listed"), ["B", "a", "a-", "a1", "b", "c.tmp"]);
    assert_eq!(kind(world.env.disk.list(&world.dir.join("none"))), ErrorKind::NotFound);
    assert_eq!(kind(world.env.disk.list(&world.dir.join("a"))), ErrorKind::NotADirectory);
}

fn directories_come_with_their_parents(world: &World) {
    let (disk, deep) = (&world.env.disk, world.dir.join("x/y/z"));
    disk.create_dir(&deep).expect("made");
    disk.create_dir(&deep).expect("it exists, which is fine");
    disk.sync_dir(&deep).expect("synced");
    assert_eq!(disk.list(&world.dir.join("x")).expect("listed"), ["y"]);
    assert_eq!(kind(disk.sync_dir(&world.dir.join("none"))), ErrorKind::NotFound);
    put(world, "file", b"");
    assert!(disk.create_dir(&world.dir.join("file")).is_err(), "a file is in the way");
    assert!(disk.create_dir(&world.dir.join("file/sub")).is_err(), "a file is in the way");
    disk.list(Path::new(".")).expect("the working directory is there");
    disk.sync_dir(Path::new("")).expect("and the empty path is it");
}

fn zeros_are_reserved(world: &World) {
    let file = put(world, "a", b"head");
    let end = (2 << 20) + 17;
    file.reserve_zeroed(end).expect("reserved");
    file.sync_data().expect("synced");
    assert_eq!(file.len().expect("known"), end);
    file.reserve_zeroed(10).expect("it is larger already");
    let bytes = world.env.disk.read(&world.dir.join("a"), end).expect("read");
    assert!(bytes.starts_with(b"head") && bytes[4..].iter().all(|b| *b == 0) && bytes.len() as u64 == end);
}

fn locks_exclude(world: &World) {
    let (disk, path) = (&world.env.disk, world.dir.join("LOCK"));
    let held = disk.lock(&path).expect("locked");
    assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
    let _other = disk.lock(&world.dir.join("OTHER")).expect("another lock");
    drop(held);
    let _held = disk.lock(&path).expect("locked again");
    assert_eq!(disk.list(&world.dir).expect("listed"), ["LOCK", "OTHER"]);
    assert_eq!(kind(disk.lock(&world.dir.join("no/LOCK"))), ErrorKind::NotFound);
}

fn read_and_replace_whole_files(world: &World) {
    let (disk, path) = (&world.env.disk, world.dir.join("id.json"));
    disk.replace(&path, b"one").expect("made");
    put(world, "id.tmp", b"left by a crash");
    disk.replace(&path, b"three").expect("replaced");
    assert_eq!(disk.read(&path, 5).expect("read"), b"three");
    assert_eq!(disk.list(&world.dir).expect("listed"), ["id.json"]);
    let error = disk.read(&path, 4).expect_err("over the limit");
    assert_eq!(error.kind(), ErrorKind::FileTooLarge);
    assert!(error.to_string().contains("5 bytes") && error.to_string().contains("limit of 4"), "{error}");
}
