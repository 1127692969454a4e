//! What the senders were told of their messages.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard};

use serde_json::Value;

use super::chat_client::Position;
use super::place::MOMENT;

/// A message that was answered `ok`: the server promised that it is there.
#[derive(Debug, Clone)]
pub struct Promise {
    pub channel: String,
    pub position: Position,
    pub id: String,
    pub duplicate: bool,
    /// Whose next message was sent only after this one was answered.
    pub in_turn: bool,
}

/// What a sender gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// Every answer said that it was not taken.
    Refused,
    /// It isn't known whether it was taken.
    Unknown,
}

/// What became of a try to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Ok,
    NotTaken,
    Unknown,
}

/// What was told to all senders.
pub struct Ledger {
    told: Mutex<Answers>,
    more: Condvar,
    refusals: Refusals,
}

/// What senders make of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    /// A server under load may refuse: they try again for some time, and then give up.
    May,
    /// None is known: each message is sent until it is answered.
    Fault,
}

#[derive(Default)]
pub struct Answers {
    pub promises: Vec<Promise>,
    pub given_up: HashMap<String, GivenUp>,
    /// Tries that were refused, and that stayed unsettled.
    pub refusals: u64,
    pub unsettled: u64,
    pub lost: u64,
}

impl Ledger {
    pub fn new(refusals: Refusals) -> Self {
        Self {
            told: Mutex::default(),
            more: Condvar::new(),
            refusals,
        }
    }

    /// Whether senders give up after some tries.
    pub fn lets_give_up(&self) -> bool {
        self.refusals == Refusals::May
    }

    /// What became of a try that was answered with an error of this code.
    pub fn refused(&self, code: &str, whole: &Value) -> Told {
        self.count(code);
        match code {
            _ if self.refusals == Refusals::Fault => panic!("refused: {whole}"),
            "unavailable" | "rate_limited" | "disk_full" => Told::NotTaken,
            "unsettled" => Told::Unknown,
            _ => panic!("refused: {whole}"),
        }
    }

    pub fn told(&self) -> MutexGuard<'_, Answers> {
        self.told.lock().unwrap()
    }

    /// Waits for the next answer, but not for long.
    pub fn await_next(&self) {
        let told = self.told();
        drop(self.more.wait_timeout(told, MOMENT).unwrap());
    }

    /// Notes an `ok`.
    pub fn promise(&self, id: &str, told: &Value, in_turn: bool) {
        assert_eq!(told["id"], id, "{told}");
        let promise = Promise {
            channel: told["channel"].as_str().expect("a channel").to_owned(),
            position: Position::of(told),
            id: id.to_owned(),
            duplicate: told["duplicate"] == true,
            in_turn,
        };
        self.told().promises.push(promise);
        self.more.notify_all();
    }

    pub fn give_up(&self, id: &str, how: GivenUp) {
        self.told().given_up.insert(id.to_owned(), how);
    }

    pub fn count(&self, code: &str) {
        let mut told = self.told();
        match code {
            "lost" => told.lost += 1,
            "unsettled" => told.unsettled += 1,
            _ => told.refusals += 1,
        }
    }
}
