//! The connections that have to be written to, in two lists: what is small goes out first.

use std::collections::VecDeque;

use crate::net::slots::Slot;

/// When an outbox is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net) enum WriteTurn {
    /// At the end of this turn: answers, pushes, and what few hear.
    This,
    /// When its place in the list comes: one frame for many.
    Later,
}

/// A frame for more receivers than this is a large delivery. A round number: so many writes take
/// about 0.3 ms, which small talk may wait.
pub(super) const SMALL_DELIVERY_RECEIVERS_MAX: usize = 64;

/// Writes of large deliveries a turn, for the same reason; the rest goes on after the next look at
/// the sockets, which costs one system call more for each 64 writes.
const LATER_WRITES_A_TURN_MAX: usize = SMALL_DELIVERY_RECEIVERS_MAX;

/// Bytes of large deliveries written a turn: 64 writes of 4 KiB. The kernel copies so many in about
/// 0.1 ms, so that large messages don't make long turns.
const LATER_BYTES_A_TURN_MAX: usize = 256 * 1024;

/// The slots whose outboxes have to be written.
///
/// A slot may stand in the lists after it was written, or freed, or taken by another connection:
/// the slot itself knows whether it waits, and for which turn.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    this: Vec<u32>,
    later: VecDeque<u32>,
}

/// What may still be written of large deliveries in this turn.
#[derive(Debug)]
pub(super) struct LaterShare {
    writes: usize,
    bytes: usize,
}

impl LaterShare {
    /// The share of one turn.
    pub(super) const fn of_a_turn() -> Self {
        Self {
            writes: LATER_WRITES_A_TURN_MAX,
            bytes: LATER_BYTES_A_TURN_MAX,
        }
    }

    /// All that waits, since no later turn comes.
    pub(super) const fn of_all() -> Self {
        Self {
            writes: usize::MAX,
            bytes: usize::MAX,
        }
    }

    /// Takes one write of so many bytes out of the share; the last one may exceed the share.
    pub(super) fn take(&mut self, bytes: usize) {
        self.writes -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.writes == 0 || self.bytes == 0
    }
}

impl WriteQueue {
    /// Notes that the outbox of `slot`, which is the slot `index`, has to be written. An outbox
    /// that waits for a later turn is written in this one if something small joins it.
    pub(super) fn note(&mut self, index: u32, slot: &mut Slot, turn: WriteTurn) {
        match (slot.write, turn) {
            (Some(WriteTurn::This), _) | (Some(WriteTurn::Later), WriteTurn::Later) => return,
            (_, WriteTurn::This) => self.this.push(index),
            (None, WriteTurn::Later) => self.later.push_back(index),
        }
        slot.write = Some(turn);
    }

    /// The slot at `place` of the list for this turn, which may grow meanwhile.
    pub(super) fn this_at(&self, place: usize) -> Option<u32> {
        self.this.get(place).copied()
    }

    /// Empties the list for this turn.
    pub(super) fn end_this(&mut self) {
        self.this.clear();
    }

    /// Takes the slot that has waited longest for a large delivery.
    pub(super) fn next_later(&mut self) -> Option<u32> {
        self.later.pop_front()
    }

    /// Whether something has to be written in this turn.
    pub(super) fn is_due(&self) -> bool {
        !self.this.is_empty()
    }

    /// Whether something waits for a later turn.
    pub(super) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// Slots that wait for a later turn; some may have been written already.
    pub(super) fn later_len(&self) -> usize {
        self.later.len()
    }
}
