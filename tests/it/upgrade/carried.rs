//! Every connection lives through an upgrade, whatever it is in the middle of.

use std::io::Write;
use std::net::TcpStream;

use serde_json::json;
use tidings::proto::websocket::Deflater;

use super::Upgradable;
use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, Position, assert_follows, say};
use crate::support::event_stream::EventStream;
use crate::support::frame::frame as masked;
use crate::support::http::{HttpClient, json_request};
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::websocket::{Heard, WebSocketClient};

/// The bytes of a masked text frame of a client, whose mask is nothing.
fn frame(first: u8, text: &str) -> Vec<u8> {
    let mut bytes = vec![first, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

#[test]
fn clients_keep_their_names_rooms_and_places_and_nothing_is_lost_or_doubled() {
    let server = Upgradable::serve(&[]);
    let mut clients: Vec<_> = (0..20)
        .map(|n| ChatClient::login(&server.program, &format!("u{n}"), &["tea", "coffee"]))
        .collect();
    let mut http = server.program.http();
    let before = post(&mut http, "tea", 3, &json!("before"));
    let fds: Vec<u64> = clients.iter().map(ChatClient::fd).collect();
    for round in 0..super::rounds(3) {
        let out = server.is_upgraded(&[]);
        assert!(
            out.contains("21 connections carried"),
            "round {round}: {out}"
        );
        assert_eq!(number(&server.program, "totals", "websockets"), 20);
    }
    for client in &mut clients {
        client.hear_offsets("tea", 1..=3);
    }
    let mut place = before;
    for (n, fd) in fds.iter().enumerate() {
        let said = clients[n].ok_keeping(say("tea", "after"));
        assert_eq!(Position::of(&said).epoch, place.epoch, "{said}");
        let mut next = place.clone();
        for client in &mut clients {
            next = place.clone();
            assert_follows(&client.hear(), "tea", &mut next);
        }
        place = next;
        let found = http.json("GET", &format!("/v1/users/u{n}"), &json!(null)).1;
        assert!(found.to_string().contains(&fd.to_string()), "{found}");
    }
    // One that comes now is a new name, and the old ones hear of it.
    let late = ChatClient::login(&server.program, "late", &["tea"]);
    assert!(
        fds.iter().all(|fd| *fd < late.fd()),
        "{fds:?}: {}",
        late.fd()
    );
    drop((clients, late, http));
    server.program.stop();
}

#[test]
fn the_address_that_a_proxy_told_is_the_clients_in_the_next_image_too() {
    let server = Upgradable::serve(&[
        "--insecure",
        "--set",
        "proxies_trusted=127.0.0.1",
        "--set",
        "limits.connections_per_address_max=1",
    ]);
    let client = [("X-Forwarded-For", "203.0.113.9")];
    let mut socket = server.program.websocket_with("/ws", &client);
    let fd = parsed(&socket.hear_text())["fd"].clone();
    let path = format!("/v1/connections/{fd}");
    let entry = |program: &Program| program.http().json("GET", &path, &json!(null)).1;
    let before = entry(&server.program);
    assert_eq!(before["peer"], "203.0.113.9", "{before}");
    server.is_upgraded(&[]);
    assert_eq!(entry(&server.program), before);
    // It still counts as the one of its address.
    let stream = HttpClient::connect(server.program.address).into_stream();
    assert!(WebSocketClient::upgrade(stream, "/ws", &client).is_err());
    drop(socket);
    server.program.stop();
}

#[test]
fn half_a_proxy_header_is_read_to_its_end_in_the_next_image() {
    let mut server = Upgradable::serve(&[
        "--set",
        "proxies_trusted=127.0.0.1",
        "--set",
        "proxy_protocol=0.0.0.0:0",
        "--set",
        "api_keys.shop.key=a-key-of-the-shop-0123",
    ]);
    let line = "PROXY TCP4 203.0.113.9 10.0.0.2 51402 9502\r\n";
    let request = "GET /v1/stats HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer x\r\n\r\n";
    let mut half = HttpClient::connect(server.program.address);
    half.send(&line[..20]).unwrap();
    // What came before this is read, too.
    let mut other = HttpClient::connect(server.program.address);
    other.send(["PROXY UNKNOWN\r\n", request].concat()).unwrap();
    assert_eq!(other.answer().unwrap().status, 401);
    server.is_upgraded(&[]);
    half.send([&line[20..], request].concat()).unwrap();
    assert_eq!(half.answer().unwrap().status, 401);
    let lines = &mut server.program.stderr;
    lines.wait_for("peer=\"203.0.113.9:51402\"");
    drop((half, other));
    server.program.stop();
}

#[test]
fn what_was_half_sent_is_finished_in_the_next_image() {
    let server = Upgradable::serve(&["--echo"]);
    let address = server.program.address;
    let send = |bytes: &[u8]| {
        let mut http = HttpClient::connect(address);
        http.send(bytes).unwrap();
        http
    };
    let request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let post = json_request(
        "POST",
        "/v1/messages",
        &json!({"to": {"room": "tea"}, "data": 1}).to_string(),
    );
    let cuts = [1, 10, request.len() - 1];
    let mut heads: Vec<_> = cuts.iter().map(|cut| send(&request[..*cut])).collect();
    let post_cuts = [post.len() - 20, post.len() - 1];
    let mut bodies: Vec<_> = post_cuts
        .iter()
        .map(|cut| send(&post.as_bytes()[..*cut]))
        .collect();
    let whole = frame(0x81, "a whole frame");
    let echo = || WebSocketClient::connect(address, "/echo");
    let mut frames: Vec<_> = (1..whole.len()).map(|_| echo()).collect();
    for (cut, client) in (1..whole.len()).zip(&mut frames) {
        std::io::Write::write_all(client.stream(), &whole[..cut]).unwrap();
    }
    let mut fragmented = echo();
    std::io::Write::write_all(fragmented.stream(), &frame(0x01, "one, ")).unwrap();
    let mut kept = HttpClient::connect(address);
    assert_eq!(kept.get("/healthz").status, 200);

    server.is_upgraded(&[]);

    for (cut, http) in cuts.iter().zip(&mut heads) {
        http.send(&request[*cut..]).unwrap();
        assert_eq!(http.answer().unwrap().status, 200, "cut at {cut}");
    }
    for (cut, http) in post_cuts.iter().zip(&mut bodies) {
        http.send(&post.as_bytes()[*cut..]).unwrap();
        assert_eq!(http.answer().unwrap().status, 200, "cut at {cut}");
    }
    for (cut, client) in (1..whole.len()).zip(&mut frames) {
        std::io::Write::write_all(client.stream(), &whole[cut..]).unwrap();
        assert_eq!(client.hear_text(), "a whole frame", "cut at {cut}");
    }
    std::io::Write::write_all(fragmented.stream(), &frame(0x80, "and two")).unwrap();
    assert_eq!(fragmented.hear_text(), "one, and two");
    assert_eq!(kept.get("/healthz").status, 200);
    drop((heads, bodies, frames, fragmented, kept));
    server.program.stop();
}

#[test]
fn a_compressed_message_of_which_a_part_has_come_is_whole_in_the_next_image() {
    let server = Upgradable::serve(&["--echo", "--set", "websocket.deflate=true"]);
    let offer = [("Sec-WebSocket-Extensions", "permessage-deflate")];
    let text = "said again and again, ".repeat(20);
    let payload = Deflater::new().message(text.as_bytes()).unwrap();
    let (first, rest) = payload.split_at(payload.len() / 2);
    let stream = [masked(0x41, first), masked(0x00, b""), masked(0x80, rest)].concat();
    let address = server.program.address;
    let mut clients: Vec<_> = (0..stream.len())
        .map(|_| WebSocketClient::connect_with(address, "/echo", &offer))
        .collect();
    for (cut, client) in clients.iter_mut().enumerate() {
        client.stream().write_all(&stream[..cut]).unwrap();
    }

    server.is_upgraded(&[]);

    for (cut, client) in clients.iter_mut().enumerate() {
        client.stream().write_all(&stream[cut..]).unwrap();
        assert_eq!(client.hear_text(), text, "cut at {cut}");
    }
    assert_eq!(
        number(&server.program, "totals", "websockets_deflating"),
        stream.len() as u64
    );
    drop(clients);
    server.program.stop();
}

#[test]
fn a_stream_of_events_goes_on_in_the_next_image() {
    let server = Upgradable::serve(&[]);
    let mut ann = EventStream::open(server.program.address, "uid=ann&room=tea", None);
    ann.logged_in();
    let mut http = server.program.http();
    for round in 0..super::rounds(3) {
        post(&mut http, "tea", 10, &json!("before"));
        server.is_upgraded(&[]);
        post(&mut http, "tea", 10, &json!("after"));
        for number in 1..=20 {
            let offset = 20 * round as u64 + number;
            assert_eq!(ann.frame().0["offset"], offset);
        }
        assert_eq!(number(&server.program, "totals", "event_streams"), 1);
    }
    drop((ann, http));
    server.program.stop();
}

#[test]
fn what_a_slow_reader_has_still_to_get_comes_in_the_next_image() {
    let server = Upgradable::serve(&["--set", "outbox.size_max=16777216"]);
    let mut slow = ChatClient::on(WebSocketClient::connect_narrow(
        server.program.address,
        "/ws",
    ));
    slow.ok(json!({"type": "login", "uid": "slow", "rooms": ["tea"]}));
    let mut http = server.program.http();
    for _ in 0..10 {
        post(&mut http, "tea", 100, &json!("x".repeat(1_000)));
    }
    server.is_upgraded(&[]);
    slow.hear_offsets("tea", 1..=1_000);
    slow.ok(say("tea", "I am here"));
    drop((slow, http));
    server.program.stop();
}

#[test]
fn whoever_leaves_while_nothing_is_read_has_left_afterwards() {
    let server = Upgradable::serve(&["--set", "chat.left_ms=0"]);
    let mut stays = ChatClient::login(&server.program, "stays", &["tea"]);
    for round in 0..super::rounds(3) {
        let mut leaves = ChatClient::login(&server.program, "leaves", &["tea"]);
        let resets = ChatClient::login(&server.program, "resets", &["tea"]);
        let folder = server.folder.path();
        std::thread::scope(|scope| {
            let upgrade = scope.spawn(move || super::upgrade_in(folder, &[]));
            resets.client.reset();
            leaves.client.shut();
            assert_eq!(upgrade.join().unwrap().0, 0, "round {round}");
        });
        assert!(matches!(
            leaves.client.hear_all().1,
            Heard::Close(_) | Heard::Cut
        ));
        let who = json!({"type": "who", "room": "tea"});
        crate::support::wait::until("both are gone", || {
            let who = stays.ok(who.clone()).to_string();
            !who.contains("leaves") && !who.contains("resets")
        });
    }
    drop(stays);
    server.program.stop();
}

#[test]
fn a_stop_after_an_upgrade_sends_everybody_away_in_order() {
    let server = Upgradable::serve(&[]);
    let mut client = ChatClient::login(&server.program, "ann", &["tea"]);
    let idle = TcpStream::connect(server.program.address).unwrap();
    server.is_upgraded(&[]);
    server.program.stop();
    let (_, end) = client.client.hear_all();
    assert_eq!(end, Heard::Close(1001));
    drop(idle);
}
