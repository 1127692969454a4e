//! Debian's Redis as a process under test, with its data in a folder of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use redis::{ConnectionAddr, IntoConnectionInfo as _};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::port::OwnPort;
use super::signal::send;
use super::wait::until;

/// A Redis, on a Unix socket or on a port of its own.
pub struct RedisServer {
    child: Option<Child>,
    folder: TempDir,
    port: Option<OwnPort>,
    flags: Vec<String>,
    password: Option<String>,
}

impl RedisServer {
    /// One on a Unix socket, with these flags.
    pub fn on_socket(flags: &[&str]) -> Self {
        Self::new(None, flags)
    }

    /// One on a port that stays its own while it is down.
    pub fn on_port(flags: &[&str]) -> Self {
        Self::new(Some(OwnPort::new()), flags)
    }

    fn new(port: Option<OwnPort>, flags: &[&str]) -> Self {
        let after = |name: &str| {
            let at = flags.iter().position(|flag| *flag == name)?;
            flags.get(at + 1).map(|text| (*text).to_owned())
        };
        let mut new = Self {
            child: None,
            folder: tempfile::tempdir().unwrap(),
            port,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            password: after("--requirepass"),
        };
        new.start();
        new
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Its port, if it has one.
    pub fn port(&self) -> Option<u16> {
        self.port.as_ref().map(|port| port.address.port())
    }

    /// Its address, as `tidings` takes it.
    pub fn url(&self) -> String {
        match &self.port {
            Some(port) => format!("redis://{}", port.address),
            None => format!("redis+unix://{}", self.path("redis.sock")),
        }
    }

    /// Starts it on the data that it had, and waits until it answers.
    pub fn start(&mut self) {
        self.start_by(Command::new("redis-server"));
    }

    /// The same by another command, which runs `redis-server`.
    pub fn start_by(&mut self, mut command: Command) {
        let port = self.port().unwrap_or(0).to_string();
        command
            .args(["--bind", "127.0.0.1", "--port", &port])
            .args(["--save", "", "--appendonly", "yes", "--dir"])
            .arg(self.folder.path())
            .args(["--unixsocket", &self.path("redis.sock")])
            .args(&self.flags)
            .stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        until("Redis answers", || self.answers());
    }

    fn answers(&self) -> bool {
        let connection = self.try_connection();
        connection.is_ok_and(|mut redis| redis::cmd("PING").exec(&mut redis).is_ok())
    }

    pub fn connection(&self) -> redis::Connection {
        self.try_connection().unwrap()
    }

    fn try_connection(&self) -> redis::RedisResult<redis::Connection> {
        let place = ConnectionAddr::Unix(self.path("redis.sock").into());
        let mut who = redis::RedisConnectionInfo::default();
        if let Some(password) = &self.password {
            who = who.set_password(password);
        }
        let info = place.into_connection_info()?.set_redis_settings(who);
        redis::Client::open(info)?.get_connection()
    }

    /// Gives a setting another value while it runs.
    pub fn set(&self, name: &str, value: &str) {
        let mut set = redis::cmd("CONFIG");
        let set = set.arg("SET").arg(name).arg(value);
        set.exec(&mut self.connection()).unwrap();
    }

    pub fn child(&mut self) -> &mut Option<Child> {
        &mut self.child
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it and what runs it, as a crash does: whatever stands between us and it.
    pub fn kill_all(&mut self) {
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query(&mut self.connection())
            .unwrap();
        let pid = info
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"));
        let pid = pid.and_then(|pid| Pid::from_raw(pid.trim().parse().unwrap()));
        kill_process(pid.expect("it has a number"), Signal::KILL).unwrap();
        self.child.take().expect("it runs").wait().unwrap();
    }

    /// Stops it from doing anything, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("it runs");
        send(Pid::from_child(child), signal);
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
