//! Bombs, cuts and what is no gzip: all refused, in bounded memory.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("into memory");
    encoder.finish().expect("into memory")
}

fn decoded(gzip: &[u8]) -> Result<Bytes, Code> {
    inflate(gzip, |_| Ok(())).map_err(|error| Failure::from(error).code)
}

#[test]
fn one_and_more_members_are_one_body() {
    assert_eq!(decoded(&gzip(b"cpu v=1\n")), Ok(Bytes::from_static(b"cpu v=1\n")));
    let two = [gzip(b"cpu v=1\n"), gzip(b""), gzip(b"cpu v=2\n")].concat();
    assert_eq!(decoded(&two), Ok(Bytes::from_static(b"cpu v=1\ncpu v=2\n")));
}

#[test]
fn every_cut_is_noticed() {
    let whole = gzip(b"cpu v=1 1\ncpu v=2 2\n");
    for len in 0..whole.len() {
        assert_eq!(decoded(&whole[..len]), Err(Code::BadRequest), "cut to {len} bytes");
    }
    let second_cut = [whole.clone(), whole[..whole.len() - 1].to_vec()].concat();
    assert_eq!(decoded(&second_cut), Err(Code::BadRequest));
}

#[test]
fn damage_and_other_formats_are_noticed() {
    let mut damaged = gzip(&b"cpu v=1 1\n".repeat(50));
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    assert_eq!(decoded(&damaged), Err(Code::BadRequest));
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(b"cpu v=1\n").expect("into memory");
    assert_eq!(decoded(&zlib.finish().expect("into memory")), Err(Code::BadRequest));
    assert_eq!(decoded(b"cpu v=1\n"), Err(Code::BadRequest));
    assert_eq!(decoded(&[gzip(b"cpu v=1\n"), vec![0; 8]].concat()), Err(Code::BadRequest), "nothing may follow");
}

#[test]
fn a_bomb_is_refused_while_it_unfolds() {
    let bomb = gzip(&vec![0; 64 << 20]);
    let mut largest = 0;
    let refused = inflate(&bomb, |size| {
        largest = size;
        Ok(())
    });
    assert!(matches!(refused, Err(BodyError::Ratio)), "{refused:?}");
    assert!(largest <= (bomb.len() + 1) * limits::COMPRESSION_RATIO_MAX + STEP_BYTES, "{largest}");
    let many = bomb.repeat(4);
    assert_eq!(decoded(&many), Err(Code::OverLimit), "the ratio is that of the whole body");
}

#[test]
fn a_few_equal_lines_are_no_bomb() {
    let lines = b"cpu,host=a usage=1 1700000000000000000\n".repeat(1_600);
    assert!(gzip(&lines).len() * limits::COMPRESSION_RATIO_MAX < lines.len(), "they are over the ratio");
    assert_eq!(decoded(&gzip(&lines)).map(|bytes| bytes.len()), Ok(lines.len()));
}

#[test]
fn a_swarm_of_empty_members_is_refused() {
    assert_eq!(decoded(&gzip(b"").repeat(MEMBERS_MAX)), Ok(Bytes::new()));
    assert_eq!(decoded(&gzip(b"").repeat(MEMBERS_MAX + 1)), Err(Code::OverLimit));
}

#[test]
fn a_router_without_room_stops_it() {
    let full = |_| Err(Failure::new(Code::Overloaded, "full"));
    let refused = inflate(&gzip(b"cpu v=1\n"), full).map_err(|error| Failure::from(error).code);
    assert_eq!(refused, Err(Code::Overloaded));
}

#[test]
fn the_hold_counts_both_forms_of_a_body() {
    let budget = crate::write::Budget::default();
    let lines = b"cpu,host=a usage=1 1700000000000000000\n".repeat(1_600);
    let zipped = gzip(&lines);
    let taken = |bytes: usize| {
        let (mut others, mut held) = (budget.hold(), budget.hold());
        others.grow_to(limits::NODE_PROPOSAL_BYTES_MAX - bytes).expect("there is room");
        super::undo(&zipped, &mut held).map(|bytes| bytes.len()).map_err(|error| Failure::from(error).code)
    };
    assert_eq!(taken(zipped.len() + lines.len()), Ok(lines.len()));
    assert_eq!(taken(zipped.len() + lines.len() - 1), Err(Code::Overloaded));
}

#[test]
fn the_largest_body_fits_an_idle_router() {
    let budget = crate::write::Budget::default();
    let mut noise = Vec::new();
    // So much does not compress that the rest makes it no bomb.
    let mut state = 1_u64;
    while noise.len() < 4 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend_from_slice(&state.to_le_bytes());
    }
    noise.resize(limits::REQUEST_DECODED_BYTES_MAX, 0);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&noise).expect("into memory");
    let zipped = encoder.finish().expect("into memory");
    let mut held = budget.hold();
    let undone = super::undo(&zipped, &mut held).map(|bytes| bytes.len()).map_err(Failure::from);
    assert_eq!(undone, Ok(limits::REQUEST_DECODED_BYTES_MAX));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_worth_another_try() {
    let budget = crate::write::Budget::default();
    let parts = [Ok(Bytes::from_static(b"cpu v=")), Err(std::io::Error::other("connection reset"))];
    let body = Body::from_stream(futures::stream::iter(parts));
    let error = collect(None, body, &mut budget.hold()).await.expect_err("cut");
    let failure = Failure::from(error);
    assert_eq!(failure.kind(), meridian_types::Kind::Retry);
    assert!(failure.message.contains("nothing of it is stored"), "{failure}");
}

#[test]
fn only_known_encodings_are_taken() {
    let of = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, text.parse().expect("plain text"));
        encoding(&headers).map_err(|error| Failure::from(error).message)
    };
    assert_eq!(of("GZIP"), Ok(Encoding::Gzip));
    assert_eq!(of("identity"), Ok(Encoding::Identity));
    assert_eq!(of("br"), Err("Content-Encoding \"br\" is not served: use gzip or identity".into()));
    assert!(of("gzip, gzip").is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_body_or_an_error(bytes: Vec<u8>) {
        drop(decoded(&bytes));
        drop(decoded(&[gzip(b"cpu v=1\n"), bytes].concat()));
    }
}
