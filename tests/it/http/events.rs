//! `GET /v1/events`: what a WebSocket would be told comes as a stream of events, under the same rights.

use std::io::Write;

use serde_json::json;

use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, say};
use crate::support::event_stream::EventStream;
use crate::support::program::Program;
use crate::support::wait::until;

#[test]
fn a_stream_is_told_what_a_websocket_is_told_in_the_same_order() {
    let server = Program::serve(&["--set", "chat.latest=newest-*"]);
    let address = server.address;
    let query = "uid=ann&room=tea&room=newest-1";
    let mut ann = EventStream::open(address, query, None);
    assert_eq!(ann.head[0], "HTTP/1.1 200 OK");
    for line in [
        "Content-Type: text/event-stream",
        "Cache-Control: no-store",
        "X-Accel-Buffering: no",
        "Connection: close",
    ] {
        assert!(ann.head.iter().any(|one| one == line), "{:?}", ann.head);
    }
    let ok = ann.logged_in();
    assert_eq!(ok["channels"].as_object().unwrap().len(), 4, "{ok}");
    let mut bob = ChatClient::login(&server, "bob", &["tea", "newest-1"]);
    let mut http = server.http();
    for number in 0..20 {
        bob.ok_keeping(say("tea", &format!("{number}\r\nand a line")));
        bob.ok_keeping(say("newest-1", "the newest"));
        post(&mut http, "tea", 2, &json!({ "n": number }));
        for _ in 0..4 {
            let (heard, id) = ann.frame();
            assert_eq!(heard, bob.hear());
            let place = ["offset", "epoch", "channel"].map(|field| heard[field].to_string());
            assert_eq!(id, Some(place.join(":").replace('"', "")));
        }
    }
    // Lines that a sender writes between the values of its JSON.
    let body = "{\"to\":{\"user\":\"ann\"},\"data\":[1,\n2]}";
    assert_eq!(
        http.ask_with_json("POST", "/v1/messages", body)
            .unwrap()
            .status,
        200
    );
    let (heard, id) = ann.frame();
    assert_eq!(
        (&heard["channel"], &heard["data"]),
        (&json!("@ann"), &json!([1, 2]))
    );
    assert!(id.unwrap().ends_with(":@ann"));
    assert_eq!(number(&server, "totals", "event_streams"), 1);
    drop(ann);
    until("it is gone", || {
        number(&server, "totals", "event_streams") == 0
    });
    drop((bob, http));
    server.stop();
}

#[test]
fn a_stream_goes_on_behind_its_last_event_and_where_the_query_says() {
    let server = Program::serve(&[]);
    let mut http = server.http();
    let mut ann = EventStream::open(server.address, "uid=ann&room=tea&room=coffee", None);
    let ok = ann.logged_in();
    post(&mut http, "tea", 2, &json!("before"));
    ann.frame();
    let last = ann.frame().1.unwrap();
    drop(ann);
    post(&mut http, "tea", 3, &json!("meanwhile"));
    post(&mut http, "coffee", 1, &json!("meanwhile"));
    let coffee = json!({"coffee": {"epoch": ok["channels"]["coffee"]["epoch"], "offset": 0}});
    let resume = form(&coffee.to_string());
    let query = format!("uid=ann&room=tea&room=coffee&resume={resume}");
    let mut ann = EventStream::open(server.address, &query, Some(&last));
    let ok = ann.logged_in();
    for channel in ["tea", "coffee"] {
        assert_eq!(ok["channels"][channel]["recovered"], true, "{ok}");
    }
    let mut heard: Vec<_> = (0..4).map(|_| ann.frame().1.unwrap()).collect();
    heard.sort();
    let offsets: Vec<_> = heard
        .iter()
        .map(|id| id.split_once(':').unwrap().0)
        .collect();
    assert_eq!(offsets, ["1", "3", "4", "5"]);
    drop(ann);
    server.stop();
}

/// A text as a query has it.
fn form(text: &str) -> String {
    let each = text.bytes().map(|byte| format!("%{byte:02X}"));
    each.collect()
}

#[test]
fn a_stream_has_the_rights_of_its_token_and_ends_with_a_word() {
    let key = format!("tokens.keys.k1.secret={SECRET}");
    let mut server = Program::serve(&["--set", &key]);
    for (query, code) in [
        ("room=tea", "4002"),
        ("uid=ann&room=tea", "4002"),
        ("token=x", "4001"),
        ("uid=%ff", "4002"),
    ] {
        let mut refused = EventStream::open(server.address, query, None);
        let end = refused.close();
        assert!(end.starts_with(&format!("{code} ")), "{query}: {end}");
    }
    assert!(
        !server.stderr.all().contains("token=x"),
        "no token is logged"
    );
    server.stop();
}

const SECRET: &str = "a-secret-of-these-tests-and-of-nothing-else";

#[test]
fn a_kick_and_a_stop_end_a_stream_with_their_codes() {
    let server = Program::serve(&[]);
    let open = |uid: &str| {
        let mut stream = EventStream::open(server.address, &format!("uid={uid}"), None);
        stream.logged_in();
        stream
    };
    let (mut ann, mut bob) = (open("ann"), open("bob"));
    let kick = json!({"code": "spam", "message": "enough"});
    let (status, _) = server.http().json("POST", "/v1/users/ann/kick", &kick);
    assert_eq!(status, 200);
    assert_eq!(ann.close(), "4004 enough");
    let stops = std::thread::spawn(move || server.stop());
    assert!(bob.close().starts_with("1001"));
    stops.join().unwrap();
}

#[test]
fn heartbeats_come_and_what_the_peer_says_is_passed_over() {
    let server = Program::serve(&["--ping-ms", "50"]);
    let mut ann = EventStream::open(server.address, "uid=ann&room=tea", None);
    ann.logged_in();
    let mut http = server.http();
    until("there were some", || {
        post(&mut http, "tea", 1, &json!("here"));
        ann.frame();
        ann.heartbeats > 2
    });
    drop((ann, http));
    // A request behind it is none, and a body makes it no stream.
    let mut raw = std::net::TcpStream::connect(server.address).unwrap();
    let head = format!(
        "GET /v1/events?uid=a HTTP/1.1\r\nHost: {}\r\n",
        server.address
    );
    raw.write_all(format!("{head}\r\n{head}\r\n").as_bytes())
        .unwrap();
    until("one is open", || {
        number(&server, "totals", "event_streams") == 1
    });
    drop(raw);
    let answer = server
        .http()
        .ask("GET", "/v1/events?uid=a", "body")
        .unwrap();
    assert!(answer.status >= 400, "{}", answer.status);
    server.stop();
}

#[test]
fn a_stream_that_is_not_read_is_cut_and_the_others_miss_nothing() {
    let server = Program::serve(&["--set", "outbox.stall_ms_max=60000"]);
    let slow = EventStream::open(server.address, "uid=slow&room=tea", None);
    let mut ann = EventStream::open(server.address, "uid=ann&room=tea", None);
    ann.logged_in();
    let mut http = server.http();
    let data = json!("x".repeat(60_000));
    let mut offset = 0;
    while number(&server, "totals", "slow_readers") == 0 {
        post(&mut http, "tea", 10, &data);
        for _ in 0..10 {
            offset += 1;
            assert_eq!(ann.frame().0["offset"], offset);
        }
    }
    until("it is gone", || {
        number(&server, "totals", "event_streams") == 1
    });
    drop((slow, ann, http));
    server.stop();
}
