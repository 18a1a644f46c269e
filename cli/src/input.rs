//! Bytes that come in: a file or stdin, plain or gzip, read piece by piece. Every call may wait for a disk or a person, so all
//! of it runs inside jobs of `Work`. Holds no more than it was asked for.

use std::io::{self, BufRead as _, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use meridian_env::{Disk, File, Open};

/// How gzip begins. No text does: the second byte never follows the first in UTF-8.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Why no more bytes came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file or the pipe fails.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It begins as gzip and does not go on as gzip.
    #[error("it is damaged or cut off gzip: {0}")]
    Gzip(io::Error),
}

/// How far a source was read, as bytes lie in the file. Clones watch the same one, from anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter {
    read: Arc<AtomicU64>,
    total: Option<u64>,
}

impl Meter {
    /// Bytes taken so far.
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Bytes of the whole, where that is known.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total
    }
}

/// Bytes as they lie in a file or come through a pipe.
#[derive(Debug)]
struct Raw {
    /// The file and where the next byte is; stdin if there is none.
    file: Option<(Box<dyn File>, u64)>,
    meter: Meter,
}

impl Read for Raw {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = match &mut self.file {
            None => io::stdin().lock().read(buffer)?,
            Some((file, at)) => {
                let n = file.read_at(buffer, *at)?;
                *at += n as u64;
                n
            }
        };
        self.meter.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Where bytes come from; gzip is unpacked on the way, by what the bytes are and not by a name.
pub(crate) struct Source {
    meter: Meter,
    is_stdin: bool,
    is_gzip: bool,
    /// Until the first bytes are looked at.
    raw: Option<Raw>,
    unpacked: Box<dyn Read + Send>,
}

impl Source {
    /// The file at `path`, or stdin if that is `-`. Reads nothing yet.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        let is_stdin = path == Path::new("-");
        let file = if is_stdin { None } else { Some((disk.open(path, Open::Read)?, 0)) };
        let total = file.as_ref().and_then(|(file, _)| file.len().ok());
        let meter = Meter { total, ..Meter::default() };
        let raw = Some(Raw { file, meter: meter.clone() });
        Ok(Self { meter, is_stdin, is_gzip: false, raw, unpacked: Box::new(io::empty()) })
    }

    /// Whether these are the bytes that are piped in or typed.
    pub(crate) fn is_stdin(&self) -> bool {
        self.is_stdin
    }

    /// How far it is read.
    pub(crate) fn meter(&self) -> Meter {
        self.meter.clone()
    }

    /// Appends up to `more` bytes to `body`, fewer only at the end; tells whether this was the end.
    pub(crate) fn fill(&mut self, body: &mut Vec<u8>, more: usize) -> Result<bool, ReadError> {
        if let Some(raw) = self.raw.take() {
            self.look(raw)?;
        }
        match self.unpacked.by_ref().take(more as u64).read_to_end(body) {
            Ok(read) => Ok(read < more),
            Err(error) if self.is_gzip && is_damage(error.kind()) => Err(ReadError::Gzip(error)),
            Err(error) => Err(ReadError::Io(error)),
        }
    }

    fn look(&mut self, mut raw: Raw) -> io::Result<()> {
        let mut head = Vec::new();
        raw.by_ref().take(GZIP_MAGIC.len() as u64).read_to_end(&mut head)?;
        self.is_gzip = head == GZIP_MAGIC;
        let whole = io::Cursor::new(head).chain(raw);
        self.unpacked = if self.is_gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) };
        Ok(())
    }
}

/// Whether an error of unpacking is about the bytes, and not about getting them.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// One line from stdin without its newline.
pub(crate) fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use meridian_env::Rng;
    use meridian_env::sim::SimHost;

    use super::*;

    const PATH: &str = "points.txt";

    fn source(bytes: &[u8]) -> Source {
        let disk = SimHost::new("cli", &Rng::from_seed(1)).env_inline().disk;
        let path = Path::new(PATH);
        disk.open(path, Open::Create).and_then(|file| file.write_at(bytes, 0)).expect("written");
        assert!(Source::open(&*disk, Path::new("absent.txt")).is_err());
        Source::open(&*disk, path).expect("opened")
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).expect("a Vec takes everything");
        encoder.finish().expect("a Vec takes everything")
    }

    /// All of it, in pieces of `piece` bytes.
    fn all(mut source: Source, piece: usize) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        while !source.fill(&mut body, piece)? {}
        Ok(body)
    }

    #[test]
    fn a_file_comes_in_pieces_and_its_end_is_told() {
        let mut source = source(b"abcdefg");
        let meter = source.meter();
        assert_eq!((meter.read(), meter.total()), (0, Some(7)));
        let mut body = b"<".to_vec();
        assert!(!source.fill(&mut body, 4).expect("read"));
        assert_eq!((&*body, meter.read()), (&b"<abcd"[..], 4));
        assert!(source.fill(&mut body, 4).expect("read"));
        assert_eq!((&*body, meter.read()), (&b"<abcdefg"[..], 7));
    }

    #[test]
    fn gzip_is_known_by_its_bytes_and_may_have_several_members() {
        for piece in [1, 7, 1 << 20] {
            assert_eq!(all(source(b""), piece).expect("nothing"), b"");
            assert_eq!(all(source(b"\x1f"), piece).expect("as it is"), b"\x1f");
            assert_eq!(all(source(&gzip(b"m f=1\n")), piece).expect("whole"), b"m f=1\n");
            let two = [gzip(b"m f=1\n"), gzip(b"m f=2\n")].concat();
            assert_eq!(all(source(&two), piece).expect("whole"), b"m f=1\nm f=2\n");
        }
    }

    #[test]
    fn damaged_gzip_is_no_end() {
        let whole = gzip(&b"m f=1\n".repeat(100));
        for len in 2..whole.len() {
            assert!(matches!(all(source(&whole[..len]), 64), Err(ReadError::Gzip(_))), "cut at {len}");
        }
        let mut wrong = whole.clone();
        let crc = wrong.len() - 6;
        wrong[crc] ^= 1;
        assert!(matches!(all(source(&wrong), 64), Err(ReadError::Gzip(_))));
        assert!(matches!(all(source(&[whole, b"more".to_vec()].concat()), 64), Err(ReadError::Gzip(_))));
    }
}
