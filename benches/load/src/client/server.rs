//! The server under load: where it is, what each request or handshake bears, what it costs.

use crate::client::opening::Handshake;
use crate::client::source_addresses::SourceAddresses;
use crate::client::target::Target;

/// A server to measure; the floor beside one is described in the same way.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) target: Target,
    /// Further fields of each request or handshake, each `Name: value`.
    pub(crate) fields: Vec<String>,
    /// The root of its process tree; `None` measures no CPU time and no memory.
    pub(crate) pid: Option<u32>,
    /// Local addresses to connect from; `None` takes as many as ports need.
    pub(crate) source_addresses: Option<usize>,
}

impl Server {
    /// The local addresses for the connections of a whole run.
    pub(crate) fn sources(&self, connections: usize) -> SourceAddresses {
        SourceAddresses::new(&self.target, self.source_addresses, connections)
    }

    /// Prepares the handshake of a connection to a path; its query may be the connection's own.
    pub(crate) fn handshake(&self, path: &str) -> Handshake {
        Handshake::upgrade(&self.target.host, path, &self.fields)
    }
}
