//! Line protocol.
#![no_main]

use meridian_dialect::line_protocol::{Precision, lines};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| assert!(lines(bytes, Precision::Millis).count() <= bytes.len()));
