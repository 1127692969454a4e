//! The record of each channel: the messages in the server's history, and those it has answered.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::support::api::ask_json;
use crate::support::ledger::Promise;
use crate::support::program::Program;
use crate::support::sender::{ROOMS, USERS};

/// A message of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub from: String,
    pub to: Option<String>,
}

/// One channel, from offset 1 on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Channel {
    pub epoch: String,
    pub entries: Vec<Entry>,
}

/// The entries of each channel, by its name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Record(pub HashMap<String, Channel>);

impl Record {
    /// Reads what has come since the last time. `senders` have inboxes, too.
    pub fn read(&mut self, server: &Program, senders: &[String]) {
        let rooms = (0..ROOMS).map(|number| format!("r{number}"));
        let users = (0..USERS).map(|number| format!("@u{number}"));
        let inboxes = senders.iter().map(|uid| format!("@{uid}"));
        for name in rooms.chain(users).chain(inboxes) {
            let channel = self.0.entry(name.clone()).or_default();
            while channel.read_page(server, &name) {}
        }
    }

    /// Each promise is kept: the message is where it was said to be.
    pub fn judge(&self, promises: &[Promise]) {
        for promise in promises {
            let channel = &self.0[&promise.channel];
            assert_eq!(channel.epoch, promise.position.epoch, "{promise:?}");
            let entry = channel.entries.get(promise.position.offset as usize - 1);
            let id = entry.map(|entry| &entry.id);
            assert_eq!(id, Some(&promise.id), "lost: {promise:?}");
        }
    }

    /// Nothing is there twice, each sender's messages are in their order, and private ones stand in
    /// both inboxes. Gives how many messages there are, and how many of them are private.
    pub fn judge_whole(&self) -> (usize, usize) {
        let (mut count, mut private) = (0, 0);
        for (name, channel) in &self.0 {
            let mut ids = HashSet::new();
            let mut newest = HashMap::new();
            for entry in &channel.entries {
                assert!(ids.insert(&entry.id), "{name} has {entry:?} twice");
                // Between two users, in one inbox.
                let way = (&entry.from, &entry.to);
                let number: u64 = entry.id.rsplit_once('-').unwrap().1.parse().unwrap();
                let before = newest.insert(way, number).unwrap_or(0);
                assert!(before < number, "{name}: {entry:?} behind {before}");
                if entry.to.is_some() {
                    private += 1;
                    self.judge_private(name, entry);
                }
            }
            count += channel.entries.len();
        }
        (count, private)
    }

    fn judge_private(&self, name: &str, entry: &Entry) {
        let to = entry.to.as_ref().unwrap();
        let other = match name == format!("@{to}") {
            true => format!("@{}", entry.from),
            false => format!("@{to}"),
        };
        // By its order it is nearly at hand.
        let is_there = self.0[&other].entries.contains(entry);
        assert!(is_there, "{entry:?} of {name} isn't in {other}");
    }
}

impl Channel {
    /// Whether there may be more.
    fn read_page(&mut self, server: &Program, name: &str) -> bool {
        let place = match name.strip_prefix('@') {
            Some(uid) => format!("users/{uid}"),
            None => format!("rooms/{name}"),
        };
        let after = self.entries.len();
        let path = format!("/v1/{place}/messages?limit=1000&after={after}");
        let (status, page) = ask_json(server, "GET", &path);
        if status == 404 {
            assert_eq!(after, 0, "{name} is gone");
            return false;
        }
        assert_eq!(status, 200, "{page}");
        let epoch = page["epoch"].as_str().unwrap_or_default();
        if after == 0 {
            epoch.clone_into(&mut self.epoch);
        }
        assert_eq!(self.epoch, epoch, "{name} has begun anew");
        for message in page["messages"].as_array().unwrap() {
            let offset = self.entries.len() as u64 + 1;
            assert_eq!(message["offset"], offset, "{name}: {message}");
            self.entries.push(entry_of(message));
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
    assert_eq!(
        (&data["by"], data["n"].to_string()),
        (&Value::from(by), number.to_owned())
    );
    entry
}
