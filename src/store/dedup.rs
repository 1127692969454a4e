//! The idempotency keys of the messages that were written lately, so that a repeat is known.
//!
//! Belongs to the thread that writes; no reader asks.
//!
//! The messages stand in the order in which they were written, and a table has their places. An
//! entry of the table is small, so that the table stays in the processor's caches, and mostly the
//! table alone shows that a key is new. A map with everything in it took three times the time.
//!
//! When there are too many, the sender with the most loses its oldest: nobody pushes out what others
//! said. The shares are counted only while there are too many ([`super::dedup_shares`]).

mod handover;

use std::collections::VecDeque;
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::dedup_shares::{DedupShares, SenderTag};
use crate::base::{Epoch, Position};

/// A message that can be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeatable {
    pub(super) idempotency_key: u128,
    pub(super) position: Position,
    pub(super) sender: SenderTag,
}

/// The committed messages that a repeat is compared with.
#[derive(Debug)]
pub(super) struct Dedup {
    known: VecDeque<KnownMessage>,
    /// The number of the oldest known message; after the largest number they begin anew.
    oldest: u32,
    /// The numbers of the messages, by the hashes of their keys. A table that grows takes all of its
    /// numbers to a new place, so there are many tables, each with a small part of them.
    numbers: Box<[HashTable<u32>]>,
    /// Who has which of them, while there are nearly too many.
    shares: Option<DedupShares>,
    /// The number of the first message that isn't counted in the shares.
    uncounted: u32,
    /// Those in `known` that went before their turn.
    gone: usize,
    forgotten: u64,
    /// What the tags are made with.
    seed: u64,
    tags: FixedState,
    /// While no more than these are known, the senders aren't told apart.
    untagged_max: usize,
}

/// One of so many messages may have no tag of its sender: below that nobody comes near to a share that
/// matters, and most servers never have more than these 62,500.
const ONE_UNTAGGED_IN: usize = 16;

/// Tables of numbers: with a million messages each has 4,000, which move in a fraction of a millisecond.
const TABLES: usize = 256;

/// When all but one of so many places are taken, the shares are counted, with each message so many
/// more: they are complete just when they are needed, and no message waits for all of them.
const COUNTED_AT_ONCE: usize = 16;

#[derive(Debug, Clone, Copy)]
struct KnownMessage {
    at_ms: u64,
    idempotency_key: KeyHalves,
    epoch: Epoch,
    sender: SenderTag,
    /// 0 once the message is forgotten.
    offset: u64,
}

/// A `u128` without its alignment.
type KeyHalves = [u64; 2];

fn halves(idempotency_key: u128) -> KeyHalves {
    [(idempotency_key >> 64) as u64, idempotency_key as u64]
}

/// Finds the table of a key, by the half that isn't its hash.
fn table_of(idempotency_key: KeyHalves) -> usize {
    idempotency_key[0] as usize % TABLES
}

/// Hashes a key: half of it is enough, since the key is a keyed hash already.
fn hash(idempotency_key: KeyHalves) -> u64 {
    idempotency_key[1]
}

impl Dedup {
    /// Remembers nothing yet, and up to `max` messages; `seed` is random, so that nobody can choose a
    /// name that counts as somebody else.
    pub(super) fn new(seed: u64, max: usize) -> Self {
        Self {
            untagged_max: max / ONE_UNTAGGED_IN,
            known: VecDeque::new(),
            oldest: 0,
            numbers: tables(),
            shares: None,
            uncounted: 0,
            gone: 0,
            forgotten: 0,
            seed,
            tags: FixedState::with_seed(seed),
        }
    }

    /// Notes how many messages may be remembered from now on; those beyond grow old.
    pub(super) fn set_max(&mut self, max: usize) {
        self.untagged_max = max / ONE_UNTAGGED_IN;
    }

    /// The tag of a sender; messages without one count as those of one sender.
    /// The first few messages have no tag, and count as those of one sender too: a share that is
    /// smaller than that of anybody who is to lose something.
    pub(super) fn tag(&self, from: Option<&str>) -> SenderTag {
        match from {
            Some(from) if self.known.len() >= self.untagged_max => {
                SenderTag(self.tags.hash_one(from) as u32)
            }
            _ => SenderTag::default(),
        }
    }

    /// Finds the position of the message with this key, if that is remembered.
    pub(super) fn find(&self, idempotency_key: u128) -> Option<Position> {
        let idempotency_key = halves(idempotency_key);
        let number = self.number(idempotency_key)?;
        let KnownMessage { epoch, offset, .. } = self.known[self.place(number)];
        Some(Position { epoch, offset })
    }

    /// Notes a message of this time; where there are `max` already, one of the sender with the most
    /// is forgotten early.
    pub(super) fn remember(&mut self, at_ms: u64, message: Repeatable, max: usize) {
        let idempotency_key = halves(message.idempotency_key);
        let Position { epoch, offset } = message.position;
        if let Some(number) = self.number(idempotency_key) {
            let place = self.place(number);
            self.known[place].epoch = epoch;
            self.known[place].offset = offset;
            return;
        }
        if self.shares.is_some() || self.count() >= max - max / COUNTED_AT_ONCE {
            self.count_shares(COUNTED_AT_ONCE + 1);
        }
        if self.count() >= max {
            self.forgotten += 1;
            if !self.make_room() {
                return;
            }
        }
        self.insert(KnownMessage {
            at_ms,
            idempotency_key,
            epoch,
            sender: message.sender,
            offset,
        });
    }

    /// Forgets what was written before this time.
    pub(super) fn forget_before(&mut self, ms: u64) {
        while self.oldest_ms().is_some_and(|oldest| oldest < ms) {
            self.forget_oldest();
        }
        if self.known.is_empty() && self.known.capacity() > 0 {
            self.known = VecDeque::new();
            self.numbers = tables();
            self.shares = None;
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

    /// How many messages are remembered.
    fn count(&self) -> usize {
        self.known.len() - self.gone
    }

    fn number(&self, idempotency_key: KeyHalves) -> Option<u32> {
        let is_same =
            |number: &u32| self.known[self.place(*number)].idempotency_key == idempotency_key;
        let table = &self.numbers[table_of(idempotency_key)];
        table.find(hash(idempotency_key), is_same).copied()
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
        let key = known.idempotency_key;
        self.numbers[table_of(key)].insert_unique(hash(key), number, hash_of);
    }

    /// Forgets the oldest message of the sender with the most; whether there was one.
    fn make_room(&mut self) -> bool {
        // What went before its turn takes a place until the older ones are gone.
        if self.gone > self.count() {
            self.compact();
        }
        self.count_shares(usize::MAX);
        let shares = self.shares.as_mut().expect("they are counted");
        let largest = shares.largest();
        let Some(number) = largest.and_then(|loser| shares.take_oldest(loser)) else {
            return false;
        };
        self.take_number(number);
        let place = self.place(number);
        self.known[place].offset = 0;
        self.gone += 1;
        self.drop_gone();
        true
    }

    /// Counts the shares of up to `max` messages that aren't counted yet, the oldest first.
    fn count_shares(&mut self, max: usize) {
        if self.shares.is_none() {
            self.uncounted = self.oldest;
        }
        let shares = self.shares.get_or_insert_default();
        let begin = self.uncounted.wrapping_sub(self.oldest) as usize;
        for known in self.known.range(begin..).take(max) {
            if known.offset > 0 {
                shares.insert(known.sender, self.uncounted);
            }
            self.uncounted = self.uncounted.wrapping_add(1);
        }
    }

    /// Gives up the places of those that went before their turn.
    fn compact(&mut self) {
        self.known.retain(|known| known.offset > 0);
        (self.oldest, self.gone, self.shares) = (0, 0, None);
        self.numbers.iter_mut().for_each(HashTable::clear);
        let all = &self.known;
        let hash_of = |number: &u32| hash(all[*number as usize].idempotency_key);
        for (number, known) in (0..).zip(all) {
            let key = known.idempotency_key;
            self.numbers[table_of(key)].insert_unique(hash(key), number, hash_of);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(known) = self.known.front().copied() else {
            return;
        };
        self.take_number(self.oldest);
        if let Some(shares) = &mut self.shares {
            if self.uncounted == self.oldest {
                self.uncounted = self.oldest.wrapping_add(1);
            } else {
                shares.take_oldest(known.sender);
            }
            if shares.count() < shares.count_peak() / 2 {
                self.shares = None;
            }
        }
        self.drop_first();
        self.drop_gone();
    }

    fn take_number(&mut self, number: u32) {
        let idempotency_key = self.known[self.place(number)].idempotency_key;
        let entry = self.numbers[table_of(idempotency_key)]
            .find_entry(hash(idempotency_key), |known| *known == number)
            .expect("each known one has its number in the table");
        entry.remove();
    }

    /// Drops those at the front that went before their turn.
    fn drop_gone(&mut self) {
        while self.known.front().is_some_and(|known| known.offset == 0) {
            self.drop_first();
            self.gone -= 1;
        }
    }

    fn drop_first(&mut self) {
        self.known.pop_front();
        self.oldest = self.oldest.wrapping_add(1);
    }
}

fn tables() -> Box<[HashTable<u32>]> {
    (0..TABLES).map(|_| HashTable::new()).collect()
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

    fn said(sender: u32, idempotency_key: u128, offset: u64) -> Repeatable {
        Repeatable {
            idempotency_key,
            position: at(offset),
            sender: SenderTag(sender),
        }
    }

    #[test]
    fn a_repeat_is_known_until_its_time_is_over_or_too_many_came() {
        let mut dedup = Dedup::new(1, 0);
        dedup.remember(10, said(1, 1, 1), 2);
        dedup.remember(11, said(1, 1 << 64, 2), 2);
        assert_eq!(
            (dedup.find(1), dedup.find(1 << 64)),
            (Some(at(1)), Some(at(2)))
        );
        dedup.remember(12, said(1, 3, 3), 2);
        assert_eq!((dedup.find(1), dedup.forgotten()), (None, 1));
        dedup.forget_before(12);
        assert_eq!((dedup.find(1 << 64), dedup.find(3)), (None, Some(at(3))));
        assert_eq!(dedup.oldest_ms(), Some(12));
        dedup.forget_before(13);
        assert_eq!(dedup.oldest_ms(), None);
    }

    #[test]
    fn what_is_said_again_stands_where_it_was_said_last() {
        let mut dedup = Dedup::new(1, 0);
        dedup.remember(10, said(1, 7, 1), 9);
        dedup.remember(11, said(1, 7, 2), 9);
        assert_eq!((dedup.find(7), dedup.known.len()), (Some(at(2)), 1));
    }

    #[test]
    fn nobody_pushes_out_what_others_said_however_much_one_says() {
        for seed in 0..4 {
            let mut dedup = Dedup::new(seed, 0);
            for victim in 0..10 {
                dedup.remember(10, said(victim + 2, u128::from(victim) << 32 | 1, 1), 100);
            }
            for number in 0..100_000_u128 {
                dedup.remember(11, said(1, number << 64 | number, 2), 100);
                assert!(dedup.known.len() <= 300, "{}", dedup.known.len());
            }
            for victim in 0..10_u128 {
                assert_eq!(dedup.find(victim << 32 | 1), Some(at(1)), "{victim}");
            }
            let known =
                (0..100_000_u128).filter(|number| dedup.find(number << 64 | number).is_some());
            assert_eq!(
                known.collect::<Vec<_>>(),
                (99_910..100_000).collect::<Vec<_>>()
            );
            assert_eq!(dedup.forgotten(), 100_000 - 90);
            dedup.forget_before(12);
            let numbers = dedup.numbers.iter().map(HashTable::len).sum::<usize>();
            assert!(dedup.known.is_empty() && numbers == 0 && dedup.shares.is_none());
        }
    }

    #[test]
    fn the_first_few_messages_are_not_told_apart_and_stay_all_the_same() {
        let mut dedup = Dedup::new(1, 160);
        let say = |dedup: &mut Dedup, from: &str, key: u128| {
            let sender = dedup.tag(Some(from));
            let (idempotency_key, position) = (key, at(1));
            let message = Repeatable {
                idempotency_key,
                position,
                sender,
            };
            dedup.remember(10, message, 160);
        };
        for key in 0..10 {
            say(&mut dedup, &key.to_string(), key << 32 | 1);
        }
        assert_eq!(dedup.tag(Some("ann")), dedup.tag(Some("ann")));
        assert_ne!(dedup.tag(Some("ann")), SenderTag::default());
        for key in 0..1_000_u128 {
            say(&mut dedup, "mallory", key << 64 | 2);
        }
        assert!((0..10).all(|key| dedup.find(key << 32 | 1).is_some()));
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let mut dedup = Dedup::new(1, 0);
        for sender in 0..20 {
            dedup.remember(10, said(sender, sender.into(), 1), 5);
        }
        let known = (0..20).filter(|key| dedup.find(*key).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [15, 16, 17, 18, 19]);
    }

    #[test]
    fn the_memory_does_as_a_plain_list_does() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        for max in [1, 2, 3, 7, 20] {
            let (mut dedup, mut plain) = (Dedup::new(1, 0), Vec::<(u64, u32, u128)>::new());
            for now in 0..3_000 {
                let (sender, key) = (random(4) as u32, u128::from(random(40)) << 60);
                if !plain.iter().any(|(_, _, known)| *known == key) {
                    if plain.len() >= max {
                        let count =
                            |of: u32| plain.iter().filter(|(_, from, _)| *from == of).count();
                        let most = (0..4).map(count).max().unwrap();
                        let loser = plain.iter().position(|(_, from, _)| count(*from) == most);
                        plain.remove(loser.unwrap());
                    }
                    plain.push((now, sender, key));
                    dedup.remember(now, said(sender, key, now + 1), max);
                }
                if random(10) == 0 {
                    let before = now.saturating_sub(random(60));
                    plain.retain(|(at, ..)| *at >= before);
                    dedup.forget_before(before);
                }
                for key in 0..40 {
                    let expected = plain.iter().find(|(_, _, known)| *known == key << 60);
                    let expected = expected.map(|(now, ..)| at(now + 1));
                    assert_eq!(dedup.find(key << 60), expected, "max {max}, now {now}");
                }
            }
        }
    }

    #[test]
    fn the_shares_are_complete_when_they_are_needed_and_no_message_waited_for_them() {
        const MAX: usize = 16_000;
        let mut dedup = Dedup::new(1, 0);
        let counted = |dedup: &Dedup| dedup.shares.as_ref().map_or(0, DedupShares::count);
        let (mut before, mut most) = (0, 0);
        for number in 0..MAX as u64 {
            dedup.remember(number, said(number as u32, number.into(), number + 1), MAX);
            most = most.max(counted(&dedup) - before);
            before = counted(&dedup);
        }
        assert_eq!(most, COUNTED_AT_ONCE + 1);
        // The newest one is counted with the next.
        assert_eq!(before, MAX - 1);
        dedup.remember(0, said(0, 1 << 64, 1), MAX);
        assert_eq!((dedup.count(), counted(&dedup)), (MAX, MAX - 1));
    }

    #[test]
    fn no_table_has_much_more_than_its_part_so_none_is_long_in_growing() {
        let mut dedup = Dedup::new(1, 0);
        for number in 0..100_000_u64 {
            let key = u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32));
            dedup.remember(number, said(1, key << 64 | key, number + 1), 1_000_000);
        }
        let largest = dedup.numbers.iter().map(HashTable::len).max();
        assert!(largest < Some(2 * 100_000 / TABLES), "{largest:?}");
    }

    #[test]
    fn numbers_begin_anew_after_the_largest() {
        let mut dedup = Dedup {
            oldest: u32::MAX - 1,
            ..Dedup::new(1, 0)
        };
        for n in 0..100 {
            dedup.remember(10, said(1, n << 60, n as u64 + 1), 5);
            for known in n.saturating_sub(4)..=n {
                assert_eq!(dedup.find(known << 60), Some(at(known as u64 + 1)));
            }
            assert_eq!(dedup.find((n + 1) << 60), None);
            assert!(n < 5 || dedup.find((n - 5) << 60).is_none());
        }
    }

    #[test]
    fn a_known_message_takes_40_bytes() {
        assert_eq!(size_of::<KnownMessage>(), 40);
    }
}
