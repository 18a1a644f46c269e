//! A SQL engine in a process of Python, which is told a line of JSON and answers one: `benches/peers/sql.py`.
//!
//! Never installs anything. A time is taken over there, around the query and its whole result: this way costs no engine anything.

use std::io::{Error, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use meridian_env::real::Process;
use meridian_env::{Env, deadline};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::digest::Digest;

const PROGRAM: &str = include_str!("../../../peers/sql.py");
/// One statement reads and sorts all rows.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// Why an engine does not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PythonError {
    /// No process, or no way to it.
    #[error("its process in Python: {0}")]
    Broken(#[from] Error),
    /// Silence.
    #[error("its process in Python did not answer for {} s", ANSWER_MAX.as_secs())]
    Silent,
    /// What it says against a statement, or what is no answer to one.
    #[error("{0}")]
    Refused(String),
}

/// A process that runs. The order of the fields is the order in which they go: the process before the pipes.
#[derive(Debug)]
pub(crate) struct Python {
    _process: Process,
    orders: Sender,
    answers: BufReader<Receiver>,
    /// Of the engine, as it says itself.
    pub(crate) version: String,
}

impl Python {
    /// Starts `engine` with its files in `dir`. None where there is no such program, or it has not its module.
    pub(crate) async fn start(
        env: &Env,
        program: &Path,
        engine: &str,
        dir: &Path,
    ) -> Result<Option<Self>, PythonError> {
        let (stdin, orders) = std::io::pipe()?;
        let (answers, stdout) = std::io::pipe()?;
        let mut command = Command::new(program);
        command.args(["-c", PROGRAM, engine]).arg(dir).stdin(stdin).stdout(stdout).stderr(Stdio::inherit());
        let process = match Process::start(command) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            started => started?,
        };
        let orders = Sender::from_owned_fd(orders.into())?;
        let answers = BufReader::new(Receiver::from_owned_fd(answers.into())?);
        let mut python = Self { _process: process, orders, answers, version: String::new() };
        let hello = python.answer(env).await?;
        if hello.get("missing").is_some() {
            return Ok(None);
        }
        let version = hello["version"].as_str().ok_or_else(|| PythonError::Refused(hello.to_string()))?;
        python.version = version.to_owned();
        Ok(Some(python))
    }

    /// Executes a statement that has no result.
    pub(crate) async fn run(&mut self, env: &Env, statement: &str) -> Result<(), PythonError> {
        self.tell(env, &json!({ "run": statement })).await.map(drop)
    }

    /// How long a query took, and what came of it. `large`: whether its result is.
    pub(crate) async fn ask(&mut self, env: &Env, query: &str, large: bool) -> Result<(Duration, Digest), PythonError> {
        let answer = self.tell(env, &json!({ "query": query, "large": large })).await?;
        let seconds = answer["seconds"].as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match (seconds, answer["values"].as_u64(), answer["sum"].as_f64()) {
            (Some(took), Some(values), Some(sum)) => Ok((took, Digest { values, sum })),
            _ => Err(PythonError::Refused(answer.to_string())),
        }
    }

    async fn tell(&mut self, env: &Env, order: &Value) -> Result<Value, PythonError> {
        self.orders.write_all(format!("{order}\n").as_bytes()).await?;
        self.answer(env).await
    }

    async fn answer(&mut self, env: &Env) -> Result<Value, PythonError> {
        let mut line = String::new();
        let end = env.clock.now() + ANSWER_MAX;
        let read = deadline(&*env.clock, end, self.answers.read_line(&mut line)).await;
        if read.map_err(|_| PythonError::Silent)?? == 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof).into());
        }
        let answer: Value = serde_json::from_str(&line).map_err(|_| PythonError::Refused(line))?;
        match answer["error"].as_str() {
            Some(error) => Err(PythonError::Refused(error.to_owned())),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_not_here_is_none_and_no_failure() {
        let env = meridian_env::real::env().expect("threads start");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let dir = tempfile::tempdir().expect("a directory");
        let started = runtime.block_on(Python::start(&env, Path::new("/nonexistent/python3"), "DuckDB", dir.path()));
        assert!(started.expect("no failure").is_none());
    }
}
