//! How many files and bytes lie where. Reads names and lengths only.

use std::io;
use std::path::Path;

use meridian_env::{Disk, Open};
use serde::Serialize;

/// Directories whose entries are told one by one.
const TOLD_INSIDE: [&str; 1] = ["shards"];
/// How deep directories are followed: a node's own have far fewer levels.
const DEPTH_MAX: u32 = 16;

/// One entry of the directory, with all that is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Usage {
    /// Its path below the node's directory; `.` is all of it.
    pub path: String,
    /// Files in it, or 1 for a file.
    pub files: u64,
    /// The sum of their lengths.
    pub bytes: u64,
}

/// Every entry of `dir`, each of the shards', and the whole.
pub(super) fn measure(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<Usage>> {
    let mut found = Vec::new();
    let mut whole = Usage { path: ".".into(), ..Usage::default() };
    for name in disk.list(dir)? {
        let path = dir.join(&name);
        let mut entries = vec![(name.clone(), path.clone())];
        if TOLD_INSIDE.contains(&&*name) {
            let inside = disk.list(&path)?.into_iter();
            entries = inside.map(|inner| (format!("{name}/{inner}"), path.join(inner))).collect();
        }
        for (shown, path) in entries {
            let (files, bytes) = sum(disk, &path, 0)?;
            whole.files += files;
            whole.bytes += bytes;
            found.push(Usage { path: shown, files, bytes });
        }
    }
    found.push(whole);
    Ok(found)
}

fn sum(disk: &dyn Disk, path: &Path, depth: u32) -> io::Result<(u64, u64)> {
    // A name is a directory if it can be listed: opening tells nothing, because directories can be opened too.
    let names = match disk.list(path) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok((1, disk.open(path, Open::Read)?.len()?));
        }
        Err(error) => return Err(error),
    };
    if depth >= DEPTH_MAX {
        return Err(io::Error::other(format!("{} is more than {DEPTH_MAX} directories deep", path.display())));
    }
    let mut total = (0, 0);
    for name in names {
        let (files, bytes) = sum(disk, &path.join(name), depth + 1)?;
        total = (total.0 + files, total.1 + bytes);
    }
    Ok(total)
}
