//! What a peer says of a snapshot that it wants to send: docs/formats/snapshot.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meridian_raft::fuzz_offer(bytes));
