//! A segment of the log: docs/formats/log.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meridian_raft::fuzz_segment(bytes));
