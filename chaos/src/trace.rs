//! Every event of a run, one line each, with simulated time: the thing that must be equal in two runs of a seed.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Everything of ours, what openraft tells, and what the network carries.
const FILTER: &str = "info,meridian=trace,turmoil=trace";

struct SimTime;

impl FormatTime for SimTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        match turmoil::sim_elapsed() {
            Some(elapsed) => write!(writer, "{:>12.6}", elapsed.as_secs_f64()),
            None => write!(writer, "{:>12}", "-"),
        }
    }
}

/// Sends every event to `to`, a file or `-`; without it only errors, to standard error. What is returned must be flushed at
/// the end: nothing drops the subscriber.
pub(crate) fn start(to: Option<&str>) -> io::Result<Trace> {
    let out: Box<dyn Write + Send> = match to {
        None => Box::new(io::stderr()),
        Some("-") => Box::new(io::stdout()),
        Some(path) => {
            #[expect(clippy::disallowed_methods, reason = "the judge writes its own report, outside the world")]
            let file = std::fs::File::create(path)?;
            Box::new(file)
        }
    };
    let filter = if to.is_some() { FILTER } else { "error" };
    let trace = Trace(Arc::new(Mutex::new(Sink { out: io::BufWriter::new(out), failed: None })));
    let shared = trace.clone();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_timer(SimTime)
        .with_ansi(false)
        .with_writer(move || shared.clone())
        .init();
    Ok(trace)
}

/// What a person should read, on standard error.
pub(crate) fn tell(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Where events go. Clones share it.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Mutex<Sink>>);

struct Sink {
    out: io::BufWriter<Box<dyn Write + Send>>,
    /// Why a write failed: nothing is written after it, and `flush` says it once instead of the subscriber for each event.
    failed: Option<io::Error>,
}

impl Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut sink = self.0.lock();
        if sink.failed.is_none() {
            sink.failed = sink.out.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut sink = self.0.lock();
        match sink.failed.take() {
            Some(error) => Err(io::Error::new(error.kind(), format!("the trace ends early: {error}"))),
            None => sink.out.flush(),
        }
    }
}
