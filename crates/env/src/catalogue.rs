//! Small durable key-value stores for what a node must find again at its next start. Never the only copy of anything: a
//! store that does not open is destroyed and rebuilt by its owner.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// One change of a commit: a key and its new value, or `None` to remove it.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// Opens stores. Called inside jobs of [`crate::Work`] only.
pub trait Catalogues: Send + Sync + Debug + 'static {
    /// Opens the store in directory `dir`, made if absent.
    fn open(&self, dir: &Path) -> io::Result<Box<dyn Catalogue>>;

    /// Removes the store in `dir`, so that the next `open` makes an empty one.
    fn destroy(&self, dir: &Path) -> io::Result<()>;
}

/// An open store.
pub trait Catalogue: Send + Sync + Debug {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>>;

    /// All keys that start with `prefix` and their values, in key order.
    fn scan(&self, prefix: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>>;

    /// Makes all changes durable, or none of them. After an error nothing is known: halt.
    fn commit(&self, changes: Vec<Change>) -> io::Result<()>;
}
