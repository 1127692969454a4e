//! The topics of a reactor in a handover: each name once, and of each connection the numbers of those
//! that it hears.

use std::hash::BuildHasher;
use std::sync::Arc;

use super::{Members, Membership, Topic, TopicBounds, TopicMember, Topics, index};
use crate::handover::{HandoverError, RecordReader, RecordWriter};

/// The numbers of the topics in a handover, which are those that they get anew.
#[derive(Debug)]
pub(in crate::net) struct TopicNumbers(Vec<Option<u32>>);

impl TopicNumbers {
    /// What stands in a handover for a topic that had this number. One that has gone, and that only
    /// pieces of leaving connections still name, has to stay different from all others.
    pub(in crate::net) fn of(&self, topic: u32) -> u64 {
        match self.0.get(topic as usize).copied().flatten() {
            Some(number) => u64::from(number) << 1,
            None => u64::from(topic) << 1 | 1,
        }
    }

    /// Reads what [`TopicNumbers::of`] gave.
    pub(in crate::net) fn read(record: &mut RecordReader<'_>) -> Result<u32, HandoverError> {
        let number = record.u64()?;
        let topic =
            u32::try_from(number >> 1).map_err(|_| record.refuse("a topic has no number"))?;
        Ok(match number & 1 {
            0 => topic,
            _ => u32::MAX - topic,
        })
    }
}

impl Topics {
    /// Writes down the names of all topics that somebody hears who is carried.
    pub(in crate::net) fn hand_over(
        &self,
        is_carried: impl Fn(u32) -> bool,
        record: &mut RecordWriter<'_>,
    ) -> TopicNumbers {
        let is_heard = |topic: &Topic| match &topic.members {
            Members::One(member) => is_carried(member.slot),
            Members::Many(members) => members.iter().any(|member| is_carried(member.slot)),
        };
        let all = || self.topics.iter().filter(|(_, topic)| is_heard(topic));
        record.size(all().count());
        let mut numbers = Vec::new();
        for (number, (key, topic)) in all().enumerate() {
            record.text(&topic.name);
            numbers.resize(key, None);
            numbers.push(Some(index(number)));
        }
        TopicNumbers(numbers)
    }

    /// Writes down which topics the connection in `slot` hears.
    pub(in crate::net) fn hand_over_of(
        &self,
        slot: u32,
        numbers: &TopicNumbers,
        record: &mut RecordWriter<'_>,
    ) {
        let own = self.slots.get(slot as usize).map_or(&[][..], |own| own);
        record.list(own, |record, membership| {
            let number = numbers.0[membership.topic as usize];
            record.u64(number.expect("a topic with a member has a number").into());
        });
    }

    /// Makes the table in which the connection in each slot hears the topics of these numbers; `None`
    /// if there is no such table.
    ///
    /// The bounds don't refuse what was allowed when it was subscribed to.
    pub(in crate::net) fn take_over(names: Vec<Arc<str>>, heard: &[Vec<u32>]) -> Option<Self> {
        let mut members = vec![Vec::new(); names.len()];
        let mut slots = Vec::with_capacity(heard.len());
        for (slot, heard) in heard.iter().enumerate() {
            let mut own = Vec::with_capacity(heard.len());
            for topic in heard {
                let (slot, members) = (index(slot), members.get_mut(*topic as usize)?);
                let is_twice = members
                    .last()
                    .is_some_and(|last: &TopicMember| last.slot == slot);
                if is_twice {
                    return None;
                }
                let place = index(members.len());
                members.push(TopicMember {
                    slot,
                    place: index(own.len()),
                });
                own.push(Membership {
                    topic: *topic,
                    place,
                });
            }
            slots.push(own);
        }
        let mut topics = Self::new(TopicBounds {
            topics_max: usize::MAX,
            topics_per_connection_max: usize::MAX,
        });
        topics.memberships = heard.iter().map(Vec::len).sum();
        topics.slots = slots;
        for (name, members) in names.into_iter().zip(members) {
            topics.enter(name, members)?;
        }
        Some(topics)
    }

    /// Adds a topic with its members; `None` if it has none, or is there already.
    fn enter(&mut self, name: Arc<str>, mut members: Vec<TopicMember>) -> Option<()> {
        if self.find(&name).is_some() {
            return None;
        }
        let members = match members[..] {
            [] => return None,
            [only] => Members::One(only),
            _ => {
                members.shrink_to_fit();
                Members::Many(Box::new(members))
            }
        };
        let topic = index(self.topics.insert(Topic { name, members }));
        let (topics, hasher) = (&self.topics, &self.hasher);
        let hash_of = |topic: &u32| hasher.hash_one(&*topics[*topic as usize].name);
        self.ids.insert_unique(hash_of(&topic), topic, hash_of);
        Some(())
    }
}
