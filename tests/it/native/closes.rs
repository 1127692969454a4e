//! Every close code of the native protocol: what brings it about.

use std::io::{Read, Write};
use std::thread;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::api::ask_json;
use crate::support::chat_client::{ChatClient, say};
use crate::support::keys::Keys;
use crate::support::program::Program;

/// Hears out what is left, and gives the close code.
#[track_caller]
fn closes(mut person: ChatClient) -> u16 {
    loop {
        if let Err(code) = person.client.hear_text_or_close() {
            return code;
        }
    }
}

/// A `kick` with this word, then the Close.
#[track_caller]
fn is_kicked(mut person: ChatClient, word: &str, code: u16) {
    let kick = person.hear();
    assert_eq!(
        (&kick["type"], &kick["code"]),
        (&json!("kick"), &json!(word))
    );
    assert!(!kick["message"].as_str().unwrap().is_empty());
    assert_eq!(person.client.hear_text_or_close(), Err(code));
}

/// Somebody who writes these bytes after the login.
fn after(server: &Program, bytes: &[u8]) -> ChatClient {
    let mut person = ChatClient::login(server, "ann", &[]);
    person.client.socket.get_mut().write_all(bytes).unwrap();
    person
}

#[test]
fn who_says_good_bye_gets_1000() {
    let server = Program::serve(&[]);
    ChatClient::login(&server, "ann", &["tea"]).client.leave();
    server.stop();
}

#[test]
fn frames_against_the_rules_are_1002() {
    let server = Program::serve(&[]);
    for bytes in [
        // Without a mask; with a reserved bit; of an unknown kind; a ping in fragments; a
        // continuation of nothing.
        &b"\x81\x02hi"[..],
        b"\xc1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
    ] {
        let ann = after(&server, bytes);
        assert_eq!(closes(ann), 1002, "{}", bytes.escape_ascii());
    }
    server.stop();
}

#[test]
fn a_binary_message_is_1003() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &[]);
    let binary = Message::binary(br#"{"type":"who","room":"tea"}"#.to_vec());
    ann.client.socket.send(binary).unwrap();
    assert_eq!(closes(ann), 1003);
    server.stop();
}

#[test]
fn text_that_is_not_utf_8_is_1007() {
    let server = Program::serve(&[]);
    let ann = after(&server, b"\x81\x82\0\0\0\0\xc3\x28");
    assert_eq!(closes(ann), 1007);
    server.stop();
}

#[test]
fn a_message_of_more_than_max_is_1009() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let max = usize::try_from(ann.hello["max"].as_u64().unwrap()).unwrap();
    let sized = |size: usize| {
        let around = say("tea", "").to_string().len();
        say("tea", &"x".repeat(size - around)).to_string()
    };
    ann.client.say(sized(max));
    assert_eq!(ann.hear()["offset"], 1, "exactly as much is taken");
    ann.client.say(sized(max + 1));
    assert_eq!(closes(ann), 1009);
    server.stop();
}

#[test]
fn a_room_that_the_reactors_have_no_place_for_is_1013() {
    // `*`, the own line and one room.
    let server = Program::serve(&["--set", "reactor.topics_max=3"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    ann.client
        .say(json!({"type": "join", "room": "lobby"}).to_string());
    assert_eq!(closes(ann), 1013);
    ChatClient::login(&server, "ann", &["tea"]).ok(say("tea", "there is room for this"));
    server.stop();
}

#[test]
fn a_token_of_others_is_4001() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let others = Keys::make().token("ann", "*", "1h");
    for token in ["x.y.z", &others] {
        let mut ann = ChatClient::connect(&server);
        ann.client
            .say(json!({"type": "login", "token": token}).to_string());
        is_kicked(ann, "bad_token", 4001);
        let ann = ChatClient::on(server.websocket(&format!("/ws?token={token}")));
        is_kicked(ann, "bad_token", 4001);
    }
    server.stop();
}

#[test]
fn no_login_in_time_is_4002_but_only_where_tokens_are_asked_for() {
    let keys = Keys::make();
    let limit = "tokens.login_ms_max=200";
    let open = Program::serve(&["--set", limit]);
    let mut client = ChatClient::connect(&open);
    let server = Program::serve(&["--config", &keys.file(), "--set", limit]);
    let silent = ChatClient::connect(&server);
    is_kicked(silent, "no_login", 4002);
    client.ok(json!({"type": "login", "uid": "ann"}));
    drop(client);
    open.stop();
    server.stop();
}

#[test]
fn the_oldest_of_too_many_connections_is_4003() {
    let server = Program::serve(&["--set", "chat.connections_per_user_max=2"]);
    let mut people: Vec<ChatClient> = (0..4)
        .map(|_| ChatClient::login(&server, "ann", &["tea"]))
        .collect();
    is_kicked(people.remove(0), "replaced", 4003);
    is_kicked(people.remove(0), "replaced", 4003);
    let who = people[1].ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(2))
    );
    drop(people);
    server.stop();
}

#[test]
fn a_kick_of_the_back_end_is_4004() {
    let server = Program::serve(&[]);
    let ann = ChatClient::login(&server, "ann", &[]);
    let (status, kicked) = ask_json(&server, "POST", "/v1/users/ann/kick");
    assert_eq!((status, kicked), (200, json!({"kicked": 1})));
    is_kicked(ann, "kicked", 4004);
    server.stop();
}

#[test]
fn nothing_of_a_connection_is_taken_once_its_kick_is_answered() {
    let server = Program::serve(&["--workers", "1"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    ann.ok(say("tea", "first"));
    let stream = ann.client.stream().try_clone().unwrap();
    let talk = thread::spawn(move || {
        // One masked text frame again and again, until the connection is gone.
        let text = say("tea", "x").to_string();
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        let frames = frame.repeat(50);
        while (&stream).write_all(&frames).is_ok() {}
    });
    let newest = || {
        let (_, room) = ask_json(&server, "GET", "/v1/rooms/tea");
        room["offset"].as_u64().unwrap()
    };
    while newest() < 100 {}
    let (status, _) = ask_json(&server, "POST", "/v1/users/ann/kick");
    let at_the_answer = newest();
    assert_eq!(status, 200);
    while ann.client.hear_text_or_close().is_ok() {}
    drop(ann);
    talk.join().unwrap();
    assert_eq!(newest(), at_the_answer);
    server.stop();
}

#[test]
fn a_token_whose_time_is_over_is_4005_unless_it_is_renewed() {
    let keys = Keys::make();
    let file = keys.file();
    let server = Program::serve(&["--config", &file, "--set", "tokens.leeway_s=0"]);
    let login = |token: &str| json!({"type": "login", "token": token, "rooms": ["tea"]});
    let (mut ann, mut bob) = (ChatClient::connect(&server), ChatClient::connect(&server));
    ann.ok(login(&keys.token("ann", "*", "3s")));
    let token = keys.token("bob", "*", "3s");
    bob.ok(login(&token));
    bob.ok(login(&keys.token("bob", "*", "1h")));
    is_kicked(ann, "token_expired", 4005);
    bob.ok(say("tea", "still here"));
    // Whoever comes with it now is told the same.
    let mut late = ChatClient::connect(&server);
    late.client.say(login(&token).to_string());
    is_kicked(late, "token_expired", 4005);
    drop(bob);
    server.stop();
}

#[test]
fn who_reads_too_slowly_is_4008_and_comes_back_for_the_rest() {
    let server = Program::serve(&[
        "--set",
        "outbox.size_max=65536",
        "--set",
        "outbox.pause_size=32768",
        "--set",
        "outbox.flush_size=16384",
    ]);
    let mut slow = ChatClient::login(&server, "slow", &["tea"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let first = ann.ok(say("tea", "1"));
    // More than the kernels of both sides take, until the server has had enough.
    let large = "x".repeat(60_000);
    let mut newest = 1;
    while open_websockets(&server) == 2 {
        newest = ann.ok(say("tea", &large))["offset"].as_u64().unwrap();
        assert!(newest < 10_000, "nobody was closed");
    }
    ann.ok(say("tea", "the others go on"));
    let mut last = 0;
    let code = loop {
        match slow.client.hear_text_or_close() {
            Ok(text) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "msg" {
                    assert_eq!(frame["offset"], last + 1, "a hole before the Close");
                    last += 1;
                }
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4008);
    assert!((1..newest).contains(&last), "{last} of {newest}");
    // What the ring has lost is said, not hidden; and what it kept comes.
    let resume = json!({"tea": {"epoch": first["epoch"], "offset": last}});
    let mut back = ChatClient::connect(&server);
    let ok = back.ok(json!({"type": "login", "uid": "slow", "rooms": ["tea"], "resume": resume}));
    assert_eq!(ok["channels"]["tea"]["offset"], newest + 1);
    if ok["channels"]["tea"]["recovered"] == true {
        for offset in last + 1..=newest + 1 {
            assert_eq!(back.hear()["offset"], offset);
        }
    }
    drop((slow, ann, back));
    server.stop();
}

fn open_websockets(server: &Program) -> u64 {
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    stats["totals"]["websockets"].as_u64().unwrap()
}

#[test]
fn no_answer_to_a_ping_is_4010() {
    let server = Program::serve(&[
        "--ping-ms",
        "200",
        "--set",
        "websocket.pong_ms_max=1000",
        "--set",
        "websocket.close_ms_max=100",
    ]);
    let mut live = ChatClient::login(&server, "live", &["tea"]);
    // Who answers stays, and hears who left.
    let live = thread::spawn(move || {
        assert_eq!(live.next()["type"], "joined");
        assert_eq!(
            live.next(),
            json!({"type": "left", "room": "tea", "uid": "dead"})
        );
    });
    let mut dead = ChatClient::login(&server, "dead", &["tea"]);
    // Nothing that is read here is answered.
    let mut bytes = Vec::new();
    dead.client
        .socket
        .get_mut()
        .read_to_end(&mut bytes)
        .unwrap();
    let close = bytes
        .windows(2)
        .rposition(|two| two == 4010_u16.to_be_bytes());
    let close = close.unwrap_or_else(|| panic!("{}", bytes.escape_ascii()));
    assert_eq!(bytes[close - 2], 0x88, "{}", bytes.escape_ascii());
    assert!(bytes.contains(&0x89), "there was a ping");
    live.join().unwrap();
    drop(dead);
    server.stop();
}
