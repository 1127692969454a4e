//! An upgrade in the middle of something long: it goes on in the next image, without a hole or a repeat.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use super::Upgradable;
use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, Position, assert_follows, say};
use crate::support::frame::frame;
use crate::support::http::{HttpClient, json_request};
use crate::support::number_in_env;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

#[test]
fn a_replay_of_many_messages_to_a_slow_reader_goes_on_where_it_was() {
    // 100,000 in full.
    let count = number_in_env("TIDINGS_UPGRADE_REPLAY").unwrap_or(6_000) as usize;
    let settings = ["chat.ring_messages_max=10", "store.messages_max=1000000"];
    let server = Upgradable::serve(&["--set", settings[0], "--set", settings[1]]);
    let mut http = server.program.http();
    let data = json!("x".repeat(300));
    let place = post(&mut http, "tea", 1, &data);
    for _ in 0..count / 1_000 {
        post(&mut http, "tea", 1_000, &data);
    }
    let newest = 1 + (count / 1_000 * 1_000) as u64;
    let narrow = || WebSocketClient::connect_narrow(server.program.address, "/ws");
    let login =
        json!({"uid": "slow", "rooms": ["tea"], "resume": {"tea": place.beginning().json()}});
    let (mut slow, ok) = ChatClient::login_with(narrow(), login.clone());
    assert_eq!(ok["channels"]["tea"]["offset"], newest, "{ok}");
    let mut position = place.beginning();
    for part in 1..=4 {
        slow.follow("tea", &mut position, newest * part / 5);
        server.is_upgraded(&[]);
    }
    // Those that come meanwhile stand behind it.
    post(&mut http, "tea", 10, &json!("new"));
    slow.follow("tea", &mut position, newest + 10);
    slow.ok(say("tea", "I am here"));
    server.program.stop();
}

#[test]
fn what_is_asked_for_at_the_hush_is_done_and_answered_once() {
    let server = Upgradable::serve(&["--set", "chat.gather=gathers delay=500ms"]);
    let rooms = ["tea", "gathers", "purged"];
    let mut stays = ChatClient::login(&server.program, "stays", &rooms);
    let mut http = server.program.http();
    let first = post(&mut http, "tea", 5, &json!("before"));
    stays.hear_offsets("tea", 1..=5);
    post(&mut http, "purged", 3, &json!("to be purged"));
    stays.hear_offsets("purged", 1..=3);
    stays.ok(json!({"type": "say", "to": {"room": "tea"}, "id": "twice", "data": "six"}));
    // All of this is sent while the disk hangs, some of it is with the disk, and some is not yet read.
    for point in ["disk", "freeze.hush"] {
        let messages: Vec<Value> = (0..1_000)
            .map(|n| json!({"to": {"room": "tea"}, "data": n}))
            .collect();
        let mut batch = HttpClient::connect(server.program.address);
        let mut purge = HttpClient::connect(server.program.address);
        let mut returns = ChatClient::connect(&server.program);
        let before = Position::of(&stays.ok_keeping(say("tea", "the newest")));
        let mut asked = Vec::new();
        let mut pipeline = HttpClient::connect(server.program.address);
        let piped = json!({"to": {"room": "piped"}, "data": point}).to_string();
        let piped = json_request("POST", "/v1/messages", &piped);
        let mut send_all = || {
            let get = "GET /v1/rooms/piped/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
            pipeline.send([&*piped, get, &piped, get].concat()).unwrap();
            let body = json!({"messages": messages}).to_string();
            batch
                .send(json_request("POST", "/v1/messages/batch", &body))
                .unwrap();
            let request = "DELETE /v1/rooms/purged/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
            purge.send(request).unwrap();
            let resume = json!({"tea": first.json()});
            let login =
                json!({"type": "login", "uid": "returns", "rooms": ["tea"], "resume": resume});
            asked.push(returns.send(login));
            stays.send(json!({"type": "say", "to": {"room": "tea"}, "id": "twice", "data": "six"}));
            stays.send(json!({"type": "ack", "channel": "tea", "offset": 5}));
            stays.send(say("gathers", point));
        };
        let (code, _, err) = match point {
            "disk" => {
                server.let_fail("rehearsed");
                server.meanwhile(&[], || {
                    server.waits_at("rehearsed");
                    server.let_fail("rehearsed\ndisk hangs");
                    server.waits_at("disk hangs");
                    send_all();
                    until("all is read", || !stays_unread(&server));
                    server.let_fail("disk hangs\nfreeze.hush");
                    server.waits_at("freeze.hush");
                })
            }
            _ => server.upgrade_and(point, send_all),
        };
        assert_eq!(code, 0, "{point}: {err}");
        let answer = batch.answer().unwrap();
        assert_eq!(answer.status, 200, "{point}: {}", answer.body);
        let results: Value = serde_json::from_str(&answer.body).unwrap();
        let results = results["results"].as_array().unwrap();
        assert_eq!(results.len(), 1_000);
        assert!(results.iter().all(|one| one["offset"].is_u64()), "{point}");
        assert_eq!(purge.answer().unwrap().status, 200, "{point}");
        // One request after the other was taken from behind the answer of the one before.
        for request in 0..4 {
            let answer = pipeline.answer().unwrap();
            assert_eq!(answer.status, 200, "{point}, {request}: {}", answer.body);
        }
        // Everything of the room is heard once, whoever was there or came back.
        let newest = before.offset + 1_000;
        let mut position = first.clone();
        let ok = loop {
            let frame = returns.next();
            if frame["seq"] == asked[0] {
                break frame;
            }
        };
        assert_eq!(ok["type"], "ok", "{point}: {ok}");
        returns.follow("tea", &mut position, newest);
        let mut seen = (0, 0, 0, 0);
        let mut place = Position {
            offset: before.offset - 1,
            ..before.clone()
        };
        while seen != (1_001, 1, 1, 1) {
            let frame = stays.hear();
            match (frame["type"].as_str().unwrap(), frame["channel"].as_str()) {
                ("msg", Some("tea")) => {
                    assert_follows(&frame, "tea", &mut place);
                    seen.0 += 1;
                }
                ("msg", Some("gathers")) => {
                    assert_eq!(frame["data"]["text"], point);
                    seen.1 += 1;
                }
                ("gap", Some("purged")) => seen.2 += 1,
                ("ok", _) if frame["duplicate"] == true => {
                    assert_eq!(frame["offset"], 6, "{frame}");
                    seen.3 += 1;
                }
                ("ok", _) => {}
                other => panic!("{point}: {other:?}: {frame}"),
            }
        }
        returns.client.leave();
    }
    // The acknowledgement is there for the next one.
    let read =
        stays.ok(json!({"type": "say", "to": {"room": "tea"}, "id": "twice", "data": "six"}));
    assert_eq!(read["duplicate"], true);
    server.program.stop();
}

/// Whether the server hasn't read all commands yet.
fn stays_unread(server: &Upgradable) -> bool {
    let port = format!(":{:04X}", server.program.address.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    table.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&port) && fields[3] != "0A" && !fields[4].ends_with(":00000000")
    })
}

#[test]
fn what_waits_for_its_turn_is_carried_out_by_the_next_image_in_order() {
    for workers in ["1", "0"] {
        let server = Upgradable::serve(&["--workers", workers, "--set", "outbox.pause_size=60000"]);
        let mut http = server.program.http();
        post(&mut http, "tea", 100, &json!("x".repeat(2_000)));
        let narrow = WebSocketClient::connect_narrow(server.program.address, "/ws");
        let mut asks = ChatClient::on(narrow);
        asks.ok(json!({"type": "login", "uid": "asks", "rooms": ["tea"]}));
        // They come at once, and are more than what may wait for it: the last ones wait for their turns.
        let asked: Vec<u64> = (1_000..1_060).collect();
        let command = |seq| json!({"type": "history", "seq": seq, "channel": "tea", "limit": 100});
        let commands = asked.iter().map(command);
        let mut last = say("tea", "the last one");
        last["seq"] = 2_000.into();
        let frames = commands.chain([last]);
        let frames = frames.map(|command| frame(0x81, command.to_string().as_bytes()));
        let frames = frames.collect::<Vec<_>>().concat();
        asks.client.stream().write_all(&frames).unwrap();
        until("some wait", || {
            number(&server.program, "turns", "events") > 0
        });
        for _ in 0..2 {
            server.is_upgraded(&[]);
        }
        for seq in asked {
            let page = asks.next();
            assert_eq!(page["seq"], seq, "{workers}: {page}");
            assert_eq!(page["messages"].as_array().unwrap().len(), 100);
        }
        let mut ok = asks.next();
        if ok["type"] == "msg" {
            ok = asks.next();
        }
        assert_eq!((&ok["seq"], &ok["type"]), (&json!(2_000), &json!("ok")));
        assert_eq!(ok["offset"], 101);
        server.program.stop();
    }
}

#[test]
fn after_a_reload_of_the_memory_of_repeats_an_upgrade_works_and_knows_them() {
    for data in [&[][..], &["--data", "none"]] {
        let config = ["--config", "t.toml", "--set", "control=c"];
        let binary = env!("CARGO_BIN_EXE_tidings").as_ref();
        let server = Upgradable::start(binary, &[&config[..], data].concat(), |command| {
            let folder = command.get_current_dir().unwrap();
            fs::write(folder.join("t.toml"), "").unwrap();
        });
        let mut ann = ChatClient::login(&server.program, "ann", &[]);
        let say = |n: u64| json!({"type": "say", "to": {"room": "tea"}, "id": format!("id-{n}"), "data": n});
        for n in 0..200 {
            ann.ok(say(n));
        }
        for most in [50, 7, 1_000, 3] {
            let text = format!("[chat]\nrepeat_entries_max = {most}\n");
            fs::write(server.folder.path().join("t.toml"), text).unwrap();
            let reload = ["reload", "--control", "c"];
            let (code, out, err) =
                crate::service::said(&mut crate::service::tidings(server.folder.path(), &reload));
            assert_eq!(code, 0, "{out}{err}");
            ann.ok(say(1_000 + most));
            server.is_upgraded(&["--control", "c"]);
            let again = ann.ok(say(1_000 + most));
            assert_eq!(again["duplicate"], true, "{data:?} {most}: {again}");
        }
        server.program.stop();
    }
}
