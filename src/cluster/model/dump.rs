//! What stands in a model, as the keys of the real engine.

use std::collections::{BTreeMap, BTreeSet};

use super::Model;
use super::state::{ModelChannel, ModelState};
use crate::base::Position;

/// What a key holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelValue {
    /// A text.
    Text(Vec<u8>),
    /// Fields and their values.
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// A list.
    List(Vec<Vec<u8>>),
    /// A set, or a sorted one in which all scores are 0.
    Set(BTreeSet<Vec<u8>>),
}

impl Model {
    /// Returns all keys, by name without the prefix. Of a kept answer there is only whether it stands; who
    /// does the upkeep isn't there.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<String, ModelValue> {
        let engine = self.engine();
        let mut keys = engine.state.own_keys();
        keys.extend(engine.state.channel_keys());
        keys.extend(engine.state.people_keys());
        keys.into_iter().collect()
    }

    /// Returns the names of keys that have a generation in their name or in a field.
    #[must_use]
    pub fn keys_of_generation(&self, generation: u64) -> Vec<String> {
        let text = generation.to_string();
        let end = format!(":{text}");
        let is_its = |key: &str, value: &ModelValue| match value {
            ModelValue::Hash(fields) => {
                let begin = format!("{text}:");
                key.starts_with("r:") && fields.contains_key(text.as_bytes())
                    || key.starts_with("u:")
                        && fields.values().any(|row| row.starts_with(begin.as_bytes()))
            }
            _ => false,
        };
        let keys = self.dump();
        let its = keys
            .iter()
            .filter(|(key, value)| key.ends_with(&end) || is_its(key, value));
        its.map(|(key, _)| key.clone()).collect()
    }
}

impl ModelState {
    /// Keys that there is one of, and those of generations.
    fn own_keys(&self) -> Vec<(String, ModelValue)> {
        let mut keys = Vec::new();
        if let Some(state) = &self.life {
            let mut fields = vec![
                ("run", state.life.run.to_string()),
                ("era", state.life.era.to_string()),
                ("n", state.n.to_string()),
                ("n0", state.n0.to_string()),
                ("replid", state.replid.to_string()),
                ("always", u8::from(state.syncs_always).to_string()),
                ("format", "1".into()),
            ];
            if let Some((open, since_ms)) = self.open {
                fields.push(("half", open.to_string()));
                fields.push(("opened", since_ms.to_string()));
            }
            if !self.past.is_empty() {
                let past = self.past.iter().map(|(run, n)| format!("{run} {n};"));
                fields.push(("past", past.collect()));
            }
            keys.push(("life".into(), hash(fields)));
        }
        for (at, window) in self.windows.iter().enumerate() {
            let ids = window.iter();
            let ids = ids.map(|(id, position)| (id.to_be_bytes(), place_of(*position)));
            keys.push((format!("d:{at}"), hash(ids)));
        }
        for (at, shares) in self.shares.iter().enumerate() {
            keys.push((format!("ids:{at}"), hash(numbers(shares))));
        }
        for (generation, kept) in &self.calls {
            let mut fields = vec![];
            if kept.number > 0 {
                let stands = u8::from(kept.answer.is_some());
                fields.push(("number", kept.number.to_string()));
                fields.push(("answer", stands.to_string()));
            }
            if kept.is_dead {
                fields.push(("dead", "1".into()));
            }
            if kept.again > 0 {
                fields.push(("again", kept.again.to_string()));
            }
            keys.push((format!("call:{generation}"), hash(fields)));
        }
        keys.push(("marks".into(), hash(numbers(&self.marks))));
        keys.push(("nodes".into(), hash(numbers(&self.nodes))));
        keys.push(("blocks".into(), hash(numbers(&self.blocks))));
        if self.block > 0 {
            let text = self.block.to_string().into_bytes();
            keys.push(("serials".into(), ModelValue::Text(text)));
        }
        if let Some([first, second]) = self.hasher_key {
            let text = format!("{first} {second}").into_bytes();
            keys.push(("hasher".into(), ModelValue::Text(text)));
        }
        for (generation, names) in &self.index {
            keys.push((format!("x:{generation}"), set(names)));
        }
        keys.retain(|(_, value)| !is_empty(value));
        keys
    }

    fn channel_keys(&self) -> Vec<(String, ModelValue)> {
        let mut keys = Vec::new();
        for (name, channel) in &self.channels {
            keys.push((format!("m:{name}"), facts_of(channel)));
            let list = channel.messages.iter().map(|payload| payload.to_vec());
            keys.push((format!("l:{name}"), ModelValue::List(list.collect())));
        }
        let names = self.channels.keys();
        keys.push(("k".into(), set(names)));
        for (name, routes) in &self.routes {
            keys.push((format!("r:{name}"), hash(numbers(routes))));
        }
        for (name, acks) in &self.acks {
            let acks = acks.iter();
            let acks = acks.map(|(uid, (epoch, at))| (uid.as_bytes(), format!("{epoch}:{at}")));
            keys.push((format!("a:{name}"), hash(acks)));
        }
        keys.retain(|(_, value)| !is_empty(value));
        keys
    }

    fn people_keys(&self) -> Vec<(String, ModelValue)> {
        let mut keys = Vec::new();
        for (generation, connections) in &self.connections {
            let rows = connections.iter();
            let rows = rows.map(|(fd, uid)| (fd.0.to_string(), uid.to_string()));
            keys.push((format!("c:{generation}"), hash(rows)));
        }
        for (uid, connections) in &self.users {
            let rows = connections.iter().map(|(fd, row)| {
                let value = format!("{}:{}:{}", row.generation, row.since_ms, row.session);
                (fd.0.to_string(), value)
            });
            keys.push((format!("u:{uid}"), hash(rows)));
        }
        for (room, uids) in &self.members {
            keys.push((format!("sm:{room}"), set(uids)));
        }
        for (uid, rooms) in &self.memberships {
            keys.push((format!("s:{uid}"), set(rooms)));
        }
        keys.push(("lasting".into(), set(self.members.keys())));
        keys.retain(|(_, value)| !is_empty(value));
        keys
    }
}

fn facts_of(channel: &ModelChannel) -> ModelValue {
    let mut fields = vec![
        ("e".to_owned(), channel.epoch.to_string()),
        ("o".into(), channel.newest.to_string()),
        ("b".into(), channel.size.to_string()),
        ("r".into(), channel.era.to_string()),
    ];
    if channel.is_memory {
        fields.push(("t".into(), "m".into()));
    }
    if let Some((newest, since_ms)) = channel.idle {
        fields.push(("i".into(), format!("{newest} {since_ms}")));
    }
    let producers = channel.producers.iter();
    fields.extend(producers.map(|(name, number)| (format!("p:{name}"), number.to_string())));
    hash(fields)
}

fn place_of(position: Option<Position>) -> String {
    match position {
        Some(Position { epoch, offset }) => format!("{epoch} {offset}"),
        None => "- 0".into(),
    }
}

fn numbers<K: ToString>(map: &BTreeMap<K, u64>) -> impl Iterator<Item = (String, String)> {
    let pairs = map.iter();
    pairs.map(|(name, number)| (name.to_string(), number.to_string()))
}

fn hash<K: AsRef<[u8]>>(fields: impl IntoIterator<Item = (K, String)>) -> ModelValue {
    let fields = fields.into_iter();
    let fields = fields.map(|(name, value)| (name.as_ref().to_vec(), value.into_bytes()));
    ModelValue::Hash(fields.collect())
}

fn set<T: AsRef<str>>(members: impl IntoIterator<Item = T>) -> ModelValue {
    let members = members.into_iter();
    ModelValue::Set(
        members
            .map(|one| one.as_ref().as_bytes().to_vec())
            .collect(),
    )
}

fn is_empty(value: &ModelValue) -> bool {
    match value {
        ModelValue::Text(text) => text.is_empty(),
        ModelValue::Hash(fields) => fields.is_empty(),
        ModelValue::List(list) => list.is_empty(),
        ModelValue::Set(set) => set.is_empty(),
    }
}
