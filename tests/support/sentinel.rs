//! A primary, a replica, and three Sentinels that put the one in the other's place.

use std::process::{Child, Command, Stdio};

use redis::Value;
use rustix::process::Signal;
use tempfile::TempDir;

use super::port::OwnPort;
use super::redis_server::RedisServer;
use super::wait::until;

/// The name under which the Sentinels know the primary.
const NAME: &str = "tidings";

/// How many of them there are.
const SENTINELS: usize = 3;

pub struct SentinelGroup {
    pub servers: [RedisServer; 2],
    sentinels: Vec<(Child, OwnPort)>,
    folder: TempDir,
}

impl SentinelGroup {
    /// Starts all of them, and waits until they know each other and the replica has everything.
    pub fn new(flags: &[&str]) -> Self {
        let quick = ["--repl-diskless-sync-delay", "0"];
        let flags = [flags, &quick].concat();
        let servers = [RedisServer::on_port(&flags), RedisServer::on_port(&flags)];
        let mut new = Self {
            servers,
            sentinels: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
        };
        new.follow(1, 0);
        for number in 0..SENTINELS {
            let sentinel = new.sentinel(number);
            new.sentinels.push(sentinel);
        }
        until("the Sentinels know each other and the replica", || {
            let mut each = new.sentinels.iter();
            each.all(|(_, port)| knows_all(port).unwrap_or(false))
        });
        new
    }

    fn sentinel(&self, number: usize) -> (Child, OwnPort) {
        let port = OwnPort::new();
        let file = self.folder.path().join(format!("{number}.conf"));
        let primary = self.servers[0].port().expect("it has a port");
        let lines = [
            "bind 127.0.0.1".to_owned(),
            format!("port {}", port.address.port()),
            format!("dir {}", self.folder.path().display()),
            format!("sentinel monitor {NAME} 127.0.0.1 {primary} 2"),
            // Less than a second or two, and a Sentinel takes a new primary for dead before its first answer.
            format!("sentinel down-after-milliseconds {NAME} 2000"),
            format!("sentinel failover-timeout {NAME} 3000"),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let child = Command::new("redis-sentinel")
            .arg(file)
            .stdout(Stdio::null())
            .spawn();
        (child.unwrap(), port)
    }

    /// The address of the cluster, as `tidings` takes it.
    pub fn url(&self) -> String {
        let sentinels = self.sentinels.iter();
        let sentinels: Vec<String> = sentinels
            .map(|(_, port)| port.address.to_string())
            .collect();
        format!("redis+sentinel://{}/{NAME}", sentinels.join(","))
    }

    /// The number of the primary, by the Sentinels' account.
    pub fn primary(&self) -> usize {
        let mut known = None;
        until("a Sentinel knows the primary", || {
            known = self.sentinels.iter().find_map(|(_, port)| primary(port));
            known.is_some()
        });
        let is_it = |server: &RedisServer| server.port() == known;
        self.servers.iter().position(is_it).expect("one of ours")
    }

    /// Has one follow the other, and waits until it has everything.
    pub fn follow(&self, replica: usize, primary: usize) {
        let port = self.servers[primary].port().expect("it has a port");
        let mut redis = self.servers[replica].connection();
        let mut follow = redis::cmd("REPLICAOF");
        follow.arg("127.0.0.1").arg(port).exec(&mut redis).unwrap();
        self.until_follows(replica);
    }

    /// Waits until a replica has everything.
    pub fn until_follows(&self, replica: usize) {
        until("the replica has everything", || {
            let mut redis = self.servers[replica].connection();
            let info = redis::cmd("INFO").arg("replication").query(&mut redis);
            let info: String = info.unwrap_or_default();
            info.contains("role:slave") && info.contains("master_link_status:up")
        });
    }

    /// Waits until the Sentinels have put another in the place of this one, which is it in truth.
    pub fn until_replaced(&self, old: usize) {
        until("another one is the primary", || {
            let mut each = self.sentinels.iter();
            let new = 1 - old;
            let port = self.servers[new].port();
            each.all(|(_, sentinel)| primary(sentinel) == port) && self.is_primary(new)
        });
    }

    fn is_primary(&self, server: usize) -> bool {
        let mut redis = self.servers[server].connection();
        let role = redis::cmd("ROLE").query::<Vec<Value>>(&mut redis);
        role.is_ok_and(|role| matches!(&role[0], Value::BulkString(name) if name == b"master"))
    }

    /// Lets whoever was stopped go on.
    pub fn go_on(&self, server: usize) {
        self.servers[server].signal(Signal::CONT);
    }
}

impl Drop for SentinelGroup {
    fn drop(&mut self) {
        for (sentinel, _) in &mut self.sentinels {
            let _ = sentinel.kill();
            let _ = sentinel.wait();
        }
    }
}

fn ask<T: redis::FromRedisValue>(port: &OwnPort, what: &[&str]) -> redis::RedisResult<T> {
    let client = redis::Client::open(format!("redis://{}", port.address))?;
    let mut redis = client.get_connection()?;
    let mut command = redis::cmd("SENTINEL");
    what.iter().for_each(|word| _ = command.arg(*word));
    command.query(&mut redis)
}

/// The port of the primary, as a Sentinel has it.
fn primary(port: &OwnPort) -> Option<u16> {
    let address: Vec<String> = ask(port, &["GET-MASTER-ADDR-BY-NAME", NAME]).ok()?;
    address.get(1)?.parse().ok()
}

fn knows_all(port: &OwnPort) -> redis::RedisResult<bool> {
    let replicas: Vec<Value> = ask(port, &["REPLICAS", NAME])?;
    let sentinels: Vec<Value> = ask(port, &["SENTINELS", NAME])?;
    Ok(replicas.len() == 1 && sentinels.len() == SENTINELS - 1)
}
