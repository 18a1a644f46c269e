//! Files of the operating system. Errors name the path and what was done to it.
#![expect(clippy::disallowed_methods, reason = "the place that the bans name")]

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::{Disk, File, Lock, Open, is_full};

/// What files are filled with: a part of the program, because buffers of zeros would be cleared anew for each.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

#[derive(Debug)]
pub(super) struct Files;

/// The same kind of error, with path and deed in its text.
pub(super) fn at<'a>(deed: &'a str, path: &'a Path) -> impl Fn(io::Error) -> io::Error + 'a {
    move |error| io::Error::new(error.kind(), format!("{deed} {}: {error}", path.display()))
}

/// As `at`, for a sync: a disk that turns out to have no space after it took what was written has lost it, so that freed space
/// mends nothing.
fn not_synced<'a>(deed: &'a str, path: &'a Path) -> impl Fn(io::Error) -> io::Error + 'a {
    move |error| match at(deed, path)(error) {
        full if is_full(&full) => io::Error::other(full),
        error => error,
    }
}

/// Makes the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    // The parent of a plain name is the empty path, which no system call takes for the working directory.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(not_synced("sync directory", dir))
}

/// The directory that holds the name `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Makes `dir` and its parents. A process that dies between making a directory and syncing its name leaves at most the
/// deepest one unsynced, so the name of the first one that exists is synced too.
pub(super) fn create_dir(dir: &Path) -> io::Result<()> {
    let made = match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && parent(dir) != dir => {
            create_dir(parent(dir))?;
            fs::create_dir(dir)
        }
        made => made,
    };
    match made {
        Ok(()) => sync_dir(parent(dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => match sync_dir(parent(dir)) {
            // A directory that an operator made inside one that this process may not read: it is the operator's to keep.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        },
        Err(error) => Err(at("create directory", dir)(error)),
    }
}

impl Disk for Files {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => drop(options.write(true)),
            Open::Create => drop(options.write(true).create_new(true)),
        }
        let file = options.open(path).map_err(at("open", path))?;
        Ok(Box::new(OpenFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).map_err(at("rename", from))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).map_err(at("remove", path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(at("list", dir))? {
            names.push(entry.map_err(at("list", dir))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path).map_err(at("open", path))?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(HeldLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => {
                let text =
                    format!("{} is locked: another process, or another part of this one, uses it", path.display());
                Err(io::Error::new(io::ErrorKind::WouldBlock, text))
            }
            Err(fs::TryLockError::Error(error)) => Err(at("lock", path)(error)),
        }
    }
}

/// The lock goes when the descriptor is closed, also by the end of the process.
#[derive(Debug)]
struct HeldLock {
    _file: fs::File,
}

impl Lock for HeldLock {}

#[derive(Debug)]
struct OpenFile {
    file: fs::File,
    path: PathBuf,
}

impl File for OpenFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read.map_err(at("read", &self.path)),
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset).map_err(at("write", &self.path))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(not_synced("sync", &self.path))
    }

    fn len(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.len()).map_err(at("read the length of", &self.path))
    }

    fn reserve_zeroed(&self, to: u64) -> io::Result<()> {
        let mut end = self.len()?;
        while end < to {
            let piece = (to - end).min(ZEROS.len() as u64);
            self.write_at(&ZEROS[..piece as usize], end)?;
            end += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_finds_no_space_does_not_pass() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        assert!(is_full(&at("write", Path::new("f"))(full())), "what was not taken can be written later");
        let lost = not_synced("sync", Path::new("f"))(full());
        assert!(!is_full(&lost));
        assert_eq!(lost.to_string(), "sync f: no storage space");
    }
}
