//! What proxies have told of a connection's peer.

use super::{Directory, Peer};
use crate::base::{Fd, PeerAddress};

/// A peer that came through a proxy which is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThroughProxy {
    /// The client, as the proxy told it; the port is 0 where it told none.
    pub client: PeerAddress,
    /// The address of whoever sends the requests: the one in front of whose fields are judged. That of
    /// the proxy, or what stood in a PROXY header.
    pub sender: PeerAddress,
    /// The address of the proxy that connected.
    pub proxy: PeerAddress,
    /// Whether the client spoke TLS with the proxy; `None` where it didn't say.
    pub is_secure: Option<bool>,
}

impl Directory {
    /// The address of whoever sends the requests of `fd`, whatever they tell of their clients.
    pub(in crate::net) fn sender(&self, fd: Fd) -> Option<PeerAddress> {
        let entries = self.read();
        let entry = entries.by_fd.get(&fd.0)?;
        let told = entry.through_proxy().map(|told| told.sender);
        Some(told.unwrap_or_else(|| entry.peer()))
    }

    /// Returns what a proxy has told of the peer of `fd`, if one has.
    #[must_use]
    pub fn through_proxy(&self, fd: Fd) -> Option<ThroughProxy> {
        let entries = self.read();
        entries.by_fd.get(&fd.0)?.through_proxy().copied()
    }

    /// Notes whom a connection is from, as a proxy said before anything else.
    pub(in crate::net) fn set_sender(&self, fd: Fd, sender: PeerAddress) {
        if let Some(entry) = self.write().by_fd.get_mut(&fd.0) {
            let proxy = entry.peer();
            entry.peer = Peer::Told(Box::new(ThroughProxy {
                client: sender,
                sender,
                proxy,
                is_secure: None,
            }));
        }
    }

    /// Notes for whom a request of `fd` was sent.
    pub(in crate::net) fn set_client(&self, fd: Fd, client: PeerAddress, is_secure: Option<bool>) {
        let mut entries = self.write();
        let Some(entry) = entries.by_fd.get_mut(&fd.0) else {
            return;
        };
        let peer = entry.peer();
        match &mut entry.peer {
            Peer::Told(told) => {
                told.client = client;
                told.is_secure = is_secure;
            }
            _ if client == peer && is_secure.is_none() => {}
            plain => {
                *plain = Peer::Told(Box::new(ThroughProxy {
                    client,
                    sender: peer,
                    proxy: peer,
                    is_secure,
                }));
            }
        }
    }
}
