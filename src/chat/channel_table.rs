//! The channels of one shard by their names.
//!
//! A table finds a channel at the same price, however many there are. Its entries are small, and the
//! channels stand apart from it: when a table grows, nobody waits until all channels are in another
//! place. Where lists come in pages, the names are kept in order as well.
//!
//! Names come from clients, so their hashes depend on a seed that nobody knows.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::ops::Bound;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use slab::Slab;

/// Whether channels are listed in the order of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listing {
    InOrder,
    Never,
}

/// When so many places have one channel, they are given back: the removals before have paid for it.
const PLACES_A_CHANNEL_MAX: usize = 8;

/// A full row of places grows by one in so many, and by so many at least.
const PLACES_ADDED_IN: usize = 4;
const PLACES_ADDED_MIN: usize = 4;

/// Channels by their names.
#[derive(Debug)]
pub(super) struct ChannelTable<K, V> {
    channels: Slab<(K, V)>,
    places: HashTable<NamedPlace>,
    hasher: RandomState,
    /// The names in their order, where they are listed.
    names: Option<BTreeSet<K>>,
}

/// A place among the channels, and half the hash of the name that is there.
#[derive(Debug, Clone, Copy)]
struct NamedPlace {
    half: u32,
    place: u32,
}

impl NamedPlace {
    /// The hash for the table, which uses the highest bits and the lowest ones.
    fn hash(half: u32) -> u64 {
        u64::from(half) << 32 | u64::from(half)
    }
}

impl<K: Borrow<str> + Ord + Clone, V> ChannelTable<K, V> {
    /// Makes a table without channels.
    pub(super) fn new(listing: Listing) -> Self {
        Self {
            channels: Slab::new(),
            places: HashTable::new(),
            hasher: RandomState::default(),
            names: (listing == Listing::InOrder).then(BTreeSet::new),
        }
    }

    /// Returns the place of a channel, which stays the same until a channel is removed.
    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        let half = self.half_hash(name);
        let is_it = |known: &NamedPlace| {
            known.half == half && self.channels[known.place as usize].0.borrow() == name
        };
        let found = self.places.find(NamedPlace::hash(half), is_it);
        found.map(|known| known.place as usize)
    }

    /// Returns the channel at its place.
    pub(super) fn at(&mut self, place: usize) -> (&K, &mut V) {
        let (key, channel) = &mut self.channels[place];
        (key, channel)
    }

    /// Finds a channel.
    pub(super) fn find(&mut self, name: &str) -> Option<(&K, &mut V)> {
        let place = self.place_of(name)?;
        Some(self.at(place))
    }

    /// Adds a channel that isn't there; returns its place.
    pub(super) fn insert(&mut self, key: K, channel: V) -> usize {
        debug_assert!(self.place_of(key.borrow()).is_none(), "there is one");
        if let Some(names) = &mut self.names {
            names.insert(key.clone());
        }
        self.put(key, channel)
    }

    fn put(&mut self, key: K, channel: V) -> usize {
        let half = self.half_hash(key.borrow());
        let count = self.channels.len();
        if count == self.channels.capacity() {
            // Less than by itself: there are many shards, and half of each may be empty otherwise.
            self.channels
                .reserve_exact((count / PLACES_ADDED_IN).max(PLACES_ADDED_MIN));
        }
        let place = self.channels.insert((key, channel));
        let named = NamedPlace {
            half,
            place: u32::try_from(place).expect("4 billion channels would take 300 GB"),
        };
        let hash_of = |known: &NamedPlace| NamedPlace::hash(known.half);
        self.places.insert_unique(hash_of(&named), named, hash_of);
        place
    }

    /// Removes a channel; returns its key.
    pub(super) fn remove(&mut self, name: &str) -> Option<K> {
        let place = self.place_of(name)?;
        let hash = NamedPlace::hash(self.half_hash(name));
        let found = |known: &NamedPlace| known.place as usize == place;
        if let Ok(entry) = self.places.find_entry(hash, found) {
            entry.remove();
        }
        let (key, _) = self.channels.remove(place);
        if let Some(names) = &mut self.names {
            names.remove(name);
        }
        if self.channels.len() < self.channels.capacity() / PLACES_A_CHANNEL_MAX {
            self.give_back();
        }
        Some(key)
    }

    /// Lists the channels from this name on, in the order of their names.
    pub(super) fn listed(&self, from: Bound<&str>) -> impl Iterator<Item = (&K, &V)> {
        let names = self.names.iter();
        let names = names.flat_map(move |names| names.range::<str, _>((from, Bound::Unbounded)));
        names.map(|name| {
            let place = self.place_of(name.borrow());
            let (key, channel) = &self.channels[place.expect("a channel's name goes with it")];
            (key, channel)
        })
    }

    /// Lists all channels in the order of their names, also where [`ChannelTable::listed`] lists none.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut channels: Vec<&(K, V)> = self.channels.iter().map(|(_, named)| named).collect();
        channels.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        channels.into_iter().map(|(key, channel)| (key, channel))
    }

    /// Moves the few channels that are left together.
    fn give_back(&mut self) {
        self.places = HashTable::new();
        for (_, (key, channel)) in std::mem::take(&mut self.channels) {
            self.put(key, channel);
        }
    }

    fn half_hash(&self, name: &str) -> u32 {
        self.hasher.hash_one(name) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    type Table = ChannelTable<Arc<str>, u32>;

    #[test]
    fn an_entry_of_the_table_takes_8_bytes() {
        assert_eq!(size_of::<NamedPlace>(), 8);
    }

    #[test]
    fn what_a_crowd_took_is_given_back_while_a_few_are_still_there() {
        let mut table = Table::new(Listing::Never);
        for number in 0..10_000 {
            table.insert(format!("room-{number}").into(), number);
        }
        for number in 10..10_000 {
            assert!(table.remove(&format!("room-{number}")).is_some());
        }
        let capacities = (table.channels.capacity(), table.places.capacity());
        assert!(capacities.0 <= 128 && capacities.1 <= 256, "{capacities:?}");
        for number in 0..10 {
            let found = table.find(&format!("room-{number}"));
            assert_eq!(found.map(|(_, channel)| *channel), Some(number));
        }
        assert_eq!(table.listed(Bound::Unbounded).count(), 0, "never listed");
    }

    #[test]
    fn few_places_are_empty_however_many_channels_there_are() {
        let mut table = Table::new(Listing::Never);
        for number in 1..5_000 {
            table.insert(format!("room-{number}").into(), number as u32);
            let capacity = table.channels.capacity();
            assert!(
                capacity <= number + number / 4 + 8,
                "{capacity} for {number}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_table_does_what_an_ordered_map_does(
            ops in prop::collection::vec((0..4_u8, 0..60_u32, any::<u32>()), 1..400),
        ) {
            let mut table = Table::new(Listing::InOrder);
            let mut model = BTreeMap::new();
            for (op, number, value) in ops {
                let name = format!("r{number}");
                match op {
                    0 | 1 => {
                        if let Some((_, known)) = table.find(&name) {
                            *known = value;
                        } else {
                            let place = table.insert(name.as_str().into(), value);
                            prop_assert_eq!(&**table.at(place).0, &*name);
                        }
                        model.insert(name, value);
                    }
                    2 if value % 8 == 0 => {
                        let all = table.in_order().map(|(key, value)| (&**key, *value));
                        let known = model.iter().map(|(name, value)| (name.as_str(), *value));
                        prop_assert!(all.eq(known));
                    }
                    2 => {
                        let removed = table.remove(&name);
                        let known = model.remove_entry(&name).map(|(name, _)| name);
                        prop_assert_eq!(removed.as_deref(), known.as_deref());
                    }
                    _ => {
                        let from = Bound::Excluded(&*name);
                        let listed: Vec<_> =
                            table.listed(from).map(|(key, value)| (&**key, *value)).collect();
                        let known = model.range::<str, _>((from, Bound::Unbounded));
                        let known: Vec<_> =
                            known.map(|(name, value)| (name.as_str(), *value)).collect();
                        prop_assert_eq!(listed, known);
                    }
                }
            }
        }
    }
}
