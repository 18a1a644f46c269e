//! Files. Called inside jobs of [`crate::Work`] only: every call may wait for a disk.
//!
//! What was not synced may be lost, kept or torn by a crash: a file's bytes until `sync_data`, a directory's entries
//! (created, renamed, removed names) until `sync_dir`.

use std::fmt::Debug;
use std::io;
use std::path::Path;

/// Whether an error says that there is no space, which passes.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How to open a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Open {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; an error if the name is taken.
    Create,
}

/// A file system.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Opens or creates a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>>;

    /// Replaces `to` by `from`, atomically; durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; durable after `sync_dir`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, sorted. A directory that does not exist is an error of kind `NotFound`.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents, durably; one that exists is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable. An error is as final as one of [`File::sync_data`].
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock file at `path` (made if absent) until the value is dropped. An error of kind `WouldBlock` if another
    /// process or another value holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;

    /// Reads a whole file of at most `max` bytes.
    fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let len = file.len()?;
        if len > max {
            let text = format!("{} has {len} bytes, over the limit of {max}", path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Puts `bytes` at `path` so that after a crash the file has either its old or its new content: temporary file, sync,
    /// rename, sync of the directory.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        match self.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.open(&temporary, Open::Create)?;
        file.write_at(bytes, 0)?;
        file.sync_data()?;
        self.rename(&temporary, path)?;
        self.sync_dir(path.parent().unwrap_or(Path::new(".")))
    }
}

/// An open file.
#[expect(clippy::len_without_is_empty, reason = "a length in bytes that may fail, not a collection")]
pub trait File: Send + Sync + Debug {
    /// Reads at most `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes; not durable before `sync_data`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes all that was written durable. After an error nothing is known: halt, never try again. So none is [`is_full`].
    fn sync_data(&self) -> io::Result<()>;

    /// Size in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Grows the file to `to` bytes of written zeros, so that later writes only overwrite. Durable after `sync_data`.
    fn reserve_zeroed(&self, to: u64) -> io::Result<()>;

    /// Fills `buffer` or fails with `UnexpectedEof`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match self.read_at(&mut buffer[done..], offset + done as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => done += n,
            }
        }
        Ok(())
    }
}

/// A held lock file; dropping it lets go.
pub trait Lock: Send + Sync + Debug {}
