//! Who is in a room: told as users come and go, and never cut without a word.

use serde_json::json;

use crate::support::chat_client::ChatClient;
use crate::support::program::Program;

#[test]
fn presence_that_stops_says_so_once_and_begins_again_with_a_list() {
    let server = Program::serve(&[
        "--set",
        "chat.presence_users_max=4",
        "--set",
        "chat.left_ms=50",
    ]);
    let mut first = ChatClient::login(&server, "a", &["tea"]);
    let mut others: Vec<ChatClient> = ["b", "c", "d", "e", "f"]
        .into_iter()
        .map(|uid| ChatClient::login(&server, uid, &["tea"]))
        .collect();
    for uid in ["b", "c", "d"] {
        assert_eq!(first.next()["uid"], uid);
    }
    let off = json!({"type": "presence", "room": "tea", "state": "off"});
    assert_eq!(first.next(), off);
    // Whoever comes now is told so in the answer.
    let mut late = ChatClient::connect(&server);
    let ok = late.ok(json!({"type": "login", "uid": "g", "rooms": ["tea"]}));
    assert_eq!(ok["channels"]["tea"]["presence"], "off");
    drop(late);
    // At the bound nothing is told yet, so that one who comes and goes turns nothing on and off.
    for _ in 0..3 {
        drop(others.pop());
    }
    let on = json!({"type": "presence", "room": "tea", "state": "on", "users": ["a", "b", "c"],
        "users_total": 3, "more": false});
    assert_eq!(first.next(), on);
    others.push(ChatClient::login(&server, "h", &["tea"]));
    assert_eq!(
        first.next(),
        json!({"type": "joined", "room": "tea", "uid": "h"})
    );
    drop((first, others));
    server.stop();
}

#[test]
fn a_list_that_is_cut_says_so() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea", "lobby"]);
    let bob = ChatClient::login(&server, "bob", &["tea"]);
    let mut http = server.http();
    for (path, list) in [
        ("/v1/rooms", "rooms"),
        ("/v1/rooms/tea/members", "members"),
        ("/v1/connections", "connections"),
    ] {
        let (status, all) = http.json("GET", path, &json!(null));
        assert_eq!(
            (status, &all["more"]),
            (200, &json!(false)),
            "{path}: {all}"
        );
        let (_, cut) = http.json("GET", &format!("{path}?limit=1"), &json!(null));
        assert_eq!(cut[list].as_array().unwrap().len(), 1, "{path}: {cut}");
        assert_eq!(cut["more"], true, "{path}: {cut}");
    }
    let who = ann.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users_total"], &who["more"]),
        (&json!(2), &json!(false))
    );
    drop((ann, bob, http));
    server.stop();
}
