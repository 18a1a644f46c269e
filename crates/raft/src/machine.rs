//! The whole contract with the layers above: a machine that applies entries in order, and keeps what they made in files.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_env::{File, Halt, is_full};
use meridian_types::LogIndex;

use crate::entry::{self, Header};
use crate::types::{LogId, StoredMembership};

/// An entry as a machine sees it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its position.
    pub index: LogIndex,
    /// Its header.
    pub header: Header,
    /// What was proposed.
    pub payload: Bytes,
}

/// Where in the log a machine's files stand, opaque to the machine: it keeps the last one with its state, in one batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied(pub Bytes);

impl Applied {
    /// The last entry that it counts, if these are the bytes of a mark at all.
    pub fn index(&self) -> Option<LogIndex> {
        let (last, _) = decode_mark(self).ok()?;
        last.map(|id| LogIndex(id.index))
    }
}

/// Work off the async threads; owns its inputs. What it made is put to use by [`Machine::install`] alone.
pub type Job<T> = Box<dyn FnOnce() -> Result<T, JobError> + Send>;

/// Takes the reply to an entry, by its place in the run.
pub type Answer<'a, R> = dyn FnMut(usize, R) + 'a;

/// Why a background job made nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JobError {
    /// No space is left: what it wrote is removed, and it can be tried again later.
    #[error("no space is left: {0}")]
    Full(String),
    /// This replica's files are damaged: the replica must be replaced, the node goes on.
    #[error("the replica's files are damaged: {0}")]
    Damaged(String),
    /// The node can promise nothing any more.
    #[error(transparent)]
    Halt(#[from] Halt),
}

impl JobError {
    /// An error of the operating system while doing `what`.
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        if is_full(error) { Self::Full(format!("{what}: {error}")) } else { Halt::io(what, error).into() }
    }
}

/// A deterministic state machine: the same entries give the same state and the same replies on every replica.
///
/// Its memory is always at the last applied entry, its files at the last flush; between the two the log is the truth. Only one
/// background job (flush, upkeep, adoption) of a machine runs at a time.
pub trait Machine: Send + Sync + 'static {
    /// What a proposal is answered with.
    type Reply: Send + Sync + 'static;
    /// What a background job has made.
    type Done: Send + 'static;

    /// How far the files stand, after opening and after each install of a flush or an adoption; `None` if there are none,
    /// and the log is applied from its start.
    fn applied(&self) -> Option<Applied>;

    /// Applies entries in order. `answer` is called once for each of them, with its place in the run, as soon as its reply is
    /// certain: that may be before its effect can be read, if nobody reads the machine but under its lock. A refusal is a reply;
    /// `Halt` means that this replica's own disk or version failed it, and no more replies leave. `applied` stands for the state
    /// after the run.
    fn apply(&mut self, run: &[Entry], applied: &Applied, answer: &mut Answer<'_, Self::Reply>) -> Result<(), Halt>;

    /// Cuts memory at the last applied entry. The job writes files and commits them by one manifest edit; apply goes on in a
    /// new head meanwhile. `None` if nothing is newer than the files. A cut whose job failed is handed out again.
    fn freeze(&mut self) -> Option<Job<Self::Done>>;

    /// The next piece of upkeep, such as a compaction or the dropping of files; `None` if there is none. Its job commits by
    /// one manifest edit too.
    fn upkeep(&mut self) -> Option<Job<Self::Done>>;

    /// Puts a finished job to use. Memory only.
    fn install(&mut self, done: Self::Done);

    /// What is on disk as one snapshot, its files pinned until it is dropped; `None` before the first flush.
    fn view(&self) -> Option<View>;

    /// The job that makes received and verified files this machine's state, by one manifest edit. It may rename the files
    /// away; it is handed out again with the same files if it failed for want of space.
    fn adopt(&mut self, received: Received) -> Job<Self::Done>;
}

/// A machine's files as one snapshot.
#[derive(Clone, Debug)]
pub struct View {
    /// How far they stand.
    pub applied: Applied,
    /// All of them.
    pub files: Vec<ViewFile>,
}

/// One file of a snapshot.
#[derive(Clone, Debug)]
pub struct ViewFile {
    /// Its name: letters, digits, `.`, `_` and `-`, not beginning with `.`, and no other file's of the snapshot.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// xxh3-128 of its content.
    pub hash: u128,
    /// Where its content is.
    pub content: Content,
}

/// The content of a snapshot's file.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Memory(Bytes),
    /// On disk. The handle reads what it was opened on, even once the name is gone.
    File(Arc<dyn File>),
}

/// A snapshot that has arrived: its files are complete and their hashes verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// How far they stand.
    pub applied: Applied,
    /// The directory that they lie in; nothing else uses it until they are adopted.
    pub dir: PathBuf,
    /// Each file's name in the snapshot, and where it lies now.
    pub files: Vec<(String, PathBuf)>,
}

/// Layout: `docs/formats/entry.md`.
pub(crate) fn encode_mark(applied: Option<&LogId>, membership: &StoredMembership) -> Applied {
    let mut bytes = BytesMut::new();
    for id in [applied, membership.log_id().as_ref()] {
        bytes.put_u8(u8::from(id.is_some()));
        bytes.extend_from_slice(&id.map(entry::encode_log_id).unwrap_or_else(|| Bytes::from_static(&[0; 24])));
    }
    bytes.extend_from_slice(&entry::encode_membership(membership.membership()));
    Applied(bytes.freeze())
}

/// What [`encode_mark`] wrote, and nothing else.
pub(crate) fn decode_mark(mark: &Applied) -> Result<(Option<LogId>, StoredMembership), entry::EntryError> {
    let cut = || entry::EntryError::Malformed("the mark is cut short");
    let id = |at: usize| -> Result<Option<LogId>, entry::EntryError> {
        let part = mark.0.get(at..at + 25).ok_or_else(cut)?;
        match part[0] {
            0 if part[1..].iter().all(|byte| *byte == 0) => Ok(None),
            1 => entry::decode_log_id(&part[1..]).map(Some),
            _ => Err(entry::EntryError::Malformed("the mark has a log id or it has none")),
        }
    };
    let (applied, at) = (id(0)?, id(25)?);
    let membership = entry::decode_membership(mark.0.slice(50..))?;
    Ok((applied, StoredMembership::new(at, membership)))
}
