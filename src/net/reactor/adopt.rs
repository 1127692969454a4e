//! A reactor goes on with the connections of another image.
//!
//! [`Reactor::adopt`] makes slots, tables and counts of what was handed over; it can't fail, and has no
//! system call but those of `socket_of`. The first turn writes what waits. Then each turn registers some
//! of the sockets with the poll, those first with which something is going on: until that is done for
//! all, no connection's deadline is looked at, since the sign of life that it waits for may not have
//! been seen.

use std::os::fd::{OwnedFd, RawFd};

use mio::Interest;
use mio::net::TcpStream;

use super::time::Clock;
use super::{Awaited, EventSink, HANDLED, Reactor, ReactorHandover, ReactorParts, TimerPurpose};
use crate::base::Tick;
use crate::net::handed_slot::HandedSlot;
use crate::net::slots::{KnownAs, ReadState, Slot, SlotId, SlotPhase};
use crate::net::wheel::Wheel;

/// Sockets registered, or deadlines looked at, in one turn: a round number. Registering takes 2 to 4 µs
/// each, so that others wait for a few milliseconds.
const ADOPTED_A_TURN_MAX: usize = 1_024;

/// How far a reactor has gone on with the connections of another image.
#[derive(Debug)]
pub(super) enum Adoption {
    /// These have still to be registered, the last first.
    Registering(Vec<SlotId>),
    /// These have still to get a timer, the last first.
    Arming(Vec<SlotId>),
    /// There is nothing left to do, or nothing was handed over.
    Done,
}

impl<S: EventSink> Reactor<S> {
    /// Puts a reactor together that goes on where that of another image stood; [`Reactor::run`] is its
    /// thread. `socket_of` makes the owner of a socket of its number, and is asked once for each.
    ///
    /// The clock goes on from the moment of the handover, so that no deadline counts the time since.
    #[must_use]
    pub fn adopt(
        parts: ReactorParts<S>,
        handover: ReactorHandover,
        mut socket_of: impl FnMut(RawFd) -> OwnedFd,
    ) -> Self {
        let mut parts = parts;
        parts.serials_from = parts.serials_from.max(handover.last_serial);
        let mut reactor = Self::new(parts);
        reactor.context.clock = Clock::at(handover.tick);
        reactor.wheel = Wheel::new(handover.tick);
        reactor.next_peer = handover.next_peer % reactor.peers.len().max(1);
        for (name, value) in &handover.counters {
            reactor.shared.counters.restore(name, *value);
        }
        let counters = &reactor.shared.counters;
        reactor.arena.set_replaced(counters.latest_replaced.get());
        reactor.topics = handover.topics;
        reactor.topics.set_bounds(reactor.context.limits.topics);
        for handed in handover.slots {
            let socket = std::net::TcpStream::from(socket_of(handed.socket));
            reactor.adopt_slot(handed, TcpStream::from_std(socket));
        }
        for handed in handover.gathered {
            let due = handed.due;
            let slots = &reactor.slots;
            let id = reactor.gathering.adopt(handed, |place| slots.id_of(place));
            let timer = reactor.wheel.insert(due, TimerPurpose::Gathered(id));
            reactor.gathering.set_timer(id, timer);
            reactor.next_due = reactor.next_due.min(due);
        }
        reactor.adoption = Adoption::Registering(reactor.in_order_of_work());
        reactor.publish_counters();
        reactor
    }

    fn adopt_slot(&mut self, handed: HandedSlot, socket: TcpStream) {
        let id = self.slots.next_id();
        let mut connection = handed.connection;
        // The settings may be others.
        connection.follow(&self.context.rules(), false);
        let (index, fd) = (id.index, handed.fd);
        let has_bytes = !handed.outbox.is_empty();
        let deflates = connection.deflates();
        let known_as = match handed.known_as.is_websocket() {
            true => KnownAs::open(&connection),
            false => handed.known_as,
        };
        self.slots.insert(Slot {
            socket,
            fd,
            connection,
            outbox: handed.outbox.adopt(&mut self.arena, index),
            preface: handed.preface,
            // Encrypted ones are closed before.
            tls: None,
            timer: None,
            armed: Tick::NEVER,
            stalled: handed.stalled,
            cut_at: handed.cut_at,
            phase: handed.phase,
            reading: handed.reading,
            write: None,
            in_later: false,
            known_as,
            peer_ended: handed.peer_ended,
            gone: handed.gone,
            asked: 0,
            handed_in: HANDLED,
            backlogged: handed.backlogged,
            budgeted: 0,
            unfinished: 0,
        });
        if let Some(mut entry) = handed.entry {
            if handed.is_stranger {
                self.shared.strangers.insert(fd, entry.peer());
            }
            entry.slot = index;
            entry.deflates = deflates;
            self.shared.directory.insert(fd, entry);
        }
        self.count_adopted(index);
        let waits = handed.waits.into_iter();
        self.awaited_news
            .extend(waits.map(|(bytes_max, by)| Awaited {
                id,
                fd,
                bytes_max,
                by,
            }));
        if handed.reading == ReadState::Queued {
            self.queue_read(id);
        }
        // One that leaves with an empty outbox has its write side shut behind the write.
        if has_bytes || handed.phase == SlotPhase::Flushing {
            let slot = &mut self.slots[index];
            self.writes.note(index, slot, handed.write);
        }
    }

    fn count_adopted(&mut self, index: u32) {
        let (slot, counters) = (&self.slots[index], &self.shared.counters);
        let gauges = [
            (slot.known_as.is_websocket(), &counters.websockets),
            (
                slot.known_as == KnownAs::DeflatingWebSocket,
                &counters.websockets_deflating,
            ),
            (
                slot.known_as == KnownAs::EventStream,
                &counters.event_streams,
            ),
            (slot.reading == ReadState::Paused, &counters.paused),
            (slot.backlogged, &counters.backlogged),
        ];
        for (is_counted, gauge) in gauges {
            gauge.add(is_counted.into());
        }
        self.count_what_waits(index);
        self.count_unfinished(index);
    }

    /// All connections, those last with which something is going on.
    fn in_order_of_work(&self) -> Vec<SlotId> {
        let is_busy = |slot: &Slot| {
            slot.phase != SlotPhase::Live
                || slot.reading != ReadState::Drained
                || !slot.outbox.is_empty()
                || !is_idle_websocket(slot)
        };
        let (busy, idle): (Vec<_>, Vec<_>) = self.slots.iter().partition(|(_, slot)| is_busy(slot));
        let in_order = idle.into_iter().chain(busy);
        in_order.map(|(index, _)| self.slots.id_of(index)).collect()
    }

    /// Whether it hasn't gone on with all connections of another image yet.
    pub(super) fn is_adopting(&self) -> bool {
        !matches!(self.adoption, Adoption::Done)
    }

    /// Whether the poll tells of every connection; before, none gets a timer.
    pub(super) fn watches_all(&self) -> bool {
        !matches!(self.adoption, Adoption::Registering(_))
    }

    /// Goes on with the connections of another image, before the poll of each turn.
    pub(super) fn adopt_more(&mut self) {
        if self.is_hushed() {
            return;
        }
        match &mut self.adoption {
            Adoption::Done => {}
            Adoption::Registering(waiting) => {
                for id in last_of(waiting) {
                    self.register(id);
                }
                if let Adoption::Registering(waiting) = &self.adoption
                    && waiting.is_empty()
                {
                    let all = self.slots.indices().into_iter();
                    let all = all.map(|index| self.slots.id_of(index));
                    self.adoption = Adoption::Arming(all.collect());
                }
            }
            // What the last of them had to say was seen since.
            Adoption::Arming(waiting) => {
                for id in last_of(waiting) {
                    if self.slots.find(id).is_some() {
                        self.arm(id.index);
                    }
                }
                if matches!(&self.adoption, Adoption::Arming(waiting) if waiting.is_empty()) {
                    self.adoption = Adoption::Done;
                }
            }
        }
    }

    /// Registers a connection; the poll tells at once what it is ready for. What an answer has made
    /// possible in the other image, and what was told to nobody there, comes up now.
    fn register(&mut self, id: SlotId) {
        let Some(slot) = self.slots.find(id) else {
            return;
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        if let Err(error) = registry.register(&mut slot.socket, id.token(), interest) {
            tracing::warn!(fd = slot.fd.0, %error, "a connection can't be watched any more");
            return self.lose(id.index);
        }
        if slot.phase == SlotPhase::Live && !is_idle_websocket(slot) {
            self.pump(id.index, &mut []);
            if self.slots.contains(id.index) {
                self.resume_reading(id.index);
            }
        }
    }
}

/// Whether nothing can come of the connection but what its peer sends, or its time brings.
fn is_idle_websocket(slot: &Slot) -> bool {
    slot.connection.is_open() && !slot.connection.is_unfinished()
}

fn last_of(waiting: &mut Vec<SlotId>) -> Vec<SlotId> {
    let first = waiting.len().saturating_sub(ADOPTED_A_TURN_MAX);
    let mut last = waiting.split_off(first);
    last.reverse();
    last
}
