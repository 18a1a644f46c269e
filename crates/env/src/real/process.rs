//! Child processes: asked to end by their own pid, and never left behind.
#![expect(unsafe_code, reason = "to signal, and to die with the parent, are C functions")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts `command` apart from the terminal, so that ctrl-C reaches its parent alone. It is asked to end when the thread
    /// that starts it ends, however that comes: start it from one that lives as long as the process.
    pub fn start(mut command: Command) -> io::Result<Self> {
        command.process_group(0);
        // SAFETY: the closure calls one function that is safe between fork and exec, and touches no memory of the parent.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        command.spawn().map(Self)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Asks it to end in order.
    pub fn terminate(&mut self) -> io::Result<()> {
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = libc::pid_t::try_from(self.0.id()).map_err(io::Error::other)?;
        // SAFETY: no memory is involved, and the child was not waited for, so that the pid is still its own.
        match unsafe { libc::kill(pid, libc::SIGTERM) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// How it ended, if it has. Never waits.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
