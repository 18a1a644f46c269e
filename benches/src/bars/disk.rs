//! What the disk itself takes for the least that a durable write does: append 64 KiB, fdatasync.
//!
//! Never measured on another directory than the one that the database writes to, nor while it writes.

use std::io;
use std::path::PathBuf;

use hdrhistogram::Histogram;
use meridian_env::{Class, Env, Open};

use crate::pace::micros;

const APPEND: usize = 64 << 10;

/// Microseconds of each of `count` appends and fdatasyncs in a file that is gone afterwards.
pub(crate) async fn fdatasync_micros(env: &Env, dir: PathBuf, count: u32) -> io::Result<Histogram<u64>> {
    let (disk, clock) = (std::sync::Arc::clone(&env.disk), std::sync::Arc::clone(&env.clock));
    let job = move || {
        let mut micros = micros();
        let path = dir.join("fdatasync.probe");
        let file = disk.open(&path, Open::Create)?;
        for number in 0..count {
            // Never twice the same, so that no layer below can make it cheap.
            let bytes: Vec<u8> = (0..APPEND).map(|i| (i as u32).wrapping_mul(2_654_435_761 + number) as u8).collect();
            let start = clock.now();
            file.write_at(&bytes, u64::from(number) * APPEND as u64)?;
            file.sync_data()?;
            let took = clock.now().saturating_duration_since(start).as_micros();
            micros.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
        drop(file);
        disk.remove(&path)?;
        Ok(micros)
    };
    meridian_env::run(&*env.work, Class::Log, job).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_append_is_timed_and_nothing_is_left() {
        let env = meridian_env::real::env().expect("threads start");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let micros = runtime.block_on(fdatasync_micros(&env, dir.path().to_owned(), 3)).expect("a disk");
        assert_eq!(micros.len(), 3);
        assert!(micros.min() > 0, "64 KiB take their time on any disk");
        assert_eq!(env.disk.list(dir.path()).expect("it is there"), Vec::<String>::new());
    }
}
