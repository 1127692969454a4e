//! Connections that were told to go and haven't ended yet.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::base::Fd;
use crate::base::sync::lock;

/// The connections that are being closed by a kick. While there are none, which is nearly always, a
/// look costs no lock.
#[derive(Debug, Default)]
pub(super) struct KickedConnections {
    count: AtomicUsize,
    fds: Mutex<HashSet<Fd>>,
}

impl KickedConnections {
    pub(super) fn insert(&self, fd: Fd) {
        let mut fds = lock(&self.fds);
        fds.insert(fd);
        self.count.store(fds.len(), SeqCst);
    }

    /// Lists them, in the order of their names.
    pub(super) fn all(&self) -> Vec<Fd> {
        let mut fds: Vec<Fd> = lock(&self.fds).iter().copied().collect();
        fds.sort_unstable();
        fds
    }

    pub(super) fn remove(&self, fd: Fd) {
        if self.count.load(SeqCst) == 0 {
            return;
        }
        let mut fds = lock(&self.fds);
        fds.remove(&fd);
        self.count.store(fds.len(), SeqCst);
    }

    pub(super) fn contains(&self, fd: Fd) -> bool {
        self.count.load(SeqCst) > 0 && lock(&self.fds).contains(&fd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_is_known_until_its_connection_has_ended() {
        let kicked = KickedConnections::default();
        assert!(!kicked.contains(Fd(1)));
        kicked.insert(Fd(1));
        kicked.insert(Fd(1));
        assert!(kicked.contains(Fd(1)) && !kicked.contains(Fd(2)));
        kicked.remove(Fd(2));
        kicked.remove(Fd(1));
        assert!(!kicked.contains(Fd(1)));
    }
}
