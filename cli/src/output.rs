//! The only way to stdout and stderr: stdout carries data and nothing else, stderr carries talk.

use std::io::{self, Write as _};

use crate::failure::CliError;

/// Writes data to stdout and sees to it that it gets there.
pub(crate) fn print(data: impl AsRef<[u8]>) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(data.as_ref()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::ReaderGone,
        _ => CliError::Output(error),
    })
}

/// Tells people something on stderr, on lines of its own. Nobody has to listen: an error is not one of the command.
pub(crate) fn say(text: &str) {
    if text.is_empty() {
        return;
    }
    let end = if text.ends_with('\n') { "" } else { "\n" };
    drop(write!(io::stderr().lock(), "{text}{end}"));
}

/// Puts `text` on stderr as it stands: for lines that are drawn over.
pub(crate) fn draw(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(write!(stderr, "{text}").and_then(|()| stderr.flush()));
}

/// `n` with its noun, and digits in groups of three: `1 row`, `20,000 rows`.
pub(crate) fn counted(n: u64, one: &str) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {one}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn counts_read_well() {
        assert_eq!(counted(0, "row"), "0 rows");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(999, "row"), "999 rows");
        assert_eq!(counted(1_234_567, "line"), "1,234,567 lines");
    }
}
