//! A shard's manifest: docs/formats/manifest.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_engine::fuzz::manifest(bytes)));
