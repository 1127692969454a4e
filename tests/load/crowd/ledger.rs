//! What all clients heard, put together: one order for everyone.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

/// A message as a client heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub channel: String,
    pub epoch: String,
    pub offset: u64,
    pub id: String,
    pub from: String,
    pub data: Value,
}

impl Heard {
    pub fn of(frame: &Value, channel: &str) -> Self {
        let text = |field: &str| frame[field].as_str().unwrap_or_default().to_owned();
        Self {
            channel: channel.to_owned(),
            epoch: text("epoch"),
            offset: frame["offset"].as_u64().unwrap(),
            id: text("id"),
            from: text("from"),
            data: frame["data"].clone(),
        }
    }
}

#[derive(Default)]
pub struct Ledger {
    /// By channel and offset.
    channels: HashMap<String, BTreeMap<u64, Heard>>,
}

impl Ledger {
    /// Everyone has to have heard the same at each place.
    pub fn take(&mut self, heard: Vec<Heard>) {
        for message in heard {
            let channel = self.channels.entry(message.channel.clone()).or_default();
            match channel.get(&message.offset) {
                Some(first) => assert_eq!(*first, message, "two orders"),
                None => drop(channel.insert(message.offset, message)),
            }
        }
    }

    /// Judges the whole; gives the number of channels and of messages.
    pub fn judge(&self) -> (usize, usize) {
        for (name, channel) in &self.channels {
            let mut ids = HashSet::new();
            let mut newest: HashMap<(u64, &str), u64> = HashMap::new();
            let epoch = &channel.values().next().unwrap().epoch;
            for (offset, message) in channel {
                assert_eq!(message.epoch, *epoch, "{name} began anew");
                let said = (&message.from, &message.id);
                assert!(
                    ids.insert(said),
                    "{name} has {said:?} twice, again at {offset}"
                );
                let data = &message.data;
                let Some(number) = data["n"].as_u64() else {
                    continue;
                };
                // By whom, and to which channel it was said.
                let way = (
                    data["client"].as_u64().unwrap(),
                    data["to"].as_str().unwrap(),
                );
                let before = newest.insert(way, number).unwrap_or(0);
                assert!(
                    before < number,
                    "{name}: {way:?} said {number} before {before}"
                );
            }
        }
        let messages = self.channels.values().map(BTreeMap::len).sum();
        (self.channels.len(), messages)
    }

    /// Each private message stands in both inboxes or in none; inboxes that nobody heard to the end
    /// are left out.
    pub fn judge_private(&self) -> usize {
        let mut count = 0;
        for (name, channel) in &self.channels {
            let Some(owner) = name.strip_prefix('@') else {
                continue;
            };
            for message in channel.values().filter(|one| one.from != owner) {
                let sender = format!("@{}", message.from);
                let Some(other) = self.channels.get(&sender) else {
                    continue;
                };
                let is_there = other.values().any(|one| one.id == message.id);
                // An inbox is whole when its offsets are without a hole.
                let whole = other.len() as u64 == *other.keys().next_back().unwrap();
                assert!(is_there || !whole, "{message:?} isn't in {sender}");
                count += usize::from(is_there);
            }
        }
        count
    }

    pub fn at(&self, channel: &str, offset: u64) -> Option<&Heard> {
        self.channels.get(channel)?.get(&offset)
    }
}
