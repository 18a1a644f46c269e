//! A file of a series table: docs/formats/names.md.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let names = meridian_engine::fuzz::names(bytes, 1);
    assert!(names.is_none_or(|names| names <= bytes.len()));
});
