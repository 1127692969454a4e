//! Reads who is where from Redis or MySQL, beside a server with `bindings.store` there:
//!
//! ```text
//! cargo run --example bindings -- redis /run/redis/redis.sock [PASSWORD]
//! cargo run --example bindings -- mysql /run/mysqld/mysqld.sock [PASSWORD]
//! ```
//!
//! The keys and tables are those of docs/bindings.md. Whoever is dead for five seconds by the store's own
//! clock counts no more.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;

use mysql::prelude::Queryable;
use redis::{Commands, IntoConnectionInfo};

/// Milliseconds without a sign of life after which a server is dead.
const LEASE_MS: u64 = 5_000;

/// One user: connections, rooms, session data.
#[derive(Default)]
struct Online {
    connections: usize,
    rooms: BTreeSet<String>,
    sessions: Vec<String>,
}

type Users = BTreeMap<String, Online>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let password = arguments.get(2).map_or("", String::as_str);
    let users = match arguments.first().map(String::as_str) {
        Some("redis") => of_redis(&arguments[1], password)?,
        Some("mysql") => of_mysql(&arguments[1], password)?,
        _ => return Err("bindings redis|mysql SOCKET [PASSWORD]".into()),
    };
    let mut rooms: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (uid, user) in &users {
        let names: Vec<&str> = user.rooms.iter().map(String::as_str).collect();
        let many = if user.connections == 1 { "" } else { "s" };
        print!(
            "{uid}: {} connection{many}, in {}",
            user.connections,
            names.join(", ")
        );
        let sessions = user.sessions.iter();
        println!(
            "{}",
            sessions
                .map(|text| format!("; session {text}"))
                .collect::<String>()
        );
        for room in names {
            rooms.entry(room).or_default().push(uid);
        }
    }
    for (room, uids) in rooms {
        println!("room {room}: {}", uids.join(", "));
    }
    Ok(())
}

fn of_redis(socket: &str, password: &str) -> Result<Users, Box<dyn Error>> {
    let mut who = redis::RedisConnectionInfo::default();
    if !password.is_empty() {
        who = who.set_password(password);
    }
    let place = redis::ConnectionAddr::Unix(socket.into());
    let info = place.into_connection_info()?.set_redis_settings(who);
    let mut redis = redis::Client::open(info)?.get_connection()?;
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut redis)?;
    let now_ms = seconds * 1_000 + micros / 1_000;
    let mut users = Users::new();
    let nodes: BTreeMap<String, String> = redis.hgetall("tidings:nodes")?;
    for generation in nodes.into_values() {
        let beat_at: u64 = redis.hget(format!("tidings:n:{generation}"), "beat_at")?;
        if beat_at + LEASE_MS < now_ms {
            continue;
        }
        let connections: BTreeMap<u64, String> =
            redis.hgetall(format!("tidings:c:{generation}"))?;
        for (fd, uid) in connections {
            let value: Option<String> = redis.hget(format!("tidings:u:{uid}"), fd)?;
            let value = value.unwrap_or_default();
            let rooms: Vec<String> = redis.hkeys(format!("tidings:j:{uid}:{generation}"))?;
            let user = users.entry(uid).or_default();
            user.connections += 1;
            user.rooms.extend(rooms);
            // GENERATION:SINCE:SESSION
            let session = value.splitn(3, ':').nth(2).unwrap_or_default();
            user.sessions
                .extend((!session.is_empty()).then(|| session.to_owned()));
        }
    }
    Ok(users)
}

fn of_mysql(socket: &str, password: &str) -> Result<Users, Box<dyn Error>> {
    let options = mysql::OptsBuilder::new()
        .socket(Some(socket))
        .user(Some("tidings"))
        .pass((!password.is_empty()).then_some(password))
        .db_name(Some("chat"));
    let mut mysql = mysql::Conn::new(options)?;
    let alive = format!(
        "JOIN tidings_nodes USING (node, generation) \
         WHERE beat_at > UTC_TIMESTAMP(3) - INTERVAL {} SECOND",
        LEASE_MS / 1_000
    );
    let mut users = Users::new();
    let connections = format!("SELECT uid, session FROM tidings_connections {alive} ORDER BY fd");
    for (uid, session) in mysql.query::<(String, Option<String>), _>(connections)? {
        let user = users.entry(uid).or_default();
        user.connections += 1;
        user.sessions.extend(session);
    }
    let rooms = format!("SELECT uid, room FROM tidings_rooms {alive}");
    for (uid, room) in mysql.query::<(String, String), _>(rooms)? {
        users.entry(uid).or_default().rooms.insert(room);
    }
    Ok(users)
}
