//! The connections that have to be written to, in two lists: what is small goes out first.

use std::collections::VecDeque;

use crate::net::slots::{Slot, WriteTurn};

/// What a note changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// The slot stands in a list where it didn't stand before.
    First,
    /// Nothing: more waits in the outbox already.
    Again,
}

/// A frame for more receivers than this is a large delivery. A round number: so many writes take
/// about 0.3 ms, which small talk may wait.
pub(super) const SMALL_DELIVERY_RECEIVERS_MAX: usize = 64;

/// Receivers of all small deliveries of a turn; those of further ones are written like those of a
/// large one. Their writes take about a millisecond.
const SMALL_RECEIVERS_A_TURN_MAX: usize = 256;

/// Messages given to outboxes that wait for a later turn, for each write that the share of this turn
/// grows by. So about as many messages wait for a member at most, whoever publishes without
/// waiting: memory for them is bounded, and the writes take about as long as the giving.
const GIVEN_A_WRITE: usize = 128;

/// Bytes of a share for each of its writes, on average: a share of larger ones has fewer writes. The
/// kernel copies so many in about 2 µs, half of what a write takes without them.
const BYTES_A_WRITE: usize = 4 * 1024;

/// The slots whose outboxes have to be written.
///
/// A slot may stand in the lists after it was written, or freed, or taken by another connection:
/// the slot itself knows whether it waits, and for which turn. A connection stands once in each list
/// at most.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    this: Vec<u32>,
    later: VecDeque<u32>,
    /// Receivers of small deliveries in this turn.
    small_receivers: usize,
    /// Messages given to outboxes that wait for a later turn, as far as no share has grown by them.
    given: usize,
}

/// What may still be written of large deliveries in this turn.
#[derive(Debug)]
pub(super) struct LaterShare {
    /// Writes for messages that were given to outboxes in this turn, whatever their size.
    owed: usize,
    writes: usize,
    bytes: usize,
}

impl LaterShare {
    /// The share of one turn: so many writes, and no more bytes than these usually have.
    pub(super) fn of_a_turn(writes: usize) -> Self {
        Self {
            owed: 0,
            writes,
            bytes: writes.saturating_mul(BYTES_A_WRITE),
        }
    }

    /// All that waits, since no later turn comes.
    pub(super) const fn of_all() -> Self {
        Self {
            owed: 0,
            writes: usize::MAX,
            bytes: usize::MAX,
        }
    }

    fn is_used_up(&self) -> bool {
        self.owed == 0 && (self.writes == 0 || self.bytes == 0)
    }

    /// Takes one write of so many bytes out of the share; the last one may exceed it.
    pub(super) fn take(&mut self, bytes: usize) {
        if self.owed > 0 {
            self.owed -= 1;
            return;
        }
        self.writes -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl WriteQueue {
    /// Begins a turn.
    pub(super) fn begin_turn(&mut self) {
        self.small_receivers = 0;
    }

    /// When the outboxes of so many receivers of one frame are written.
    pub(super) fn turn_of(&mut self, receivers: usize) -> WriteTurn {
        let small_receivers = self.small_receivers + receivers;
        if receivers > SMALL_DELIVERY_RECEIVERS_MAX || small_receivers > SMALL_RECEIVERS_A_TURN_MAX
        {
            self.given += receivers;
            return WriteTurn::Later;
        }
        self.small_receivers = small_receivers;
        WriteTurn::This
    }

    /// Notes that the outbox of `slot`, which is the slot `index`, has to be written. An outbox
    /// that waits for a later turn is written in this one if something small joins it.
    pub(super) fn note(&mut self, index: u32, slot: &mut Slot, turn: WriteTurn) -> Noted {
        match (slot.write, turn) {
            (Some(WriteTurn::This), _) | (Some(WriteTurn::Later), WriteTurn::Later) => {
                return Noted::Again;
            }
            (_, WriteTurn::This) => self.this.push(index),
            (None, WriteTurn::Later) => {
                if !std::mem::replace(&mut slot.in_later, true) {
                    self.later.push_back(index);
                }
            }
        }
        slot.write = Some(turn);
        Noted::First
    }

    /// The slot at `place` of the list for this turn, which may grow meanwhile.
    pub(super) fn this_at(&self, place: usize) -> Option<u32> {
        self.this.get(place).copied()
    }

    /// Empties the list for this turn.
    pub(super) fn end_this(&mut self) {
        self.this.clear();
    }

    /// Lets `share` grow by what was given to outboxes since the last call.
    pub(super) fn grow(&mut self, share: &mut LaterShare) {
        share.owed += self.given / GIVEN_A_WRITE;
        self.given %= GIVEN_A_WRITE;
    }

    /// Takes the slot that has waited longest for a large delivery, if `share` has room for it.
    pub(super) fn next_later(&mut self, share: &LaterShare) -> Option<u32> {
        if share.is_used_up() {
            return None;
        }
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

    /// Slots in the list for later turns.
    pub(super) fn later_len(&self) -> usize {
        self.later.len()
    }
}
