//! A block file: docs/formats/block.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_engine::fuzz::block(bytes)));
