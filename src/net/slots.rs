//! The slots in which a reactor keeps its connections.

use std::ops::{Index, IndexMut};

use mio::Token;
use mio::net::TcpStream;
use slab::Slab;

use super::Tls;
use super::outbox::Outbox;
use super::preface::Preface;
use super::wheel::WheelTimer;
use crate::base::Fd;
use crate::base::Tick;
use crate::proto::connection::Connection;

/// When an outbox is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteTurn {
    /// At the end of this turn: answers, pushes, and what few hear.
    This,
    /// When its place in the list comes: one frame for many.
    Later,
}

/// The number of the batch in which an event is handed to another thread; [`HANDLED`] for one that
/// stays on the reactor's.
pub type BatchNumber = u64;

/// No other thread has the event.
pub const HANDLED: BatchNumber = 0;

/// The name of a slot and of its present connection: it finds nothing once that connection is
/// gone, even if the slot has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SlotId {
    pub(super) index: u32,
    generation: u32,
}

impl SlotId {
    /// Makes the token under which the connection is registered with the poll.
    pub(super) fn token(self) -> Token {
        Token((u64::from(self.generation) << 32 | u64::from(self.index)) as usize)
    }

    pub(super) fn from_token(Token(token): Token) -> Self {
        Self {
            index: token as u32,
            generation: (token as u64 >> 32) as u32,
        }
    }
}

/// The stage of a connection on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotPhase {
    /// Bytes are read and handed to the state machine.
    Live,
    /// The last event was reported; the outbox is still written.
    Flushing,
    /// The write side is shut; further input is thrown away until the peer's end, since closing
    /// earlier would send a reset and the peer could lose the last bytes (RFC 9112 §9.6).
    Lingering,
}

/// Whether a connection has bytes to read, and whether they may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadState {
    /// There are no bytes to read, as far as is known; the poll tells when that changes.
    Drained,
    /// The connection is in the list of those to read from, or held back by a queue's pressure.
    Queued,
    /// The connection has bytes to read, but an answer or its outbox has to go out first.
    Paused,
    /// The connection got its farewell; its earlier messages are still in its worker's queue.
    Stopped,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownAs {
    /// No request has come yet, or the end was told.
    Nothing,
    /// A peer that made a request, which was handed on or answered.
    Http,
    /// A WebSocket that the owner of the events knows as open.
    WebSocket,
    /// The same, whose peer understands compressed messages.
    DeflatingWebSocket,
    /// The same, which is a stream of events.
    EventStream,
}

impl KnownAs {
    /// Returns what an open WebSocket or stream is known as.
    pub(super) fn open(connection: &Connection) -> Self {
        match (connection.is_event_stream(), connection.deflates()) {
            (true, _) => Self::EventStream,
            (false, true) => Self::DeflatingWebSocket,
            (false, false) => Self::WebSocket,
        }
    }

    pub(super) fn is_websocket(self) -> bool {
        matches!(
            self,
            Self::WebSocket | Self::DeflatingWebSocket | Self::EventStream
        )
    }
}

/// One connection and its place in the reactor's lists.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: TcpStream,
    pub(super) fd: Fd,
    pub(super) connection: Connection,
    pub(super) outbox: Outbox,
    /// What has come of a PROXY header that has to come first, until it is whole.
    pub(super) preface: Option<Box<Preface>>,
    /// What makes plain bytes of those of the socket, where that is encrypted.
    pub(super) tls: Option<Box<Tls>>,
    /// The timer that is set; `armed` is the moment at which it fires.
    pub(super) timer: Option<WheelTimer>,
    pub(super) armed: Tick,
    /// The moment since which the socket takes no bytes; `NEVER` while it takes some.
    pub(super) stalled: Tick,
    /// The moment at which a leaving connection is cut.
    pub(super) cut_at: Tick,
    pub(super) phase: SlotPhase,
    pub(super) reading: ReadState,
    /// When its outbox is written; `None` if there is nothing to write.
    pub(super) write: Option<WriteTurn>,
    /// Whether it stands in the list of those that are written in later turns.
    pub(super) in_later: bool,
    pub(super) known_as: KnownAs,
    /// Whether the poll announced the peer's end: then the socket is read until the end comes.
    pub(super) peer_ended: bool,
    /// Whether the directory says that nobody is there any more, though the end is still unread.
    pub(super) gone: bool,
    /// Bytes of messages that may not be handled yet.
    pub(super) asked: usize,
    /// The batch in which the last event was handed on.
    pub(super) handed_in: BatchNumber,
    /// Whether the connection is counted among those whose outbox holds something.
    pub(super) backlogged: bool,
    /// Bytes of this outbox that are counted in the server's budget.
    pub(super) budgeted: usize,
    /// Bytes of its half-sent request or message that are counted in the budget for those.
    pub(super) unfinished: usize,
}

impl Slot {
    /// Counts the bytes that the socket still has to take.
    pub(super) fn unsent(&self) -> usize {
        let sealed = self.tls.as_ref().map_or(0, |tls| tls.left_bytes());
        self.outbox.bytes() + sealed
    }

    /// Whether the connection is an encrypted one whose handshake isn't done.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }
}

/// The slots of one reactor.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Slab<Slot>,
    generations: Vec<u32>,
}

impl Slots {
    /// Returns the id that the next [`Slots::insert`] will give.
    pub(super) fn next_id(&mut self) -> SlotId {
        let index = self.slots.vacant_key();
        if index == self.generations.len() {
            self.generations.push(0);
        }
        SlotId {
            index: index as u32,
            generation: self.generations[index],
        }
    }

    pub(super) fn insert(&mut self, slot: Slot) -> SlotId {
        let id = self.next_id();
        self.slots.insert(slot);
        id
    }

    /// Frees a slot. The table of a crowd (above 4,096 slots, a round number) is given back once
    /// the last connection has gone; a smaller one is kept for the next connections.
    pub(super) fn remove(&mut self, index: u32) -> Slot {
        let generation = &mut self.generations[index as usize];
        // The last generation belongs to the tokens of the reactor itself.
        *generation = (*generation + 1) % (u32::MAX - 1);
        let slot = self.slots.remove(index as usize);
        if self.slots.is_empty() && self.slots.capacity() > 4_096 {
            self.slots = Slab::new();
        }
        slot
    }

    /// Returns the slot if it still has the connection that `id` names.
    pub(super) fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        self.slots.get_mut(id.index as usize)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    pub(super) fn contains(&self, index: u32) -> bool {
        self.slots.contains(index as usize)
    }

    pub(super) fn id_of(&self, index: u32) -> SlotId {
        SlotId {
            index,
            generation: self.generations[index as usize],
        }
    }

    /// The index behind those of all slots.
    pub(super) fn end(&self) -> u32 {
        self.generations.len() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().map(|(index, slot)| (index as u32, slot))
    }

    pub(super) fn indices(&self) -> Vec<u32> {
        self.slots.iter().map(|(index, _)| index as u32).collect()
    }
}

impl Index<u32> for Slots {
    type Output = Slot;

    fn index(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn slot() -> Slot {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Slot {
            socket: TcpStream::connect(address).unwrap(),
            fd: Fd(7),
            connection: Connection::new(Tick(0), 0),
            outbox: Outbox::new(),
            preface: None,
            tls: None,
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
            backlogged: false,
            budgeted: 0,
            unfinished: 0,
            asked: 0,
            handed_in: HANDLED,
        }
    }

    #[test]
    fn an_id_finds_its_own_connection_and_never_the_next_one_of_the_slot() {
        let mut slots = Slots::default();
        let announced = slots.next_id();
        let first = slots.insert(slot());
        assert_eq!(announced, first);
        let second = slots.insert(slot());
        assert!(slots.find(first).is_some() && slots.find(second).is_some());
        slots.remove(first.index);
        assert!(slots.find(first).is_none() && slots.find(second).is_some());
        let third = slots.insert(slot());
        assert_eq!(third.index, first.index, "the slot is used again");
        assert!(slots.find(first).is_none() && slots.find(third).is_some());
        assert_eq!(slots.id_of(third.index), third);
    }

    #[test]
    fn a_token_says_the_whole_id_and_never_one_of_the_reactors_own() {
        for (index, generation) in [(0, 0), (5, 7), (u32::MAX, u32::MAX - 2)] {
            let id = SlotId { index, generation };
            assert_eq!(SlotId::from_token(id.token()), id);
        }
        let mut slots = Slots::default();
        let id = slots.insert(slot());
        slots.generations[id.index as usize] = u32::MAX - 2;
        slots.remove(id.index);
        assert_eq!(slots.next_id().generation, 0, "the last one is left out");
    }

    #[test]
    fn a_slot_is_small() {
        // An idle connection must cost less than 768 bytes in all.
        assert!(size_of::<Slot>() <= 264, "{}", size_of::<Slot>());
    }
}
