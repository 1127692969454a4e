//! Logins and joins wait for the log of the cluster; what comes behind them waits with them, in its order.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bounds, ModelNode};
use crate::support::chat_client::{ChatClient, say};
use crate::support::frame::frame;
use crate::support::http::{json_request, request};
use crate::support::server::in_every_mode;
use crate::support::wait::{until, until_none};
use crate::support::websocket::Heard;

fn command(command: &Value) -> Vec<u8> {
    frame(0x81, command.to_string().as_bytes())
}

/// The answers to the commands of these numbers, in the order in which they come.
#[track_caller]
fn answers(client: &mut ChatClient, count: usize) -> Vec<Value> {
    let mut answers = Vec::new();
    while answers.len() < count {
        let frame = client.hear();
        if frame["type"] == "ok" || frame["type"] == "err" {
            answers.push(frame);
        }
    }
    answers
}

fn numbers(answers: &[Value]) -> Vec<(u64, &str)> {
    let number = |one: &Value| one["seq"].as_u64().unwrap();
    let pairs = answers.iter();
    let pairs = pairs.map(|one| (number(one), one["type"].as_str().unwrap()));
    pairs.collect()
}

fn say_numbered(room: &str, text: &str, seq: u64) -> Value {
    let mut command = say(room, text);
    command["seq"] = seq.into();
    command
}

fn login(uid: &str, rooms: &[&str], seq: u64) -> Value {
    json!({"type": "login", "uid": uid, "rooms": rooms, "seq": seq})
}

fn join(room: &str, seq: u64) -> Value {
    json!({"type": "join", "room": room, "seq": seq})
}

/// Waits until these texts stand in a room, as the API gives them.
#[track_caller]
fn stand(node: &ModelNode, room: &str, texts: &[&str]) {
    let path = format!("/v1/rooms/{room}/messages");
    until_none(&format!("{texts:?} stand in {room}"), || {
        let (_, page) = node.http().json("GET", &path, &Value::Null);
        let messages = page["messages"].as_array().cloned().unwrap_or_default();
        let stand = messages.iter().map(|one| one["data"]["text"].as_str());
        let is_so = stand.eq(texts.iter().map(|text| Some(*text)));
        (!is_so).then_some(page).into_iter().collect()
    });
}

#[test]
fn what_comes_behind_a_login_or_join_that_waits_is_carried_out_and_answered_in_its_order() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        let commands = [
            login("ann", &["tea"], 1),
            say_numbered("tea", "one", 2),
            join("nut", 3),
            say_numbered("nut", "two", 4),
            say_numbered("tea", "three", 5),
        ];
        let apart: Vec<u8> = commands.iter().flat_map(command).collect();
        let together = command(&commands.into());
        for said in [apart, together] {
            let mut client = node.client();
            node.set_away(true);
            client.client.pour(&said);
            node.until_held(1);
            node.set_away(false);
            let answers = answers(&mut client, 5);
            let numbers = numbers(&answers);
            assert_eq!(numbers[0], (1, "ok"), "{answers:?}");
            let place = |number| numbers.iter().position(|one| *one == (number, "ok"));
            // A message is answered once it stands in the log, in the order of the messages.
            let places = [1, 2, 4, 5].map(place);
            assert!(places.is_sorted() && place(3) < place(4), "{answers:?}");
            client.client.leave();
        }
        stand(&node, "tea", &["one", "three", "one", "three"]);
        stand(&node, "nut", &["two", "two"]);
        until("nobody is held", || node.stats()["holds"]["waiting"] == 0);
    });
}

#[test]
fn a_login_by_query_waits_and_what_its_client_says_at_once_waits_with_it() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        node.set_away(true);
        let socket = node.socket("/ws?uid=ann&room=tea");
        let mut client = ChatClient::on(socket);
        client
            .client
            .pour(&command(&say_numbered("tea", "hello", 1)));
        node.until_held(1);
        node.set_away(false);
        let ok = client.hear();
        assert_eq!((&ok["type"], &ok["seq"]), (&"ok".into(), &Value::Null));
        assert_eq!(numbers(&answers(&mut client, 1)), [(1, "ok")]);
        stand(&node, "tea", &["hello"]);
    });
}

#[test]
fn a_client_that_logs_in_says_something_and_leaves_at_once_has_said_it() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        let mut client = node.client();
        node.set_away(true);
        let said = [
            command(&login("ann", &["tea"], 1)),
            command(&say_numbered("tea", "and gone", 2)),
            frame(0x88, &1000u16.to_be_bytes()),
        ];
        client.client.pour(&said.concat());
        node.until_held(1);
        node.set_away(false);
        stand(&node, "tea", &["and gone"]);
        until("it has left", || node.stats()["chat"]["logged_in"] == 0);
        assert_eq!(node.stats()["holds"]["waiting"], 0);
    });
}

#[test]
fn who_has_gone_or_was_sent_away_meanwhile_does_not_come_in() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        let (mut gone, mut kicked) = (node.client(), node.client());
        node.set_away(true);
        for client in [&mut gone, &mut kicked] {
            client.client.pour(&command(&login("ann", &["tea"], 1)));
        }
        node.until_held(2);
        let fd = kicked.fd();
        let path = format!("/v1/connections/{fd}");
        // Answered once nothing is on its way to the log of what it said.
        let mut http = node.http();
        http.send(request("DELETE", &path, "")).unwrap();
        assert_eq!(kicked.hear()["code"], "kicked");
        assert_eq!(kicked.client.hear(), Heard::Close(4004));
        drop(kicked);
        gone.client.reset();
        node.until_held(1);
        node.set_away(false);
        assert_eq!(http.answer().unwrap().status, 200);
        until("nobody is held", || node.stats()["holds"]["waiting"] == 0);
        until("nobody is there", || {
            let stats = node.stats();
            stats["chat"]["logged_in"] == 0 && stats["chat"]["connections"] == 0
        });
    });
}

#[test]
fn a_log_that_stays_away_is_told_as_such_and_the_next_login_goes_well() {
    in_every_mode(|mode| {
        let bounds = Bounds {
            answer_ms_max: 300,
            ..Bounds::default()
        };
        let node = ModelNode::start(mode, &bounds);
        let mut client = node.client();
        node.set_away(true);
        client.client.pour(&command(&login("ann", &["tea"], 1)));
        let refused = answers(&mut client, 1).remove(0);
        assert_eq!(refused["type"], "err");
        let code = refused["code"].as_str().unwrap();
        assert!(["unavailable", "unsettled"].contains(&code), "{refused}");
        assert_eq!(refused["retry"], true, "{refused}");
        let stats = node.stats();
        assert_eq!(stats["chat"]["logged_in"], 0);
        assert_eq!(stats["holds"]["waiting"], 0);
        node.set_away(false);
        until("it logs in", || {
            client.client.pour(&command(&login("ann", &["tea"], 2)));
            answers(&mut client, 1)[0]["type"] == "ok"
        });
    });
}

#[test]
fn more_logins_than_may_wait_are_closed_with_1013() {
    in_every_mode(|mode| {
        let bounds = Bounds {
            held_logins_max: 2,
            ..Bounds::default()
        };
        let node = ModelNode::start(mode, &bounds);
        let mut clients = [(); 3].map(|()| node.client());
        node.set_away(true);
        for (client, held) in clients.iter_mut().zip([1, 2, 2]) {
            client.client.pour(&command(&login("ann", &["tea"], 1)));
            node.until_held(held);
        }
        let refused = clients[2].hear();
        assert_eq!(refused["code"], "unavailable", "{refused}");
        let end = clients[2].client.hear_within(Duration::from_secs(20));
        assert_eq!(end, Some(Heard::Close(1013)));
        assert_eq!(node.stats()["holds"]["refused"], 1);
        node.set_away(false);
        for client in &mut clients[..2] {
            assert_eq!(numbers(&answers(client, 1)), [(1, "ok")]);
        }
    });
}

#[test]
fn the_oldest_connection_of_a_user_with_too_many_makes_way() {
    in_every_mode(|mode| {
        let bounds = Bounds {
            connections_per_user_max: 1,
            ..Bounds::default()
        };
        let node = ModelNode::start(mode, &bounds);
        let mut clients = [(); 2].map(|()| node.client());
        for client in &mut clients {
            client.client.pour(&command(&login("ann", &["tea"], 1)));
            assert_eq!(numbers(&answers(client, 1)), [(1, "ok")]);
        }
        assert_eq!(clients[0].hear()["code"], "replaced");
        assert_eq!(clients[0].client.hear(), Heard::Close(4003));
        until("one is left", || node.stats()["chat"]["logged_in"] == 1);
    });
}

#[test]
fn a_back_end_binds_a_connection_once_the_log_knows_it() {
    in_every_mode(|mode| {
        let node = ModelNode::start(mode, &Bounds::default());
        let client = node.client();
        let path = format!("/v1/connections/{}/user", client.fd());
        let bound = node.http().json("PUT", &path, &json!({"uid": "ann"}));
        assert_eq!(bound, (200, json!({"fd": client.fd(), "uid": "ann"})));
        let again = node.http().json("PUT", &path, &json!({"uid": "ann"}));
        assert_eq!(again, bound);
        let (status, other) = node.http().json("PUT", &path, &json!({"uid": "bob"}));
        assert_eq!(status, 409, "{other}");
        // One that ends while the log is asked is gone.
        let gone = node.client();
        let path = format!("/v1/connections/{}/user", gone.fd());
        node.set_away(true);
        let mut http = node.http();
        http.send(json_request("PUT", &path, r#"{"uid":"bob"}"#))
            .unwrap();
        gone.client.reset();
        until("it has gone", || node.stats()["chat"]["connections"] == 1);
        node.set_away(false);
        assert_eq!(http.answer().unwrap().status, 404);
    });
}

#[test]
fn thousands_who_log_in_at_once_go_to_the_log_in_few_calls() {
    const CLIENTS: usize = 1_000;
    let mode = crate::support::server::Mode {
        workers: 1,
        reactors: 1,
    };
    let node = ModelNode::start(mode, &Bounds::default());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| node.client()).collect();
    let calls = || node.node.shared().counters.numbers().calls;
    node.set_away(true);
    for (number, client) in clients.iter_mut().enumerate() {
        let uid = format!("u{number}");
        client.client.pour(&command(&login(&uid, &["tea"], 1)));
    }
    node.until_held(CLIENTS as u64);
    let before = calls();
    node.set_away(false);
    for client in &mut clients {
        assert_eq!(numbers(&answers(client, 1)), [(1, "ok")]);
    }
    let calls = calls() - before;
    // 256 a call, beside the first, which was on its way.
    assert!(calls < 30, "{calls} calls");
    assert_eq!(node.stats()["chat"]["logged_in"], CLIENTS);
}
