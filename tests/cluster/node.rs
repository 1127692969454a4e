//! One node: `tidings serve` at an address of its own, which it keeps over its restarts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::record::{Channel, History};
use super::support::http::{HttpClient, JSON};
use super::support::keys::Keys;
use super::support::parsed;
use super::support::port::OwnPort;
use super::support::program::Program;
use super::support::proxy::Proxy;
use super::support::wait::until;

/// The library of `faketime`.
pub const WRONG_CLOCK: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// Where a node has its messages.
#[derive(Debug, Clone)]
pub enum Log {
    /// In a folder of its own.
    Folder(PathBuf),
    /// In a cluster, at this address.
    Cluster(String),
}

pub struct Node {
    pub name: String,
    pub program: Option<Program>,
    pub log: Log,
    pub settings: Vec<String>,
    /// The way to the engine, if there is one in between.
    pub proxy: Option<Proxy>,
    /// By how much its clock is wrong, as `faketime` takes it.
    pub clock: Option<&'static str>,
    /// The keys that it asks for.
    pub keys: Option<Arc<Keys>>,
    port: OwnPort,
}

/// What a node holds while nobody is connected.
#[derive(Debug, PartialEq, Eq)]
pub struct Held {
    /// The threads by name.
    pub threads: Vec<String>,
    pub descriptors: usize,
}

impl Node {
    pub fn new(name: String, log: Log, settings: Vec<String>, proxy: Option<Proxy>) -> Self {
        Self {
            name,
            program: None,
            log,
            settings,
            proxy,
            clock: None,
            keys: None,
            port: OwnPort::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// The command that starts it.
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_tidings");
        let mut command = Command::new(binary);
        if let Some(clock) = self.clock {
            // Without `faketime` itself, which would stand between us and the node.
            command
                .env("LD_PRELOAD", WRONG_CLOCK)
                .env("FAKETIME", clock);
            // What a wrong clock leaves alone.
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        command.args(["serve", "--listen", &self.address().to_string()]);
        if let Some(keys) = &self.keys {
            command.args(["--config", &keys.file()]);
        }
        match &self.log {
            Log::Folder(folder) => _ = command.arg("--data").arg(folder),
            Log::Cluster(url) => _ = command.args(["--cluster", url, "--node", &self.name]),
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// Starts it, and waits until it says that it listens.
    pub fn start(&mut self) {
        assert!(self.program.is_none(), "{} runs", self.name);
        self.program = Some(Program::start(&mut self.command()));
    }

    pub fn signal(&self, signal: Signal) {
        self.program.as_ref().expect("it runs").signal(signal);
    }

    pub fn pid(&self) -> rustix::process::Pid {
        self.program.as_ref().expect("it runs").pid()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.program.take().expect("it runs").kill();
    }

    /// Ends it in order.
    pub fn stop(&mut self) {
        self.program.take().expect("it runs").stop();
    }

    /// The JSON of an answer, once there is one that isn't a 503.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut last = None;
        until(&format!("{} answers {path}: {last:?}", self.name), || {
            last = self.try_ask(method, path, body);
            last.is_some()
        });
        last.expect("it was there")
    }

    /// The JSON of an answer, if there is one that isn't a 503 or 504.
    pub fn try_ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut http = HttpClient::try_connect(self.address()).ok()?;
        let key = self.keys.as_ref().map(|keys| keys.field());
        let key = key.unwrap_or_default();
        let answer = match body {
            Value::Null => http.ask_with(method, path, &key, ""),
            body => http.ask_with(method, path, &format!("{JSON}{key}"), &body.to_string()),
        };
        let answer = answer.ok()?;
        let passes = answer.status == 503 || answer.status == 504;
        (!passes).then(|| (answer.status, parsed(&answer.body)))
    }

    /// Whether it takes a message just now.
    pub fn takes(&self, id: &str) -> bool {
        let message = json!({"to": {"room": "probe"}, "data": {}, "id": id});
        let answer = self.try_ask("POST", "/v1/messages", &message);
        answer.is_some_and(|(status, _)| status == 200)
    }

    /// All that it has of these channels.
    pub fn history(&self, channels: &[String]) -> History {
        let read = |name: &String| {
            let place = match name.strip_prefix('@') {
                Some(uid) => format!("users/{uid}"),
                None => format!("rooms/{name}"),
            };
            let mut channel = Channel::default();
            loop {
                let after = channel
                    .ids
                    .last_key_value()
                    .map_or(0, |(offset, _)| *offset);
                let path = format!("/v1/{place}/messages?limit=1000&after={after}");
                let (status, page) = self.ask("GET", &path, &Value::Null);
                if status == 404 {
                    assert_eq!(after, 0, "{name} is gone");
                    return (name.clone(), channel);
                }
                assert_eq!(status, 200, "{page}");
                if !channel.take(name, &page) {
                    return (name.clone(), channel);
                }
            }
        };
        channels.iter().map(read).collect()
    }

    /// The users of a room, with their connections there.
    pub fn members(&self, room: &str) -> Option<BTreeMap<String, u64>> {
        let path = format!("/v1/rooms/{room}/members?limit=1000");
        let (status, answer) = self.try_ask("GET", &path, &Value::Null)?;
        if status == 404 {
            return Some(BTreeMap::new());
        }
        let members = answer["members"].as_array()?.iter();
        let members = members.map(|one| {
            let uid = one["uid"].as_str().unwrap().to_owned();
            (uid, one["connections"].as_u64().unwrap())
        });
        Some(members.collect())
    }

    /// What it holds.
    pub fn held(&self) -> Held {
        let pid = self.program.as_ref().expect("it runs").pid();
        let folder = |what: &str| {
            let folder = format!("/proc/{}/{what}", pid.as_raw_nonzero());
            std::fs::read_dir(folder).unwrap().flatten()
        };
        let names = folder("task").map(|task| {
            // One that ends just now has no name any more.
            std::fs::read_to_string(task.path().join("comm")).unwrap_or_default()
        });
        let mut threads: Vec<String> = names.map(|name| name.trim().to_owned()).collect();
        // The journal's helper comes with the first piece of work for it.
        threads.retain(|name| name != "disk-aside");
        threads.sort();
        Held {
            threads,
            descriptors: folder("fd").count(),
        }
    }
}
