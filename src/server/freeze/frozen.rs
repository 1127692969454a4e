//! The server while all of it stands still.

use std::os::fd::RawFd;

use crate::server::process::Supervisor;

/// One reactor that stands still.
#[derive(Debug, Default)]
pub struct FrozenReactor {
    /// The sockets of its connections.
    pub sockets: Vec<RawFd>,
    /// Its listening sockets; only reactor 0 has some.
    pub listeners: Vec<RawFd>,
}

/// A server that stands still, for a function that looks at it on the main thread.
#[derive(Debug)]
pub struct FrozenServer<'a> {
    /// The number of the freeze.
    pub number: u64,
    /// The reactors, by their numbers.
    pub reactors: Vec<FrozenReactor>,
    /// The processes, whose pipes stand at any byte.
    pub supervisor: &'a mut Supervisor,
}
