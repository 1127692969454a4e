//! New connections: accepting, dealing out, taking in.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::SystemTime;

use mio::Interest;
use mio::net::TcpStream;

use super::send;
use super::{EventSink, HANDLED, Reactor, TimerPurpose};
use crate::base::{PeerAddress, Tick};
use crate::net::command::{Arrival, Command};
use crate::net::directory::DirectoryEntry;
use crate::net::listener::Accepted;
use crate::net::outbox::Outbox;
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{KnownAs, ReadState, Slot, SlotPhase};
use crate::proto::connection::Connection;

/// Time until accepting is tried again after descriptors ran out, in milliseconds.
///
/// A round number: a waiting client hardly notices it, and ten tries a second cost nothing.
const ACCEPT_RETRY_MS: u64 = 100;

/// The answer where TLS is spoken: before a handshake there is none.
const NOTHING: &[u8] = &[];

/// The answer to a connection above `connections_max`, as far as the socket takes it.
const OVER_CAPACITY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Content-Type: application/json\r\nContent-Length: 74\r\nConnection: close\r\n\r\n\
    {\"error\":{\"code\":\"unavailable\",\"message\":\"too many connections just now\"}}";

/// The same to one above `connections_per_address_max`.
const OVER_SHARE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Content-Type: application/json\r\nContent-Length: 100\r\nConnection: close\r\n\r\n\
    {\"error\":{\"code\":\"unavailable\",\"message\":\
    \"too many connections of your address have not logged in\"}}";

/// Connections accepted at one listener in a turn: whoever connects without end leaves the others
/// their turns. A round number, which takes about a millisecond; the rest stays in the kernel's queue
/// until the next turn.
const ACCEPTS_A_TURN_MAX: usize = 64;

impl<S: EventSink> Reactor<S> {
    /// Accepts the connections that wait at one listener, as many as one turn takes.
    pub(super) fn accept_all(&mut self, listener: usize) {
        for _ in 0..ACCEPTS_A_TURN_MAX {
            let Some(acceptor) = self.acceptors.get_mut(listener) else {
                return;
            };
            let is_tls = acceptor.is_tls;
            if is_tls && self.encrypted_wait {
                return;
            }
            match acceptor.accept() {
                Accepted::Connection(socket, peer) => self.deal(Arrival {
                    socket,
                    peer,
                    is_tls,
                }),
                Accepted::Lost => {}
                // An edge-triggered poll doesn't tell of the remaining connections again, so a
                // timer has to.
                Accepted::Exhausted(error) => {
                    self.shared.counters.accept_failures.add(1);
                    self.refusals.no_descriptor(&error);
                    if !std::mem::replace(&mut self.accepts_again, true) {
                        self.set_timer(ACCEPT_RETRY_MS, TimerPurpose::Accept);
                    }
                    return;
                }
                Accepted::None => return,
            }
        }
        // An edge-triggered poll doesn't tell of them again.
        self.has_more_to_accept = true;
    }

    /// Accepts what an earlier turn left.
    pub(super) fn accept_rest(&mut self) {
        if std::mem::take(&mut self.has_more_to_accept) {
            self.accept_from_all_listeners();
        }
    }

    pub(super) fn accept_from_all_listeners(&mut self) {
        for listener in 0..self.acceptors.len() {
            self.accept_all(listener);
        }
    }

    /// Gives the connection to the next reactor in turn; during a drain the other reactors may be
    /// gone, so it stays here.
    fn deal(&mut self, arrival: Arrival) {
        self.next_peer = (self.next_peer + 1) % self.peers.len();
        if self.next_peer == self.id || self.drain.is_some() {
            self.take_in(arrival);
        } else {
            let command = Command::Adopt(Box::new(arrival));
            send(&self.peers[self.next_peer], command);
        }
    }

    /// Makes a connection one of this reactor's, or refuses it with 503.
    pub(super) fn take_in(&mut self, arrival: Arrival) {
        let Arrival {
            mut socket,
            peer,
            is_tls,
        } = arrival;
        let over_capacity = if is_tls { NOTHING } else { OVER_CAPACITY };
        if self.slots.len() >= self.context.limits.connections_max {
            let why = "there are too many connections";
            self.note_refused(ReactorRefusal::Full, peer, why);
            return self.turn_away(socket, over_capacity);
        }
        // A proxy connects for many; each of their WebSockets is counted when it is asked for.
        let is_proxy = self.context.limits.proxies.trusts(peer);
        if !is_proxy && !self.shared.strangers.admits(peer) {
            let why = "too many connections of this address have not logged in";
            self.note_refused(ReactorRefusal::Address, peer, why);
            return self.turn_away(socket, if is_tls { NOTHING } else { OVER_SHARE });
        }
        if !self.fds.has_next() {
            let why = "there is no number left for a connection";
            self.note_refused(ReactorRefusal::Full, peer, why);
            return self.turn_away(socket, over_capacity);
        }
        let preface = self.awaited_preface(&socket, peer);
        let Ok(preface) = preface else {
            let why = "only a trusted proxy may begin with a PROXY header";
            self.note_refused(ReactorRefusal::Preface, peer, why);
            return;
        };
        let tls = match is_tls.then(|| self.new_tls()) {
            None => None,
            Some(Ok(tls)) => Some(tls),
            Some(Err(error)) => {
                tracing::warn!(%error, "an encrypted connection can't be taken in");
                return;
            }
        };
        let id = self.slots.next_id();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self
            .poll
            .registry()
            .register(&mut socket, id.token(), interest)
        {
            tracing::warn!(%error, "a new connection can't be watched");
            return;
        }
        let fd = self.fds.next();
        let now = self.context.clock.now();
        self.slots.insert(Slot {
            socket,
            fd,
            connection: Connection::new(now, spread(fd.0)),
            outbox: Outbox::new(),
            preface,
            tls,
            timer: None,
            armed: Tick::NEVER,
            stalled: Tick::NEVER,
            cut_at: Tick::NEVER,
            phase: SlotPhase::Live,
            reading: ReadState::Drained,
            write: None,
            in_later: false,
            known_as: KnownAs::Nothing,
            peer_ended: false,
            gone: false,
            asked: 0,
            handed_in: HANDLED,
            backlogged: false,
            budgeted: 0,
            unfinished: 0,
        });
        let entry = DirectoryEntry::new(id.index, peer, SystemTime::now());
        self.shared.directory.insert(fd, entry);
        if !is_proxy {
            self.shared.strangers.insert(fd, peer);
        }
        self.shared.counters.accepted.add(1);
        if is_tls {
            self.shared.counters.tls_connections.add(1);
        }
        self.arm(id.index);
    }

    fn note_refused(&mut self, refusal: ReactorRefusal, peer: PeerAddress, why: &str) {
        let counters = &self.shared.counters;
        self.refusals
            .note(counters, refusal, (None, Some(peer)), &why);
    }

    /// Answers a connection that isn't taken in.
    fn turn_away(&mut self, mut socket: TcpStream, answer: &[u8]) {
        // A fresh socket's buffer takes these few bytes; if it doesn't, closing says enough.
        let _ = socket.write(answer);
        // Closing with unread input sends a reset, which can eat the answer.
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.read(&mut self.read_buffer);
    }
}

/// Scatters serial numbers, so that connections opened one after another are pinged at different
/// times. The factor is 2^64 divided by the golden ratio (Fibonacci hashing).
fn spread(serial: u64) -> u32 {
    (serial.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32
}
