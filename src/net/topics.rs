//! A reactor's delivery sets: which of its connections hear which topic.
//!
//! Members are the indices of connection slots. Both directions are kept, and every entry knows
//! its counterpart's place: a topic's member knows its place among that connection's memberships,
//! a membership its place among the topic's members. So both lists are removed from by swapping,
//! without a search through the (possibly many) members of a topic. A membership takes 16 bytes,
//! plus the slack of two vectors; a connection without any takes 24 and nothing on the heap. A
//! topic takes 37: its name is shared with whoever named it, and most have one member, which needs
//! no list.
//!
//! The memberships of all connections live here, by slot, and not in the slots: leaving a topic
//! moves another connection's entry, and this way nobody has to lend out other connections.
//!
//! Names come from clients, so they are hashed with a secret key (the standard SipHash).
//!
//! Invariant: `topics[t].members[p] == (s, i)` exactly if `slots[s][i] == (t, p)`; a topic without
//! members doesn't exist.

mod handover;

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use slab::Slab;

pub(super) use handover::TopicNumbers;

/// Bounds of the topics of one reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicBounds {
    /// Topics in one reactor; a further one is refused with [`SubscribeError::TopicsFull`].
    pub topics_max: usize,
    /// Topics that one connection hears; a further one is refused with
    /// [`SubscribeError::ConnectionFull`]. A search through a connection's topics, which each
    /// (un)subscription makes, is bounded by this number.
    pub topics_per_connection_max: usize,
}

/// The reason why a subscription was refused; then nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscribeError {
    /// The reactor has this many topics already (`topics_max`).
    TopicsFull(usize),
    /// The connection hears this many topics already (`topics_per_connection_max`).
    ConnectionFull(usize),
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TopicsFull(max) => write!(f, "there are {max} topics, the most allowed"),
            Self::ConnectionFull(max) => {
                write!(f, "the connection hears {max} topics, the most allowed")
            }
        }
    }
}

impl std::error::Error for SubscribeError {}

/// Topics of a connection up to which its list has no slack: most connections hear their user's
/// topic, `*` and a room or two.
const FEW_TOPICS: usize = 8;

/// One connection that hears a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicMember {
    /// The index of the connection's slot.
    pub slot: u32,
    /// The place among this connection's memberships.
    place: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Membership {
    topic: u32,
    /// The place among this topic's members.
    place: u32,
}

#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    members: Members,
}

/// The members of one topic, at least one.
#[derive(Debug)]
enum Members {
    One(TopicMember),
    #[expect(clippy::box_collection, reason = "16 bytes for the many topics of one")]
    Many(Box<Vec<TopicMember>>),
}

/// All topics of one reactor.
#[derive(Debug)]
pub struct Topics {
    bounds: TopicBounds,
    /// Places in `topics`, by the hash of the name.
    ids: HashTable<u32>,
    hasher: RandomState,
    topics: Slab<Topic>,
    /// Memberships by slot; as long as the highest slot that ever subscribed.
    slots: Vec<Vec<Membership>>,
    memberships: usize,
}

impl Topics {
    /// Makes a table without topics.
    #[must_use]
    pub fn new(bounds: TopicBounds) -> Self {
        Self {
            bounds,
            ids: HashTable::new(),
            hasher: RandomState::new(),
            topics: Slab::new(),
            slots: Vec::new(),
            memberships: 0,
        }
    }

    /// Changes the bounds, for subscriptions from now on.
    pub fn set_bounds(&mut self, bounds: TopicBounds) {
        self.bounds = bounds;
    }

    /// Makes the connection in `slot` a member of `name`, which begins to exist with its first
    /// member; returns `false` if the connection was a member already.
    ///
    /// # Errors
    ///
    /// A bound is reached; then nothing has changed.
    pub fn subscribe(&mut self, slot: u32, name: &Arc<str>) -> Result<bool, SubscribeError> {
        let topic = self.find(name);
        let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
        if topic.is_some_and(|topic| own.iter().any(|membership| membership.topic == topic)) {
            return Ok(false);
        }
        if own.len() >= self.bounds.topics_per_connection_max {
            return Err(SubscribeError::ConnectionFull(own.len()));
        }
        let member = TopicMember {
            slot,
            place: index(own.len()),
        };
        let (topic, place) = match topic {
            Some(topic) => (topic, self.topics[topic as usize].members.push(member)),
            None => (self.create(name, member)?, 0),
        };
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, Vec::new);
        }
        let own = &mut self.slots[slot as usize];
        if own.len() < FEW_TOPICS {
            own.reserve_exact(1);
        }
        own.push(Membership { topic, place });
        self.memberships += 1;
        self.check(slot);
        Ok(true)
    }

    /// Ends the membership of the connection in `slot` in `name`; returns `false` if there was
    /// none.
    pub fn unsubscribe(&mut self, slot: u32, name: &str) -> bool {
        let (Some(topic), Some(own)) = (self.find(name), self.slots.get_mut(slot as usize)) else {
            return false;
        };
        let Some(place) = own.iter().position(|membership| membership.topic == topic) else {
            return false;
        };
        let membership = own.swap_remove(place);
        if let Some(moved) = own.get(place) {
            let members = &mut self.topics[moved.topic as usize].members;
            members.as_mut_slice()[moved.place as usize].place = index(place);
        }
        if own.is_empty() {
            *own = Vec::new();
        }
        self.leave(membership);
        self.check(slot);
        true
    }

    /// Ends all memberships of the connection in `slot`, since it closes; returns their number.
    pub fn unsubscribe_all(&mut self, slot: u32) -> usize {
        let own = self
            .slots
            .get_mut(slot as usize)
            .map(std::mem::take)
            .unwrap_or_default();
        for &membership in &own {
            self.leave(membership);
        }
        self.check(slot);
        own.len()
    }

    /// Lists the members of `name`, in no order; empty if there is no such topic.
    #[must_use]
    pub fn members(&self, name: &str) -> &[TopicMember] {
        match self.find(name) {
            Some(topic) => self.topics[topic as usize].members.as_slice(),
            None => &[],
        }
    }

    /// The number of a topic, which it has as long as it has members.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.find(name)
    }

    /// Whether the connection in `slot` hears a topic.
    #[must_use]
    pub fn has_any(&self, slot: u32) -> bool {
        (self.slots.get(slot as usize)).is_some_and(|own| !own.is_empty())
    }

    /// Lists the topics that the connection in `slot` hears, in no order.
    pub fn names(&self, slot: u32) -> impl Iterator<Item = &str> {
        let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
        own.iter()
            .map(|membership| &*self.topics[membership.topic as usize].name)
    }

    /// Counts the topics, which all have members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is no topic, and so no membership.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Counts the memberships of all connections in all topics.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    fn find(&self, name: &str) -> Option<u32> {
        let is_it = |topic: &u32| *self.topics[*topic as usize].name == *name;
        self.ids.find(self.hasher.hash_one(name), is_it).copied()
    }

    fn create(&mut self, name: &Arc<str>, member: TopicMember) -> Result<u32, SubscribeError> {
        if self.topics.len() >= self.bounds.topics_max {
            return Err(SubscribeError::TopicsFull(self.topics.len()));
        }
        let topic = index(self.topics.insert(Topic {
            name: Arc::clone(name),
            members: Members::One(member),
        }));
        let (topics, hasher) = (&self.topics, &self.hasher);
        let hash_of = |topic: &u32| hasher.hash_one(&*topics[*topic as usize].name);
        self.ids.insert_unique(hash_of(&topic), topic, hash_of);
        Ok(topic)
    }

    /// Takes a member out of a topic; the caller has taken the membership out of its connection.
    fn leave(&mut self, Membership { topic, place }: Membership) {
        let members = &mut self.topics[topic as usize].members;
        if members.swap_remove(place as usize) == Rest::Nobody {
            let gone = self.topics.remove(topic as usize);
            let hash = self.hasher.hash_one(&*gone.name);
            if let Ok(entry) = self.ids.find_entry(hash, |id| *id == topic) {
                entry.remove();
            }
        } else if let Some(moved) = members.as_slice().get(place as usize) {
            self.slots[moved.slot as usize][moved.place as usize].place = place;
        }
        self.memberships -= 1;
    }

    /// Checks the invariant for one connection.
    fn check(&self, slot: u32) {
        if cfg!(debug_assertions) {
            let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
            for (place, membership) in own.iter().enumerate() {
                let topic = &self.topics[membership.topic as usize];
                let member = TopicMember {
                    slot,
                    place: index(place),
                };
                assert_eq!(
                    topic.members.as_slice()[membership.place as usize],
                    member,
                    "{}",
                    topic.name
                );
            }
        }
    }
}

/// Whether a topic has members left.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    Some,
    /// No member is left, so the topic has to be removed.
    Nobody,
}

impl Members {
    fn as_slice(&self) -> &[TopicMember] {
        match self {
            Self::One(member) => std::slice::from_ref(member),
            Self::Many(members) => members,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [TopicMember] {
        match self {
            Self::One(member) => std::slice::from_mut(member),
            Self::Many(members) => members,
        }
    }

    /// Adds a member; returns its place.
    fn push(&mut self, member: TopicMember) -> u32 {
        match self {
            Self::One(first) => {
                *self = Self::Many(Box::new(vec![*first, member]));
                1
            }
            Self::Many(members) => {
                members.push(member);
                index(members.len() - 1)
            }
        }
    }

    /// Removes the member at `place`; the last member takes this place.
    fn swap_remove(&mut self, place: usize) -> Rest {
        let Self::Many(members) = self else {
            return Rest::Nobody;
        };
        members.swap_remove(place);
        if let [only] = members[..] {
            *self = Self::One(only);
        }
        Rest::Some
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).expect("slots, topics and memberships are bounded far below 2^32")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: TopicBounds = TopicBounds {
        topics_max: 6,
        topics_per_connection_max: 4,
    };

    fn members(topics: &Topics, name: &str) -> BTreeSet<u32> {
        let members = topics.members(name);
        let set: BTreeSet<_> = members.iter().map(|member| member.slot).collect();
        assert_eq!(set.len(), members.len(), "somebody is in {name} twice");
        set
    }

    #[test]
    fn a_membership_takes_16_bytes_and_a_topic_32_beside_its_hash() {
        assert_eq!(size_of::<TopicMember>() + size_of::<Membership>(), 16);
        assert_eq!(size_of::<Topic>(), 32);
    }

    #[test]
    fn the_last_to_leave_takes_the_topic_along() {
        let mut topics = Topics::new(BOUNDS);
        assert_eq!(topics.subscribe(7, &"tea".into()), Ok(true));
        assert_eq!(topics.subscribe(7, &"tea".into()), Ok(false));
        assert_eq!(topics.subscribe(2, &"tea".into()), Ok(true));
        assert!(topics.unsubscribe(7, "tea"));
        assert!(!topics.unsubscribe(7, "tea"));
        assert_eq!((topics.len(), members(&topics, "tea")), (1, [2].into()));
        assert_eq!(topics.unsubscribe_all(2), 1);
        assert!(topics.is_empty() && topics.ids.is_empty() && topics.members("tea").is_empty());
        assert!(topics.slots.iter().all(|own| own.capacity() == 0));
    }

    #[test]
    fn a_bound_that_is_reached_refuses_and_changes_nothing() {
        let mut topics = Topics::new(BOUNDS);
        for name in ["a", "b", "c", "d"] {
            topics.subscribe(1, &name.into()).unwrap();
        }
        assert_eq!(
            topics.subscribe(1, &"e".into()),
            Err(SubscribeError::ConnectionFull(4))
        );
        assert_eq!(
            topics.subscribe(1, &"a".into()),
            Ok(false),
            "that is no new one"
        );
        topics.subscribe(2, &"e".into()).unwrap();
        topics.subscribe(2, &"f".into()).unwrap();
        assert_eq!(
            topics.subscribe(2, &"g".into()),
            Err(SubscribeError::TopicsFull(6))
        );
        assert_eq!((topics.len(), topics.memberships()), (6, 6));
        assert!(topics.unsubscribe(2, "f"));
        assert_eq!(topics.subscribe(2, &"g".into()), Ok(true));
    }

    #[derive(Debug, Clone)]
    enum Op {
        Subscribe(u32, usize),
        Unsubscribe(u32, usize),
        UnsubscribeAll(u32),
    }

    const NAMES: [&str; 9] = ["", "a", "b", "c", "d", "@ann", "@bob", "*", "ä"];

    fn op() -> impl Strategy<Value = Op> {
        let (slot, name) = (0..8_u32, 0..NAMES.len());
        prop_oneof![
            6 => (slot.clone(), name.clone()).prop_map(|(slot, name)| Op::Subscribe(slot, name)),
            3 => (slot.clone(), name).prop_map(|(slot, name)| Op::Unsubscribe(slot, name)),
            1 => slot.prop_map(Op::UnsubscribeAll),
        ]
    }

    type Model = BTreeMap<&'static str, BTreeSet<u32>>;

    fn subscribe(model: &mut Model, slot: u32, name: &'static str) -> Result<bool, SubscribeError> {
        let heard = model
            .values()
            .filter(|members| members.contains(&slot))
            .count();
        if model
            .get(name)
            .is_some_and(|members| members.contains(&slot))
        {
            return Ok(false);
        } else if heard == BOUNDS.topics_per_connection_max {
            return Err(SubscribeError::ConnectionFull(heard));
        } else if !model.contains_key(name) && model.len() == BOUNDS.topics_max {
            return Err(SubscribeError::TopicsFull(model.len()));
        }
        Ok(model.entry(name).or_default().insert(slot))
    }

    fn unsubscribe(model: &mut Model, slot: u32, name: &str) -> bool {
        let left = model
            .get_mut(name)
            .is_some_and(|members| members.remove(&slot));
        model.retain(|_, members| !members.is_empty());
        left
    }

    proptest! {
        #[test]
        fn topics_are_what_a_map_of_sets_is(ops in prop::collection::vec(op(), 1..200)) {
            let mut topics = Topics::new(BOUNDS);
            let mut model = Model::new();
            for op in ops {
                match op {
                    Op::Subscribe(slot, name) => prop_assert_eq!(
                        topics.subscribe(slot, &NAMES[name].into()),
                        subscribe(&mut model, slot, NAMES[name])
                    ),
                    Op::Unsubscribe(slot, name) => prop_assert_eq!(
                        topics.unsubscribe(slot, NAMES[name]),
                        unsubscribe(&mut model, slot, NAMES[name])
                    ),
                    Op::UnsubscribeAll(slot) => prop_assert_eq!(
                        topics.unsubscribe_all(slot),
                        NAMES.iter().filter(|name| unsubscribe(&mut model, slot, name)).count()
                    ),
                }
                prop_assert_eq!(topics.len(), model.len());
                prop_assert_eq!(topics.memberships(), model.values().map(BTreeSet::len).sum::<usize>());
                for name in NAMES {
                    let expected = model.get(name).cloned().unwrap_or_default();
                    prop_assert_eq!(members(&topics, name), expected, "{}", name);
                }
                for slot in 0..8 {
                    let names: BTreeSet<_> = topics.names(slot).collect();
                    let heard = model.iter().filter(|(_, members)| members.contains(&slot));
                    prop_assert_eq!(names, heard.map(|(name, _)| *name).collect());
                    topics.check(slot);
                }
            }
        }
    }
}
