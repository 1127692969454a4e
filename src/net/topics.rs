//! A reactor's delivery sets: which of its connections hear which topic.
//!
//! Members are the indices of connection slots. Both directions are kept, and every entry knows
//! its counterpart's place: a topic's member knows its place among that connection's memberships,
//! a membership its place among the topic's members. So both lists are removed from by swapping,
//! without a search through the (possibly many) members of a topic. A membership takes 16 bytes,
//! plus the slack of two vectors; a connection without any takes 24 and nothing on the heap.
//!
//! The memberships of all connections live here, by slot, and not in the slots: leaving a topic
//! moves another connection's entry, and this way nobody has to lend out other connections.
//!
//! Names come from clients, so they are hashed with a secret key (the standard SipHash).
//!
//! Invariant: `topics[t].members[p] == (s, i)` exactly if `slots[s][i] == (t, p)`; a topic without
//! members doesn't exist.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use slab::Slab;

/// How much of it there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicBounds {
    /// Topics in one reactor; one more is refused with [`SubscribeError::TopicsFull`].
    pub topics_max: usize,
    /// Topics that one connection hears; one more is refused with
    /// [`SubscribeError::ConnectionFull`]. (Un)subscribing looks through that many at the most.
    pub topics_per_connection_max: usize,
}

/// A subscription that a bound doesn't allow; nothing has changed.
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

/// One connection that hears a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
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
    /// The same allocation as the key in `ids`.
    name: Arc<str>,
    members: Vec<Member>,
}

/// All topics of one reactor.
#[derive(Debug)]
pub struct Topics {
    bounds: TopicBounds,
    ids: HashMap<Arc<str>, u32>,
    topics: Slab<Topic>,
    /// Memberships by slot; as long as the highest slot that ever subscribed.
    slots: Vec<Vec<Membership>>,
    memberships: usize,
}

impl Topics {
    /// No topics yet.
    #[must_use]
    pub fn new(bounds: TopicBounds) -> Self {
        Self {
            bounds,
            ids: HashMap::new(),
            topics: Slab::new(),
            slots: Vec::new(),
            memberships: 0,
        }
    }

    /// Has the connection in `slot` hear `name`, which begins to exist with its first member;
    /// `false`: it did already.
    ///
    /// # Errors
    ///
    /// A bound is reached; nothing has changed.
    pub fn subscribe(&mut self, slot: u32, name: &str) -> Result<bool, SubscribeError> {
        let topic = self.ids.get(name).copied();
        let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
        if topic.is_some_and(|topic| own.iter().any(|membership| membership.topic == topic)) {
            return Ok(false);
        }
        if own.len() >= self.bounds.topics_per_connection_max {
            return Err(SubscribeError::ConnectionFull(own.len()));
        }
        let topic = match topic {
            Some(topic) => topic,
            None => self.create(name)?,
        };
        if self.slots.len() <= slot as usize {
            self.slots.resize_with(slot as usize + 1, Vec::new);
        }
        let own = &mut self.slots[slot as usize];
        let members = &mut self.topics[topic as usize].members;
        own.push(Membership {
            topic,
            place: index(members.len()),
        });
        members.push(Member {
            slot,
            place: index(own.len() - 1),
        });
        self.memberships += 1;
        self.check(slot);
        Ok(true)
    }

    /// Has the connection in `slot` hear `name` no more; `false`: it didn't.
    pub fn unsubscribe(&mut self, slot: u32, name: &str) -> bool {
        let (Some(&topic), Some(own)) = (self.ids.get(name), self.slots.get_mut(slot as usize))
        else {
            return false;
        };
        let Some(place) = own.iter().position(|membership| membership.topic == topic) else {
            return false;
        };
        let membership = own.swap_remove(place);
        if let Some(moved) = own.get(place) {
            let counterpart = &mut self.topics[moved.topic as usize].members[moved.place as usize];
            counterpart.place = index(place);
        }
        if own.is_empty() {
            *own = Vec::new();
        }
        self.leave(membership);
        self.check(slot);
        true
    }

    /// Has the connection in `slot` hear nothing any more, since it closes; says how many it heard.
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

    /// Who hears `name`, in no order; empty if there is no such topic.
    #[must_use]
    pub fn members(&self, name: &str) -> &[Member] {
        match self.ids.get(name) {
            Some(&topic) => &self.topics[topic as usize].members,
            None => &[],
        }
    }

    /// What the connection in `slot` hears, in no order.
    pub fn names(&self, slot: u32) -> impl Iterator<Item = &str> {
        let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
        own.iter()
            .map(|membership| &*self.topics[membership.topic as usize].name)
    }

    /// Topics that have members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether nobody hears anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Memberships of all connections in all topics.
    #[must_use]
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    fn create(&mut self, name: &str) -> Result<u32, SubscribeError> {
        if self.topics.len() >= self.bounds.topics_max {
            return Err(SubscribeError::TopicsFull(self.topics.len()));
        }
        let name: Arc<str> = name.into();
        // Most topics are one user's own line: room for one, where `Vec` would begin with four.
        let members = Vec::with_capacity(1);
        let topic = index(self.topics.insert(Topic {
            name: name.clone(),
            members,
        }));
        self.ids.insert(name, topic);
        Ok(topic)
    }

    /// Takes a member out of a topic, whose connection has let go of this membership.
    fn leave(&mut self, Membership { topic, place }: Membership) {
        let members = &mut self.topics[topic as usize].members;
        members.swap_remove(place as usize);
        if let Some(moved) = members.get(place as usize) {
            self.slots[moved.slot as usize][moved.place as usize].place = place;
        } else if members.is_empty() {
            let gone = self.topics.remove(topic as usize);
            self.ids.remove(&gone.name);
        }
        self.memberships -= 1;
    }

    /// The invariant, as far as one connection goes.
    fn check(&self, slot: u32) {
        if cfg!(debug_assertions) {
            let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
            for (place, membership) in own.iter().enumerate() {
                let topic = &self.topics[membership.topic as usize];
                let member = Member {
                    slot,
                    place: index(place),
                };
                assert_eq!(
                    topic.members[membership.place as usize], member,
                    "{}",
                    topic.name
                );
            }
        }
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
    fn a_membership_takes_16_bytes() {
        assert_eq!(size_of::<Member>() + size_of::<Membership>(), 16);
    }

    #[test]
    fn the_last_to_leave_takes_the_topic_along() {
        let mut topics = Topics::new(BOUNDS);
        assert_eq!(topics.subscribe(7, "tea"), Ok(true));
        assert_eq!(topics.subscribe(7, "tea"), Ok(false));
        assert_eq!(topics.subscribe(2, "tea"), Ok(true));
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
            topics.subscribe(1, name).unwrap();
        }
        assert_eq!(
            topics.subscribe(1, "e"),
            Err(SubscribeError::ConnectionFull(4))
        );
        assert_eq!(topics.subscribe(1, "a"), Ok(false), "that is no new one");
        topics.subscribe(2, "e").unwrap();
        topics.subscribe(2, "f").unwrap();
        assert_eq!(topics.subscribe(2, "g"), Err(SubscribeError::TopicsFull(6)));
        assert_eq!((topics.len(), topics.memberships()), (6, 6));
        assert!(topics.unsubscribe(2, "f"));
        assert_eq!(topics.subscribe(2, "g"), Ok(true));
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
                        topics.subscribe(slot, NAMES[name]),
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
