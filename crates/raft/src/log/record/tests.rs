//! Records and commits: round trips, damage, and the bytes themselves.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::segment;
use super::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = Record> {
    let points = (any::<u64>(), any::<u64>(), [0, 1, 2].map(|_| proptest::option::of(bytes()))).prop_map(
        |(next, index, [vote, committed, purged])| {
            Record::Checkpoint(Points { vote, committed, purged: purged.map(|id| (index, id)), next })
        },
    );
    prop_oneof![
        (any::<u64>(), bytes(), bytes()).prop_map(|(index, head, payload)| Record::Entry(LogEntry {
            index,
            head,
            payload
        })),
        bytes().prop_map(Record::Vote),
        bytes().prop_map(Record::Committed),
        any::<u64>().prop_map(|next| Record::Truncate { next }),
        (any::<u64>(), bytes()).prop_map(|(upto, id)| Record::Purge { upto, id }),
        Just(Record::GroupRemoved),
        points,
        (any::<u64>(), bytes(), bytes()).prop_map(|(index, head, payload)| Record::Copy(LogEntry {
            index,
            head,
            payload
        })),
    ]
}

fn key() -> impl Strategy<Value = Key> {
    (any::<u32>(), any::<u32>()).prop_map(|(group, incarnation)| (GroupId(group), Incarnation(incarnation)))
}

proptest! {
    #[test]
    fn records_read_back(segment: u64, records in proptest::collection::vec((key(), record()), 0..5)) {
        let mut buffer = Vec::new();
        for (key, record) in &records {
            let before = buffer.len();
            record.encode(segment, *key, &mut buffer);
            prop_assert_eq!(buffer.len() - before, record.encoded_len());
        }
        let mut input = Bytes::from(buffer);
        for expected in records {
            prop_assert_eq!(Record::decode(segment, &mut input), Ok(expected));
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_flipped_bit_a_cut_or_another_segment_shows(record in record(), at: proptest::sample::Index, segment: u64) {
        let mut buffer = Vec::new();
        record.encode(segment, (GroupId(1), Incarnation(1)), &mut buffer);
        let whole = Bytes::from(buffer.clone());
        prop_assert_eq!(Record::decode(segment ^ 1, &mut whole.clone()), Err(DecodeError::Damaged));
        prop_assert_eq!(Record::decode(segment, &mut whole.slice(..at.index(whole.len()))), Err(DecodeError::Damaged));
        let bit = at.index(buffer.len() * 8);
        buffer[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(Record::decode(segment, &mut Bytes::from(buffer)), Err(DecodeError::Damaged));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(kind: u8, body in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut buffer = Vec::new();
        Record::Vote(Bytes::from(body)).encode(1, (GroupId(1), Incarnation(1)), &mut buffer);
        buffer[8] = kind;
        let crc = record_crc(1, &buffer[..4], &buffer[8..]);
        buffer[4..8].copy_from_slice(&crc.to_le_bytes());
        match Record::decode(1, &mut Bytes::from(buffer.clone())) {
            Ok((key, record)) => {
                let mut again = Vec::new();
                record.encode(1, key, &mut again);
                prop_assert!(again == buffer || matches!(record, Record::Checkpoint(_)));
            }
            Err(error) => prop_assert_eq!(error, DecodeError::Foreign(kind)),
        }
    }

    #[test]
    fn a_commit_header_reads_back_at_its_place_only(segment: u64, sectors in 1_u64..1 << 40, length: u32, count: u32) {
        let offset = sectors * SECTOR;
        let header = CommitHeader { length, count, synced_upto: offset - SECTOR };
        let bytes = header.encode(segment, offset);
        prop_assert_eq!(CommitHeader::decode(segment, offset, &bytes), Some(header));
        prop_assert_eq!(CommitHeader::decode(segment, offset + SECTOR, &bytes), None);
        prop_assert_eq!(CommitHeader::decode(segment ^ 1, offset, &bytes), None);
        prop_assert_eq!(CommitHeader::decode(segment, offset, &bytes[..23]), None);
    }
}

/// The bytes of a segment, 16 a line, without lines of zeros.
fn dump(bytes: &[u8]) -> String {
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|b| *b != 0)).map(|(at, line)| {
        let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
        format!("{:04x}: {}\n", at * 16, hex.join(" "))
    });
    lines.collect()
}

#[test]
fn golden_segment() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = meridian_env::real::disk();
    let key = (GroupId(7), Incarnation(2));
    let points = Points {
        vote: Some(Bytes::from_static(b"vote")),
        committed: None,
        purged: Some((8, Bytes::from_static(b"id"))),
        next: 10,
    };
    let header = segment::Header { number: 3, previous: 2, previous_end: 4096, reserved: 4096 };
    let file = segment::prepare(&*disk, dir.path(), 3, (4096, 4096), None).expect("prepared");
    let offset = segment::begin(&*file, &header, &BTreeMap::from([(key, points)])).expect("begun");
    let entry = LogEntry { index: 10, head: Bytes::from_static(b"head"), payload: Bytes::from_static(b"payload") };
    let records = [
        Record::Entry(entry),
        Record::Vote(Bytes::from_static(b"v2")),
        Record::Committed(Bytes::from_static(b"c")),
        Record::Truncate { next: 10 },
        Record::Purge { upto: 9, id: Bytes::from_static(b"p") },
        Record::GroupRemoved,
    ];
    let mut buffer = Vec::new();
    encode_commit(3, offset, offset, records.iter().map(|record| (key, record)), &mut buffer);
    let next = offset + buffer.len() as u64;
    let copy =
        Record::Copy(LogEntry { index: 9, head: Bytes::from_static(b"old"), payload: Bytes::from_static(b"moved") });
    encode_commit(3, next, next, std::iter::once((key, &copy)), &mut buffer);
    file.write_at(&buffer, offset).expect("written");
    let bytes = disk.read(&segment::path(dir.path(), 3), 4096).expect("read");
    assert_eq!(bytes.len(), 4096);
    assert_eq!(
        dump(&bytes),
        include_str!("testdata/segment_v1.txt"),
        "what was written before must stay as it is; new kinds come behind"
    );
}
