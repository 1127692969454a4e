//! Which message stands where, by everybody's account: those who heard it, and every node's history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use serde_json::Value;

use super::support::chat_client::Position;
use super::support::ledger::{Answers, GivenUp};
use super::support::sender::{ROOMS, USERS};

/// The messages of one epoch of a channel, by offset.
type Epoch = BTreeMap<u64, String>;

/// Everybody's account, by channel and epoch.
#[derive(Default)]
pub struct Record(Mutex<HashMap<(String, String), Epoch>>);

/// A channel as a node's history has it: its present position, and the messages that are kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Channel {
    pub epoch: String,
    pub newest: u64,
    pub ids: BTreeMap<u64, Entry>,
}

/// A message of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub from: String,
    pub to: Option<String>,
}

/// All channels of a history, by name.
pub type History = BTreeMap<String, Channel>;

/// What a test allows to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epochs {
    /// Every channel keeps its epoch.
    Stay,
    /// A channel may begin a new epoch, in which everything stands that was promised before.
    MayChange,
    /// A channel may begin a new epoch, and what was promised before may be missing in it.
    MayBeLost,
}

impl Record {
    /// Notes that somebody has seen a message at a place; everybody has to see the same there.
    #[track_caller]
    pub fn see(&self, channel: &str, position: &Position, id: &str) {
        let mut all = self.0.lock().unwrap();
        let key = (channel.to_owned(), position.epoch.clone());
        let there = all.entry(key).or_default().entry(position.offset);
        let first = there.or_insert_with(|| id.to_owned());
        assert_eq!(
            first, id,
            "two messages in one place: {channel} {position:?}"
        );
    }

    /// What was seen is there.
    pub fn judge(&self, history: &History, epochs: Epochs) {
        for ((channel, epoch), seen) in &*self.0.lock().unwrap() {
            let Some(now) = history.get(channel) else {
                continue;
            };
            if now.epoch != *epoch {
                assert_ne!(
                    epochs,
                    Epochs::Stay,
                    "{channel} was {epoch}, is {}",
                    now.epoch
                );
                continue;
            }
            for (offset, id) in seen {
                let there = now.ids.get(offset).map(|entry| &entry.id);
                assert_eq!(there, Some(id), "{channel} {epoch} {offset} was seen");
            }
        }
    }

    /// Epochs that channels had beyond their first.
    pub fn changes(&self) -> usize {
        let all = self.0.lock().unwrap();
        let channels: HashSet<&String> = all.keys().map(|(channel, _)| channel).collect();
        all.len() - channels.len()
    }
}

/// The names of all channels in which something is said.
pub fn channels(senders: &[String]) -> Vec<String> {
    let rooms = (0..ROOMS).map(|number| format!("r{number}"));
    let users = (0..USERS).map(|number| format!("@u{number}"));
    let inboxes = senders.iter().map(|uid| format!("@{uid}"));
    rooms.chain(users).chain(inboxes).collect()
}

/// Every answer is kept.
pub fn judge_answers(history: &History, answers: &Answers, epochs: Epochs) -> Judged {
    let mut judged = Judged::default();
    let mut newest: HashMap<(&str, &str, &str), u64> = HashMap::new();
    for promise in &answers.promises {
        let now = &history[&promise.channel];
        judged.repeats += u64::from(promise.duplicate);
        if now.epoch != promise.position.epoch {
            let epoch = &now.epoch;
            assert_ne!(epochs, Epochs::Stay, "{promise:?}: the epoch is {epoch}");
            judged.of_old_epochs += 1;
            if epochs == Epochs::MayBeLost {
                continue;
            }
        }
        let there = now.ids.get(&promise.position.offset).map(|entry| &entry.id);
        assert_eq!(there, Some(&promise.id), "lost: {promise:?}");
        let (by, _) = promise.id.rsplit_once('-').unwrap();
        let way = (by, &*promise.channel, &*promise.position.epoch);
        if promise.in_turn {
            let before = newest.insert(way, promise.position.offset).unwrap_or(0);
            assert!(before < promise.position.offset, "out of turn: {promise:?}");
        }
    }
    for (name, channel) in history {
        let mut ids = HashSet::new();
        for (offset, entry) in &channel.ids {
            assert!(ids.insert(&entry.id), "{name} has {entry:?} twice");
            let given_up = answers.given_up.get(&entry.id);
            let refused = given_up == Some(&GivenUp::Refused);
            assert!(!refused, "{name} {offset} was refused each time: {entry:?}");
            if entry.to.is_some() && epochs == Epochs::Stay {
                judge_private(history, name, entry);
            }
        }
        judged.messages += channel.ids.len();
    }
    judged
}

/// Numbers of a judgement.
#[derive(Debug, Default)]
pub struct Judged {
    pub messages: usize,
    pub repeats: u64,
    pub of_old_epochs: u64,
}

/// A private message stands in both lines.
fn judge_private(history: &History, name: &str, entry: &Entry) {
    let to = entry.to.as_ref().unwrap();
    let other = match name == format!("@{to}") {
        true => format!("@{}", entry.from),
        false => format!("@{to}"),
    };
    let is_there = history[&other].ids.values().any(|one| one == entry);
    assert!(is_there, "{entry:?} of {name} isn't in {other}");
}

impl Channel {
    /// Takes a page; tells whether there is more.
    pub fn take(&mut self, name: &str, page: &Value) -> bool {
        let epoch = page["epoch"].as_str().unwrap_or_default();
        if self.ids.is_empty() {
            epoch.clone_into(&mut self.epoch);
        }
        assert_eq!(self.epoch, epoch, "{name} has begun anew");
        self.newest = page["offset"].as_u64().unwrap_or_default();
        for message in page["messages"].as_array().unwrap() {
            let offset = message["offset"].as_u64().unwrap();
            let before = self.ids.last_key_value().map(|(offset, _)| *offset);
            let follows = before.is_none_or(|before| before + 1 == offset);
            assert!(follows, "{name}: {message} behind {before:?}");
            self.ids.insert(offset, entry_of(message));
        }
        page["more"] == true
    }
}

fn entry_of(message: &Value) -> Entry {
    let text = |field: &str| message[field].as_str().map(str::to_owned);
    let entry = Entry {
        id: text("id").unwrap(),
        from: text("from").unwrap(),
        to: text("to"),
    };
    // What was said is what is there.
    let (by, number) = entry.id.rsplit_once('-').unwrap();
    let data = &message["data"];
    let said = (&data["by"], data["n"].to_string());
    assert_eq!(said, (&Value::from(by), number.to_owned()), "{message}");
    entry
}
