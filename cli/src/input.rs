//! Bytes that come in: a file or stdin, read piece by piece. Every call may wait for a disk or a person, so all of it runs
//! inside jobs of `Work`.

use std::io::{self, BufRead as _, Read as _};
use std::path::Path;

use meridian_env::{Disk, File, Open};

/// Where bytes come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A file and how far it was read.
    File { file: Box<dyn File>, at: u64 },
    /// Whatever is piped in or typed.
    Stdin,
}

impl Source {
    /// The file at `path`, or stdin if that is `-`.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        Ok(Self::File { file: disk.open(path, Open::Read)?, at: 0 })
    }

    /// Appends up to `more` bytes to `body`, fewer only at the end; tells whether this was the end.
    pub(crate) fn fill(&mut self, body: &mut Vec<u8>, more: usize) -> io::Result<bool> {
        match self {
            Self::Stdin => Ok(io::stdin().lock().take(more as u64).read_to_end(body)? < more),
            Self::File { file, at } => {
                let (mut end, target) = (body.len(), body.len() + more);
                body.resize(target, 0);
                while end < target {
                    let read = file.read_at(&mut body[end..], *at)?;
                    if read == 0 {
                        break;
                    }
                    end += read;
                    *at += read as u64;
                }
                body.truncate(end);
                Ok(end < target)
            }
        }
    }
}

/// One line from stdin without its newline.
pub(crate) fn line() -> io::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use meridian_env::Rng;
    use meridian_env::sim::SimHost;

    use super::*;

    #[test]
    fn a_file_comes_in_pieces_and_its_end_is_told() {
        let disk = SimHost::new("cli", &Rng::from_seed(1)).env_inline().disk;
        let path = Path::new("points.txt");
        disk.open(path, Open::Create).and_then(|file| file.write_at(b"abcdefg", 0)).expect("written");
        let mut source = Source::open(&*disk, path).expect("opened");
        let mut body = b"<".to_vec();
        assert!(!source.fill(&mut body, 4).expect("read"));
        assert_eq!(body, b"<abcd");
        assert!(source.fill(&mut body, 4).expect("read"));
        assert_eq!(body, b"<abcdefg");
        assert!(Source::open(&*disk, Path::new("absent.txt")).is_err());
    }
}
