//! Other bytes than were written: never a panic, never a wrong answer.

use super::*;
use crate::block::layout::{self, CHECKSUM_BYTES, Entry, FOOTER_BYTES, HEADER_BYTES, Index};

/// Reads all series one by one: what comes is right, or an error. Whether anything failed.
fn fails(bytes: &[u8], meta: &BlockMeta, series: &Series) -> bool {
    let Ok(block) = open(bytes, meta) else { return true };
    let mut failed = false;
    for (number, chunks) in series {
        match chunks_of(&block, *number, TimeRange::ALL) {
            Ok(read) => assert_eq!(all_rows(&read), *chunks, "a wrong answer"),
            Err(BlockError::Damaged { .. }) => failed = true,
            Err(error) => panic!("damage is told as such: {error}"),
        }
    }
    let _ = block.verify().expect_err("something is wrong");
    failed
}

#[test]
fn each_flipped_byte_shows() {
    let series = example();
    let (bytes, meta) = written(NUMBER, &series);
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xFF] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(fails(&damaged, &meta, &series), "byte {at}, which every read of all series covers");
            assert!(read_any(&damaged).is_err(), "byte {at}");
        }
    }
}

#[test]
fn damage_stays_where_it_is() {
    let series = many(600, OWN);
    let (bytes, meta) = written(NUMBER, &series);
    let mut damaged = bytes.clone();
    damaged[HEADER_BYTES + 10] ^= 1;
    let block = open(&damaged, &meta).expect("the damage is in the first series");
    let error = chunks_of(&block, 0, TimeRange::ALL).expect_err("damaged");
    assert_eq!(error.to_string(), "block block is damaged at byte 24: this is not the directory of its series");
    assert_eq!(all_rows(&chunks_of(&block, 3, TimeRange::ALL).expect("read")), series[&3]);
    let _ = block.verify().expect_err("damaged");
}

#[test]
fn each_cut_shows() {
    let (bytes, meta) = written(NUMBER, &example());
    for len in 0..bytes.len() {
        assert!(matches!(open(&bytes[..len], &meta), Err(BlockError::Damaged { .. })), "{len} bytes");
        assert!(read_any(&bytes[..len]).is_err(), "{len} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(open(&longer, &meta).is_err());
}

#[test]
fn another_block_is_no_answer() {
    let series = example();
    let (bytes, meta) = written(NUMBER, &series);
    let (other_bytes, other_meta) = written(NUMBER + 1, &series);
    assert_eq!(bytes.len(), other_bytes.len());
    assert!(open(&bytes, &other_meta).is_err(), "the number is another");
    for wrong in [
        BlockMeta { database: DatabaseId(4), ..meta.clone() },
        BlockMeta { rows: 1, ..meta.clone() },
        BlockMeta { series: 1, ..meta.clone() },
        BlockMeta { points: 1, ..meta.clone() },
        BlockMeta { time_min: 1, ..meta.clone() },
        BlockMeta { time_max: 1, ..meta.clone() },
    ] {
        assert!(matches!(open(&bytes, &wrong), Err(BlockError::Damaged { .. })), "{wrong:?}");
    }
    let wrong_hash = BlockMeta { hash: 1, ..meta.clone() };
    let _ = open(&bytes, &wrong_hash).expect("opened").verify().expect_err("the hash is another");
    // A part that was written to the wrong file, at the right place.
    for (offset, len) in parts(&bytes, &meta) {
        let mut mixed = bytes.clone();
        mixed[offset..offset + len].copy_from_slice(&other_bytes[offset..offset + len]);
        assert!(fails(&mixed, &meta, &series), "the part at {offset} is another file's");
    }
}

#[test]
fn a_part_at_the_wrong_place_shows() {
    let mut series = many(2, OWN);
    series.insert(3, series[&0].clone());
    let (bytes, meta) = written(NUMBER, &series);
    let parts = parts(&bytes, &meta);
    let [(first, len), (second, same)] = [parts[2], parts[4]];
    assert_eq!((bytes[first..first + len - CHECKSUM_BYTES]), (bytes[second..second + same - CHECKSUM_BYTES]), "equal");
    let mut moved = bytes.clone();
    moved.copy_within(first..first + len, second);
    assert!(fails(&moved, &meta, &series), "the same chunk, of another series");
}

#[test]
fn another_version_is_told() {
    let (mut bytes, meta) = written(NUMBER, &example());
    let mut header = bytes[..HEADER_BYTES - CHECKSUM_BYTES].to_vec();
    header[4] = 1;
    layout::seal(NUMBER, 0, &mut header, 0);
    bytes[..HEADER_BYTES].copy_from_slice(&header);
    let error = open(&bytes, &meta).expect_err("refused");
    assert_eq!(error.to_string(), "block block has version 1, and this program reads version 2");
}

/// Numbers that are wrong under checksums that are right: only a bug writes such, and still nothing panics.
#[test]
fn wrong_numbers_with_right_checksums_do_not_panic() {
    let (bytes, meta) = written(NUMBER, &example());
    for (offset, len) in parts(&bytes, &meta) {
        for at in offset..offset + len - CHECKSUM_BYTES {
            for value in [0, 1, bytes[at] ^ 1, bytes[at].wrapping_add(1), bytes[at] ^ 0x80, 0xFF] {
                let mut wrong = bytes.clone();
                wrong[at] = value;
                let mut part = wrong[offset..offset + len - CHECKSUM_BYTES].to_vec();
                layout::seal(NUMBER, offset as u64, &mut part, 0);
                wrong[offset..offset + len].copy_from_slice(&part);
                let _ = read_any(&wrong);
                if let Ok(block) = open(&wrong, &meta) {
                    let _ = block.verify();
                    let _ = chunks_of(&block, 3, TimeRange::ALL);
                    let _ = chunks_of(&block, 21, TimeRange::ALL);
                    let mut walk = Walk::begin(&block);
                    while let Ok(at) = &mut walk
                        && at.number().is_some()
                    {
                        let _ = at.take_shared(None, TimeRange::ALL);
                        let _ = at.sealed(TimeRange::ALL);
                        if at.pass().is_err() {
                            break;
                        }
                    }
                }
            }
        }
    }
}

/// Offset and length of each part with a checksum, front to back.
fn parts(bytes: &[u8], meta: &BlockMeta) -> Vec<(usize, usize)> {
    let footer_at = bytes.len() - FOOTER_BYTES;
    let footer = layout::Footer::take(meta.number, footer_at as u64, &bytes[footer_at..]).expect("a footer");
    let index = Index::new(&footer, bytes.len() as u64).expect("an index");
    let mut parts = vec![(0, HEADER_BYTES)];
    let (offset, len) = (index.page(0).0 as usize, index.page(0).1);
    for entry in bytes[offset..offset + len - CHECKSUM_BYTES].chunks(layout::ENTRY_BYTES) {
        let entry = Entry::take(entry).expect("an entry");
        let (mut at, directory) = (entry.offset as usize, entry.directory_bytes() as usize);
        parts.push((at, directory));
        let slots = layout::take_directory(meta.number, &entry, &bytes[at..at + directory]).expect("a directory");
        at += directory;
        for slot in slots {
            parts.push((at, slot.bytes as usize));
            at += slot.bytes as usize;
        }
    }
    let (table, table_len) = index.page_table();
    parts.extend([(offset, len), (table as usize, table_len), (footer_at, FOOTER_BYTES)]);
    assert_eq!(parts.iter().map(|(_, len)| len).sum::<usize>(), bytes.len(), "every byte is in a part");
    parts
}
