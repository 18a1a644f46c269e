//! A file of a series table: docs/formats/names.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_engine::fuzz::names(bytes, 1)));
