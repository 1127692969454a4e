//! Each refusal leaves a trace: a counter by its reason, and a line of the log that says who it was.

use std::io::Write;

use serde_json::{Value, json};

use crate::gateway::machine::{LINK_KEY, Machine};
use crate::support::chat_client::ChatClient;
use crate::support::http::{HttpClient, JSON};
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::Heard;

/// Sends a request to its end, and gives the status of the answer.
fn status_of(server: &Program, request: &str) -> u16 {
    let mut http = server.http();
    http.send(request).unwrap();
    http.answer().unwrap().status
}

fn get(fields: &str) -> String {
    format!("GET /v1/stats HTTP/1.1\r\n{fields}\r\n")
}

/// Waits for the line of a refusal; it has an address, and only one line is left of the event.
#[track_caller]
fn line_of(server: &mut Program, reason: &str) -> String {
    let line = server
        .stderr
        .wait_for(&format!("refused reason=\"{reason}\""));
    assert!(line.contains("peer=\"127.0.0.1:"), "{line}");
    line
}

#[test]
fn what_the_gate_refuses_is_told_with_its_address_host_and_origin() {
    let mut server = Program::serve(&[]);
    let own = format!("Host: {}\r\n", server.address);
    for (fields, reason, expected) in [
        (
            "Host: evil.example\r\n".to_owned(),
            "host",
            "host=\"evil.example\"",
        ),
        (format!("{own}Via: 1.1 x\r\n"), "proxy", "host="),
        (
            format!("{own}Origin: http://evil.example\r\n"),
            "origin",
            "origin=\"http://evil.example\"",
        ),
    ] {
        assert_eq!(status_of(&server, &get(&fields)), 403, "{reason}");
        let line = line_of(&mut server, reason);
        assert!(line.contains(expected), "{line}");
    }
    server.stop();
}

#[test]
fn what_a_reactor_refuses_is_told_and_counted_by_its_reason() {
    let mut server = Program::serve(&[
        "--set",
        "http.head_size_max=300",
        "--set",
        "http.head_ms_max=200",
        "--set",
        "reactor.connections_max=6",
    ]);
    let host = "Host: 127.0.0.1\r\n";
    let long = format!("{host}X: {}\r\n", "x".repeat(400));
    for (request, status, reason) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "bad_request"),
        (get(&long), 431, "too_large"),
        (format!("GET / HTTP/1.1\r\n{host}"), 408, "timeout"),
    ] {
        assert_eq!(status_of(&server, &request), status, "{reason}");
        let line = line_of(&mut server, reason);
        assert!(line.contains("why="), "{line}");
    }
    let mut client = server.websocket("/ws");
    client
        .stream()
        .write_all(&[0x83, 0x80, 0, 0, 0, 0])
        .unwrap();
    while !matches!(client.hear(), Heard::Close(1002)) {}
    let line = line_of(&mut server, "violation");
    assert!(line.contains("why=unknown opcode 3"), "{line}");
    drop(client);
    // The slots of those that have gone are free a little later.
    until("one more is refused", || {
        let crowd: Vec<_> = (0..7).map(|_| server.http()).collect();
        let mut last = crowd.into_iter().next_back().unwrap();
        last.send(get(host)).is_ok() && last.answer().is_ok_and(|answer| answer.status == 503)
    });
    line_of(&mut server, "connections_max");
    let mut stats = Value::Null;
    until("there is room again", || {
        let answer = server.http().ask("GET", "/v1/stats", "");
        match answer.ok().filter(|answer| answer.status == 200) {
            Some(answer) => stats = parsed(&answer.body),
            None => return false,
        }
        true
    });
    let totals = &stats["totals"];
    for counter in [
        "requests_malformed",
        "requests_oversized",
        "requests_late",
        "violations",
    ] {
        assert_eq!(totals[counter], 1, "{counter}: {totals}");
    }
    assert!(totals["refused"].as_u64() >= Some(1), "{totals}");
    server.stop();
}

#[test]
fn a_login_and_a_command_that_are_refused_are_told_once_and_no_token_is() {
    let keys = Keys::make();
    let mut server = Program::serve(&["--config", &keys.file()]);
    let token = keys.token("ann", "tea", "1h");
    let mut client = ChatClient::connect(&server);
    client.err(json!({"type": "login", "uid": "ann"}));
    line_of(&mut server, "token_missing");
    client.err(json!({"type": "login", "uid": "bob", "token": token}));
    let line = line_of(&mut server, "uid");
    assert!(line.contains("who=\"bob\""), "{line}");
    client.err(json!({"type": "join", "room": "tea"}));
    line_of(&mut server, "rights");
    client.err(json!({"type": "login", "token": token, "rooms": ["secret"]}));
    let line = line_of(&mut server, "rights");
    assert!(line.contains("who=\"ann\""), "{line}");
    client.ok(json!({"type": "login", "token": token}));
    client.err(json!({"type": "join", "room": "secret"}));
    let line = line_of(&mut server, "rights");
    assert!(line.contains("who=\"ann\""), "{line}");
    client.err(json!({"type": "fly"}));
    line_of(&mut server, "bad_request");
    let wrong = ("Authorization", "Bearer a-key-of-nobody");
    let websocket = server.websocket_with("/ws", &[wrong]);
    line_of(&mut server, "api_key");
    let mut http = server.http();
    let fields = format!("{}{JSON}", keys.field());
    let answer = http.ask_with("POST", "/v1/messages", &fields, "{").unwrap();
    assert_eq!(answer.status, 400);
    let line = line_of(&mut server, "bad_request");
    assert!(line.contains("who=\"backend\""), "{line}");
    let fields = format!("Authorization: Bearer {}\r\n{JSON}", "a-key-of-nobody");
    let answer = http
        .ask_with("POST", "/v1/messages", &fields, "{}")
        .unwrap();
    assert_eq!(answer.status, 401);
    line_of(&mut server, "api_key");
    let answer = server
        .http()
        .ask_with("GET", "/v1/stats", &keys.field(), "");
    let refusals = parsed(&answer.unwrap().body)["refusals"].clone();
    for (reason, count) in [
        ("token_missing", 1),
        ("uid", 1),
        ("rights", 3),
        ("bad_request", 2),
        ("api_key", 2),
    ] {
        assert_eq!(refusals[reason], count, "{reason}: {refusals}");
    }
    assert_eq!(refusals["outbox"], Value::Null, "a gateway's alone");
    drop((client, http, websocket));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.exit_code(), 0);
    let log = server.stderr.all();
    for secret in [&token[..], &keys.api_key, "a-key-of-nobody"] {
        assert!(!log.contains(secret), "{log}");
    }
    assert_eq!(log.matches(" refused ").count(), 9, "{log}");
}

#[test]
fn a_gateway_tells_and_counts_whom_it_refuses() {
    let more = [
        "--set",
        "api_keys.shop.key=a-key-of-the-shop-0123",
        "--set",
        "gateway.outbox_size_max=1048576",
    ];
    let mut machine = Machine::start_with(&["127.0.0.1:9".parse().unwrap()], &more);
    let address = machine.address();
    let mut http = HttpClient::connect(address);
    let mut post = |fields: &str, body: &str| {
        let fields = format!("{fields}{JSON}");
        let answer = http
            .ask_with("POST", "/v1/messages", &fields, body)
            .unwrap();
        if answer.closes {
            http = HttpClient::connect(address);
        }
        answer.status
    };
    let key = "Authorization: Bearer a-key-of-the-shop-0123\r\n";
    let message = r#"{"to":{"room":"tea"},"data":1}"#;
    assert_eq!(post("", message), 401);
    let wrong = format!("Authorization: Bearer {LINK_KEY}\r\n");
    assert_eq!(post(&wrong, message), 401);
    let foreign = format!("{key}Origin: http://evil.example\r\n");
    assert_eq!(post(&foreign, message), 403);
    assert_eq!(post(key, r#"{"to":{"room":"@tea"},"data":1}"#), 400);
    assert_eq!(post(key, r#"{"to":{"room":"tea"},"data":1,"x":1}"#), 400);
    let large = format!(
        r#"{{"to":{{"room":"tea"}},"data":"{}"}}"#,
        "x".repeat(60_000)
    );
    let mut status = 202;
    for _ in 0..100 {
        status = post(key, &large);
        if status != 202 {
            break;
        }
    }
    assert_eq!(status, 503);
    let answer = http.ask_with("GET", "/v1/stats", key, "").unwrap();
    let refusals = parsed(&answer.body)["refusals"].clone();
    for (reason, count) in [
        ("api_key", 2),
        ("origin", 1),
        ("bad_request", 2),
        ("outbox", 1),
        ("host", 0),
        ("proxy", 0),
    ] {
        assert_eq!(refusals[reason], count, "{reason}: {refusals}");
    }
    let program = machine.program();
    line_of(program, "api_key");
    line_of(program, "api_key");
    let line = line_of(program, "origin");
    assert!(line.contains("origin=\"http://evil.example\""), "{line}");
    let line = line_of(program, "bad_request");
    assert!(line.contains("who=\"shop\""), "{line}");
    line_of(program, "bad_request");
    line_of(program, "outbox");
    drop(http);
    let mut log = String::new();
    machine.stop_while(|program| log = program.stderr.all());
    assert!(
        !log.contains(LINK_KEY) && !log.contains("a-key-of-the-shop"),
        "{log}"
    );
    // What happens to the push process is one event, and one line.
    assert_eq!(log.matches("process started").count(), 1, "{log}");
    assert_eq!(log.matches("process ended").count(), 1, "{log}");
}
