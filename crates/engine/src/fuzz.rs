//! Doors for fuzzing: each takes any bytes for one kind of file, and must come back.

pub use crate::block::read_any as block;
use crate::manifest::Manifest;
use crate::names;

/// Reads the bytes as a manifest; its size if it is one.
pub fn manifest(bytes: &[u8]) -> Result<usize, String> {
    Manifest::decode(bytes).map(|manifest| manifest.blocks.len()).map_err(|error| error.to_string())
}

/// Reads the bytes as file `number` of a series table; how many series it lists, if it is one.
pub fn names(bytes: &[u8], number: u64) -> Option<usize> {
    names::decode(bytes, number).map(|names| names.len())
}
