//! Reading: bytes go from a socket into its connection's state machine, events come out.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::Bytes;

use super::{EventSink, HANDLED, Reactor};
use crate::net::outbox::Content;
use crate::net::refusals::ReactorRefusal;
use crate::net::slots::{KnownAs, ReadState, SlotId, SlotPhase, WriteTurn};
use crate::net::tls_outcome::is_hello;
use crate::proto::connection::{CloseReason, ConnectionEvent, Input, Output};
use crate::proto::http::Head;

/// Bytes added to a message's payload when it is counted as not handled: the largest header that
/// an answer of the same length may have.
const MESSAGE_OVERHEAD: usize = 10;

/// Connections that come or go, and are read from in one turn. A handshake takes about 40 µs and an
/// end about half of that, so a crowd of either keeps the others waiting for a millisecond.
const COMING_AND_GOING_A_TURN_MAX: usize = 32;

/// Other connections that hear no topic, and are read from in one turn. To read a login, hand it on and
/// answer it takes some 12 µs, so thousands who log in at once keep the others waiting for a millisecond.
const WITHOUT_TOPIC_A_TURN_MAX: usize = 64;

/// Connections that hear a topic, and are read from in one turn: a round number. A read takes some
/// 3 µs, so answers that are there wait for a millisecond at most, however many talk at once; nobody
/// among those has the right to be first.
const WITH_TOPIC_A_TURN_MAX: usize = 256;

impl<S: EventSink> Reactor<S> {
    /// Puts a connection into a list of those to read from. Who hears a topic is at home here: for those
    /// who come, go or have still to log in there are lists of their own, since a crowd of them would
    /// keep the others waiting.
    pub(super) fn queue_read(&mut self, id: SlotId) {
        let (comes_or_goes, shakes_hands) = self.slots.find(id).map_or((false, false), |slot| {
            let comes_or_goes = slot.known_as == KnownAs::Nothing || slot.peer_ended;
            (comes_or_goes, comes_or_goes && slot.is_handshaking())
        });
        let list = match (comes_or_goes, self.topics.has_any(id.index)) {
            (true, _) if shakes_hands => &mut self.handshakes,
            (true, _) => &mut self.coming_and_going,
            (false, true) => &mut self.ready,
            (false, false) => &mut self.ready_without_topic,
        };
        list.push_back(id);
    }

    /// Reads once from some connections of each list.
    pub(super) fn read_all(&mut self) {
        self.read_some(WITH_TOPIC_A_TURN_MAX, |reactor| &mut reactor.ready);
        self.read_some(WITHOUT_TOPIC_A_TURN_MAX, |reactor| {
            &mut reactor.ready_without_topic
        });
        self.read_some(COMING_AND_GOING_A_TURN_MAX, |reactor| {
            &mut reactor.coming_and_going
        });
        if !self.handshakes.is_empty() {
            self.go_on_with_handshakes();
        }
    }

    fn read_some(&mut self, max: usize, list: fn(&mut Self) -> &mut VecDeque<SlotId>) {
        // Connections that go on next turn stand behind these.
        for _ in 0..list(self).len().min(max) {
            if let Some(id) = list(self).pop_front() {
                self.read(id);
            }
        }
    }

    /// Whether there is nobody to read from.
    pub(super) fn has_read_all(&self) -> bool {
        self.ready.is_empty()
            && self.ready_without_topic.is_empty()
            && self.coming_and_going.is_empty()
            && self.handshakes.is_empty()
    }

    pub(super) fn read(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        if slot.phase == SlotPhase::Live {
            if slot.reading == ReadState::Stopped {
                return;
            }
            if self.is_held(id.index) {
                self.note_gone(id.index);
                self.held.push(id);
                return;
            }
            let limits = &self.context.limits;
            let slot = &mut self.slots[id.index];
            if slot.outbox.bytes() > limits.outbox_pause_bytes
                || slot.connection.is_blocked(&limits.connection)
            {
                slot.reading = ReadState::Paused;
                self.shared.counters.paused.add(1);
                return;
            }
        }
        self.read_socket(id);
    }

    /// Has others see that the peer of a held WebSocket is gone: what it asked needs no answer. What
    /// it said is still to be read.
    pub(super) fn note_gone(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let waits = slot.reading == ReadState::Queued && slot.known_as.is_websocket();
        if waits && slot.peer_ended && !slot.gone {
            slot.gone = true;
            self.shared.directory.unestablish(slot.fd);
        }
    }

    /// Whether the connection mustn't be read now, since a queue that it feeds is too long; the
    /// reactor is woken when that changes.
    pub(super) fn is_held(&mut self, index: u32) -> bool {
        let slot = &mut self.slots[index];
        if self.sink.must_pause(slot.fd) || self.is_ahead(index) {
            return true;
        }
        self.are_mailboxes_pressed()
    }

    /// Whether the answers to the peer's unhandled messages may be too much for its outbox.
    fn is_ahead(&mut self, index: u32) -> bool {
        let slot = &mut self.slots[index];
        if slot.asked + slot.outbox.bytes() <= self.context.limits.outbox_pause_bytes {
            return false;
        }
        if slot.asked > 0 && !self.sink.has_handled(slot.fd, slot.handed_in) {
            return true;
        }
        slot.asked = 0;
        false
    }

    fn read_socket(&mut self, id: SlotId) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        self.shared.counters.reads.add(1);
        let slot = &mut self.slots[id.index];
        match slot.socket.read(&mut buffer) {
            Ok(0) if slot.tls.is_some() => self.ended_encrypted(id.index),
            Ok(0) => self.ended(id.index),
            Ok(size) => {
                self.shared.counters.bytes_in.add(size as u64);
                // A short read has emptied the socket; reading again would cost a call for
                // nothing, unless the end is known to stand behind it.
                if size == buffer.len() || slot.peer_ended {
                    slot.reading = ReadState::Queued;
                    self.queue_read(id);
                } else {
                    slot.reading = ReadState::Drained;
                }
                let slot = &mut self.slots[id.index];
                if slot.phase == SlotPhase::Live {
                    let taken = match slot.preface {
                        None => Some(0),
                        Some(_) => self.read_preface(id.index, &buffer[..size]),
                    };
                    if let Some(taken) = taken {
                        let slot = &mut self.slots[id.index];
                        if slot.tls.is_some() {
                            self.pump_encrypted(id, &buffer[taken..size]);
                        } else {
                            slot.connection.heard(self.context.clock.now());
                            self.pump(id.index, &mut buffer[taken..size]);
                        }
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                slot.reading = ReadState::Drained;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.queue_read(id),
            Err(_) => self.lose(id.index),
        }
        self.read_buffer = buffer;
    }

    /// Notes that the peer sent its last byte.
    pub(super) fn ended(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        slot.reading = ReadState::Drained;
        slot.peer_ended = true;
        match slot.phase {
            SlotPhase::Live => {
                if let Some(ConnectionEvent::Closed(reason)) = slot.connection.half_close() {
                    self.leave(index, reason);
                } else {
                    self.pump(index, &mut []);
                }
            }
            // The peer has ended and all of its outbox is written.
            SlotPhase::Flushing if slot.unsent() == 0 => self.remove(index),
            SlotPhase::Flushing => {}
            SlotPhase::Lingering => self.remove(index),
        }
    }

    /// Hands bytes to a connection and carries out the events that it gives.
    pub(super) fn pump(&mut self, index: u32, bytes: &mut [u8]) {
        let closed = self.pump_until_closed(index, bytes);
        self.count_unfinished(index);
        match closed {
            Some(reason) => self.leave(index, reason),
            None => self.arm(index),
        }
    }

    fn pump_until_closed(&mut self, index: u32, bytes: &mut [u8]) -> Option<CloseReason> {
        let mut input = Input::new(bytes, &mut self.inflater);
        let counters = &self.shared.counters;
        let slot = &mut self.slots[index];
        let fd = slot.fd;
        let over_share = Cell::new(false);
        let gate = |head: &Head| (self.context).judge(&self.shared, head, fd, &over_share);
        let mut rules = self.context.rules();
        rules.gate = &gate;
        rules.is_secure = slot.tls.is_some();
        loop {
            if !slot.connection.is_websocket() {
                rules.room = self.context.room_beside(slot.outbox.bytes());
            }
            let event = slot.connection.next_event(&rules, &mut input)?;
            match event {
                ConnectionEvent::Message { kind, payload } => {
                    counters.messages_in.add(1);
                    let size = payload.len() + MESSAGE_OVERHEAD;
                    slot.handed_in = self.sink.message(fd, kind, payload, slot.handed_in);
                    if slot.handed_in != HANDLED {
                        slot.asked += size;
                    }
                }
                ConnectionEvent::Output(output) => {
                    if over_share.take() {
                        let asked = (Some(fd), self.shared.directory.peer(fd));
                        let why = "too many connections of this address have not logged in";
                        let refusal = ReactorRefusal::Address;
                        self.refusals.note(counters, refusal, asked, &why);
                    }
                    if let Some(error) = slot.connection.take_refused() {
                        if is_hello(input.all()) && slot.known_as == KnownAs::Nothing {
                            counters.tls_on_plain.add(1);
                        }
                        let peer = self.shared.directory.peer(fd);
                        let refusal = ReactorRefusal::Http(error);
                        self.refusals
                            .note(counters, refusal, (Some(fd), peer), &error);
                    }
                    if slot.known_as == KnownAs::Nothing {
                        slot.known_as = KnownAs::Http;
                    }
                    let (bytes, content) = owned(output);
                    slot.outbox.push(&mut self.arena, bytes, content);
                    self.writes.note(index, slot, WriteTurn::This);
                }
                ConnectionEvent::Request(request) => {
                    counters.requests.add(1);
                    slot.known_as = KnownAs::Http;
                    slot.handed_in = self.sink.request(fd, request, slot.handed_in);
                }
                ConnectionEvent::Opened(head) => {
                    let deflates = slot.connection.deflates();
                    slot.known_as = KnownAs::open(&slot.connection);
                    counters.websockets.add(1);
                    counters.websockets_deflating.add(deflates.into());
                    let is_stream = slot.known_as == KnownAs::EventStream;
                    counters.event_streams.add(is_stream.into());
                    self.shared.directory.establish(fd, deflates);
                    slot.handed_in = self.sink.opened(fd, head);
                }
                ConnectionEvent::Ignored => {}
                ConnectionEvent::Closed(reason) => return Some(reason),
            }
        }
    }
}

impl<S: EventSink> Reactor<S> {
    /// Counts what the connection keeps of a request or message that isn't whole.
    pub(super) fn count_unfinished(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        if slot.unfinished == 0 && !slot.connection.is_unfinished() {
            return;
        }
        let bytes = slot.connection.unfinished_bytes();
        let before = std::mem::replace(&mut slot.unfinished, bytes);
        if bytes == before {
            return;
        }
        let unfinished = &self.shared.unfinished;
        unfinished.add(bytes);
        unfinished.remove(before);
        let own = &self.shared.counters.unfinished_bytes;
        own.add(bytes as u64);
        own.sub(before as u64);
        self.unfinished_holders.set(index, bytes);
    }

    /// Refuses the largest requests and messages that are half sent, while the budget of the whole
    /// server for them is exceeded.
    pub(super) fn enforce_unfinished(&mut self) {
        let unfinished = &self.shared.unfinished;
        if !unfinished.is_exceeded() {
            return;
        }
        let own = self.unfinished_holders.total();
        if self.peers.len() > 1 && own < unfinished.share_of(self.peers.len()) {
            // Those with the most are with another reactor.
            return;
        }
        while self.shared.unfinished.is_exceeded()
            && let Some(index) = self.unfinished_holders.take_largest()
        {
            self.refuse_unfinished(index);
        }
    }

    fn refuse_unfinished(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let asked = (Some(slot.fd), self.shared.directory.peer(slot.fd));
        let why = format_args!(
            "too much is half sent in all; here {} bytes",
            slot.unfinished
        );
        let refusal = ReactorRefusal::Unfinished;
        self.refusals
            .note(&self.shared.counters, refusal, asked, &why);
        if let Some(output) = slot.connection.refuse_unfinished() {
            self.shared.directory.unestablish(slot.fd);
            let (bytes, content) = owned(output);
            self.send(index, bytes, content);
            if !self.slots.contains(index) {
                return;
            }
        }
        self.pump(index, &mut []);
    }
}

/// Converts bytes of the protocol to a piece for the outbox.
pub(super) fn owned(output: Output) -> (Bytes, Content) {
    match output {
        Output::Control(frame) => (Bytes::copy_from_slice(frame.as_bytes()), Content::Own),
        Output::Http(bytes) => (bytes, Content::Http),
    }
}
