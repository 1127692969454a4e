//! `/echo`: a WebSocket that sends back what it gets, for measuring.

use std::collections::HashSet;
use std::sync::RwLock;

use tidings::base::sync::{read, write};
use tidings::server::Fd;

/// The path of the WebSocket.
pub(super) const ECHO_PATH: &str = "/echo";

/// Largest message that is echoed, in bytes: what the load generator sends at most.
pub(super) const ECHO_SIZE_MAX: usize = 16 << 20;

/// The connections that opened `/echo`.
#[derive(Debug, Default)]
pub(super) struct Echoes(RwLock<HashSet<Fd, foldhash::fast::RandomState>>);

impl Echoes {
    pub(super) fn contains(&self, fd: Fd) -> bool {
        read(&self.0).contains(&fd)
    }

    pub(super) fn insert(&self, fd: Fd) {
        write(&self.0).insert(fd);
    }

    pub(super) fn remove(&self, fd: Fd) {
        write(&self.0).remove(&fd);
    }
}
