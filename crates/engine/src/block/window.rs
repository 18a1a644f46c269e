//! Bytes of a block that were read, and are likely to be asked for next: one who goes through a file from front to back
//! reads large pieces, and no byte twice.
//!
//! It must never make room for more than the file has.

use std::io;

use meridian_env::File;

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    /// At least so many bytes are read at a time, as far as there are so many.
    ahead: u64,
    offset: u64,
    bytes: Vec<u8>,
}

impl Window {
    pub(super) fn new(ahead: u64) -> Self {
        Self { ahead, offset: 0, bytes: Vec::new() }
    }

    /// The `bytes` bytes at `offset`, which end at `end` of the file or before.
    pub(super) fn get(&mut self, file: &dyn File, offset: u64, bytes: u64, end: u64) -> io::Result<&[u8]> {
        let held = self.offset..self.offset + self.bytes.len() as u64;
        if !(held.start <= offset && offset + bytes <= held.end) {
            let wanted = bytes.max(self.ahead.min(end.saturating_sub(offset)));
            self.bytes.resize(wanted as usize, 0);
            if let Err(error) = file.read_exact_at(&mut self.bytes, offset) {
                self.bytes.clear();
                return Err(error);
            }
            self.offset = offset;
        }
        Ok(&self.bytes[(offset - self.offset) as usize..][..bytes as usize])
    }
}
