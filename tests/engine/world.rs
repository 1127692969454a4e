//! A real Redis, and the way of a node to it.

use std::sync::Arc;
use std::time::Duration;

use tidings::base::{ChannelKind, Epoch};
use tidings::cluster::call::{Call, Caller, Entry, Life, Line, MessageEntry};
use tidings::cluster::engine::{Engine, EngineSource};
use tidings::cluster::{EnginePlace, EngineSettings, StoreAddress, StoreEngine, source};

use super::support::installed::is_there;
use super::support::redis_server::RedisServer;

/// The prefix of all keys.
pub const PREFIX: &str = "t";

/// Starts a Redis; `None` where there is none, which CI doesn't let pass.
pub fn redis(flags: &[&str]) -> Option<RedisServer> {
    is_there("redis-server").then(|| RedisServer::on_socket(flags))
}

/// The way to a Redis, for this user.
pub fn way(redis: &RedisServer, user: &str, password: &str) -> Arc<dyn EngineSource> {
    source(settings(redis, user, password)).unwrap()
}

/// What a node has to know of a Redis, for this user.
pub fn settings(redis: &RedisServer, user: &str, password: &str) -> EngineSettings {
    EngineSettings {
        engine: StoreEngine::Redis,
        address: StoreAddress {
            place: EnginePlace::Unix(redis.path("redis.sock").into()),
            user: user.into(),
            database: "0".into(),
        },
        password: password.into(),
        prefix: PREFIX.into(),
        answer_max: Duration::from_secs(10),
    }
}

/// Takes the run of an engine for its life.
pub fn adopt(engine: &mut dyn Engine, known: &Life, seen: u64, trusted: bool) -> Life {
    let facts = engine.facts().unwrap();
    engine.adopt(&facts, known, seen, trusted).unwrap().life
}

/// Has a generation stand under the name of a node, as the register does.
pub fn register(redis: &RedisServer, node: &str, generation: u64) {
    let mut command = redis::cmd("HSET");
    command
        .arg(format!("{PREFIX}:nodes"))
        .arg(node)
        .arg(generation);
    command.exec(&mut redis.connection()).unwrap();
}

/// A call of node `one`, generation 1.
pub fn call(life: &Life, number: u64, entries: Vec<Entry>) -> Call {
    Call {
        life: life.clone(),
        caller: Caller {
            node: "one".into(),
            generation: 1,
        },
        number,
        alive: [1].into(),
        entries,
    }
}

pub fn line(channel: &str) -> Line {
    Line {
        channel: channel.into(),
        kind: ChannelKind::Stored,
        new_epoch: Epoch::from_bits(7),
    }
}

pub fn attach(channel: &str) -> Entry {
    Entry::Attach {
        line: line(channel),
        reader: None,
    }
}

pub fn say(channel: &str) -> Entry {
    Entry::Message(MessageEntry {
        first: line(channel),
        second: None,
        payload: payload(1, 20),
        sameness: None,
        mark: None,
    })
}

/// A message that was said at this time.
pub fn payload(said_ms: u64, size: usize) -> Arc<[u8]> {
    let mut bytes = vec![1];
    let mut rest = said_ms;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes.extend((0..size).map(|at| at as u8));
    bytes.into()
}
