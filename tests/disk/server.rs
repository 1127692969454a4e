//! A disk without room: what can't be stored is refused and not taken, everything else goes on, and
//! by itself so does storing once there is room again. The real binary, on a small disk of its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use serde_json::{Value, json};

use super::small_disk::SmallDisk;
use crate::support::api::number;
use crate::support::chat_client::{ChatClient, Position};
use crate::support::http::HttpClient;
use crate::support::program::Program;
use crate::support::wait::until;
use crate::support::websocket::WebSocketClient;

/// Has to stay free.
const FREE_MIN: &str = "store.disk_free_size_min=8388608";

fn say(http: &mut HttpClient, to: &Value, id: &str) -> (u16, Value) {
    let filler = "x".repeat(500);
    let message = json!({"to": to, "data": {"id": id, "filler": filler}, "id": id});
    http.json("POST", "/v1/messages", &message)
}

/// The ids in the order of a room's history.
fn ids_in(server: &Program, room: &str) -> Vec<String> {
    let (mut http, mut ids) = (server.http(), Vec::new());
    loop {
        let after = ids.len();
        let path = format!("/v1/rooms/{room}/messages?limit=1000&after={after}");
        let (status, page) = http.json("GET", &path, &Value::Null);
        assert_eq!(status, 200, "{page}");
        let messages = page["messages"].as_array().unwrap().iter();
        ids.extend(messages.map(|message| message["id"].as_str().unwrap().to_owned()));
        if page["more"] == false {
            return ids;
        }
    }
}

fn ready(server: &Program) -> u16 {
    server.http().ask("GET", "/readyz", "").unwrap().status
}

/// Says messages until one is refused; the ids of those that were taken, and of that one.
fn say_until_refused(http: &mut HttpClient, to: &Value) -> (Vec<String>, String) {
    for number in 0..10_000 {
        let id = format!("m{number}");
        let (status, answer) = say(http, to, &id);
        if status != 200 {
            assert_eq!(
                (status, &answer["error"]["code"]),
                (507, &json!("disk_full"))
            );
            let taken = (0..number).map(|number| format!("m{number}"));
            return (taken.collect(), id);
        }
    }
    panic!("it is never full");
}

/// Tells the others that it is over, also when it fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn without_room_nothing_is_taken_and_everything_else_goes_on() {
    let disk = SmallDisk::mount("48m");
    let settings = [
        FREE_MIN,
        "store.segment_size_max=1048576",
        "chat.unkept=raw-*",
        "chat.in_memory=live-*",
        "chat.ring_messages_max=10",
    ];
    let server = Program::serve_in(&disk.data(), &settings);
    let mut http = server.http();
    let tea = json!({"room": "tea"});
    let login = json!({"uid": "ann", "rooms": ["tea", "raw-1"]});
    let (mut ann, _) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    for number in 0..300 {
        assert_eq!(say(&mut http, &tea, &format!("first{number}")).0, 200);
    }
    assert_eq!(ready(&server), 200);
    disk.fill(4 << 20);
    let (taken, refused) = say_until_refused(&mut http, &tea);
    let mut expected: Vec<String> = (0..300).map(|number| format!("first{number}")).collect();
    expected.extend(taken);

    // What can't be stored.
    assert_eq!(ready(&server), 503);
    let batch = json!({"messages": vec![json!({"to": tea, "data": 1}); 3]});
    let (_, answer) = http.json("POST", "/v1/messages/batch", &batch);
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result["error"]["code"], "disk_full", "{answer}");
    }
    let (_, by_user) = say(&mut http, &json!({"user": "ann"}), "private");
    assert_eq!(by_user["error"]["code"], "disk_full");
    let seq = ann.send(json!({"type": "say", "to": tea, "data": 1}));
    let err = loop {
        let frame = ann.hear();
        if frame["seq"] == seq {
            break frame;
        }
    };
    let told = (&err["type"], &err["code"], &err["retry"]);
    assert_eq!(told, (&json!("err"), &json!("disk_full"), &json!(true)));
    let (status, _) = http.json("PUT", "/v1/rooms/tea/members/bob", &json!({}));
    assert_eq!(status, 507);

    // What needn't be.
    for (to, offset) in [
        (json!({"room": "raw-1"}), &Value::Null),
        (json!({"room": "live-1"}), &json!(1)),
    ] {
        let (status, answer) = say(&mut http, &to, "unstored");
        assert_eq!((status, &answer["results"][0]["offset"]), (200, offset));
    }
    let unstored = json!({"to": tea, "data": "unstored", "store": false});
    assert_eq!(http.json("POST", "/v1/messages", &unstored).0, 200);
    // To one connection each, the order between channels being nobody's promise.
    let mut heard = [ann.hear(), ann.hear()].map(|frame| frame["channel"].clone());
    heard.sort_by_key(Value::to_string);
    assert_eq!(heard, ["raw-1", "tea"]);
    assert_eq!(ids_in(&server, "tea"), expected);
    let login = json!({"uid": "bob", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    let (mut bob, ok) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    let told = Position::of(&ok["channels"]["tea"]);
    assert_eq!(told.offset, expected.len() as u64);
    let mut position = Position { offset: 0, ..told };
    bob.follow("tea", &mut position, expected.len() as u64);

    // There is room again.
    disk.clear();
    until("it stores again", || ready(&server) == 200);
    let (status, answer) = say(&mut http, &tea, &refused);
    let result = &answer["results"][0];
    assert_eq!((status, &result["duplicate"]), (200, &json!(false)));
    assert_eq!(result["offset"], expected.len() + 1);
    expected.push(refused);
    assert!(matches!(bob.hear_or_close(), Ok(frame) if frame["id"] == *expected.last().unwrap()));
    drop((ann, bob));
    server.kill();
    let server = Program::serve_in(&disk.data(), &settings);
    assert_eq!(ids_in(&server, "tea"), expected);
    server.stop();
}

#[test]
fn a_server_without_room_starts_and_shows_what_it_has() {
    let disk = SmallDisk::mount("32m");
    let settings = [FREE_MIN, "store.segment_size_max=1048576"];
    let server = Program::serve_in(&disk.data(), &settings);
    let tea = json!({"room": "tea"});
    assert_eq!(say(&mut server.http(), &tea, "before").0, 200);
    disk.fill(0);
    server.kill();

    let server = Program::serve_in(&disk.data(), &settings);
    let mut http = server.http();
    assert_eq!(ids_in(&server, "tea"), ["before"]);
    assert_eq!(say(&mut http, &tea, "refused").0, 507);
    until("it says so", || ready(&server) == 503);
    let login = json!({"uid": "ann", "rooms": ["tea"], "resume": {"tea": {"offset": 0}}});
    let (mut ann, _) =
        ChatClient::login_with(WebSocketClient::connect(server.address, "/ws"), login);
    assert_eq!(ann.hear()["id"], "before");
    disk.clear();
    until("it stores again", || ready(&server) == 200);
    assert_eq!(say(&mut http, &tea, "after").0, 200);
    assert_eq!(ann.hear()["id"], "after");
    drop(ann);
    server.stop();
}

#[test]
fn a_disk_that_runs_out_in_the_middle_of_a_write_loses_nothing_that_was_answered() {
    let disk = SmallDisk::mount("24m");
    let settings = [
        // The system is what says no.
        "store.disk_free_size_min=0",
        "store.segment_size_max=1048576",
    ];
    let server = Program::serve_in(&disk.data(), &settings);
    let tea = json!({"room": "tea"});
    let (over, address) = (AtomicBool::new(false), server.address);
    let stored: Vec<Vec<String>> = thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (over, tea) = (&over, &tea);
                scope.spawn(move || {
                    let (mut http, mut stored) = (HttpClient::connect(address), Vec::new());
                    for number in 0.. {
                        if over.load(Relaxed) {
                            break;
                        }
                        let id = format!("{writer}-{number}");
                        match say(&mut http, tea, &id) {
                            (200, _) => stored.push(id),
                            (507 | 503, _) => {}
                            (status, answer) => panic!("{status}: {answer}"),
                        }
                    }
                    stored
                })
            })
            .collect();
        let ends = Ends(&over);
        let records = || number(&server, "store", "records");
        for _ in 0..3 {
            let before = records();
            until("it stores", || records() > before + 50);
            disk.fill(0);
            until("it is full", || ready(&server) == 503);
            disk.clear();
            until("it stores again", || ready(&server) == 200);
        }
        drop(ends);
        writers.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let judge = |server: &Program| {
        let ids = ids_in(server, "tea");
        for (writer, stored) in stored.iter().enumerate() {
            let own = format!("{writer}-");
            let found = ids.iter().filter(|id| id.starts_with(&own));
            assert!(found.eq(stored), "what was answered is what is there");
        }
    };
    judge(&server);
    server.kill();
    let server = Program::serve_in(&disk.data(), &settings);
    judge(&server);
    server.stop();
}
