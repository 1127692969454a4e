//! Presence when many go, or come, at the same moment, without a word: `who`, `online`, `joined` and
//! `left` are right in time, and nobody is flooded. The many are held by a process of their own.
//!
//! `TIDINGS_CROWD=10000` is how many come at once; without it fewer do.

mod client_process;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::api::ask_json;
use crate::support::chat_client::ChatClient;
use crate::support::program::Program;
use crate::support::{PATIENCE, number_in_env};
use client_process::ClientProcess;

/// Users who go at once, and the rooms they are dealt to: each small enough to tell who comes.
const GOING: u64 = 1_000;
const ROOMS: u64 = 10;

/// Users of a room up to which it tells: the default of the server.
const TOLD_MAX: u64 = 200;

/// What a busy machine may add to what the settings promise.
const SLACK: Duration = Duration::from_secs(9);

#[test]
fn a_thousand_who_are_killed_have_left_in_time() {
    let left_ms = 1_000;
    let server = Program::serve(&["--set", &format!("chat.left_ms={left_ms}")]);
    let mut ann = watcher(&server);
    let clients = ClientProcess::start(&server, GOING, ROOMS);
    assert_eq!(told(&mut ann, "joined"), everybody(), "each joined once");
    all_are_there(&mut ann);
    let killed = Instant::now();
    clients.signal(Signal::KILL);
    let limit = Duration::from_millis(left_ms) + SLACK;
    all_have_left(&mut ann, killed, limit, "killed");
    nobody_else_is_there(&server, &mut ann);
    drop(ann);
    server.stop();
}

#[test]
fn a_thousand_who_fall_silent_have_left_when_their_heartbeats_fail() {
    let (ping_ms, pong_ms, left_ms) = (1_000, 3_000, 500);
    let server = Program::serve(&[
        "--set",
        &format!("websocket.ping_ms={ping_ms}"),
        "--set",
        &format!("websocket.pong_ms_max={pong_ms}"),
        "--set",
        &format!("chat.left_ms={left_ms}"),
    ]);
    let clients = ClientProcess::start(&server, GOING, ROOMS);
    // From here on never out of breath: its own pings have to be answered.
    let mut ann = watcher(&server);
    all_are_there(&mut ann);
    // Its kernel takes what comes, and says nothing, not even that it ends.
    let stopped = Instant::now();
    clients.signal(Signal::STOP);
    let limit = Duration::from_millis(ping_ms + pong_ms + left_ms) + SLACK;
    all_have_left(&mut ann, stopped, limit, "silent");
    nobody_else_is_there(&server, &mut ann);
    drop((ann, clients));
    server.stop();
}

#[test]
fn a_crowd_that_comes_at_once_does_not_flood_itself() {
    let count = number_in_env("TIDINGS_CROWD").unwrap_or(2_000);
    let server = Program::serve(&["--reactors", "2", "--workers", "2"]);
    let mut ann = ChatClient::login(&server, "ann", &["r0"]);
    let came = Instant::now();
    let mut clients = ClientProcess::start(&server, count, 1);
    println!("{count} came in {:?}", came.elapsed());
    // Whoever came when there were n is told to n - 1: no more than a triangle in all, whatever
    // the count; and once it is over the bound nobody is told anything.
    let counts = clients.counts();
    let told = counts["joined"].as_u64().unwrap();
    assert!(told <= TOLD_MAX * TOLD_MAX / 2, "{counts}");
    assert_eq!(
        (&counts["hello"], &counts["ok"]),
        (&json!(count), &json!(count))
    );
    assert!(
        counts["msg"].is_null() && counts["left"].is_null(),
        "{counts}"
    );
    let who = ann.ok(json!({"type": "who", "room": "r0"}));
    assert_eq!(who["connections"], count + 1);
    assert_eq!(
        who["users"].as_array().unwrap().len() as u64,
        (count + 1).min(1_000)
    );

    let said = Instant::now();
    let ok = ann.ok(json!({"type": "say", "to": {"room": "r0"}, "data": "welcome"}));
    assert_eq!(ok["receivers"], count + 1);
    while clients.counts()["msg"] != count {
        assert!(said.elapsed() < PATIENCE, "{}", clients.counts());
    }
    println!(
        "told of {told} joined; one message to all in {:?}",
        said.elapsed()
    );

    clients.signal(Signal::KILL);
    let began = Instant::now();
    while ann.ok(json!({"type": "who", "room": "r0"}))["users"] != json!(["ann"]) {
        assert!(began.elapsed() < PATIENCE, "they are still there");
    }
    println!("all have left after {:?}", began.elapsed());
    drop(clients);
    let (_, stats) = ask_json(&server, "GET", "/v1/stats");
    let (joined, left) = (&stats["chat"]["joined"], &stats["chat"]["left"]);
    // Only those are told of who were there, or are left, when there were few.
    assert!(joined.as_u64().unwrap() <= TOLD_MAX, "{stats}");
    assert!(left.as_u64().unwrap() <= TOLD_MAX, "{stats}");
    drop(ann);
    server.stop();
}

/// Somebody in all rooms.
fn watcher(server: &Program) -> ChatClient {
    let rooms: Vec<String> = (0..ROOMS).map(|number| format!("r{number}")).collect();
    let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
    ChatClient::login(server, "ann", &rooms)
}

fn all_are_there(ann: &mut ChatClient) {
    for number in 0..ROOMS {
        let who = ann.ok(json!({"type": "who", "room": format!("r{number}")}));
        assert_eq!(who["connections"], GOING / ROOMS + 1);
    }
    assert!(online(ann).iter().all(|is_online| *is_online));
}

/// Everyone leaves once, and no later than `limit`.
fn all_have_left(ann: &mut ChatClient, since: Instant, limit: Duration, how: &str) {
    assert_eq!(told(ann, "left"), everybody(), "each left once");
    let took = since.elapsed();
    println!("{GOING} who were {how} had left after {took:?}");
    assert!(took < limit, "{took:?}");
    for number in 0..ROOMS {
        let who = ann.ok(json!({"type": "who", "room": format!("r{number}")}));
        assert_eq!(
            (&who["users"], &who["connections"]),
            (&json!(["ann"]), &json!(1))
        );
    }
    assert!(!online(ann).contains(&true));
}

/// As many frames of this type as there are users, as room and user.
fn told(ann: &mut ChatClient, kind: &str) -> BTreeSet<(String, String)> {
    let mut all = BTreeSet::new();
    for _ in 0..GOING {
        let frame = ann.next();
        assert_eq!(frame["type"], kind, "{frame}");
        let text = |field: &str| frame[field].as_str().unwrap().to_owned();
        all.insert((text("room"), text("uid")));
    }
    all
}

fn everybody() -> BTreeSet<(String, String)> {
    (0..GOING)
        .map(|number| (format!("r{}", number % ROOMS), format!("u{number}")))
        .collect()
}

fn online(ann: &mut ChatClient) -> Vec<bool> {
    let users: Vec<String> = (0..GOING).map(|number| format!("u{number}")).collect();
    let mut all = Vec::new();
    for some in users.chunks(100) {
        let ok = ann.ok(json!({"type": "online", "users": some}));
        let online = ok["online"].as_object().unwrap();
        assert_eq!(online.len(), some.len());
        all.extend(online.values().map(|value| value.as_bool().unwrap()));
    }
    all
}

fn nobody_else_is_there(server: &Program, ann: &mut ChatClient) {
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let chat = &stats["chat"];
    for (number, expected) in [
        ("connections", 1),
        ("logged_in", 1),
        ("users", 1),
        ("memberships", ROOMS),
    ] {
        assert_eq!(chat[number], expected, "{number}: {chat}");
    }
    let (_, connections) = ask_json(server, "GET", "/v1/connections");
    let own = connections["connections"].as_array().unwrap();
    assert!(own.contains(&ann.hello["fd"]), "{connections}");
    ann.client.say("PING");
    assert_eq!(ann.client.hear_text(), "PONG");
}
