//! What a restart changes for those who come back, and what it doesn't.

use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, Position, assert_follows};
use crate::support::program::Program;
use crate::support::wait::until_within;
use crate::support::websocket::WebSocketClient;

#[test]
fn an_acknowledgement_lasts_when_the_server_is_killed_a_second_later() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &[]);
    let newest = post(&mut server.http(), "tea", 10, &json!(1));
    let (mut ann, _) = ChatClient::login_with(
        WebSocketClient::connect(server.address, "/ws"),
        json!({"uid": "ann", "rooms": ["tea"]}),
    );
    let records = || number(&server, "store", "records");
    let before = records();
    ann.ok_keeping(json!({"type": "ack", "channel": "tea", "offset": 7}));
    // It is half a second by itself; a busy machine may take longer for the looking.
    until_within("it is written", Duration::from_secs(10), || {
        records() > before
    });
    server.kill();

    let server = Program::serve_in(data.path(), &[]);
    let login = json!({"uid": "ann", "rooms": ["tea"], "resume": {"tea": "acked"}});
    let (mut ann, ok) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    let mut position = Position {
        offset: 7,
        ..newest
    };
    ann.follow("tea", &mut position, 10);
    drop(ann);
    server.stop();
}

#[test]
fn a_login_resumes_several_channels_at_once_and_each_is_whole() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &["chat.ring_messages_max=5"]);
    let mut http = server.http();
    let rooms = ["a", "b", "c"];
    for room in rooms {
        post(&mut http, room, 700, &json!(room));
    }
    for to in [json!({"user": "ann"}), json!({"all": true})] {
        let messages = vec![json!({"to": to, "data": 1}); 300];
        let body = json!({ "messages": messages });
        let (status, answer) = http.json("POST", "/v1/messages/batch", &body);
        assert_eq!(status, 200, "{answer}");
    }
    server.kill();

    let server = Program::serve_in(data.path(), &["chat.ring_messages_max=5"]);
    let resume =
        json!({"a": {"offset": 0}, "b": {"offset": 0}, "@ann": {"offset": 0}, "*": {"offset": 0}});
    let login = json!({"uid": "ann", "rooms": rooms, "resume": resume});
    let (mut ann, ok) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    let mut positions = std::collections::BTreeMap::new();
    for (channel, from) in [("a", 0), ("b", 0), ("c", 700), ("@ann", 0), ("*", 0)] {
        let told = &ok["channels"][channel];
        assert_eq!(told["recovered"], true, "{ok}");
        let position = Position {
            offset: from,
            ..Position::of(told)
        };
        positions.insert(channel, position);
    }
    let mut http = server.http();
    for room in rooms {
        post(&mut http, room, 1, &json!("live"));
    }
    while positions
        .values()
        .map(|position| position.offset)
        .sum::<u64>()
        < 3 * 701 + 2 * 300
    {
        let frame = ann.hear();
        let channel = frame["channel"].as_str().unwrap().to_owned();
        let position = positions.get_mut(&*channel).unwrap();
        assert_follows(&frame, &channel, position);
    }
    drop(ann);
    server.stop();
}

#[test]
fn presence_begins_anew_with_a_restart_and_receivers_count_who_is_there() {
    let data = TempDir::new().unwrap();
    let server = Program::serve_in(data.path(), &["chat.left_ms=0"]);
    let login = |uid| json!({"uid": uid, "rooms": ["tea"]});
    let (mut ann, _) = ChatClient::login_with(
        WebSocketClient::connect(server.address, "/ws"),
        login("ann"),
    );
    let (bob, ok) = ChatClient::login_with(
        WebSocketClient::connect(server.address, "/ws"),
        login("bob"),
    );
    assert_eq!(ok["channels"]["tea"]["members"], 2);
    let say = json!({"type": "say", "to": {"room": "tea"}, "data": 1});
    assert_eq!(ann.ok_keeping(say.clone())["receivers"], 2);
    server.kill();
    drop((ann, bob));

    let server = Program::serve_in(data.path(), &["chat.left_ms=0"]);
    let (mut ann, ok) = ChatClient::login_with(
        WebSocketClient::connect(server.address, "/ws"),
        login("ann"),
    );
    let told = &ok["channels"]["tea"];
    assert_eq!((&told["members"], &told["offset"]), (&json!(1), &json!(1)));
    let who = ann.ok_keeping(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(1))
    );
    assert_eq!(ann.ok_keeping(say)["receivers"], 1);
    let online = ann.ok_keeping(json!({"type": "online", "users": ["ann", "bob"]}));
    assert_eq!(online["online"], json!({"ann": true, "bob": false}));
    assert!(matches!(ann.hear_or_close(), Ok(frame) if frame["offset"] == 2));
    drop(ann);
    server.stop();
}
