//! Where a reactor keeps its connections.

use std::ops::{Index, IndexMut};

use mio::Token;
use mio::net::TcpStream;
use slab::Slab;

use super::outbox::Outbox;
use super::wheel::WheelTimer;
use crate::base::Fd;
use crate::base::Tick;
use crate::proto::connection::Connection;

/// A slot at one time of its life: it finds nothing once its connection is gone, even when the
/// slot has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotId {
    pub(super) index: u32,
    generation: u32,
}

impl SlotId {
    /// As the poll knows it.
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

/// How far a connection is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SlotPhase {
    /// Bytes are read and understood.
    Live,
    /// All is said; the outbox still empties.
    Flushing,
    /// The write side is shut; what comes is thrown away until the peer's end, so that no reset
    /// eats the last bytes (RFC 9112 §9.6).
    Lingering,
}

/// Why a live connection isn't read from although it has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadState {
    /// Nothing to read is known.
    Drained,
    /// In the list of those to read from.
    Queued,
    /// Has something, but an answer or its outbox has to go out first.
    Paused,
    /// Says farewell: what it asked before is still in its worker's queue.
    Stopped,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) socket: TcpStream,
    pub(super) fd: Fd,
    pub(super) connection: Connection,
    pub(super) outbox: Outbox,
    /// The timer that is set, and for when.
    pub(super) timer: Option<WheelTimer>,
    pub(super) armed: Tick,
    /// Since when the socket takes nothing; `NEVER` while it does.
    pub(super) stalled: Tick,
    /// When a connection on its way out is cut.
    pub(super) cut_at: Tick,
    pub(super) phase: SlotPhase,
    pub(super) reading: ReadState,
    /// In the list of outboxes to write this turn.
    pub(super) dirty: bool,
    /// The owner of the events knows it as an open WebSocket.
    pub(super) opened: bool,
    /// The peer's end was announced: read until it comes.
    pub(super) peer_ended: bool,
    /// Bytes of its messages that may not be handled yet, and the batch that has the last of them.
    pub(super) asked: usize,
    pub(super) asked_in: u64,
    /// Counted among those whose outbox holds something.
    pub(super) backlogged: bool,
    /// What this outbox holds of the server's budget.
    pub(super) budgeted: usize,
}

/// The slots of one reactor.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Slab<Slot>,
    generations: Vec<u32>,
}

impl Slots {
    /// The id that the next [`Slots::insert`] will give.
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

    /// The slot, if it still has the connection that `id` meant.
    pub(super) fn find(&mut self, id: SlotId) -> Option<&mut Slot> {
        if self.generations.get(id.index as usize) != Some(&id.generation) {
            return None;
        }
        self.slots.get_mut(id.index as usize)
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
            timer: None,
            armed: Tick::NEVER,
            stalled: Tick::NEVER,
            cut_at: Tick::NEVER,
            phase: SlotPhase::Live,
            reading: ReadState::Drained,
            dirty: false,
            opened: false,
            peer_ended: false,
            backlogged: false,
            budgeted: 0,
            asked: 0,
            asked_in: 0,
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
        assert!(size_of::<Slot>() <= 232, "{}", size_of::<Slot>());
    }
}
