//! A file system of a node's own, in a file: ext4 on a loop device, whose power can be cut, and which can be full or fail to
//! sync. Never used for anything but a trial's own data, in a mount namespace of the trial's own.
//!
//! The file lies in a small file system in memory. Once that is full, ext4 takes writes into its cache as before, and the sync
//! after them fails: what a disk does that has no spare blocks left.
#![expect(unsafe_code, reason = "the request to shut down, and the one for space that writes nothing, are C functions")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use meridian_env::is_full;

use super::tool;

/// What a node may use.
const BYTES: u64 = 512 << 20;
/// What is below it: some more than its size, for the tables of the file system.
const BELOW_BYTES: u64 = 640 << 20;

/// `EXT4_IOC_SHUTDOWN`, and the way of it that writes nothing more, not even the journal.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
const WITHOUT_JOURNAL: u32 = 2;

#[derive(Debug)]
pub(super) struct Disk {
    /// Where the file system in memory is.
    below: PathBuf,
}

impl Disk {
    /// Makes one at `dir`, which must not be there yet.
    pub(super) fn make(dir: &Path) -> io::Result<Self> {
        let disk = Self { below: dir.to_owned() };
        std::fs::create_dir(dir)?;
        tool::run(&format!("mount -t tmpfs -o size={BELOW_BYTES} tmpfs {}", dir.display()))?;
        std::fs::create_dir(disk.mounted())?;
        File::options().create_new(true).write(true).open(disk.image())?.set_len(BYTES)?;
        tool::run(&format!("mkfs.ext4 -q -F {}", disk.image().display()))?;
        disk.mount()?;
        Ok(disk)
    }

    /// Where the node's directory belongs.
    pub(super) fn mounted(&self) -> PathBuf {
        self.below.join("mounted")
    }

    pub(super) fn image(&self) -> PathBuf {
        self.below.join("image")
    }

    /// The power fails: what is not synced is lost, and nothing is written any more.
    pub(super) fn cut(&self) -> io::Result<()> {
        let mounted = OpenOptions::new().read(true).open(self.mounted())?;
        let way = WITHOUT_JOURNAL;
        // SAFETY: the request reads one number, which lives until it returns.
        match unsafe { libc::ioctl(mounted.as_raw_fd(), SHUTDOWN, &raw const way) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The power comes back. Nobody may have a file open.
    pub(super) fn mount_again(&self) -> io::Result<()> {
        tool::run(&format!("umount {}", self.mounted().display()))?;
        self.mount()
    }

    /// Takes all space.
    pub(super) fn fill(&self) -> io::Result<()> {
        fill(&self.mounted())
    }

    /// Gives it back.
    pub(super) fn free(&self) -> io::Result<()> {
        free(&self.mounted())
    }

    /// From now on nothing new can be synced.
    pub(super) fn fail_syncs(&self) -> io::Result<()> {
        fill(&self.below)
    }

    pub(super) fn mend_syncs(&self) -> io::Result<()> {
        free(&self.below)
    }

    fn mount(&self) -> io::Result<()> {
        // With `discard` what is deleted is given back to the file system below, so that what is new needs space there.
        tool::run(&format!("mount -o loop,discard {} {}", self.image().display(), self.mounted().display()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: what a dead process has open is let go by and by. What fails here stays in the trial's own namespace.
        drop(tool::run(&format!("umount --lazy {}", self.mounted().display())));
        drop(tool::run(&format!("umount --lazy {}", self.below.display())));
    }
}

fn filler(dir: &Path) -> PathBuf {
    dir.join("filler")
}

fn fill(dir: &Path) -> io::Result<()> {
    let file = File::options().create(true).append(true).open(filler(dir))?;
    // A single request for more than there is takes nothing: half of it is asked for then.
    let (mut at, mut step) = (file.metadata()?.len(), BELOW_BYTES);
    while step >= 1 << 12 {
        let number = |bytes: u64| libc::off_t::try_from(bytes).map_err(io::Error::other);
        // SAFETY: no memory is involved, and the descriptor is open.
        match unsafe { libc::fallocate(file.as_raw_fd(), 0, number(at)?, number(step)?) } {
            0 => at += step,
            _ => match io::Error::last_os_error() {
                full if is_full(&full) => step /= 2,
                // Otherwise the fault would not come, and nobody would notice.
                error => return Err(error),
            },
        }
    }
    Ok(())
}

fn free(dir: &Path) -> io::Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a file of the trial's own, outside the world")]
    std::fs::remove_file(filler(dir))
}
