//! A query's plan, as routers send it to nodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_query::Plan::decode(bytes)));
