//! Line protocol.
#![no_main]

use meridian_dialect::line_protocol::{Forgetful, Precision, read};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut verdicts = 0;
    let done = read(bytes, Precision::Millis, &mut Forgetful, |_| -> Result<(), ()> {
        verdicts += 1;
        Ok(())
    });
    assert!(done.is_ok() && verdicts <= bytes.len());
});
