//! The real thing as an upstream: `tidings serve` with a data folder, which outlives it.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::everything_breaks::Far;
use super::machine::LINK_KEY;
use super::traces::{FOLDER_VAR, Traces};
use crate::support::http::{Answer, HttpClient};
use crate::support::port::OwnPort;
use crate::support::program::Program;
use crate::upgrade::upgrade_in;

pub struct Server {
    pub folder: TempDir,
    pub address: SocketAddr,
    _port: OwnPort,
    /// `None` between two lives.
    program: Option<Program>,
    more: Vec<String>,
}

impl Server {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(more: &[&str]) -> Self {
        let port = OwnPort::new();
        let mut server = Self {
            folder: tempfile::tempdir().unwrap(),
            address: port.address,
            _port: port,
            program: None,
            more: more.iter().map(|flag| flag.to_string()).collect(),
        };
        server.start_again();
        server
    }

    /// For the next start.
    pub fn forget_flags(&mut self) {
        self.more.clear();
    }

    /// `tidings upgrade`: exit code, standard output and standard error.
    pub fn upgrade(&self) -> (i32, String, String) {
        let data = self.folder.path().to_str().unwrap();
        upgrade_in(self.folder.path(), &["--data", data])
    }

    pub fn ask(&self, method: &str, path: &str) -> Answer {
        HttpClient::connect(self.address)
            .ask(method, path, "")
            .unwrap()
    }

    /// All messages of a channel that are kept, by a path such as `rooms/tea`.
    pub fn history(&self, of: &str) -> Vec<Value> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("/v1/{of}/messages?after={after}&limit=1000");
            let answer = self.ask("GET", &path);
            assert_eq!(answer.status, 200, "{answer:?}");
            let mut page: Value = serde_json::from_str(&answer.body).unwrap();
            let Value::Array(messages) = page["messages"].take() else {
                panic!("{answer:?}")
            };
            all.extend(messages);
            if page["more"] != true {
                return all;
            }
            after = all.last().unwrap()["offset"].as_u64().unwrap();
        }
    }

    /// Messages of gateways that it refused for good.
    pub fn link_refused(&self) -> u64 {
        self.metric("tidings_links_refused_total")
    }

    /// The number of this name.
    pub fn metric(&self, name: &str) -> u64 {
        let metrics = self.ask("GET", "/metrics").body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    /// What goes with the folder.
    pub fn wipe(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that has failed has other things to say.
        if self.program.is_some() && !std::thread::panicking() {
            self.kill();
        }
    }
}

impl Far for Server {
    fn kill(&mut self) {
        let mut program = self.program.take().unwrap();
        let traces = Traces::of(self.folder.path(), program.pid());
        program.signal(Signal::KILL);
        program.ended();
        traces.nothing_is_left();
    }

    fn start_again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        command
            .args(["serve", "--listen", &self.address.to_string(), "--data"])
            .arg(self.folder.path())
            .args(&self.more)
            .env("TIDINGS_UPLINK_KEY", LINK_KEY)
            .env(FOLDER_VAR, self.folder.path());
        let program = Program::start(&mut command);
        self.program = Some(program);
    }

    fn count(&self) -> u64 {
        let answer = self.ask("GET", "/v1/rooms/tea/messages?limit=1");
        let page: Value = serde_json::from_str(&answer.body).unwrap();
        page["offset"].as_u64().unwrap_or(0)
    }

    fn heard_of(&self, from: &str) -> Vec<u64> {
        let history = self.history("rooms/tea");
        let own = history.iter().filter(|one| one["from"] == from);
        own.map(|one| one["data"]["number"].as_u64().unwrap())
            .collect()
    }

    fn refuse_some(&mut self, _: u32) {}
}
