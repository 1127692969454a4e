//! The ids of lately said messages, so that a repeat is known.
//!
//! When there are too many, the sender with the most loses its oldest: nobody pushes out what others
//! said.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use super::call::Scope;
use super::hasher::IdempotencyKey;
use super::stats::Totals;
use crate::base::sync::lock;
use crate::base::{Position, Tick};

/// Parts of the table, each with a lock: more than the threads that say something.
const PARTS_MAX: usize = 16;

/// Ids of one part at the least: with fewer, one sender's share would depend on chance.
const PART_ENTRIES_MIN: usize = 1_024;

/// Old ids that a message with an id forgets at the most: more than come with it, so that they get
/// fewer, and few enough that it isn't kept waiting.
const FORGOTTEN_A_LOOK_MAX: usize = 16;

/// The messages that had an id of their sender's, for `dedup_ms`, but for those that are stored.
#[derive(Debug)]
pub(super) struct RecentIds {
    parts: Box<[Mutex<RecentIdPart>]>,
    part_max: AtomicUsize,
}

/// The ids of one part.
#[derive(Debug, Default)]
struct RecentIdPart {
    known: HashMap<IdempotencyKey, KnownId, foldhash::fast::FixedState>,
    /// In the order in which they came. Those that went before their turn are still in here.
    order: VecDeque<(u64, IdempotencyKey)>,
    /// The keys of each sender, the oldest first, with their numbers.
    by_sender: HashMap<u64, VecDeque<(u64, IdempotencyKey)>, foldhash::fast::FixedState>,
    /// How many each sender has, and the number of its oldest.
    by_count: BTreeSet<(usize, Reverse<u64>, u64)>,
    /// The number of the next one.
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct KnownId {
    number: u64,
    id: RecentId,
}

/// A message that is known by its id.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecentId {
    /// The time at which it was said.
    pub(super) at: Tick,
    /// Its place, if it was kept.
    pub(super) position: Option<Position>,
    /// The hash of its sender.
    pub(super) sender: u64,
}

impl RecentIds {
    /// Remembers up to `entries_max` ids.
    pub(super) fn new(entries_max: usize) -> Self {
        Self::in_parts(entries_max / PART_ENTRIES_MIN, entries_max)
    }

    /// Remembers up to `entries_max` ids in so many parts, as far as there may be so many.
    pub(super) fn in_parts(parts: usize, entries_max: usize) -> Self {
        let parts = parts.clamp(1, PARTS_MAX);
        let ids = Self {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            part_max: AtomicUsize::default(),
        };
        ids.set_max(entries_max);
        ids
    }

    /// Changes the bound; what is over it goes with the next ids that come.
    pub(super) fn set_max(&self, entries_max: usize) {
        let part_max = (entries_max / self.parts.len()).max(1);
        self.part_max.store(part_max, Relaxed);
    }

    /// The place of the first message with this key, if it was said lately.
    #[inline]
    pub(super) fn find(
        &self,
        scope: Scope<'_>,
        key: Option<IdempotencyKey>,
    ) -> Option<Option<Position>> {
        self.look_up(scope, key?)
    }

    fn look_up(&self, scope: Scope<'_>, key: IdempotencyKey) -> Option<Option<Position>> {
        let mut part = self.part(key);
        part.forget_old(scope, FORGOTTEN_A_LOOK_MAX);
        if part.known.get(&key)?.id.is_old(scope) {
            // What came before it is still to be forgotten as well. It stays known behind a younger one,
            // as clocks of several threads may give it: each id is in the order once.
            part.forget_old(scope, usize::MAX);
        }
        part.known.get(&key).map(|known| known.id.position)
    }

    /// Remembers a message that [`RecentIds::find`] didn't know, under the lock of its channel.
    pub(super) fn remember(
        &self,
        scope: Scope<'_>,
        key: IdempotencyKey,
        from: Option<&str>,
        position: Option<Position>,
    ) {
        let id = RecentId {
            at: scope.now,
            position,
            sender: scope.common.hasher.sender(from),
        };
        self.insert(&scope.common.totals, key, id);
    }

    /// Remembers an id that another image of the program knew; what is over the bound goes with the next
    /// ids that come.
    pub(super) fn bring_back(&self, totals: &Totals, key: IdempotencyKey, id: RecentId) {
        self.part(key).insert(key, id);
        totals.dedup_entries.add(1);
    }

    /// Remembers an id that isn't known; another is forgotten for it if there is no room.
    fn insert(&self, totals: &Totals, key: IdempotencyKey, id: RecentId) {
        let part_max = self.part_max.load(Relaxed);
        let mut part = self.part(key);
        // More than one where the bound has become lower.
        for _ in 0..FORGOTTEN_A_LOOK_MAX {
            if part.known.len() < part_max {
                break;
            }
            totals.dedup_forgotten.add(1);
            if !part.make_room(totals) {
                return;
            }
        }
        part.insert(key, id);
        totals.dedup_entries.add(1);
    }

    /// Counts the parts, each of which keeps an order of its own.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Lists what is known, part by part, in the order in which it came.
    pub(super) fn each(&self, mut take: impl FnMut(IdempotencyKey, RecentId)) {
        for part in &self.parts {
            let part = lock(part);
            let mut known: Vec<_> = part.known.iter().collect();
            known.sort_unstable_by_key(|(_, known)| known.number);
            for (key, known) in known {
                take(*key, known.id);
            }
        }
    }

    /// Forgets up to `count_max` of what is older than the time for which a repeat is known; returns
    /// how many of it.
    pub(super) fn forget_old(&self, scope: Scope<'_>, count_max: usize) -> usize {
        let mut left = count_max;
        for part in &self.parts {
            left -= lock(part).forget_old(scope, left);
        }
        count_max - left
    }

    fn part(&self, key: IdempotencyKey) -> MutexGuard<'_, RecentIdPart> {
        lock(&self.parts[(key.0 >> 64) as usize % self.parts.len()])
    }
}

impl RecentIdPart {
    fn insert(&mut self, key: IdempotencyKey, id: RecentId) {
        let number = self.next;
        self.next += 1;
        let sender = id.sender;
        self.known.insert(key, KnownId { number, id });
        self.order.push_back((number, key));
        let own = self.by_sender.entry(sender).or_default();
        own.push_back((number, key));
        let (count, oldest) = (own.len(), Reverse(own[0].0));
        self.by_count.remove(&(count - 1, oldest, sender));
        self.by_count.insert((count, oldest, sender));
    }

    /// Forgets the oldest id of the sender with the most; whether there was one.
    fn make_room(&mut self, totals: &Totals) -> bool {
        let Some((_, _, loser)) = self.by_count.last().copied() else {
            return false;
        };
        self.forget_oldest_of(loser, totals);
        if self.order.len() > 2 * self.known.len() + PART_ENTRIES_MIN {
            let known = &self.known;
            let is_known = |(number, key): &(u64, IdempotencyKey)| {
                known.get(key).is_some_and(|known| known.number == *number)
            };
            self.order.retain(is_known);
        }
        true
    }

    fn forget_oldest_of(&mut self, sender: u64, totals: &Totals) {
        let Some(own) = self.by_sender.get_mut(&sender) else {
            return;
        };
        let before = own.len();
        let Some((number, key)) = own.pop_front() else {
            return;
        };
        self.by_count.remove(&(before, Reverse(number), sender));
        match own.front() {
            Some((oldest, _)) => drop(self.by_count.insert((before - 1, Reverse(*oldest), sender))),
            None => drop(self.by_sender.remove(&sender)),
        }
        self.known.remove(&key);
        totals.dedup_entries.subtract(1);
    }

    fn forget_old(&mut self, scope: Scope<'_>, count_max: usize) -> usize {
        let mut count = 0;
        while count < count_max
            && let Some((number, key)) = self.order.front()
        {
            if let Some(known) = self.known.get(key).filter(|known| known.number == *number) {
                if !known.id.is_old(scope) {
                    break;
                }
                let sender = known.id.sender;
                self.forget_oldest_of(sender, &scope.common.totals);
            }
            self.order.pop_front();
            count += 1;
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            let next = self.next;
            *self = Self {
                next,
                ..Self::default()
            };
        }
        count
    }
}

impl RecentId {
    /// Whether a repeat isn't known any more.
    fn is_old(&self, scope: Scope<'_>) -> bool {
        self.at.after(scope.common.settings.dedup_ms()) <= scope.now
    }
}
