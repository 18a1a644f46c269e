//! The files of one shard: a directory with a manifest, and `blocks/` with what it names. Layout: docs/formats/manifest.md.
//!
//! It must never believe in a file that the manifest does not name, and never remove one before the manifest without it is
//! durable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian_env::{Disk, File, Open};
use meridian_types::TimeRange;

use crate::block::{Block, BlockMeta};
use crate::error::StoreError;
use crate::manifest::{self, BlockRecord, Manifest, NamesRecord};
use crate::names;

/// Name of the manifest.
pub(crate) const MANIFEST: &str = "MANIFEST";
const TEMPORARY: &str = "MANIFEST.tmp";
const BLOCKS: &str = "blocks";

/// A shard's directory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
}

/// A block in use.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) record: BlockRecord,
    pub(crate) block: Arc<Block>,
}

impl Stored {
    /// Whether some row may be inside `range`.
    pub(crate) fn overlaps(&self, range: TimeRange) -> bool {
        let meta = &self.record.meta;
        meta.time_min < range.end().nanos() && range.start().nanos() <= meta.time_max
    }
}

/// What is on disk, as far as it was put to use.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) place: Place,
    pub(crate) manifest: Arc<Manifest>,
    /// In the manifest's order.
    pub(crate) blocks: Vec<Arc<Stored>>,
    /// In the manifest's order.
    pub(crate) names: Vec<Arc<dyn File>>,
}

/// A file's name: its number, which seeds the checksums inside, and part of its hash, so that files that were received never
/// meet one of their number.
fn file_name(number: u64, hash: u128, ending: &str) -> String {
    format!("{number:016x}-{:016x}.{ending}", hash as u64)
}

pub(crate) fn block_name(meta: &BlockMeta) -> String {
    file_name(meta.number, meta.hash, "block")
}

pub(crate) fn names_name(record: &NamesRecord) -> String {
    file_name(record.file, record.hash, "names")
}

impl Manifest {
    /// The names of all files that belong to it.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let names = self.names.iter().map(names_name);
        self.blocks.iter().map(|record| block_name(&record.meta)).chain(names).collect()
    }
}

impl Place {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(BLOCKS).join(name)
    }

    /// Where a file of this number is written until its hash, and with it its name, is known.
    pub(crate) fn unnamed(&self, number: u64) -> PathBuf {
        self.file(&format!("{number:016x}.tmp"))
    }

    /// Gives a written and synced file its name. The name is durable with the next commit.
    pub(crate) fn name(&self, number: u64, name: &str) -> Result<(), StoreError> {
        let from = self.unnamed(number);
        self.disk
            .rename(&from, &self.file(name))
            .map_err(|error| StoreError::io(format_args!("naming {}", from.display()), &error))
    }

    /// The one commit point: from here on `manifest` is what is on disk. All its files are written and synced. Then removes
    /// what `before` named and this one does not.
    pub(crate) fn commit(&self, before: &Manifest, manifest: &Manifest) -> Result<(), StoreError> {
        let (path, temporary) = (self.dir.join(MANIFEST), self.dir.join(TEMPORARY));
        let bytes = manifest.encode()?;
        let write = || {
            self.disk.sync_dir(&self.dir.join(BLOCKS))?;
            match self.disk.remove(&temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let file = self.disk.open(&temporary, Open::Create)?;
            file.write_at(&bytes, 0)?;
            file.sync_data()
        };
        write().map_err(|error| StoreError::io(format_args!("writing {}", temporary.display()), &error))?;
        // From here on nobody knows which manifest is on disk until the directory is synced: no error is one to go on after.
        let switch = || self.disk.rename(&temporary, &path).and_then(|()| self.disk.sync_dir(&self.dir));
        switch().map_err(|error| StoreError::Io(format!("replacing {}: {error}", path.display())))?;
        before.files().difference(&manifest.files()).for_each(|name| self.discard(&self.file(name)));
        Ok(())
    }

    /// Removes a file that no manifest names. Whatever comes of it: the next start removes what is left over.
    pub(crate) fn discard(&self, path: &Path) {
        if let Err(error) = self.disk.remove(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a file that is not needed any more could not be removed");
        }
    }

    /// Makes the directory if need be, and reads the manifest if there is one.
    pub(crate) fn prepare(&self) -> Result<Option<Manifest>, StoreError> {
        let io = |error: std::io::Error| StoreError::io(format_args!("making {}", self.dir.display()), &error);
        self.disk.create_dir(&self.dir.join(BLOCKS)).map_err(io)?;
        self.read()
    }

    /// The manifest, if there is one.
    pub(crate) fn read(&self) -> Result<Option<Manifest>, StoreError> {
        let path = self.dir.join(MANIFEST);
        match self.disk.read(&path, manifest::BYTES_MAX) {
            Ok(bytes) => Manifest::decode(&bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(format_args!("reading {}", path.display()), &error)),
        }
    }

    /// Removes every file that `keep` does not name, leftovers of work that was cut short.
    pub(crate) fn sweep(&self, keep: &BTreeSet<String>) -> Result<(), StoreError> {
        let dir = self.dir.join(BLOCKS);
        let names = self.disk.list(&dir).map_err(|e| StoreError::io(format_args!("listing {}", dir.display()), &e))?;
        names.iter().filter(|name| !keep.contains(*name)).for_each(|name| self.discard(&self.file(name)));
        Ok(())
    }

    /// Opens what the manifest names.
    pub(crate) fn open(self, manifest: Manifest) -> Result<Store, StoreError> {
        let blocks = manifest.blocks.iter().map(|record| self.open_block(record)).collect::<Result<Vec<_>, _>>()?;
        let names = manifest.names.iter().map(|record| self.open_names(record)).collect::<Result<Vec<_>, _>>()?;
        Ok(Store { place: self, manifest: Arc::new(manifest), blocks, names })
    }

    pub(crate) fn open_block(&self, record: &BlockRecord) -> Result<Arc<Stored>, StoreError> {
        let path = self.file(&block_name(&record.meta));
        let block = Arc::new(Block::open(&*self.disk, &path, &record.meta)?);
        Ok(Arc::new(Stored { record: record.clone(), block }))
    }

    pub(crate) fn open_names(&self, record: &NamesRecord) -> Result<Arc<dyn File>, StoreError> {
        let path = self.file(&names_name(record));
        let file = self.disk.open(&path, Open::Read);
        let file = file.map_err(|error| StoreError::io(format_args!("opening {}", path.display()), &error))?;
        Ok(Arc::from(file))
    }

    pub(crate) fn read_names(&self, record: &NamesRecord) -> Result<Vec<names::Name>, StoreError> {
        names::read(&*self.disk, &self.file(&names_name(record)), record)
    }
}
