//! State that is divided by name, so that threads rarely wait for one another.

use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard};

use foldhash::fast::FixedState;

use crate::base::sync::lock;

/// Parts that are locked each for itself; a name always belongs to the same part.
#[derive(Debug)]
pub(super) struct Shards<T> {
    parts: Box<[Mutex<T>]>,
    hash: FixedState,
    seed: u64,
}

/// The parts of two names, which may be one part.
#[derive(Debug)]
pub(super) struct ShardPair<'a, T> {
    left: MutexGuard<'a, T>,
    right: Option<MutexGuard<'a, T>>,
    /// The second name's part is the left one.
    swapped: bool,
}

/// The parts of several names.
#[derive(Debug)]
pub(super) struct ShardLocks<'a, T> {
    shards: &'a Shards<T>,
    /// The locked parts with their places, in that order.
    guards: Vec<(usize, MutexGuard<'a, T>)>,
}

impl<T: Default> Shards<T> {
    /// Makes `count` parts, at least one; `seed` decides which names share a part.
    pub(super) fn new(count: usize, seed: u64) -> Self {
        Self {
            parts: (0..count.max(1)).map(|_| Mutex::default()).collect(),
            hash: FixedState::with_seed(seed),
            seed,
        }
    }
}

impl<T> Shards<T> {
    /// Returns the seed that decides which names share a part.
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Locks the part of a name.
    pub(super) fn lock(&self, name: &str) -> MutexGuard<'_, T> {
        lock(&self.parts[self.part_of(name)])
    }

    /// Locks the part of a number, such as that of a connection.
    pub(super) fn lock_number(&self, number: u64) -> MutexGuard<'_, T> {
        lock(&self.parts[self.hash.hash_one(number) as usize % self.parts.len()])
    }

    /// Locks the parts of two names, the one that comes first always first.
    pub(super) fn lock_two(&self, first: &str, second: &str) -> ShardPair<'_, T> {
        let (first, second) = (self.part_of(first), self.part_of(second));
        let left = lock(&self.parts[first.min(second)]);
        let right = (first != second).then(|| lock(&self.parts[first.max(second)]));
        ShardPair {
            left,
            right,
            swapped: second < first,
        }
    }

    /// Locks the parts of all these names, in their order.
    pub(super) fn lock_all<'b>(&self, names: impl Iterator<Item = &'b str>) -> ShardLocks<'_, T> {
        let mut parts: Vec<usize> = names.map(|name| self.part_of(name)).collect();
        parts.sort_unstable();
        parts.dedup();
        let guards = parts.into_iter().map(|part| (part, self.lock_part(part)));
        ShardLocks {
            shards: self,
            guards: guards.collect(),
        }
    }

    /// Returns the number of parts.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Locks one part by its place, for a loop over all parts.
    pub(super) fn lock_part(&self, part: usize) -> MutexGuard<'_, T> {
        lock(&self.parts[part])
    }

    /// Returns the place of a name's part.
    pub(super) fn part_of(&self, name: &str) -> usize {
        self.hash.hash_one(name) as usize % self.parts.len()
    }
}

impl<T> ShardLocks<'_, T> {
    /// Returns the part of a name that was among those that were given.
    pub(super) fn of(&mut self, name: &str) -> &mut T {
        let part = self.shards.part_of(name);
        let place = self.guards.binary_search_by_key(&part, |(part, _)| *part);
        &mut self.guards[place.expect("the name was given")].1
    }
}

impl<T> ShardPair<'_, T> {
    /// Returns the part of the first name.
    pub(super) fn first(&mut self) -> &mut T {
        match &mut self.right {
            Some(right) if self.swapped => right,
            _ => &mut self.left,
        }
    }

    /// Returns the part of the second name, which may be the same part.
    pub(super) fn second(&mut self) -> &mut T {
        match &mut self.right {
            Some(right) if !self.swapped => right,
            _ => &mut self.left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_names_has_its_own_part() {
        let shards: Shards<Vec<String>> = Shards::new(4, 1);
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        for name in &names {
            shards.lock(name).push(name.clone());
        }
        let mut held = shards.lock_all(names.iter().map(String::as_str));
        for name in &names {
            assert!(held.of(name).contains(name), "{name}");
        }
    }

    #[test]
    fn a_pair_gives_each_name_its_own_part() {
        let shards: Shards<Vec<String>> = Shards::new(4, 1);
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        for name in &names {
            shards.lock(name).push(name.clone());
        }
        for first in &names {
            for second in &names {
                let mut pair = shards.lock_two(first, second);
                assert!(pair.first().contains(first), "{first} {second}");
                assert!(pair.second().contains(second), "{first} {second}");
            }
        }
    }
}
