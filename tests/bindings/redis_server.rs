//! Redis, as a store under test.

use std::process::Child;

use redis::Commands as _;

use super::engine::{Engine, NODE, PASSWORD};
use super::support::redis_server::RedisServer as Server;
use super::table::{Standing, Table};

/// A Redis that writes what it is told to a file, and syncs that every second.
pub struct RedisServer(Server);

impl RedisServer {
    pub fn new() -> Self {
        let flags = ["--requirepass", PASSWORD, "--enable-debug-command", "local"];
        let new = Server::on_socket(&flags);
        std::fs::write(new.path("password"), format!("{PASSWORD}\n")).unwrap();
        Self(new)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.path(name)
    }

    pub fn connection(&self) -> redis::Connection {
        self.0.connection()
    }

    fn generation(&self) -> Option<u64> {
        self.connection().hget("tidings:nodes", NODE).unwrap()
    }

    fn keys(&self, pattern: &str) -> Vec<String> {
        self.connection().keys(pattern).unwrap()
    }
}

impl Engine for RedisServer {
    fn child(&mut self) -> &mut Option<Child> {
        self.0.child()
    }

    fn start(&mut self) {
        self.0.start();
    }

    fn settings(&self) -> Vec<String> {
        vec![
            "bindings.store=redis".into(),
            format!("bindings.redis=redis+unix://{}", self.path("redis.sock")),
            format!("bindings.redis_password_file={}", self.path("password")),
        ]
    }

    fn table(&mut self) -> Table {
        let mut redis = self.connection();
        let mut table = Table::default();
        for room in self.keys("tidings:sm:*") {
            let uids: Vec<String> = redis.smembers(&room).unwrap();
            let room = &room["tidings:sm:".len()..];
            for uid in uids {
                let rooms: Vec<String> = redis.smembers(format!("tidings:s:{uid}")).unwrap();
                if rooms.iter().any(|one| one == room) {
                    table.members.insert((room.to_owned(), uid));
                }
            }
        }
        let Some(generation) = self.generation() else {
            return table;
        };
        let end = format!(":{generation}");
        let beat: Option<u64> = redis
            .hget(format!("tidings:n:{generation}"), "beat")
            .unwrap();
        table.standing = beat.map(|beat| Standing { generation, beat });
        let fds: Vec<(u64, String)> = redis.hgetall(format!("tidings:c:{generation}")).unwrap();
        for (fd, uid) in fds {
            let value: Option<String> = redis.hget(format!("tidings:u:{uid}"), fd).unwrap();
            let Some(value) = value else { continue };
            let parts: Vec<&str> = value.splitn(3, ':').collect();
            assert_eq!(parts[0], generation.to_string(), "{value}");
            assert!(parts[1].parse::<u64>().unwrap() > 0, "{value}");
            table.connections.insert(fd, (uid, parts[2].to_owned()));
        }
        for key in self.keys(&format!("tidings:w:*{end}")) {
            let users: Vec<(String, usize)> = redis.hgetall(&key).unwrap();
            let room = key["tidings:w:".len()..].strip_suffix(&end).unwrap();
            for (uid, count) in users {
                // Between the two reads both may have changed; in the end they are one.
                let own: Option<usize> = redis.hget(format!("tidings:j:{uid}{end}"), room).unwrap();
                let count = if own == Some(count) {
                    count
                } else {
                    usize::MAX
                };
                table.rooms.insert((room.to_owned(), uid), count);
            }
        }
        table
    }

    fn leftovers(&mut self) -> usize {
        let now = self.generation().map(|generation| generation.to_string());
        let is_own = |key: &&String| {
            let end = key.rsplit(':').next().map(str::to_owned);
            end == now
        };
        let named = ["n", "c", "x", "w", "j"].map(|kind| self.keys(&format!("tidings:{kind}:*")));
        let named = named.iter().flatten();
        let others = named.filter(|key| !is_own(key)).count();
        let mut redis = self.connection();
        let users = self.keys("tidings:u:*").into_iter().flat_map(|user| {
            let fields: Vec<(String, String)> = redis.hgetall(user).unwrap();
            fields
        });
        let own = format!("{}:", now.clone().unwrap_or_default());
        others + users.filter(|(_, value)| !value.starts_with(&own)).count()
    }

    fn empty(&mut self) {
        redis::cmd("FLUSHALL").exec(&mut self.connection()).unwrap();
    }

    fn age(&mut self) {
        let key = format!("tidings:n:{}", self.generation().unwrap());
        let _: u64 = self.connection().hincr(key, "beat_at", -6_000).unwrap();
    }

    fn arguments(&self) -> Vec<String> {
        vec!["redis".into(), self.path("redis.sock"), PASSWORD.into()]
    }
}
