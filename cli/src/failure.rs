//! How a command fails: what is printed on stderr, and the exit code. Decides no kinds: `proto/src/status.rs` maps those.

use std::io;

use meridian_proto::exit_code;
use meridian_types::Failure;

/// Why a command did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Something is wrong with the arguments, found after clap read them.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to type instead.
        help: String,
    },
    /// The server, or the way to it, or its answer.
    #[error("{failure}")]
    Failed {
        /// What went wrong.
        failure: Failure,
        /// What to type next, where that is better than what holds for all failures of the code.
        help: Option<String>,
    },
    /// This process could not get what it needs of the system.
    #[error("cannot start: {0}")]
    Start(io::Error),
    /// stdout does not take the data.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// Whoever reads stdout, such as `head`, has seen enough. Not worth a word.
    #[error("the reader of the output is gone")]
    ReaderGone,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// A usage error with what to type instead.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: help.into() }
    }

    /// A failure with a help of its own.
    pub(crate) fn with_help(failure: Failure, help: impl Into<String>) -> Self {
        Self::Failed { failure, help: Some(help.into()) }
    }

    /// What stderr gets, newline included; nothing if there is nothing to say.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Usage { message, help } => format!("error: {message}\nhelp: {help}\n"),
            Self::Failed { failure, help } => {
                let help = help.as_deref().unwrap_or(failure.code.help());
                format!("error[{}]: {failure}\nhelp: {help}\n", failure.code)
            }
            Self::ReaderGone => String::new(),
            Self::Start(_) | Self::Output(_) => format!("error: {self}\n"),
            Self::Interrupted => format!("{self}\n"),
        }
    }

    /// The exit code. A reader that has seen enough got what it wanted: 0.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Failed { failure, .. } => exit_code(failure.code),
            Self::Start(_) | Self::Output(_) => 1,
            Self::ReaderGone => 0,
            Self::Interrupted => 130,
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        Self::Failed { failure, help: None }
    }
}

#[cfg(test)]
mod tests {
    use meridian_types::Code;

    use super::*;
    use crate::server::{about_database, about_shard, unreachable};

    #[test]
    fn errors_teach() {
        let no_database = Failure::new(Code::NoDatabase, "database \"x\" does not exist");
        let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "connect to 127.0.0.1:7171: refused");
        let errors = [
            about_database(no_database.clone(), "x"),
            about_database(Failure::new(Code::BadQuery, "the range is empty"), "x"),
            CliError::from(no_database),
            unreachable("127.0.0.1:7171", &refused),
            CliError::from(Failure::new(Code::Overloaded, "512 MiB are under way")),
            CliError::from(Failure::new(Code::Unknown, "127.0.0.1:7171 did not answer within 30s")),
            CliError::usage("nobody is there to be asked", "meridian db drop x --yes"),
            about_shard(Failure::new(Code::NoGroup, "there is no shard s9: the cluster has s1 to s8")),
            about_shard(Failure::new(Code::NotReady, "n2 is 2001 entries behind n1 in s3, over the limit of 1000")),
            about_shard(Failure::new(Code::BadRequest, "the request is malformed")),
            CliError::Output(io::Error::other("no space left")),
            CliError::ReaderGone,
            CliError::Interrupted,
        ];
        let found: String = errors.iter().map(|e| format!("{}exit {}\n\n", e.render(), e.exit_code())).collect();
        assert_eq!(found, include_str!("../testdata/errors.txt"));
    }
}
