//! The address of a peer.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Where a connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddress {
    /// An address and a port of the network.
    Ip(SocketAddr),
    /// A program of this machine, over a Unix socket; such peers have no address.
    Unix,
}

impl PeerAddress {
    /// Returns the network's address without its port; `None` for a Unix socket.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }

    /// Whether the peer is a program of this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.ip().is_none_or(|ip| ip.to_canonical().is_loopback())
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl PartialEq<SocketAddr> for PeerAddress {
    fn eq(&self, other: &SocketAddr) -> bool {
        matches!(self, Self::Ip(address) if address == other)
    }
}

/// An address and a port, an address alone where a proxy told no port, or `unix`.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) if address.port() == 0 => address.ip().fmt(f),
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.pad("unix"),
        }
    }
}
