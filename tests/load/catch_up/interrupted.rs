//! What happens in the middle of a replay: its client leaves, is thrown out, or the log changes.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::back_end::{call, number, post, post_bytes, serve, until};
use crate::guest::{Guest, Heard, Spot, Width, assert_follows};
use crate::program::Program;

/// More than what the kernels and an outbox take: a replay to a narrow client gets stuck.
const MUCH: usize = 12 << 20;

/// Nobody is closed for reading nothing, however long the machine takes.
const PATIENT: &str = "outbox.stall_ms_max=600000";

fn start_of(spot: &Spot) -> Spot {
    Spot {
        offset: 0,
        ..spot.clone()
    }
}

fn under_way(server: &Program) -> u64 {
    number(server, "durable", "replays_under_way")
}

/// Somebody who gets a room from its beginning, and reads nothing of it.
fn stuck(server: &Program, room: &str, rooms: &Value) -> Guest {
    let login = json!({"uid": "ann", "rooms": rooms, "resume": {room: {"offset": 0}}});
    let (guest, ok) = Guest::login(server.address, Width::Narrow, login);
    assert!(ok["channels"][room]["offset"].as_u64().unwrap() > 0);
    assert_eq!(under_way(server), 1);
    guest
}

#[test]
fn who_leaves_and_joins_in_the_middle_of_a_replay_hears_nothing_twice() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[PATIENT]);
    let newest = post_bytes(&mut server.http(), "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let left = ann.send(json!({"type": "leave", "room": "tea"}));
    let joined = ann.send(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    // What was on its way before the leave, and nothing between that and the join.
    let mut before = start_of(&newest);
    let ok = loop {
        let frame = ann.frame();
        match frame["seq"].as_u64() {
            Some(seq) if seq == left => break ann.frame(),
            _ => assert_follows(&frame, "tea", &mut before),
        }
    };
    assert_eq!((&ok["type"], &ok["seq"]), (&json!("ok"), &json!(joined)));
    assert!(before.offset < newest.offset, "it was in the middle");
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    let mut spot = start_of(&newest);
    ann.follow("tea", &mut spot, newest.offset);

    // And once more, without wanting what it missed.
    ann.ok(json!({"type": "leave", "room": "tea"}));
    ann.send(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    ann.send(json!({"type": "leave", "room": "tea"}));
    let last = ann.send(json!({"type": "join", "room": "tea"}));
    while ann.frame()["seq"] != last {}
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
    let server = serve(data.path(), &[PATIENT]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let (status, purged) = call(&mut http, "DELETE", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!((status, &purged["offset"]), (200, &json!(0)));
    let after = post(&mut http, "tea", 500, &json!("after"));
    assert_ne!(after.epoch, newest.epoch);
    let mut spot = start_of(&newest);
    let gap = loop {
        let frame = ann.frame();
        if frame["type"] == "gap" {
            break Spot::of(&frame);
        }
        assert_follows(&frame, "tea", &mut spot);
    };
    assert!(spot.offset < newest.offset, "it was in the middle");
    let mut spot = start_of(&after);
    assert_eq!(gap, spot);
    ann.follow("tea", &mut spot, 500);
    let newest = post(&mut http, "tea", 1, &json!("live"));
    assert_eq!(ann.follow("tea", &mut spot, newest.offset), ["live"]);
    drop(ann);
    server.stop();
}

#[test]
fn what_retention_overtakes_is_told_by_a_gap() {
    let data = TempDir::new().unwrap();
    let kept = format!("store.keep=tea messages={}", MUCH / 1_000 + 800);
    let server = serve(data.path(), &[PATIENT, &kept]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let newest = Spot {
        offset: post_bytes(&mut http, "tea", MUCH).offset,
        ..newest
    };
    until("the oldest are gone", || {
        number(&server, "durable", "store_trimmed") > MUCH as u64 / 2_000
    });
    let (mut spot, mut gaps) = (start_of(&newest), 0);
    while spot.offset < newest.offset {
        let frame = ann.frame();
        if frame["type"] == "gap" {
            let gap = Spot::of(&frame);
            assert!(gap.epoch == spot.epoch && gap.offset > spot.offset);
            (spot, gaps) = (gap, gaps + 1);
        } else {
            assert_follows(&frame, "tea", &mut spot);
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
    let server = serve(data.path(), &[PATIENT, "store.replays_active_max=1"]);
    let mut http = server.http();
    let newest = post_bytes(&mut http, "tea", MUCH);
    let mut ann = stuck(&server, "tea", &json!(["tea"]));
    let login = json!({"uid": "bob", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    let (mut bob, _) = Guest::login(server.address, Width::Usual, login);
    assert_eq!(under_way(&server), 2);
    let kick = json!({"code": "out", "message": "go"});
    let (status, _) = call(&mut http, "POST", "/v1/users/ann/kick", &kick);
    assert_eq!(status, 200);
    let end = loop {
        if let Heard::Closed(code) = ann.hear() {
            break code;
        }
    };
    assert_eq!(end, 4_004);
    drop(ann);
    let mut spot = start_of(&newest);
    bob.follow("tea", &mut spot, newest.offset);
    until("no replay is left", || under_way(&server) == 0);
    // One who is cut without a word, too.
    let ann = stuck(&server, "tea", &json!(["tea"]));
    drop(ann);
    until("no replay is left", || under_way(&server) == 0);
    let (mut cid, _) = Guest::login(
        server.address,
        Width::Usual,
        json!({"uid": "cid", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}}),
    );
    cid.follow("tea", &mut start_of(&newest), newest.offset);
    drop((bob, cid));
    server.stop();
}
