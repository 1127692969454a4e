//! The idempotency keys of the messages that were written lately, so that a repeat is known.
//!
//! Belongs to the thread that writes; no reader asks.
//!
//! The messages stand in the order in which they were written, and a table has their places. An
//! entry of the table is small, so that the table stays in the processor's caches, and mostly the
//! table alone shows that a key is new. A map with everything in it took three times the time.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::base::{Epoch, Position};

/// The committed messages that a repeat is compared with.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    known: VecDeque<KnownMessage>,
    /// The number of the oldest known message; after the largest number they begin anew.
    oldest: u32,
    /// The numbers of the messages, by the hashes of their keys.
    numbers: HashTable<u32>,
    forgotten: u64,
}

#[derive(Debug, Clone, Copy)]
struct KnownMessage {
    at_ms: u64,
    idempotency_key: KeyHalves,
    epoch: Epoch,
    offset: u64,
}

/// A `u128` without its alignment.
type KeyHalves = [u64; 2];

fn halves(idempotency_key: u128) -> KeyHalves {
    [(idempotency_key >> 64) as u64, idempotency_key as u64]
}

/// Hashes a key: half of it is enough, since the key is a keyed hash already.
fn hash(idempotency_key: KeyHalves) -> u64 {
    idempotency_key[1]
}

impl Dedup {
    /// Finds the position of the message with this key, if that is remembered.
    pub(super) fn find(&self, idempotency_key: u128) -> Option<Position> {
        let idempotency_key = halves(idempotency_key);
        let number = self.number(idempotency_key)?;
        let KnownMessage { epoch, offset, .. } = self.known[self.place(number)];
        Some(Position { epoch, offset })
    }

    /// Notes a message of this time; the oldest are forgotten early when there are more than
    /// `max`.
    pub(super) fn remember(
        &mut self,
        at_ms: u64,
        idempotency_key: u128,
        position: Position,
        max: usize,
    ) {
        let idempotency_key = halves(idempotency_key);
        let Position { epoch, offset } = position;
        if let Some(number) = self.number(idempotency_key) {
            let place = self.place(number);
            self.known[place].epoch = epoch;
            self.known[place].offset = offset;
        } else {
            self.insert(KnownMessage {
                at_ms,
                idempotency_key,
                epoch,
                offset,
            });
        }
        while self.known.len() > max {
            self.forget_oldest();
            self.forgotten += 1;
        }
    }

    /// Forgets what was written before this time.
    pub(super) fn forget_before(&mut self, ms: u64) {
        while self.oldest_ms().is_some_and(|oldest| oldest < ms) {
            self.forget_oldest();
        }
        if self.known.is_empty() && self.known.capacity() > 0 {
            self.known = VecDeque::new();
            self.numbers = HashTable::new();
        }
    }

    /// Returns the time at which the oldest known message was written, in Unix milliseconds.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.known.front().map(|known| known.at_ms)
    }

    /// Counts the messages that were forgotten before their time.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn number(&self, idempotency_key: KeyHalves) -> Option<u32> {
        let is_same =
            |number: &u32| self.known[self.place(*number)].idempotency_key == idempotency_key;
        self.numbers.find(hash(idempotency_key), is_same).copied()
    }

    /// Returns the index of the message with this number.
    fn place(&self, number: u32) -> usize {
        number.wrapping_sub(self.oldest) as usize
    }

    fn insert(&mut self, known: KnownMessage) {
        let number = self.oldest.wrapping_add(self.known.len() as u32);
        self.known.push_back(known);
        let (all, oldest) = (&self.known, self.oldest);
        let hash_of =
            |number: &u32| hash(all[number.wrapping_sub(oldest) as usize].idempotency_key);
        (self.numbers).insert_unique(hash(known.idempotency_key), number, hash_of);
    }

    fn forget_oldest(&mut self) {
        if let Some(known) = self.known.front() {
            let oldest = self.oldest;
            let entry = (self.numbers)
                .find_entry(hash(known.idempotency_key), |number| *number == oldest)
                .expect("each known one has its number in the table");
            entry.remove();
            self.known.pop_front();
            self.oldest = oldest.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position {
            epoch: Epoch::from_bits(1),
            offset,
        }
    }

    #[test]
    fn a_repeat_is_known_until_its_time_is_over_or_too_many_came() {
        let mut dedup = Dedup::default();
        dedup.remember(10, 1, at(1), 2);
        dedup.remember(11, 1 << 64, at(2), 2);
        assert_eq!(
            (dedup.find(1), dedup.find(1 << 64)),
            (Some(at(1)), Some(at(2)))
        );
        dedup.remember(12, 3, at(3), 2);
        assert_eq!((dedup.find(1), dedup.forgotten()), (None, 1));
        dedup.forget_before(12);
        assert_eq!((dedup.find(1 << 64), dedup.find(3)), (None, Some(at(3))));
        assert_eq!(dedup.oldest_ms(), Some(12));
        dedup.forget_before(13);
        assert_eq!(dedup.oldest_ms(), None);
    }

    #[test]
    fn what_is_said_again_stands_where_it_was_said_last() {
        let mut dedup = Dedup::default();
        dedup.remember(10, 7, at(1), 9);
        dedup.remember(11, 7, at(2), 9);
        assert_eq!((dedup.find(7), dedup.known.len()), (Some(at(2)), 1));
    }

    #[test]
    fn numbers_begin_anew_after_the_largest() {
        let mut dedup = Dedup {
            oldest: u32::MAX - 1,
            ..Dedup::default()
        };
        for n in 0..100 {
            dedup.remember(10, n << 60, at(n as u64 + 1), 5);
            for known in n.saturating_sub(4)..=n {
                assert_eq!(dedup.find(known << 60), Some(at(known as u64 + 1)));
            }
            assert_eq!(dedup.find((n + 1) << 60), None);
            assert!(n < 5 || dedup.find((n - 5) << 60).is_none());
        }
    }
}
