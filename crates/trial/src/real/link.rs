//! A link of a node in user space: two ends, each an interface in a namespace of its own, and two threads that carry each frame
//! from one to the other, at once or late. The kernels that we meet have no other way to delay one.
#![expect(unsafe_code, reason = "namespaces are entered, and interfaces made, by C functions")]
#![expect(clippy::disallowed_methods, reason = "it stands for the world outside: threads and time of its own")]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The largest frame: 1,500 bytes and what stands before them, and some more.
const FRAME_BYTES_MAX: usize = 2_048;
/// Frames that wait in one direction; further ones are dropped, as by a switch whose queue is full.
const WAITING_MAX: usize = 16_384;
/// How long a thread waits for a frame until it sees whether the link is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Dropped, it is gone with its ends.
#[derive(Debug)]
pub(super) struct Link {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Microseconds that each frame takes, in both directions.
    delay: AtomicU64,
    is_gone: AtomicBool,
}

impl Link {
    /// A link from `here`, an interface of this thread's namespace, to `there`, one of the namespace that the file `there_in`
    /// stands for. Both are down.
    pub(super) fn make(here: &str, there: &str, there_in: &Path) -> io::Result<Self> {
        let ends = Arc::new(end(here)?);
        let (name, namespace) = (there.to_owned(), OpenOptions::new().read(true).open(there_in)?);
        // An interface is in the namespace of the thread that makes it: of one that ends with that.
        let made = thread::spawn(move || {
            // SAFETY: no memory is involved, and the descriptor is open.
            match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => end(&name),
                _ => Err(io::Error::last_os_error()),
            }
        });
        let far = Arc::new(made.join().map_err(|_| io::Error::other("the thread of an interface panicked"))??);
        let state = Arc::new(State::default());
        for (from, to) in [(&ends, &far), (&far, &ends)] {
            let (from, to, state) = (Arc::clone(from), Arc::clone(to), Arc::clone(&state));
            thread::spawn(move || carry(&from, &to, &state));
        }
        Ok(Self { state })
    }

    /// How long each frame takes from here on; none overtakes another.
    pub(super) fn delay(&self, by: Duration) {
        self.state.delay.store(by.as_micros() as u64, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.state.is_gone.store(true, Ordering::Relaxed);
    }
}

/// Makes an interface, and gives the file of its frames.
fn end(name: &str) -> io::Result<File> {
    let tap = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let tap = tap.map_err(|error| io::Error::new(error.kind(), format!("/dev/net/tun: {error}")))?;
    // SAFETY: all of it may be zeros.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::other(format!("{name} is too long for an interface")));
    }
    request.ifr_name.iter_mut().zip(name.bytes()).for_each(|(to, byte)| *to = byte as libc::c_char);
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request is read and written while the call lasts, and lives longer.
    match unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(tap),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Carries frames until the link is gone.
fn carry(mut from: &File, mut to: &File, state: &State) {
    let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    let mut frame = [0; FRAME_BYTES_MAX];
    while !state.is_gone.load(Ordering::Relaxed) {
        while let Some((_, frame)) = waiting.pop_front_if(|(due, _)| *due <= Instant::now()) {
            // An end that is down, or whose queue is full, drops it: that is what networks do.
            drop(to.write(&frame));
        }
        let next = waiting.front().map_or(LOOK_EVERY, |(due, _)| due.saturating_duration_since(Instant::now()));
        wait(from, next.min(LOOK_EVERY));
        while let Ok(bytes) = from.read(&mut frame) {
            let delay = Duration::from_micros(state.delay.load(Ordering::Relaxed));
            let after = waiting.back().map(|(due, _)| *due);
            let due = (Instant::now() + delay).max(after.unwrap_or_else(Instant::now));
            if waiting.len() < WAITING_MAX {
                waiting.push_back((due, frame[..bytes].to_vec()));
            }
        }
    }
}

/// Until there is a frame, or so long.
fn wait(file: &File, at_most: Duration) {
    let mut asked = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec { tv_sec: at_most.as_secs() as _, tv_nsec: at_most.subsec_nanos().into() };
    // SAFETY: one descriptor is asked for, which is open, and both arguments live until it returns. Whatever ends it, the caller
    // looks again.
    unsafe { libc::ppoll(&raw mut asked, 1, &raw const timeout, std::ptr::null()) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn frames_arrive_late_and_in_their_order() {
        let pair = || {
            let (a, b) = UnixDatagram::pair().expect("a pair");
            b.set_nonblocking(true).expect("set");
            (a, File::from(OwnedFd::from(b)))
        };
        let ((sender, from), (receiver, to)) = (pair(), pair());
        let state = Arc::new(State::default());
        let link = Link { state: Arc::clone(&state) };
        let carrying = thread::spawn(move || carry(&from, &to, &state));
        let began = Instant::now();
        link.delay(Duration::from_millis(20));
        (0..50).for_each(|frame| assert_eq!(sender.send(&[frame; 60]).ok(), Some(60)));
        for frame in 0..50 {
            let mut got = [0; 100];
            assert_eq!((receiver.recv(&mut got).ok(), got[0]), (Some(60), frame));
        }
        assert!(began.elapsed() >= Duration::from_millis(20));
        drop(link);
        carrying.join().expect("it ends");
    }
}
