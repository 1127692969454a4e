//! What a restart changes for those who come back, and what it doesn't.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::back_end::{number, post, serve, within};
use crate::guest::{Guest, Heard, Spot, Width};
use crate::program::Program;

fn kill(mut server: Program) {
    server.signal(Signal::KILL);
    server.ended();
}

#[test]
fn an_acknowledgement_lasts_when_the_server_is_killed_a_second_later() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &[]);
    let newest = post(&mut server.http(), "tea", 10, &json!(1));
    let (mut ann, _) = Guest::login(
        server.address,
        Width::Usual,
        json!({"uid": "ann", "rooms": ["tea"]}),
    );
    let records = || number(&server, "durable", "store_records");
    let before = records();
    ann.ok(json!({"type": "ack", "channel": "tea", "offset": 7}));
    // With what the machine takes for the looking itself.
    within(Duration::from_millis(1_500), "it is written", || {
        records() > before
    });
    kill(server);

    let server = serve(data.path(), &[]);
    let login = json!({"uid": "ann", "rooms": ["tea"], "resume": {"tea": "acked"}});
    let (mut ann, ok) = Guest::login(server.address, Width::Usual, login);
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    let mut spot = Spot {
        offset: 7,
        ..newest
    };
    ann.follow("tea", &mut spot, 10);
    drop(ann);
    server.stop();
}

#[test]
fn a_login_resumes_several_channels_at_once_and_each_is_whole() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &["chat.ring_messages_max=5"]);
    let mut http = server.http();
    let rooms = ["a", "b", "c"];
    for room in rooms {
        post(&mut http, room, 700, &json!(room));
    }
    for to in [json!({"user": "ann"}), json!({"all": true})] {
        let messages = vec![json!({"to": to, "data": 1}); 300];
        let body = json!({ "messages": messages });
        let (status, answer) =
            crate::back_end::call(&mut http, "POST", "/v1/messages/batch", &body);
        assert_eq!(status, 200, "{answer}");
    }
    kill(server);

    let server = serve(data.path(), &["chat.ring_messages_max=5"]);
    let resume =
        json!({"a": {"offset": 0}, "b": {"offset": 0}, "@ann": {"offset": 0}, "*": {"offset": 0}});
    let login = json!({"uid": "ann", "rooms": rooms, "resume": resume});
    let (mut ann, ok) = Guest::login(server.address, Width::Usual, login);
    let mut spots = std::collections::BTreeMap::new();
    for (channel, from) in [("a", 0), ("b", 0), ("c", 700), ("@ann", 0), ("*", 0)] {
        let told = &ok["channels"][channel];
        assert_eq!(told["recovered"], true, "{ok}");
        let spot = Spot {
            offset: from,
            ..Spot::of(told)
        };
        spots.insert(channel, spot);
    }
    let mut http = server.http();
    for room in rooms {
        post(&mut http, room, 1, &json!("live"));
    }
    while spots.values().map(|spot| spot.offset).sum::<u64>() < 3 * 701 + 2 * 300 {
        let frame = ann.frame();
        let channel = frame["channel"].as_str().unwrap().to_owned();
        let spot = spots.get_mut(&*channel).unwrap();
        crate::guest::assert_follows(&frame, &channel, spot);
    }
    drop(ann);
    server.stop();
}

#[test]
fn presence_begins_anew_with_a_restart_and_receivers_count_who_is_there() {
    let data = TempDir::new().unwrap();
    let server = serve(data.path(), &["chat.left_ms=0"]);
    let login = |uid| json!({"uid": uid, "rooms": ["tea"]});
    let (mut ann, _) = Guest::login(server.address, Width::Usual, login("ann"));
    let (bob, ok) = Guest::login(server.address, Width::Usual, login("bob"));
    assert_eq!(ok["channels"]["tea"]["members"], 2);
    let say = json!({"type": "say", "to": {"room": "tea"}, "data": 1});
    assert_eq!(ann.ok(say.clone())["receivers"], 2);
    kill(server);
    drop((ann, bob));

    let server = serve(data.path(), &["chat.left_ms=0"]);
    let (mut ann, ok) = Guest::login(server.address, Width::Usual, login("ann"));
    let told = &ok["channels"]["tea"];
    assert_eq!((&told["members"], &told["offset"]), (&json!(1), &json!(1)));
    let who = ann.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(1))
    );
    assert_eq!(ann.ok(say)["receivers"], 1);
    let online = ann.ok(json!({"type": "online", "users": ["ann", "bob"]}));
    assert_eq!(online["online"], json!({"ann": true, "bob": false}));
    assert!(matches!(ann.hear(), Heard::Frame(frame) if frame["offset"] == 2));
    drop(ann);
    server.stop();
}
