//! What happens in the middle of a replay: its client leaves, is thrown out, or the log changes.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{number, post, post_bytes};
use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

/// More than what the kernels and an outbox take: a replay to a narrow client gets stuck.
const MUCH: usize = 12 << 20;

/// Nobody is closed for reading nothing, however long the machine takes.
const PATIENT: &str = "outbox.stall_ms_max=600000";

fn under_way(server: &Program) -> u64 {
    number(server, "replays", "under_way")
}

/// Somebody who gets a room from its beginning, and reads nothing of it.
fn stuck(server: &Program, room: &str, rooms: &Value) -> ChatClient {
    let login = json!({"uid": "ann", "rooms": rooms, "resume": {room: {"offset": 0}}});
    let (client, ok) = ChatClient::login_with(
        WebSocketClient::connect_narrow(server.address, "/ws"),
        login,
    );
    assert!(ok["channels"][room]["offset"].as_u64().unwrap() > 0);
    assert_eq!(under_way(server), 1);
    client
}

#[test]
fn who_leaves_and_joins_in_the_middle_of_a_replay_hears_nothing_twice() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &[PATIENT]);
    let newest = post_bytes(&mut server.http(), "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let left = ann.send(json!({"type": "leave", "room": "tea"}));
    let joined = ann.send(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    // What was on its way before the leave, and nothing between that and the join.
    let mut before = newest.beginning();
    let ok = loop {
        let frame = ann.hear();
        match frame["seq"].as_u64() {
            Some(seq) if seq == left => break ann.hear(),
            _ => assert_follows(&frame, "tea", &mut before),
        }
    };
    assert_eq!((&ok["type"], &ok["seq"]), (&json!("ok"), &json!(joined)));
    assert!(before.offset < newest.offset, "it was in the middle");
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    let mut position = newest.beginning();
    ann.follow("tea", &mut position, newest.offset);

    // And once more, without wanting what it missed.
    ann.ok_keeping(json!({"type": "leave", "room": "tea"}));
    ann.send(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    ann.send(json!({"type": "leave", "room": "tea"}));
    let last = ann.send(json!({"type": "join", "room": "tea"}));
    while ann.hear()["seq"] != last {}
    let mut now = newest;
    let newest = post(&mut server.http(), "tea", 3, &json!("new"));
    ann.follow("tea", &mut now, newest.offset);
    until("the replays are over", || under_way(&server) == 0);
    drop(ann);
    server.stop();
}

#[test]
fn a_purge_in_the_middle_of_a_replay_is_told_by_a_gap() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &[PATIENT]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let (status, purged) = http.json("DELETE", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!((status, &purged["offset"]), (200, &json!(0)));
    let after = post(&mut http, "tea", 500, &json!("after"));
    assert_ne!(after.epoch, newest.epoch);
    let mut position = newest.beginning();
    let gap = loop {
        let frame = ann.hear();
        if frame["type"] == "gap" {
            break Position::of(&frame);
        }
        assert_follows(&frame, "tea", &mut position);
    };
    assert!(position.offset < newest.offset, "it was in the middle");
    let mut position = after.beginning();
    assert_eq!(gap, position);
    ann.follow("tea", &mut position, 500);
    let newest = post(&mut http, "tea", 1, &json!("live"));
    assert_eq!(ann.follow("tea", &mut position, newest.offset), ["live"]);
    drop(ann);
    server.stop();
}

#[test]
fn what_retention_overtakes_is_told_by_a_gap() {
    let data = TempDir::new().unwrap();
    let kept = format!("store.keep=tea messages={}", MUCH / 1_000 + 800);
    let server = Program::serve_in(data.path(), &[PATIENT, &kept]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let newest = Position {
        offset: post_bytes(&mut http, "tea", MUCH).offset,
        ..newest
    };
    until("the oldest are gone", || {
        number(&server, "store", "trimmed") > MUCH as u64 / 2_000
    });
    let (mut position, mut gaps) = (newest.beginning(), 0);
    while position.offset < newest.offset {
        let frame = ann.hear();
        if frame["type"] == "gap" {
            let gap = Position::of(&frame);
            assert!(gap.epoch == position.epoch && gap.offset > position.offset);
            (position, gaps) = (gap, gaps + 1);
        } else {
            assert_follows(&frame, "tea", &mut position);
        }
    }
    assert_eq!(gaps, 1);
    drop(ann);
    server.stop();
}

#[test]
fn who_is_thrown_out_in_the_middle_of_a_replay_leaves_none_behind() {
    let data = TempDir::new().unwrap();
    // One at a time: whoever goes has to make room.
    let server = Program::serve_in(data.path(), &[PATIENT, "store.replays_active_max=1"]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let login = json!({"uid": "bob", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    let (mut bob, _) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    assert_eq!(under_way(&server), 2);
    let kick = json!({"code": "out", "message": "go"});
    let (status, _) = http.json("POST", "/v1/users/ann/kick", &kick);
    assert_eq!(status, 200);
    let end = loop {
        if let Err(code) = ann.hear_or_close() {
            break code;
        }
    };
    assert_eq!(end, 4_004);
    drop(ann);
    let mut position = newest.beginning();
    bob.follow("tea", &mut position, newest.offset);
    until("no replay is left", || under_way(&server) == 0);
    // One who is cut without a word, too.
    let ann = stuck(&server, "tea", &json!(["tea"]));
    drop(ann);
    until("no replay is left", || under_way(&server) == 0);
    let (mut cid, _) = ChatClient::login_with(
        WebSocketClient::connect(server.address, "/ws"),
        json!({"uid": "cid", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}}),
    );
    cid.follow("tea", &mut newest.beginning(), newest.offset);
    drop((bob, cid));
    server.stop();
}
