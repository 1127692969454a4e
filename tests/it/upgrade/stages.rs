//! What comes while an upgrade is at any of its stages: a signal, a client that ends or begins, a long time.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{POINTS, Upgradable, rounds};
use crate::support::api::{number, post};
use crate::support::chat_client::{ChatClient, say};
use crate::support::http::HttpClient;
use crate::support::wait::until;
use crate::support::websocket::{Heard, WebSocketClient};

/// Whether nothing is read any more at this point.
fn is_hushed(point: &str) -> bool {
    point != "rehearsed"
}

#[test]
fn sigterm_is_obeyed_at_each_stage() {
    for point in POINTS {
        let mut server = Upgradable::serve(&[]);
        let mut client = ChatClient::login(&server.program, "ann", &["tea"]);
        server.upgrade_and(point, || server.program.signal(Signal::TERM));
        assert_eq!(client.client.hear_all().1, Heard::Close(1001), "at {point}");
        assert_eq!(server.program.exit_code(), 0, "at {point}");
        let log = server.program.stderr.all();
        assert!(log.contains("stopped"), "at {point}: {log}");
    }
}

#[test]
fn a_reload_a_renewal_and_another_upgrade_that_are_asked_for_at_any_stage_are_done_afterwards() {
    let mut server = Upgradable::serve(&[]);
    for point in POINTS {
        let (code, _, err) = server.upgrade_and(point, || {
            for signal in [Signal::HUP, Signal::USR1, Signal::USR2] {
                server.program.signal(signal);
            }
        });
        assert_eq!(code, 0, "at {point}: {err}");
        let mut left = vec![
            "upgraded",
            "SIGUSR1: the workers and the processes are renewed",
            "the settings were read anew",
            "upgraded",
        ];
        while !left.is_empty() {
            println!("at {point}: {left:?}");
            let line = server.program.stderr.wait_for(" ");
            if let Some(at) = left.iter().position(|text| line.contains(text)) {
                left.remove(at);
            }
        }
        server.serves();
    }
    server.program.stop();
}

#[test]
fn whoever_ends_begins_or_asks_at_any_stage_is_served_by_the_next_image() {
    let server = Upgradable::serve(&["--set", "chat.left_ms=0"]);
    let mut stays = ChatClient::login(&server.program, "stays", &["tea"]);
    for (round, point) in POINTS.into_iter().enumerate() {
        let login = |uid: &str| ChatClient::login(&server.program, uid, &["tea"]);
        let (mut leaves, resets) = (login("leaves"), login("resets"));
        let (mut says, mut last) = (login("says"), login("last"));
        let mut kept = server.program.http();
        assert_eq!(kept.get("/healthz").status, 200);
        let mut storm = Vec::new();
        let (code, _, err) = server.upgrade_and(point, || {
            leaves.client.shut();
            resets.client.reset();
            says.send(say("tea", "said"));
            // The last words of one that has left by then.
            last.send(say("tea", "last"));
            last.client.shut();
            kept.send_get("/v1/rooms/tea/messages");
            let connect = || HttpClient::connect(server.program.address);
            storm = (0..100).map(|_| connect()).collect();
            for one in &mut storm {
                one.send_get("/healthz");
            }
            if is_hushed(point) && point != "commit.wait" {
                assert!(!storm.iter().any(HttpClient::has_answer), "at {point}");
            }
        });
        assert_eq!(code, 0, "at {point}: {err}");
        for mut one in storm {
            assert_eq!(one.answer().unwrap().status, 200, "at {point}");
        }
        let place = 2 * round as u64;
        let heard = stays.hear_offsets("tea", place + 1..=place + 2);
        let mut texts: Vec<_> = heard.iter().map(|data| &data["text"]).collect();
        texts.sort_by_key(|text| text.as_str());
        assert_eq!(texts, ["last", "said"], "at {point}");
        assert_eq!(kept.answer().unwrap().status, 200, "at {point}");
        let mut answers = std::iter::repeat_with(|| says.next());
        assert!(answers.any(|frame| frame["type"] == "ok"), "at {point}");
        drop(says);
        until("those who end have left", || {
            let who = stays.ok_keeping(json!({"type": "who", "room": "tea"}));
            let who = who.to_string();
            ["leaves", "resets", "last", "says"]
                .iter()
                .all(|uid| !who.contains(uid))
        });
    }
    server.program.stop();
}

#[test]
fn nobody_is_pinged_out_or_late_for_the_time_of_the_stand() {
    let server = Upgradable::serve(&[
        "--set",
        "websocket.ping_ms=700",
        "--set",
        "websocket.pong_ms_max=700",
        "--set",
        "http.head_ms_max=1500",
    ]);
    let mut pings = ChatClient::login(&server.program, "pings", &["tea"]);
    let mut slow = server.program.http();
    slow.send("GET /healthz HTTP/1.1\r\n").unwrap();
    // One that owes a pong, and gives it while nobody reads.
    assert_eq!(pings.client.hear_any(), Heard::Ping);
    // The pong goes out with the next read, which waits longer than any deadline.
    let mut wait = || assert_eq!(pings.client.hear_within(Duration::from_millis(1_600)), None);
    // A freeze that changes nothing, and one that ends in the next image.
    server.let_fail("freeze.still");
    let (code, _, err) = server.meanwhile(&["--check"], || {
        server.waits_at("freeze.still");
        wait();
    });
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = server.upgrade_and("freeze.still", wait);
    assert_eq!(code, 0, "{err}");
    slow.send("Host: 127.0.0.1\r\n\r\n").unwrap();
    assert_eq!(slow.answer().unwrap().status, 200);
    pings.ok(say("tea", "I am here"));
    server.program.stop();
}

#[test]
fn an_upgrade_of_a_server_that_stops_is_refused() {
    let mut server = Upgradable::serve(&[]);
    // It waits for its client's Close.
    let mut client = ChatClient::login(&server.program, "ann", &["tea"]);
    server.let_fail("rehearsed");
    let (code, _, err) = server.meanwhile(&[], || {
        server.waits_at("rehearsed");
        server.program.signal(Signal::TERM);
        until("it stops", || {
            let heard = client.client.hear_within(Duration::from_millis(10));
            matches!(heard, Some(Heard::Close(1001)))
        });
    });
    assert_eq!(code, 1, "{err}");
    assert!(err.contains("the server stops"), "{err}");
    assert_eq!(server.program.exit_code(), 0);
}

#[test]
fn after_a_freeze_that_changed_nothing_every_clock_goes_on() {
    let server = Upgradable::serve(&[
        "--set",
        "chat.left_ms=100",
        "--set",
        "websocket.ping_ms=200",
    ]);
    // In no room, so that it hears nothing else.
    let mut pings = ChatClient::login(&server.program, "pings", &[]);
    let mut stays = ChatClient::login(&server.program, "stays", &["tea"]);
    for failing in ["", "exec", "thaw.header"] {
        let leaves = ChatClient::login(&server.program, "leaves", &["tea"]);
        server.let_fail(failing);
        match failing {
            "" => drop(server.is_upgraded(&["--check"])),
            _ => server.is_refused(&[], ""),
        }
        drop(leaves);
        assert_eq!(pings.client.hear_any(), Heard::Ping);
        let mut presence = std::iter::repeat_with(|| stays.next());
        let has_left = |frame: &Value| frame["type"] == "left" && frame["uid"] == "leaves";
        assert!(presence.any(|frame| has_left(&frame)));
    }
    server.program.stop();
}

#[test]
fn leaving_within_its_time_goes_on_in_the_next_image() {
    let server = Upgradable::serve(&["--set", "chat.left_ms=1000"]);
    let mut stays = ChatClient::login(&server.program, "stays", &["tea"]);
    for _ in 0..rounds(1) {
        let leaves = ChatClient::login(&server.program, "leaves", &["tea"]);
        let comes_back = ChatClient::login(&server.program, "back", &["tea"]);
        drop((leaves, comes_back));
        until("both are gone", || {
            number(&server.program, "totals", "websockets") == 1
        });
        server.is_upgraded(&[]);
        let _back = ChatClient::login(&server.program, "back", &["tea"]);
        post(&mut server.program.http(), "tea", 1, &json!("end"));
        let mut seen = Vec::new();
        while !seen.iter().any(|frame: &Value| frame["type"] == "left") {
            seen.push(stays.next());
        }
        let left: Vec<_> = seen.iter().filter(|one| one["type"] == "left").collect();
        assert_eq!(left[0]["uid"], "leaves", "{left:?}");
        let again = seen.iter().filter(|one| one["type"] == "joined");
        assert_eq!(
            again.count(),
            2,
            "who comes back in time has never left: {seen:?}"
        );
    }
    server.program.stop();
}

#[test]
fn after_an_exec_that_failed_a_write_to_a_peer_that_has_gone_is_no_end() {
    let server = Upgradable::serve(&[]);
    let mut stays = ChatClient::login(&server.program, "stays", &["tea"]);
    let gone: Vec<WebSocketClient> = (0..20)
        .map(|n| ChatClient::login(&server.program, &format!("g{n}"), &["tea"]).client)
        .collect();
    server.execution_is_refused();
    // The message is written once its readers have gone, and before the server reads that they have.
    server.let_fail("disk hangs");
    server.waits_at("disk hangs");
    stays.send(say("tea", "to nobody else"));
    server.let_fail("disk hangs\nfreeze.hush");
    let (code, _, err) = server.meanwhile(&["--check"], || {
        server.waits_at("freeze.hush");
        for mut one in gone {
            one.shut();
            one.reset();
        }
        server.let_fail("freeze.hush");
        stays.hear_offsets("tea", 1..=1);
    });
    assert_eq!(code, 0, "{err}");
    until("they are gone", || {
        number(&server.program, "totals", "websockets") == 1
    });
    server.serves();
    server.program.stop();
}
