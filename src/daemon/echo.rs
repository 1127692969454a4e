//! `/echo`: a WebSocket that sends back what it gets, for measuring.

use std::collections::HashSet;
use std::sync::RwLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use tidings::base::sync::{read, write};
use tidings::server::Fd;

/// The path of the WebSocket.
pub(super) const ECHO_PATH: &str = "/echo";

/// Largest message that is echoed, in bytes: what the load generator sends at most.
pub(super) const ECHO_SIZE_MAX: usize = 16 << 20;

/// The connections that opened `/echo`.
///
/// Each message of any connection asks, so that nobody takes the lock while there are none.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    fds: RwLock<HashSet<Fd, foldhash::fast::RandomState>>,
    /// As many as there are: written under the lock, and before the messages of the connection come.
    count: AtomicUsize,
}

impl Echoes {
    /// Makes the list of connections that an image of the program before this one had.
    pub(super) fn of(fds: Vec<u64>) -> Self {
        let fds: HashSet<Fd, _> = fds.into_iter().map(Fd).collect();
        Self {
            count: AtomicUsize::new(fds.len()),
            fds: RwLock::new(fds),
        }
    }

    /// Lists the connections.
    pub(super) fn list(&self) -> Vec<u64> {
        let mut fds: Vec<u64> = read(&self.fds).iter().map(|fd| fd.0).collect();
        fds.sort_unstable();
        fds
    }

    pub(super) fn contains(&self, fd: Fd) -> bool {
        self.count.load(Relaxed) > 0 && read(&self.fds).contains(&fd)
    }

    pub(super) fn insert(&self, fd: Fd) {
        let mut fds = write(&self.fds);
        fds.insert(fd);
        self.count.store(fds.len(), Relaxed);
    }

    pub(super) fn remove(&self, fd: Fd) {
        let mut fds = write(&self.fds);
        fds.remove(&fd);
        self.count.store(fds.len(), Relaxed);
    }
}
