//! The machine's own commands, run to their end.

use std::io;
use std::process::{Command, Stdio};

/// Runs a command; an error says what it said. `words` are split at spaces, so that no argument may have one.
pub(super) fn run(words: &str) -> io::Result<()> {
    let mut split = words.split(' ');
    let program = split.next().unwrap_or_default();
    let output = Command::new(program).args(split).stdin(Stdio::null()).output();
    let output = output.map_err(|error| io::Error::new(error.kind(), format!("{program} does not start: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("`{words}`: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim())))
}
