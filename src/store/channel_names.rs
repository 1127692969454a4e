//! The channels of a store by their names.
//!
//! A table that grows takes all of its names to a new place, for which everybody waits. So there are
//! many tables, of which each has a small part of the names.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Tables: with a million channels each has 4,000, which move in a fraction of a millisecond.
const TABLES: usize = 256;

/// A channel: its name, and its index.
type NamedChannel = (Arc<str>, usize);

/// The index of each channel.
pub(super) struct ChannelNames {
    tables: Box<[HashTable<NamedChannel>]>,
    hasher: RandomState,
}

impl ChannelNames {
    /// Makes an empty index.
    pub(super) fn new() -> Self {
        Self {
            tables: (0..TABLES).map(|_| HashTable::new()).collect(),
            hasher: RandomState::default(),
        }
    }

    /// Makes an empty index with room for so many channels.
    pub(super) fn with_room(channels: usize) -> Self {
        // Hardly a table gets a tenth more than its part.
        let part = (channels / TABLES) / 10 * 11;
        Self {
            tables: (0..TABLES)
                .map(|_| HashTable::with_capacity(part))
                .collect(),
            hasher: RandomState::default(),
        }
    }

    /// Returns the index of a channel.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let hash = self.hasher.hash_one(name);
        let found = self.tables[table_of(hash)].find(hash, |(known, _)| **known == *name);
        found.map(|(_, index)| *index)
    }

    /// Adds a channel that isn't there.
    pub(super) fn insert(&mut self, name: Arc<str>, index: usize) {
        let hash = self.hasher.hash_one(&*name);
        let hash_of = |(known, _): &NamedChannel| self.hasher.hash_one(&**known);
        self.tables[table_of(hash)].insert_unique(hash, (name, index), hash_of);
    }

    /// Removes a channel.
    pub(super) fn remove(&mut self, name: &str) {
        let hash = self.hasher.hash_one(name);
        let table = &mut self.tables[table_of(hash)];
        if let Ok(found) = table.find_entry(hash, |(known, _)| **known == *name) {
            found.remove();
        }
    }
}

/// Takes other bits of a hash than a table does.
fn table_of(hash: u64) -> usize {
    (hash >> 32) as usize % TABLES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_has_much_more_than_its_part_so_none_is_long_in_growing() {
        let mut names = ChannelNames::new();
        for index in 0..100_000 {
            names.insert(format!("room-{index}").into(), index);
        }
        let largest = names.tables.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 2 * 100_000 / TABLES, "{largest}");
        for index in (0..100_000).step_by(3) {
            names.remove(&format!("room-{index}"));
        }
        for index in 0..100_000 {
            let found = names.find(&format!("room-{index}"));
            assert_eq!(found, (index % 3 > 0).then_some(index));
        }
    }
}
