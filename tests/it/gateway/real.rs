//! A gateway and a `tidings serve`, both real, and what clients of the latter see.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::FLOWS_WITHIN;
use super::everything_breaks::Far;
use super::machine::{LINK_KEY, Machine};
use super::proxy::{Proxy, Weather};
use super::server::Server;
use crate::support::http::HttpClient;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::wait::{until, until_within};
use crate::support::websocket::WebSocketClient;

/// The next message of a room or user; what else comes is passed over.
fn next_message(client: &mut WebSocketClient) -> Value {
    loop {
        let frame: Value = serde_json::from_str(&client.hear_text()).unwrap();
        match frame["type"].as_str() {
            Some("msg") => return frame,
            Some("err" | "kick") => panic!("{frame}"),
            _ => {}
        }
    }
}

/// What a handshake at `/link` is answered.
fn handshake(address: SocketAddr, fields: &str) -> u16 {
    let mut http = HttpClient::connect(address);
    http.send(format!(
        "GET /link HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{fields}\r\n"
    ))
    .unwrap();
    http.answer().unwrap().status
}

#[test]
fn a_link_needs_the_key_and_a_server_without_one_has_no_link() {
    let server = Server::start();
    let right = format!("Authorization: Bearer {LINK_KEY}\r\n");
    let wrong = "Authorization: Bearer another-key-of-this-size\r\n";
    assert_eq!(handshake(server.address, &right), 101);
    assert_eq!(handshake(server.address, wrong), 401);
    assert_eq!(handshake(server.address, ""), 401);
    assert_eq!(
        server.ask("GET", "/link").status,
        404,
        "it is a WebSocket only"
    );
    let plain = Program::serve(&[]);
    let status = HttpClient::connect(plain.address).ask("GET", "/link", "");
    assert_eq!(status.unwrap().status, 404);
    assert_eq!(handshake(plain.address, &right), 404);
}

#[test]
fn clients_hear_what_is_posted_at_the_gateway() {
    let server = Server::start_with(&[
        "--set",
        "chat.in_memory=mem-*",
        "--set",
        "chat.unkept=none-*",
    ]);
    let url = "/ws?uid=ann&room=tea&room=mem-1&room=none-1";
    let mut ann = WebSocketClient::connect(server.address, url);
    until("ann is there", || {
        server
            .ask("GET", "/v1/users/ann")
            .body
            .contains("\"online\":true")
    });
    let machine = Machine::start(&[server.address]);
    for (to, more, expected) in [
        (json!({"room": "tea"}), "", "tea"),
        (json!({"room": "mem-1"}), "", "mem-1"),
        (json!({"room": "none-1"}), "", "none-1"),
        (json!({"user": "ann"}), "", "@ann"),
        (json!({"all": true}), "", "*"),
        (
            json!({"rooms": ["tea", "mem-1", "elsewhere"]}),
            "",
            "mem-1 tea",
        ),
        (json!({"users": ["ann", "bob"]}), "", "@ann"),
        (json!({"room": "tea"}), ",\"store\":false", "tea"),
    ] {
        let body = format!(r#"{{"to":{to},"from":"shop","data":{{"x": 1.0}}{more}}}"#);
        let answer = machine.post("/v1/messages", &body);
        assert_eq!(answer.status, 202, "{answer:?}");
        let id = serde_json::from_str::<Value>(&answer.body).unwrap()["results"][0]["id"].clone();
        // Ann is in two of the rooms; channels know no order among each other.
        let mut channels = Vec::new();
        for _ in 0..if to["rooms"].is_array() { 2 } else { 1 } {
            let heard = next_message(&mut ann);
            assert_eq!(
                (&heard["id"], &heard["from"]),
                (&id, &json!("shop")),
                "{heard}"
            );
            assert_eq!(heard["data"].to_string(), r#"{"x":1.0}"#);
            channels.push(heard["channel"].as_str().unwrap().to_owned());
        }
        channels.sort();
        assert_eq!(channels.join(" "), expected);
    }
    machine.until_settled();
    assert_eq!(server.history("rooms/tea").len(), 2);
    assert_eq!(server.history("rooms/elsewhere").len(), 1);
    assert_eq!(server.history("users/ann").len(), 2);
    assert_eq!(server.history("users/bob").len(), 1);
    assert_eq!(
        server.history("users/shop").len(),
        3,
        "the sender's side of it"
    );
    let metrics = server.ask("GET", "/metrics").body;
    for line in ["tidings_links_open 1", "tidings_links_given_total 8"] {
        assert!(
            metrics.lines().any(|other| other == line),
            "{line} in {metrics}"
        );
    }
}

/// Has a server take messages of 200 bytes at most, which its gateway doesn't know.
const SMALL: [&str; 2] = ["--set", "websocket.message_size_max=200"];

/// A message that a gateway takes, and such a server never.
fn too_large(to: &str) -> String {
    format!(r#"{{"to":{to},"data":"{}"}}"#, "x".repeat(300))
}

#[test]
fn what_the_server_cant_take_is_a_dead_letter_and_nothing_waits_for_it() {
    let server = Server::start_with(&SMALL);
    let machine = Machine::start(&[server.address]);
    let bad = [
        too_large(r#"{"room":"tea"}"#),
        too_large(r#"{"user":"bob"}"#),
        too_large(r#"{"all":true}"#),
    ];
    for (number, bad) in (1..).zip(bad) {
        assert_eq!(machine.post("/v1/messages", &bad).status, 202);
        assert_eq!(machine.say("ann", number).status, 202);
    }
    machine.until_settled();
    assert_eq!(server.heard_of("ann"), [1, 2, 3]);
    assert_eq!(machine.stats()["outbox"]["dead_letters"], 3);
}

#[test]
fn a_refusal_that_is_lost_on_its_way_is_a_dead_letter_once_the_link_is_back() {
    let server = Server::start_with(&SMALL);
    let proxy = Proxy::to(server.address);
    // Marks are written down at the stop only: a refusal may come again until then.
    let more = ["--set", "gateway.settle_ms=86400000"];
    let mut machine = Machine::start_with(&[proxy.address], &more);
    machine.until_link(0, "open");
    proxy.set(Weather::AnswersLost);
    let bad = too_large(r#"{"room":"tea"}"#);
    for number in 1..=2 {
        assert_eq!(machine.say("ann", number).status, 202);
        assert_eq!(machine.post("/v1/messages", &bad).status, 202);
    }
    until("all is settled there", || server.link_refused() == 2);
    assert_eq!(machine.stats()["upstreams"][0]["settled"], 0);
    proxy.set(Weather::Fair);
    until("both are kept apart", || {
        machine.stats()["outbox"]["dead_letters"] == 2
    });
    // The next links tell it again, since nothing is written down yet.
    let opened = machine.opened();
    machine.kill_push();
    until("the link is back", || machine.opened() > opened);
    machine.kill();
    machine.start_again();
    machine.until_link(0, "open");
    assert_eq!(server.link_refused(), 2, "nothing was sent again");
    assert_eq!(server.heard_of("ann"), [1, 2]);
    machine.stop();
    let letters = machine.outbox("dead");
    assert_eq!(letters.lines().count(), 2, "{letters}");
    for n in [2, 4] {
        assert!(letters.contains(&format!("\"n\":{n},")), "{letters}");
    }
}

#[test]
fn the_largest_message_goes_through() {
    let server = Server::start();
    let machine = Machine::start(&[server.address]);
    let data = "\u{1}".repeat(10_922);
    let data = serde_json::to_string(&data).unwrap();
    assert_eq!(data.len(), 65_534);
    let rooms: Vec<String> = (100..200)
        .map(|n| format!("{n}{}", "ü".repeat(126)))
        .collect();
    let body = format!(r#"{{"to":{{"rooms":{}}},"data":{data}}}"#, json!(rooms));
    assert_eq!(machine.post("/v1/messages", &body).status, 202);
    machine.until_settled();
    let stats = machine.stats();
    assert_eq!(stats["upstreams"][0]["lost"], 0, "{stats}");
    let encoded: String = rooms[99]
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect();
    assert_eq!(server.history(&format!("rooms/{encoded}")).len(), 1);
}

#[test]
fn a_server_without_room_on_its_disk_gets_everything_once_it_has() {
    let tight = ["--set", "store.disk_free_size_min=1000000000000"];
    let mut server = Server::start_with(&tight);
    let machine = Machine::start(&[server.address]);
    for number in 1..=50 {
        assert_eq!(machine.say("ann", number).status, 202);
    }
    until("it was told to wait", || {
        let metrics = server.ask("GET", "/metrics").body;
        let busy = metrics
            .lines()
            .find_map(|line| line.strip_prefix("tidings_links_busy_total "));
        busy.is_some_and(|busy| busy.parse::<u64>().unwrap() >= 2)
    });
    assert_eq!(
        machine.stats()["upstreams"][0]["state"],
        "open",
        "busy isn't dead"
    );
    assert_eq!(server.count(), 0);
    server.kill();
    server.forget_flags();
    server.start_again();
    until_within("all arrive", FLOWS_WITHIN, || server.count() == 50);
    assert_eq!(server.heard_of("ann"), (1..=50).collect::<Vec<_>>());
}

#[test]
fn a_server_that_lost_its_data_gets_what_is_still_in_the_outbox() {
    let mut server = Server::start();
    let machine = Machine::start(&[server.address]);
    for number in 1..=10 {
        machine.say("ann", number);
    }
    machine.until_settled();
    server.kill();
    server.wipe();
    for number in 11..=13 {
        assert_eq!(machine.say("ann", number).status, 202);
    }
    server.start_again();
    until_within("they arrive", FLOWS_WITHIN, || server.count() == 3);
    assert_eq!(server.heard_of("ann"), [11, 12, 13]);
    machine.until_settled();
    assert_eq!(machine.stats()["outbox"]["messages"], 0);
}

#[test]
fn two_gateways_with_one_outbox_push_each_other_out_and_say_so() {
    let server = Server::start();
    let mut machine = Machine::start(&[server.address]);
    assert_eq!(machine.say("ann", 1).status, 202);
    machine.until_settled();
    machine.stop();
    let mut copy = machine.copy();
    machine.start_again();
    machine.until_link(0, "open");
    copy.start_again();
    copy.until_link(0, "open");
    machine
        .program()
        .stderr
        .wait_for("is there a copy of the outbox");
    let metrics = server.ask("GET", "/metrics").body;
    assert!(
        !metrics.contains("tidings_links_replaced_total 0"),
        "{metrics}"
    );
}

#[test]
fn two_gateways_of_one_name_are_two_producers() {
    let server = Server::start();
    let (one, other) = (
        Machine::start(&[server.address]),
        Machine::start(&[server.address]),
    );
    for number in 1..=20 {
        assert_eq!(one.say("ann", number).status, 202);
        assert_eq!(other.say("bob", number).status, 202);
    }
    one.until_settled();
    other.until_settled();
    let all: Vec<u64> = (1..=20).collect();
    assert_eq!(
        (server.heard_of("ann"), server.heard_of("bob")),
        (all.clone(), all)
    );
}

#[test]
fn a_client_that_knows_nothing_of_links_may_send_in_anybodys_name() {
    let key = "key-of-the-push-process-1";
    let flag = format!("api_keys.push.key={key}");
    let server = Server::start_with(&["--set", &flag]);
    let bearer = format!("Bearer {key}");
    let mut back_end =
        WebSocketClient::connect_with(server.address, "/", &[("Authorization", &bearer)]);
    let hello: Value = serde_json::from_str(&back_end.hear_text()).unwrap();
    assert_eq!(hello["type"], "hello");
    for number in 1..=10 {
        back_end.say("PING");
        assert_eq!(back_end.hear_text(), "PONG");
        let say = json!({"type": "say", "seq": number, "to": {"room": "tea"}, "from": "ann",
            "id": format!("ann-{number}"), "data": {"number": number}});
        for is_again in [false, true] {
            back_end.say(say.to_string());
            let ok: Value = serde_json::from_str(&back_end.hear_text()).unwrap();
            assert_eq!(
                (&ok["type"], &ok["seq"]),
                (&json!("ok"), &json!(number)),
                "{ok}"
            );
            assert_eq!(ok["duplicate"] == true, is_again, "{ok}");
        }
    }
    back_end.leave();
    let mut http = HttpClient::connect(server.address);
    let fields = format!("Authorization: {bearer}\r\n");
    let answer = http.ask_with("GET", "/v1/rooms/tea/messages", &fields, "");
    let page = parsed(&answer.unwrap().body);
    let messages = page["messages"].as_array().unwrap();
    let numbers: Vec<_> = messages
        .iter()
        .map(|one| one["data"]["number"].as_u64())
        .collect();
    assert_eq!(numbers, (1..=10).map(Some).collect::<Vec<_>>());
    assert!(messages.iter().all(|one| one["from"] == "ann"));
}
