//! What a delete covers, as the log keeps it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_query::Selection::decode(bytes)));
