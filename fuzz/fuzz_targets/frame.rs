//! A frame: docs/formats/frame.md.
#![no_main]

use bytes::Bytes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drop(meridian_frame::Frame::check(Bytes::copy_from_slice(bytes))));
