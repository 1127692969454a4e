//! Encrypted connections: what comes is opened before it is read, what goes is sealed behind the outbox.
//!
//! Above this file nobody hears of a connection before its handshake is done.

use std::io;
use std::time::{Duration, Instant};

use super::{EventSink, Reactor};
use crate::base::Tick;
use crate::net::command::EncryptedOrder;
use crate::net::counters::Counters;
use crate::net::outbox::{Arena, Flushed};
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{Slot, SlotId, SlotPhase, WriteTurn};
use crate::net::tls_outcome::{HandshakeWay, TlsFailure};
use crate::net::{Tls, TlsCertificates};
use crate::proto::connection::{CloseReason, ConnectionEvent};

/// Handshakes that a turn goes on with: one of ECDSA takes 80 µs, so the others wait for 2 ms at most.
const HANDSHAKES_A_TURN_MAX: usize = 25;

/// The same as a time, since one of RSA takes four times as long.
const HANDSHAKES_TIME_MAX: Duration = Duration::from_millis(2);

/// Bytes of a record that hasn't come whole, at most (RFC 5246 §6.2.3: 18,437), so that no plain bytes
/// are left of what is opened.
const UNOPENED_BYTES_MAX: usize = 32 * 1024;

/// The close code of connections that an upgrade can't carry (service restart).
const RESTART: u16 = 1012;

impl<S: EventSink> Reactor<S> {
    pub(super) fn new_tls(&self) -> io::Result<Box<Tls>> {
        let certificates: Option<&TlsCertificates> = self.certificates.as_deref();
        let certificates = certificates.ok_or_else(|| io::Error::other("no certificates"))?;
        Tls::new(certificates)
    }

    /// Goes on with some of the handshakes; the others wait for the next turn.
    pub(super) fn go_on_with_handshakes(&mut self) {
        let began = Instant::now();
        for _ in 0..self.handshakes.len().min(HANDSHAKES_A_TURN_MAX) {
            let Some(id) = self.handshakes.pop_front() else {
                break;
            };
            self.read(id);
            if began.elapsed() >= HANDSHAKES_TIME_MAX {
                break;
            }
        }
        let took = began.elapsed().as_micros() as u64;
        self.shared.counters.tls_handshakes_us.add(took);
    }

    /// Opens what came, and hands the plain bytes on.
    pub(super) fn pump_encrypted(&mut self, id: SlotId, raw: &[u8]) {
        let mut plain = std::mem::take(&mut self.plain_buffer);
        plain.resize(raw.len() + UNOPENED_BYTES_MAX, 0);
        self.pump_opened(id, raw, &mut plain);
        self.plain_buffer = plain;
    }

    fn pump_opened(&mut self, id: SlotId, raw: &[u8], plain: &mut [u8]) {
        let slot = &mut self.slots[id.index];
        let Some(tls) = &mut slot.tls else {
            return;
        };
        let opened = match tls.open(raw, plain) {
            Ok(opened) => opened,
            Err(failure) => return self.fail_encrypted(id.index, &failure),
        };
        let counters = &self.shared.counters;
        match opened.handshake {
            Some(HandshakeWay::Full) => counters.tls_handshakes_full.add(1),
            Some(HandshakeWay::Resumed) => counters.tls_handshakes_resumed.add(1),
            None => {}
        }
        if tls.has_to_send() {
            self.writes.note(id.index, slot, WriteTurn::This);
        }
        if opened.size > 0 {
            // A peer that only shakes hands, however slowly, isn't heard.
            slot.connection.heard(self.context.clock.now());
            self.pump(id.index, &mut plain[..opened.size]);
        }
        if opened.has_ended && self.slots.find(id).is_some() {
            self.ended(id.index);
        }
    }

    /// Notes the end of a socket. Without a `close_notify` before it something may have been cut off.
    pub(super) fn ended_encrypted(&mut self, index: u32) {
        let slot = &self.slots[index];
        match slot.phase == SlotPhase::Live && !slot.peer_ended_in_order() {
            true => self.lose(index),
            false => self.ended(index),
        }
    }

    /// Ends a connection whose bytes can't be opened: an alert or an answer tells the peer why.
    fn fail_encrypted(&mut self, index: u32, failure: &TlsFailure) {
        let slot = &mut self.slots[index];
        let is_plain = matches!(failure, TlsFailure::Plain(_));
        let asked = (Some(slot.fd), self.shared.directory.peer(slot.fd));
        let refusal = ReactorRefusal::Tls { is_plain };
        self.refusals
            .note(&self.shared.counters, refusal, asked, failure);
        if let TlsFailure::Plain(answer) = failure {
            // A fresh socket's buffer takes these few bytes.
            _ = io::Write::write(&mut slot.socket, answer);
        }
        slot.outbox.clear(&mut self.arena);
        if let Some(ConnectionEvent::Closed(reason)) = slot.connection.abort(CloseReason::Lost) {
            self.leave(index, reason);
        }
    }

    /// Seals and writes as much as the socket takes, and acts on the rest.
    pub(super) fn write_encrypted(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let before = slot.unsent();
        let flushed = match slot.stalled == Tick::NEVER {
            true => slot.flush_encrypted(&mut self.arena, &self.shared.counters),
            false => Ok(Flushed::Waits),
        };
        let sent = before.saturating_sub(slot.unsent());
        self.shared.counters.bytes_out.add(sent as u64);
        match flushed {
            Ok(Flushed::Empty) => self.written(index),
            Ok(Flushed::Waits) => self.waits(index, before),
            Err(_) if self.is_hushed() => self.put_off(index),
            Err(_) => self.lose(index),
        }
    }

    /// Has a leaving connection say that no more comes; whether that has still to be sent.
    pub(super) fn says_goodbye(&mut self, index: u32) -> bool {
        let slot = &mut self.slots[index];
        let Some(tls) = &mut slot.tls else {
            return false;
        };
        tls.end();
        let has_to_send = tls.has_to_send();
        if has_to_send {
            self.writes.note(index, slot, WriteTurn::This);
        }
        has_to_send
    }

    /// Does with encrypted connections what an upgrade asks for.
    pub(super) fn order_encrypted(&mut self, order: EncryptedOrder) {
        self.encrypted_wait = order != EncryptedOrder::Accept;
        if order == EncryptedOrder::Accept {
            return self.accept_from_all_listeners();
        }
        for index in self.slots.indices() {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            if slot.tls.is_none() {
                continue;
            }
            match (order, slot.phase) {
                (EncryptedOrder::Cut, SlotPhase::Live) => self.end_encrypted(index),
                (EncryptedOrder::Cut, _) => self.remove(index),
                (_, SlotPhase::Live) if slot.connection.is_websocket() => {
                    let fd = slot.fd;
                    self.disconnect(fd, RESTART, "the server is being replaced");
                }
                (_, SlotPhase::Live)
                    if !slot.is_handshaking() && slot.connection.open_requests() == 0 =>
                {
                    self.end_encrypted(index);
                }
                // An answer or a handshake is under way, or the connection leaves already.
                _ => {}
            }
        }
    }
}

impl<S: EventSink> Reactor<S> {
    /// Ends a connection with a `close_notify`.
    fn end_encrypted(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        if slot.is_handshaking() {
            return self.lose(index);
        }
        match slot.connection.abort(CloseReason::Lost) {
            Some(ConnectionEvent::Closed(reason)) => self.leave(index, reason),
            _ => self.lose(index),
        }
    }
}

impl Slot {
    /// Whether the peer has said that no more comes.
    fn peer_ended_in_order(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_heard_end())
    }

    fn flush_encrypted(&mut self, arena: &mut Arena, counters: &Counters) -> io::Result<Flushed> {
        let (Some(tls), socket) = (&mut self.tls, &mut self.socket) else {
            return Ok(Flushed::Empty);
        };
        counters.writes.add(1);
        loop {
            if !tls.flush(socket)? {
                return Ok(Flushed::Waits);
            }
            if self.outbox.is_empty() {
                return Ok(Flushed::Empty);
            }
            let flushed = self
                .outbox
                .flush(arena, |slices| tls.seal(socket, slices))?;
            if tls.left_bytes() > 0 {
                return Ok(Flushed::Waits);
            }
            if flushed == Flushed::Empty {
                return Ok(Flushed::Empty);
            }
            // One call takes no more than so much, whatever the socket would.
        }
    }
}
