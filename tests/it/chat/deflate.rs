//! The chat's messages, compressed to those who have agreed on it, are the same for everybody.

use serde_json::{Value, json};

use crate::support::api::{number, post};
use crate::support::chat_client::ChatClient;
use crate::support::deflating_client::DeflatingClient;
use crate::support::program::Program;

const ON: [&str; 2] = ["--set", "websocket.deflate=true"];

fn data(number: usize) -> Value {
    let lines: Vec<_> = (0..40)
        .map(|line| json!({"line": line * number, "text": "said again and again"}))
        .collect();
    json!({ "n": number, "lines": lines })
}

fn deflating(server: &Program, login: Value) -> (DeflatingClient, Value) {
    let mut client = DeflatingClient::connect(server.address, "/ws");
    assert!(client.extensions.is_some());
    assert_eq!(client.notice().0["type"], "hello");
    client.say(&login.to_string());
    let (ok, _) = client.notice();
    assert_eq!(ok["type"], "ok", "{ok}");
    (client, ok)
}

fn say(room: &str, data: Value) -> Value {
    json!({"type": "say", "to": {"room": room}, "data": data})
}

fn login(uid: &str, rooms: &[&str]) -> Value {
    json!({"type": "login", "seq": 1, "uid": uid, "rooms": rooms})
}

#[test]
fn every_kind_of_message_comes_compressed_and_says_what_the_plain_one_says() {
    let folder = tempfile::tempdir().unwrap();
    for data in ["none", folder.path().to_str().unwrap()] {
        each_kind(&Program::serve(&[&ON[..], &["--data", data]].concat()));
    }
}

fn each_kind(server: &Program) {
    let (mut ann, _) = deflating(server, login("ann", &["tea"]));
    let mut bob = ChatClient::login(server, "bob", &["tea"]);
    let mut http = server.http();
    let says = [
        say("tea", data(1)),
        json!({"type": "say", "to": {"room": "tea"}, "data": data(2), "store": false}),
        say("tea", data(3)),
        json!({"type": "say", "to": {"user": "ann"}, "data": data(4)}),
    ];
    for said in says {
        bob.ok_keeping(said);
        let (heard, message) = ann.notice();
        assert!(message.is_compressed && message.size < message.text.len() / 2);
        let plain = bob.hear();
        // The line of each is a channel of its own.
        for field in ["id", "from", "data", "ts", "to"] {
            assert_eq!(heard[field], plain[field], "the same for both");
        }
    }
    post(&mut http, "tea", 1, &data(5));
    let (heard, message) = ann.notice();
    assert!(message.is_compressed);
    assert_eq!(heard, bob.hear());
    // What is short goes plain, and what ann says comes back to both.
    ann.say(&json!({"type": "say", "to": {"room": "tea"}, "data": "short"}).to_string());
    let (heard, message) = ann.notice();
    assert!(!message.is_compressed);
    assert_eq!(heard, bob.hear());
    assert_eq!(number(server, "deflate", "messages"), 5, "once a message");
    assert_eq!(number(server, "deflate", "idle"), 1);
}

#[test]
fn what_was_said_while_somebody_was_away_is_compressed_once_for_all_who_return() {
    let server = Program::serve(&[&ON[..], &["--data", "none"]].concat());
    let (stays, _) = deflating(&server, login("stays", &["tea"]));
    let mut bob = ChatClient::login(&server, "bob", &["tea"]);
    let place = bob.ok_keeping(say("tea", json!("before")));
    bob.hear();
    let mut all = Vec::new();
    for number in 0..5 {
        bob.ok_keeping(say("tea", data(number)));
        all.push(bob.hear());
    }
    let at = json!({"epoch": place["epoch"], "offset": place["offset"]});
    for uid in ["ann", "cleo"] {
        let mut login = login(uid, &["tea"]);
        login["resume"] = json!({ "tea": at });
        let (mut client, _) = deflating(&server, login);
        for expected in &all {
            let (heard, message) = client.notice();
            assert!(message.is_compressed);
            assert_eq!(&heard, expected);
        }
    }
    assert_eq!(number(&server, "deflate", "messages"), 5);
    drop((stays, bob));
    server.stop();
}

#[test]
fn a_message_that_comes_compressed_is_bounded_by_what_it_inflates_to() {
    let server =
        Program::serve(&[&ON[..], &["--set", "websocket.message_size_max=10000"]].concat());
    let (mut ann, _) = deflating(&server, login("ann", &["tea"]));
    let long = json!({"type": "say", "to": {"room": "tea"}, "data": "x".repeat(9_000)});
    ann.say(&long.to_string());
    assert_eq!(ann.notice().0["data"], "x".repeat(9_000));
    let long = json!({"type": "say", "to": {"room": "tea"}, "data": "x".repeat(11_000)});
    ann.say(&long.to_string());
    let end = ann.hear();
    assert_eq!(
        end,
        crate::support::deflating_client::DeflatingHeard::Close(1_009)
    );
    drop(ann);
    server.stop();
}
