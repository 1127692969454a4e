//! Writing: once a turn, each outbox goes to its socket, those of large deliveries in shares; peers
//! that read too slowly are closed.

use std::io::{self, IoSlice, Write};

use bytes::Bytes;

use super::write_queue::{LaterShare, Noted};
use super::{EventSink, Reactor};
use crate::base::Tick;
use crate::net::outbox::{Arena, Content, Flushed, Outbox};
use crate::net::slots::{KnownAs, ReadState, SlotPhase, WriteTurn};

impl<S: EventSink> Reactor<S> {
    /// Puts bytes into an outbox that will be written at the end of the turn.
    pub(super) fn send(&mut self, index: u32, bytes: Bytes, content: Content) {
        self.send_in(WriteTurn::This, index, bytes, content);
    }

    /// Puts bytes into an outbox that will be written in this turn, or when its place comes.
    pub(super) fn send_in(&mut self, turn: WriteTurn, index: u32, bytes: Bytes, content: Content) {
        if content != Content::Http && self.slots[index].known_as == KnownAs::EventStream {
            return self.send_events(turn, index, &bytes);
        }
        self.send_by(turn, index, |outbox, arena| {
            outbox.push(arena, bytes, content);
        });
    }

    /// Puts something into an outbox as `push` does.
    pub(super) fn send_by(
        &mut self,
        turn: WriteTurn,
        index: u32,
        push: impl FnOnce(&mut Outbox, &mut Arena),
    ) {
        self.shared.counters.deliveries.add(1);
        let slot = &mut self.slots[index];
        push(&mut slot.outbox, &mut self.arena);
        if self.writes.note(index, slot, turn) == Noted::Again {
            self.flush_if_full(index);
        }
    }

    /// Puts a frame for many into the outbox of one of them, if that is an open WebSocket; returns
    /// whether it is.
    pub(super) fn deliver_to(&mut self, turn: WriteTurn, index: u32, frame: &Bytes) -> bool {
        let Some(slot) = self.slots.get_mut(index) else {
            return false;
        };
        if !slot.connection.is_open() {
            return false;
        }
        slot.outbox
            .push(&mut self.arena, frame.clone(), Content::Shared);
        if self.writes.note(index, slot, turn) == Noted::Again {
            self.flush_if_full(index);
        }
        true
    }

    /// Writes an outbox that has much, before its place in the list comes.
    fn flush_if_full(&mut self, index: u32) {
        let slot = &self.slots[index];
        if slot.outbox.bytes() >= self.context.limits.flush_bytes && slot.stalled == Tick::NEVER {
            // The connection stays in its list: more may be added by the end of the turn.
            self.write(index);
        }
    }

    /// Writes every outbox that is due in this turn, and `share` of the large deliveries.
    pub(super) fn write_all(&mut self, share: &mut LaterShare) {
        let mut next = 0;
        // The list may grow meanwhile: a connection that ends may get a last frame.
        while let Some(index) = self.writes.this_at(next) {
            next += 1;
            // The slot may be free, or written meanwhile, or belong to a new connection; if the new
            // one waits too, writing is right.
            if let Some(slot) = self.slots.get_mut(index)
                && slot.write == Some(WriteTurn::This)
            {
                slot.write = None;
                self.write(index);
            }
        }
        self.writes.end_this();
        self.writes.grow(share);
        while let Some(index) = self.writes.next_later(share) {
            let Some(slot) = self.slots.get_mut(index) else {
                continue;
            };
            slot.in_later = false;
            if slot.write == Some(WriteTurn::Later) {
                slot.write = None;
                share.take(slot.outbox.bytes());
                self.write(index);
            }
        }
        self.arena.trim();
    }

    /// Writes as much as the socket takes, and acts on the rest.
    fn write(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        if slot.tls.is_some() {
            return self.write_encrypted(index);
        }
        let was_waiting = slot.stalled != Tick::NEVER;
        let before = slot.outbox.bytes();
        let counters = &self.shared.counters;
        let flushed = if was_waiting {
            Ok(Flushed::Waits)
        } else {
            let socket = &mut slot.socket;
            slot.outbox.flush(&mut self.arena, |slices| {
                counters.writes.add(1);
                write_slices(socket, slices)
            })
        };
        counters
            .bytes_out
            .add((before - slot.outbox.bytes()) as u64);
        match flushed {
            Ok(Flushed::Empty) => self.written(index),
            Ok(Flushed::Waits) => self.waits(index, before),
            Err(_) if self.is_hushed() => self.put_off(index),
            Err(_) => self.lose(index),
        }
    }

    /// Acts on an outbox that is empty now.
    pub(super) fn written(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let is_counted = slot.backlogged || slot.budgeted > 0;
        if slot.backlogged {
            slot.backlogged = false;
            self.shared.counters.backlogged.sub(1);
        }
        if is_counted {
            self.count_waiting(index);
        }
        self.note_awaited(index);
        match self.slots[index].phase {
            SlotPhase::Live => self.resume_reading(index),
            SlotPhase::Flushing => self.shut(index),
            SlotPhase::Lingering => {}
        }
    }

    /// Acts on an outbox with bytes left: the peer reads too slowly, or not at all.
    pub(super) fn waits(&mut self, index: u32, before: usize) {
        let now = self.context.clock.now();
        let slot = &mut self.slots[index];
        if slot.stalled == Tick::NEVER || slot.unsent() < before {
            slot.stalled = now;
        }
        if !slot.backlogged {
            slot.backlogged = true;
            self.shared.counters.backlogged.add(1);
        }
        self.count_waiting(index);
        self.note_awaited(index);
        let (slot, limits) = (&self.slots[index], &self.context.limits);
        let over = (slot.outbox).is_over(&self.arena, limits.outbox_bytes_max);
        if over && slot.connection.is_websocket() {
            if !self.is_hushed() {
                return self.evict(index);
            }
            self.put_off(index);
        }
        self.resume_reading(index);
        if self.slots.contains(index) {
            self.arm(index);
        }
    }

    /// Goes on with a connection that was paused for its outbox or its answers: first with the
    /// requests that it sent before, then with reading.
    pub(super) fn resume_reading(&mut self, index: u32) {
        let slot = &self.slots[index];
        let resumes_at = self.context.limits.outbox_pause_bytes / 2;
        if slot.connection.awaits_room() && slot.outbox.bytes() <= resumes_at {
            if self.is_hushed() {
                return self.put_off(index);
            }
            self.pump(index, &mut []);
            if !self.slots.contains(index) {
                return;
            }
        }
        let limits = &self.context.limits;
        let slot = &mut self.slots[index];
        if slot.reading == ReadState::Paused
            && slot.outbox.bytes() <= limits.outbox_pause_bytes / 2
            && !slot.connection.is_blocked(&limits.connection)
        {
            slot.reading = ReadState::Queued;
            self.shared.counters.paused.sub(1);
            self.queue_read(self.slots.id_of(index));
        }
    }

    /// Counts what waits for a peer: in its outbox once the socket didn't take all of it, and the
    /// answers that have no room there.
    pub(super) fn count_waiting(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        if slot.backlogged {
            slot.outbox.settle(&mut self.arena);
        }
        self.count_what_waits(index);
    }

    /// The same where what the outbox counts is known.
    pub(super) fn count_what_waits(&mut self, index: u32) {
        let slot = &mut self.slots[index];
        let answers = slot.connection.waiting_bytes();
        let (mut counted, mut kept) = (answers, answers);
        if slot.backlogged {
            let sealed = slot.unsent() - slot.outbox.bytes();
            counted += slot.outbox.counted() + sealed;
            kept += slot.outbox.kept() + sealed;
        }
        let before = std::mem::replace(&mut slot.budgeted, counted);
        self.shared.budget.add(counted);
        self.shared.budget.remove(before);
        self.outbox_holders.set(index, kept);
    }

    /// Gives up the connections for which most waits, WebSocket or HTTP, while the budget of the
    /// whole server is exceeded.
    pub(super) fn enforce_budget(&mut self) {
        let (budget, holders) = (&self.shared.budget, &self.outbox_holders);
        if !budget.is_exceeded() {
            return;
        }
        if self.peers.len() > 1 && holders.total() < budget.share_of(self.peers.len()) {
            // The largest holders belong to another reactor.
            return;
        }
        while self.shared.budget.is_exceeded()
            && let Some(index) = self.outbox_holders.take_largest()
        {
            self.give_up(index);
            // One that gets a Close is counted again when that is written: the next has its turn.
            self.outbox_holders.set(index, 0);
        }
    }
}

fn write_slices(mut socket: &mio::net::TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        // `send` is cheaper than `writev`.
        [one] => socket.write(one),
        many => socket.write_vectored(many),
    }
}
