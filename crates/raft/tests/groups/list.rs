//! A machine that lists what was proposed: durably at every apply, or in memory with files behind it. The files are blocks of
//! padded records that are never changed, and a manifest that names them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use meridian_env::{Catalogue, Class, Disk, Env, File, Halt, Open, run};
use meridian_raft::{Answer, Applied, Content, Entry, Job, JobError, Machine, Received, View, ViewFile};
use meridian_types::LogIndex;
use xxhash_rust::xxh3::xxh3_128;

/// What it answers: how long the list was before.
pub(crate) type Place = usize;

/// Where a value stands in the log.
type Listed = (LogIndex, u64);

const MARK: &[u8] = b"mark";
const MANIFEST: &str = "MANIFEST";
/// Of one value in a block: padded, so that snapshots have some size.
const RECORD_BYTES: usize = 256;
/// Blocks from which upkeep makes one.
const BLOCKS_MAX: usize = 30;
/// Larger than any file here.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct List {
    /// Where each value stands in the log.
    pub(crate) values: Vec<Listed>,
    /// How many snapshots it took over since it was opened.
    pub(crate) adopted: usize,
    /// As of the last apply.
    applied: Option<Applied>,
    store: Option<Box<dyn Catalogue>>,
    files: Option<Files>,
}

/// What is on disk.
#[derive(Clone, Debug)]
struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    applied: Option<Applied>,
    blocks: Vec<Block>,
}

/// One file of some values.
#[derive(Clone, Debug)]
struct Block {
    name: String,
    bytes: u64,
    hash: u128,
    file: Arc<dyn File>,
}

/// What a job has made.
#[derive(Debug)]
pub(crate) struct Done {
    files: Files,
    /// All values, if they are another's.
    adopted: Option<Vec<Listed>>,
}

impl List {
    /// One that keeps its list in the store in `dir`, together with how far it has applied.
    pub(crate) async fn durable(env: &Env, dir: &Path) -> Self {
        let (catalogues, dir) = (Arc::clone(&env.catalogue), dir.to_owned());
        let open = move || {
            let store = catalogues.open(&dir).expect("a store");
            let applied = store.get(MARK).expect("read").map(|mark| Applied(mark.into()));
            let values = store.scan(b"at ").expect("read").into_iter().map(|(key, value)| {
                let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("eight bytes"));
                (LogIndex(number(&key[3..])), number(&value))
            });
            Self { values: values.collect(), applied, store: Some(store), ..Self::default() }
        };
        run(&*env.work, Class::Apply, open).await
    }

    /// One whose files are in `dir`.
    pub(crate) async fn filed(env: &Env, dir: &Path) -> Self {
        let (disk, dir) = (Arc::clone(&env.disk), dir.to_owned());
        let open = move || {
            disk.create_dir(&dir).expect("a directory");
            let (files, values) = match disk.read(&dir.join(MANIFEST), FILE_BYTES_MAX) {
                Ok(manifest) => Files::read(disk, dir, &manifest).expect("its own files"),
                Err(_) => (Files { disk, dir, applied: None, blocks: Vec::new() }, Vec::new()),
            };
            Self { values, applied: files.applied.clone(), files: Some(files), ..Self::default() }
        };
        run(&*env.work, Class::Flush, open).await
    }

    /// Bytes of its files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.files.iter().flat_map(|files| &files.blocks).map(|block| block.bytes).sum()
    }
}

impl Files {
    fn read(disk: Arc<dyn Disk>, dir: PathBuf, manifest: &[u8]) -> Result<(Self, Vec<Listed>), String> {
        let text = std::str::from_utf8(manifest).map_err(|e| e.to_string())?;
        let mut lines = text.lines();
        let mark = lines.next().filter(|_| text.ends_with('\n')).ok_or("the manifest is empty")?;
        let mark: Option<Vec<u8>> =
            (0..mark.len() / 2).map(|at| u8::from_str_radix(&mark[2 * at..][..2], 16).ok()).collect();
        let applied = Some(Applied(mark.ok_or("the manifest has no mark")?.into()));
        let (mut blocks, mut values) = (Vec::new(), Vec::new());
        for line in lines {
            let name = line.split(' ').next().unwrap_or_default().to_owned();
            let content = disk.read(&dir.join(&name), FILE_BYTES_MAX).map_err(|e| e.to_string())?;
            let file = Arc::from(disk.open(&dir.join(&name), Open::Read).map_err(|e| e.to_string())?);
            let block = Block { name, bytes: content.len() as u64, hash: xxh3_128(&content), file };
            if block.line() != line {
                return Err(format!("{line}: found {}", block.line()));
            }
            values.extend(content.chunks(RECORD_BYTES).map(|record| {
                let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().expect("eight bytes"));
                (LogIndex(number(0)), number(8))
            }));
            blocks.push(block);
        }
        Ok((Self { disk, dir, applied, blocks }, values))
    }

    fn manifest(&self) -> String {
        let mark: String = self.applied.iter().flat_map(|mark| &mark.0[..]).map(|byte| format!("{byte:02x}")).collect();
        let lines = self.blocks.iter().map(|block| format!("{}\n", block.line()));
        std::iter::once(format!("{mark}\n")).chain(lines).collect()
    }

    fn write_block(&self, values: &[Listed]) -> std::io::Result<Block> {
        let mut content = Vec::with_capacity(values.len() * RECORD_BYTES);
        for (index, value) in values {
            content.extend(index.0.to_be_bytes());
            content.extend(value.to_be_bytes());
            content.resize(content.len().next_multiple_of(RECORD_BYTES), value.to_le_bytes()[0]);
        }
        let name = format!("block-{}-{}", values[0].0.0, values[values.len() - 1].0.0);
        let path = self.dir.join(&name);
        // One of that name is what a job before a crash left, or what is merged of one.
        drop(self.disk.remove(&path));
        let file = self.disk.open(&path, Open::Create)?;
        file.write_at(&content, 0)?;
        file.sync_data()?;
        Ok(Block { name, bytes: content.len() as u64, hash: xxh3_128(&content), file: Arc::from(file) })
    }

    fn commit(&self) -> std::io::Result<()> {
        self.disk.sync_dir(&self.dir)?;
        self.disk.replace(&self.dir.join(MANIFEST), self.manifest().as_bytes())
    }
}

impl Block {
    fn line(&self) -> String {
        format!("{} {} {:032x}", self.name, self.bytes, self.hash)
    }
}

/// The payload that adds `value`.
pub(crate) fn payload(value: u64) -> Bytes {
    Bytes::copy_from_slice(&value.to_be_bytes())
}

fn failed(error: std::io::Error) -> JobError {
    Halt::io("the list's files", &error).into()
}

impl Machine for List {
    type Reply = Place;
    type Done = Done;

    fn applied(&self) -> Option<Applied> {
        match &self.files {
            Some(files) => files.applied.clone(),
            None => self.applied.clone(),
        }
    }

    fn apply(&mut self, run: &[Entry], applied: &Applied, answer: &mut Answer<'_, Place>) -> Result<(), Halt> {
        let mut places = Vec::new();
        let mut changes = Vec::new();
        for entry in run {
            places.push(self.values.len());
            let value = u64::from_be_bytes(entry.payload[..].try_into().expect("eight bytes"));
            self.values.push((entry.index, value));
            changes.push(([b"at ", &entry.index.0.to_be_bytes()[..]].concat(), Some(entry.payload.to_vec())));
        }
        if let Some(store) = &self.store {
            changes.push((MARK.to_vec(), Some(applied.0.to_vec())));
            store.commit(changes).map_err(|e| Halt::io("the list", &e))?;
        }
        self.applied = Some(applied.clone());
        places.into_iter().enumerate().for_each(|(at, place)| answer(at, place));
        Ok(())
    }

    fn freeze(&mut self) -> Option<Job<Done>> {
        let mut files = self.files.clone()?;
        if files.applied == self.applied {
            return None;
        }
        files.applied = self.applied.clone();
        let flushed = files.blocks.iter().map(|block| block.bytes as usize / RECORD_BYTES).sum();
        let values = self.values[flushed..].to_vec();
        Some(Box::new(move || {
            if !values.is_empty() {
                files.blocks.push(files.write_block(&values).map_err(failed)?);
            }
            files.commit().map_err(failed)?;
            Ok(Done { files, adopted: None })
        }))
    }

    fn upkeep(&mut self) -> Option<Job<Done>> {
        let mut files = self.files.clone().filter(|files| files.blocks.len() >= BLOCKS_MAX)?;
        let flushed = files.blocks.iter().map(|block| block.bytes as usize / RECORD_BYTES).sum();
        let values = self.values[..flushed].to_vec();
        Some(Box::new(move || {
            let merged = files.write_block(&values).map_err(failed)?;
            let old = std::mem::replace(&mut files.blocks, vec![merged]);
            files.commit().map_err(failed)?;
            for block in old {
                files.disk.remove(&files.dir.join(&block.name)).map_err(failed)?;
            }
            Ok(Done { files, adopted: None })
        }))
    }

    fn install(&mut self, done: Done) {
        if let Some(values) = done.adopted {
            self.values = values;
            self.applied = done.files.applied.clone();
            self.adopted += 1;
        }
        self.files = Some(done.files);
    }

    fn view(&self) -> Option<View> {
        let files = self.files.as_ref()?;
        let manifest = Bytes::from(files.manifest());
        let blocks = files.blocks.iter().map(|block| ViewFile {
            name: block.name.clone(),
            bytes: block.bytes,
            hash: block.hash,
            content: Content::File(Arc::clone(&block.file)),
        });
        let manifest = ViewFile {
            name: MANIFEST.into(),
            bytes: manifest.len() as u64,
            hash: xxh3_128(&manifest),
            content: Content::Memory(manifest),
        };
        Some(View { applied: files.applied.clone()?, files: blocks.chain([manifest]).collect() })
    }

    fn adopt(&mut self, received: Received) -> Job<Done> {
        let files = self.files.clone().expect("only lists with files take snapshots");
        Box::new(move || {
            let Files { disk, dir, blocks: old, .. } = files;
            let mut manifest = None;
            for (name, at) in &received.files {
                match name.as_str() {
                    MANIFEST => manifest = Some(disk.read(at, FILE_BYTES_MAX).map_err(failed)?),
                    // Its name tells what is in it: a block of that name that is here already holds the same.
                    _ => disk.rename(at, &dir.join(name)).map_err(failed)?,
                }
            }
            let manifest = manifest.ok_or_else(|| JobError::Damaged("no manifest came".into()))?;
            let (files, values) = Files::read(disk, dir, &manifest).map_err(JobError::Damaged)?;
            files.commit().map_err(failed)?;
            for block in old.iter().filter(|block| files.blocks.iter().all(|new| new.name != block.name)) {
                files.disk.remove(&files.dir.join(&block.name)).map_err(failed)?;
            }
            Ok(Done { files, adopted: Some(values) })
        })
    }
}
