//! The PROXY header with which a connection begins where the settings say so.
//!
//! Nothing else of the connection is read before; the time for a request's head counts from the accept.

use mio::net::TcpStream;

use super::{EventSink, Reactor};
use crate::base::PeerAddress;
use crate::net::preface::Preface;
use crate::net::refusals::ReactorRefusal;
use crate::proto::proxy_protocol::ProxyHeaderSource;

/// A peer may not say whom it speaks for.
pub(super) struct Untrusted;

impl<S: EventSink> Reactor<S> {
    /// The header that a new connection has to begin with, if it has to begin with one.
    pub(super) fn awaited_preface(
        &self,
        socket: &TcpStream,
        peer: PeerAddress,
    ) -> Result<Option<Box<Preface>>, Untrusted> {
        let rules = &self.context.limits.proxies;
        if rules.proxy_protocol.is_empty() || peer.ip().is_none() {
            return Ok(None);
        }
        let wants = socket
            .local_addr()
            .is_ok_and(|local| rules.wants_header(local));
        match (wants, rules.trusts(peer)) {
            (false, _) => Ok(None),
            (true, true) => Ok(Some(Box::default())),
            (true, false) => Err(Untrusted),
        }
    }

    /// Reads the header, or a part of it; returns how many of the bytes were its own, or `None` while there
    /// is nothing to read behind it.
    pub(super) fn read_preface(&mut self, index: u32, bytes: &[u8]) -> Option<usize> {
        let slot = &mut self.slots[index];
        let fd = slot.fd;
        let read = slot.preface.as_mut()?.receive(bytes);
        let why = match read {
            Ok(None) => return None,
            Ok(Some((ProxyHeaderSource::Proxy, size))) => {
                slot.preface = None;
                return Some(size);
            }
            Ok(Some((ProxyHeaderSource::Client(client), size))) => {
                slot.preface = None;
                let client = PeerAddress::Ip(client);
                self.shared.directory.set_sender(fd, client);
                if self.shared.strangers.admits(client) {
                    self.shared.strangers.insert(fd, client);
                    return Some(size);
                }
                (
                    ReactorRefusal::Address,
                    "too many connections of this address have not logged in",
                )
            }
            Err(_) => (
                ReactorRefusal::Preface,
                "the connection doesn't begin with a PROXY header",
            ),
        };
        let asked = (Some(fd), self.shared.directory.peer(fd));
        let (refusal, why) = why;
        self.refusals
            .note(&self.shared.counters, refusal, asked, &why);
        self.lose(index);
        None
    }
}
