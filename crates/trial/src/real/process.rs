//! One child process: signalled by its own pid, and never left behind. What it prints goes to a file.
#![expect(unsafe_code, reason = "signals, and the request to die with the parent, are C functions")]

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Lines of a child's output that are printed when a trial fails.
const TAIL_LINES: usize = 40;

/// A running child; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; its output is added to `log`. Call it from the thread that waits for the trial's end: the child dies
    /// with the thread that started it, so that not even a killed trial leaves it behind.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> io::Result<Self> {
        let output = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let errors = output.try_clone()?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // SAFETY: the closure calls one function that is safe between fork and exec, and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        let program = command.get_program().display().to_string();
        let why = |error: io::Error| io::Error::new(error.kind(), format!("{name} does not start: {program}: {error}"));
        Ok(Self { name: name.to_owned(), child: command.spawn().map_err(why)? })
    }

    /// SIGKILL; returns when it is gone.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGSTOP: it stands still until [`Process::resume`].
    pub(crate) fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// How it ended, if it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<(String, ExitStatus)> {
        let status = self.child.try_wait().expect("a child can be asked")?;
        Some((self.name.clone(), status))
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a pid");
        // SAFETY: no memory is involved, and the child was not waited for, so that the pid is still its own.
        let sent = unsafe { libc::kill(pid, signal) };
        assert_eq!(sent, 0, "{} takes no signal {signal}: {}", self.name, io::Error::last_os_error());
    }

    fn end(&mut self) {
        // Both fail only for a child that is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Prints the last lines of each log, on standard error.
pub(crate) fn print_tails(logs: &[PathBuf]) {
    let mut out = io::stderr().lock();
    for log in logs {
        #[expect(clippy::disallowed_methods, reason = "reads what a child has printed")]
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        drop(writeln!(out, "\n-- the last of {} lines of {}:", lines.len(), log.display()));
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            drop(writeln!(out, "{line}"));
        }
    }
}
