//! What one user may take of what all share: channels, remembered ids, connections of an address.

use std::io::Read;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::api::{ask_json, number};
use crate::support::chat_client::ChatClient;
use crate::support::http::HttpClient;
use crate::support::keys::Keys;
use crate::support::program::Program;
use crate::support::wait::until;

/// A message to a user, who may never have been there.
fn to_user(uid: &str) -> Value {
    json!({"type": "say", "to": {"user": uid}, "data": uid})
}

fn post(server: &Program, to: &Value, data: &Value) -> u16 {
    let body = json!({"to": to, "data": data});
    server.http().json("POST", "/v1/messages", &body).0
}

/// Says something to so many who were never there; gives how many were taken.
fn fill_lines(mallory: &mut ChatClient, prefix: &str, count: usize) -> usize {
    let taken = (0..count).filter(|number| {
        let answer = mallory.ask(to_user(&format!("{prefix}-{number}")));
        assert!(
            answer["type"] == "ok" || answer["code"] == "unavailable",
            "{answer}"
        );
        answer["type"] == "ok"
    });
    taken.count()
}

#[test]
fn one_user_fills_neither_the_channels_nor_the_lines_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "chat.channels_max=20",
        "chat.channels_per_user_max=10",
        "chat.unclaimed_lines_max=60",
    ];
    let mut server = Program::serve_in(folder.path(), &settings);
    let mut mallory = ChatClient::login(&server, "mallory", &[]);
    assert_eq!(fill_lines(&mut mallory, "x", 30), 10);
    let (code, message) = mallory.err(json!({"type": "join", "room": "another"}));
    assert_eq!(code, "unavailable");
    assert!(message.contains("you opened 10 channels"), "{message}");
    for restart in 0..2 {
        for number in 0..8 {
            ChatClient::login(&server, &format!("user-{restart}-{number}"), &[]);
        }
        let room = json!({"room": format!("news-{restart}")});
        assert_eq!(post(&server, &room, &json!(1)), 200);
        assert_eq!(self::number(&server, "chat", "unclaimed_lines"), 10);
        assert_eq!(
            fill_lines(&mut mallory, "y", 3),
            0,
            "the share stays used up"
        );
        drop(mallory);
        server.stop();
        server = Program::serve_in(folder.path(), &settings);
        mallory = ChatClient::login(&server, "mallory", &[]);
    }
    drop(mallory);
    server.stop();
}

#[test]
fn rooms_that_one_user_opens_count_until_they_are_gone() {
    let server = Program::serve(&[
        "--set",
        "chat.channels_per_user_max=4",
        "--set",
        "chat.channel_idle_ms=0",
    ]);
    let mut ann = ChatClient::login(&server, "ann", &["a", "b", "c", "d"]);
    let (code, _) = ann.err(json!({"type": "join", "room": "e"}));
    assert_eq!(code, "unavailable");
    let mut bob = ChatClient::login(&server, "bob", &["e"]);
    ann.ok(json!({"type": "join", "room": "e"}));
    bob.ok(json!({"type": "leave", "room": "e"}));
    ann.ok(json!({"type": "leave", "room": "d"}));
    until("the room is gone", || {
        ask_json(&server, "GET", "/v1/rooms/d").0 == 404
    });
    ann.ok(json!({"type": "join", "room": "f"}));
    assert_eq!(number(&server, "chat", "refused_share"), 1);
    drop((ann, bob));
    server.stop();
}

#[test]
fn users_together_leave_channels_for_the_back_end() {
    let server = Program::serve(&["--set", "chat.channels_max=20"]);
    let mut ann = ChatClient::login(&server, "ann", &[]);
    let joined = (0..30)
        .filter(|number| {
            ann.ask(json!({"type": "join", "room": format!("r-{number}")}))["type"] == "ok"
        })
        .count();
    // With her own line that is 18 of 20.
    assert_eq!(joined, 17);
    assert_eq!(post(&server, &json!({"room": "news"}), &json!(1)), 200);
    assert_eq!(post(&server, &json!({"room": "more news"}), &json!(1)), 200);
    assert_eq!(post(&server, &json!({"room": "too many"}), &json!(1)), 503);
    drop(ann);
    server.stop();
}

#[test]
fn lines_of_users_who_never_came_make_room_and_those_who_came_or_hear_the_back_end_keep_theirs() {
    for data in [Some(tempfile::tempdir().unwrap()), None] {
        let settings = ["chat.unclaimed_lines_max=16"];
        let server = match &data {
            Some(folder) => Program::serve_in(folder.path(), &settings),
            None => Program::serve(&["--set", settings[0]]),
        };
        let mut bob = ChatClient::login(&server, "bob", &[]);
        for uid in ["came", "told", "bobs"] {
            bob.ok(to_user(uid));
        }
        let mut came = ChatClient::login(&server, "came", &[]);
        assert_eq!(
            post(&server, &json!({"user": "told"}), &json!("by the shop")),
            200
        );
        assert_eq!(number(&server, "chat", "unclaimed_lines"), 1);
        // From 14 on there is hardly room; the lines of whoever opened the most go.
        let mut mallory = ChatClient::login(&server, "mallory", &[]);
        let mut rounds = 0;
        while number(&server, "chat", "unclaimed_dropped") < 5 {
            fill_lines(&mut mallory, &format!("x{rounds}"), 4);
            rounds += 1;
            assert!(rounds < 500, "nothing is dropped");
        }
        until("there is room again", || {
            number(&server, "chat", "unclaimed_lines") <= 14
        });
        for uid in ["came", "told", "bobs"] {
            let (status, history) = ask_json(&server, "GET", &format!("/v1/users/{uid}/messages"));
            assert_eq!(
                (status, &history["messages"][0]["data"]),
                (200, &json!(uid))
            );
        }
        until("the first one of mallory's is gone", || {
            ask_json(&server, "GET", "/v1/users/x0-0/messages").0 == 404
        });
        // Its sender has what was said, and the user finds an empty line.
        let (_, sent) = ask_json(&server, "GET", "/v1/users/mallory/messages");
        assert_eq!(sent["messages"][0]["data"], "x0-0");
        ChatClient::login(&server, "x0-0", &[]);
        came.ok(to_user("bob"));
        drop((bob, came, mallory));
        let unclaimed = number(&server, "chat", "unclaimed_lines");
        server.stop();
        if let Some(folder) = &data {
            let server = Program::serve_in(folder.path(), &settings);
            assert_eq!(number(&server, "chat", "unclaimed_lines"), unclaimed);
            for uid in ["came", "told", "bobs"] {
                let (status, _) = ask_json(&server, "GET", &format!("/v1/users/{uid}/messages"));
                assert_eq!(status, 200, "{uid}");
            }
            server.stop();
        }
    }
}

/// Opens a connection, and says nothing on it; gives what came where it was refused.
fn idle(server: &Program) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE / 50)).unwrap();
    let mut heard = [0; 1_024];
    match stream.read(&mut heard) {
        Ok(size) => Err(String::from_utf8_lossy(&heard[..size]).into_owned()),
        Err(_) => Ok(stream),
    }
}

#[test]
fn an_address_has_so_many_connections_that_nobody_logged_in_on() {
    let keys = Keys::make();
    let file = keys.file();
    let server = Program::serve(&[
        "--config",
        &file,
        "--set",
        "limits.connections_per_address_max=3",
    ]);
    // Whoever shows a token or a key doesn't count.
    let token = keys.token("ann", "*", "1h");
    let login = json!({"type": "login", "token": token});
    let clients: Vec<ChatClient> = (0..6)
        .map(|_| ChatClient::login_with(server.websocket("/ws"), login.clone()).0)
        .collect();
    let back_end = |_| {
        let mut http = server.http();
        let answer = http.ask_with("GET", "/v1/rooms", &keys.field(), "");
        assert_eq!(answer.unwrap().status, 200);
        http
    };
    let mut http: Vec<HttpClient> = (0..6).map(back_end).collect();
    let strangers: Vec<TcpStream> = (0..3).map(|_| idle(&server).unwrap()).collect();
    let refused = idle(&server).unwrap_err();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("of your address"), "{refused}");
    let refused_addresses = |http: &mut HttpClient| {
        let answer = http
            .ask_with("GET", "/v1/stats", &keys.field(), "")
            .unwrap();
        let stats: Value = serde_json::from_str(&answer.body).unwrap();
        stats["totals"]["refused_addresses"].as_u64().unwrap()
    };
    assert_eq!(refused_addresses(&mut http[0]), 1);
    drop(strangers);
    until("there is room again", || idle(&server).is_ok());
    drop((clients, http));
    let mut server = server;
    server
        .stderr
        .wait_for("reason=\"connections_per_address_max\"");
    server.stop();
}

#[test]
fn without_the_bound_an_address_has_as_many_connections_as_it_likes() {
    let server = Program::serve(&[]);
    let idle: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(server.address).unwrap())
        .collect();
    assert_eq!(number(&server, "totals", "refused_addresses"), 0);
    ChatClient::login(&server, "ann", &["tea"]);
    drop(idle);
    server.stop();
}

#[test]
fn one_senders_ids_push_out_nobody_elses_also_after_a_restart() {
    let said = |id: &str| json!({"type": "say", "id": id, "to": {"room": "tea"}, "data": id});
    for data in [Some(tempfile::tempdir().unwrap()), None] {
        let start = || match &data {
            Some(folder) => Program::serve_in(folder.path(), &["chat.repeat_entries_max=40"]),
            None => Program::serve(&["--set", "chat.repeat_entries_max=40"]),
        };
        let mut server = start();
        let mut ann = ChatClient::login(&server, "ann", &["tea"]);
        ann.ok(said("anns"));
        let mut mallory = ChatClient::login(&server, "mallory", &["tea"]);
        for number in 0..100 {
            mallory.ok(said(&number.to_string()));
        }
        assert_eq!(ann.ok(said("anns"))["duplicate"], true);
        assert_eq!(mallory.ok(said("99"))["duplicate"], true);
        assert_eq!(
            mallory.ok(said("10"))["duplicate"],
            false,
            "its own are pushed out"
        );
        if data.is_some() {
            drop((ann, mallory));
            server.stop();
            server = start();
            ann = ChatClient::login(&server, "ann", &["tea"]);
            mallory = ChatClient::login(&server, "mallory", &["tea"]);
            for number in 200..300 {
                mallory.ok(said(&number.to_string()));
            }
            assert_eq!(ann.ok(said("anns"))["duplicate"], true);
        }
        drop((ann, mallory));
        server.stop();
    }
}
