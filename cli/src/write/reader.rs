//! The input as batches: read, unpacked and judged inside jobs, one piece ahead of what is sent. Holds a piece and a few
//! batches, however long the input is.

use std::path::Path;
use std::sync::Arc;

use meridian_dialect::line_protocol::Precision;
use meridian_env::{Class, Env, run as run_job};
use meridian_types::{Code, Failure};
use tokio::sync::mpsc;

use crate::failure::CliError;
use crate::input::{Meter, ReadError, Source};
use crate::output;
use crate::write::batch::{self, Batch, Batcher};

/// Bytes that are read before lines are looked for.
const CHUNK_BYTES: usize = 2 << 20;
/// Bytes in which a line must end.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Batches that wait for whoever sends them.
const BATCHES_WAITING: usize = 1;

/// What is read, as batches in the order of its lines, or why no more come.
pub(super) struct Input {
    /// Ends behind the last batch or the error.
    pub(super) batches: mpsc::Receiver<Result<Batch, CliError>>,
    /// How far it is read.
    pub(super) meter: Meter,
}

impl Input {
    /// Opens the file at `path`, or stdin for `-`, and begins to read for as long as somebody takes the batches.
    pub(super) async fn open(env: &Env, path: &Path, precision: Precision, rows_max: usize) -> Result<Self, CliError> {
        let (disk, at) = (Arc::clone(&env.disk), path.to_owned());
        let opened = run_job(&*env.work, Class::Scan, move || Source::open(&*disk, &at)).await;
        let name = path.display().to_string();
        let source = opened.map_err(|error| unreadable(&name, &error.into()))?;
        if source.is_stdin() && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
            output::say("Type lines of line protocol and end with ctrl-D.");
        }
        let meter = source.meter();
        let batcher = Batcher::new(rows_max);
        let lines = Lines { source, name, body: Vec::new(), precision, lines_before: 0, batcher, is_end: false };
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        tokio::spawn(read(env.clone(), lines, sender));
        Ok(Self { batches, meter })
    }
}

async fn read(env: Env, mut lines: Lines, sender: mpsc::Sender<Result<Batch, CliError>>) {
    while !lines.is_end {
        let (back, read) = run_job(&*env.work, Class::Scan, move || {
            let read = lines.next();
            (lines, read)
        })
        .await;
        lines = back;
        let (batches, failed) = match read {
            Ok(batches) => (batches, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let has_failed = failed.is_some();
        for batch in batches.into_iter().map(Ok).chain(failed.map(Err)) {
            if sender.send(batch).await.is_err() {
                return;
            }
        }
        if has_failed {
            return;
        }
    }
}

/// Cuts what comes in into lines.
struct Lines {
    source: Source,
    name: String,
    body: Vec<u8>,
    precision: Precision,
    lines_before: usize,
    batcher: Batcher,
    is_end: bool,
}

impl Lines {
    /// The batches that the next piece of the input fills; at its end the last one too.
    fn next(&mut self) -> Result<Vec<Batch>, CliError> {
        let filled = self.source.fill(&mut self.body, CHUNK_BYTES);
        self.is_end = filled.map_err(|error| unreadable(&self.name, &error))?;
        let margin = (!self.is_end).then_some(batch::MARGIN_BYTES);
        let front = batch::front(&self.body, self.precision, self.lines_before, margin);
        self.body.drain(..front.bytes);
        if self.body.len() > BODY_BYTES_MAX {
            let message = format!("no line ends in {BODY_BYTES_MAX} bytes behind line {}", front.lines_before);
            return Err(CliError::with_help(Failure::new(Code::OverLimit, message), "is this line protocol?"));
        }
        self.lines_before = front.lines_before;
        let mut batches: Vec<_> = front.verdicts.into_iter().filter_map(|verdict| self.batcher.push(verdict)).collect();
        if self.is_end {
            batches.extend(self.batcher.finish());
        }
        Ok(batches)
    }
}

fn unreadable(name: &str, error: &ReadError) -> CliError {
    let message = format!("cannot read {name}: {error}");
    match error {
        ReadError::Io(_) => CliError::usage(message, "name a file that can be read, or - for stdin"),
        ReadError::Gzip(_) => CliError::with_help(Failure::new(Code::BadRequest, message), format!("gzip -t {name}")),
    }
}

#[cfg(test)]
mod tests {
    use meridian_env::sim::SimHost;
    use meridian_env::{Open, Rng};

    use super::*;

    #[tokio::test]
    async fn a_long_input_comes_in_full_batches() {
        let env = SimHost::new("cli", &Rng::from_seed(1)).env_inline();
        let path = Path::new("points.txt");
        let line = format!("m,host=a f=\"{}\" 1\n", "x".repeat(100));
        let count = 3 * CHUNK_BYTES / line.len();
        let text = line.repeat(count);
        env.disk.open(path, Open::Create).and_then(|f| f.write_at(text.as_bytes(), 0)).expect("written");
        let mut input = Input::open(&env, path, Precision::Nanos, 1_000).await.expect("opened");
        let (mut next, mut sizes) = (1, Vec::new());
        while let Some(batch) = input.batches.recv().await {
            let batch = batch.expect("readable");
            assert_eq!(batch.span(), (next, next + batch.lines() - 1), "no line is lost between batches");
            next += batch.lines();
            sizes.push(batch.lines());
        }
        assert_eq!(next - 1, count);
        assert!(sizes[..sizes.len() - 1].iter().all(|size| *size == 1_000), "{sizes:?}");
        assert_eq!(input.meter.read(), text.len() as u64);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named() {
        let env = SimHost::new("cli", &Rng::from_seed(1)).env_inline();
        let path = Path::new("points.gz");
        env.disk.open(path, Open::Create).and_then(|f| f.write_at(b"\x1f\x8bno", 0)).expect("written");
        let mut input = Input::open(&env, path, Precision::Nanos, 10).await.expect("opened");
        let error = input.batches.recv().await.expect("an end").expect_err("damaged");
        assert_eq!(error.exit_code(), 3);
        assert!(error.render().contains("cannot read points.gz: it is damaged or cut off gzip"), "{}", error.render());
        assert!(input.batches.recv().await.is_none());
        let absent = Input::open(&env, Path::new("absent"), Precision::Nanos, 10).await;
        assert_eq!(absent.err().map(|error| error.exit_code()), Some(2));
    }
}
