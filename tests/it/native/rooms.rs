//! The native protocol and the HTTP API, as clients see them: hand-written frames and requests
//! against the real binary.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::program::Program;

fn post(server: &Program, path: &str, body: &Value) -> (u16, Value) {
    call(server, "POST", path, &body.to_string())
}

fn call(server: &Program, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = server.http().ask_with_json(method, path, body).unwrap();
    (answer.status, parsed(&answer.body))
}

#[test]
fn a_room_hears_what_is_said_in_it_by_websocket_and_by_http() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["lobby"]);
    let mut bob = ChatClient::login(&server, "bob", &["lobby"]);
    assert_eq!(
        ann.next(),
        json!({"type": "joined", "room": "lobby", "uid": "bob"})
    );
    let ok = ann.ok(say("lobby", "hi"));
    assert_eq!(
        (&ok["channel"], &ok["offset"], &ok["receivers"]),
        (&json!("lobby"), &json!(1), &json!(2))
    );
    let heard = bob.hear();
    assert_eq!(
        (&heard["from"], &heard["data"]["text"]),
        (&json!("ann"), &json!("hi"))
    );
    assert_eq!(
        (&heard["offset"], &heard["id"], &heard["epoch"]),
        (&ok["offset"], &ok["id"], &ok["epoch"])
    );

    let message = json!({"to": {"room": "lobby"}, "from": "shop", "data": [1, {"a": null}]});
    let (status, answer) = post(&server, "/v1/messages", &message);
    assert_eq!((status, &answer["results"][0]["offset"]), (200, &json!(2)));
    let heard = bob.hear();
    assert_eq!(
        (&heard["from"], &heard["data"]),
        (&json!("shop"), &json!([1, {"a": null}]))
    );
}

#[test]
fn data_travels_byte_for_byte() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["lobby"]);
    let data = r#"{ "n" : 1.0 , "e":1e2,"u":"\u00e4\/" ,"n":2}"#;
    ann.client.say(format!(
        r#"{{"type":"say","to":{{"room":"lobby"}},"data":{data}}}"#
    ));
    let frame = ann.client.hear_text();
    assert!(frame.ends_with(&format!(r#""data":{data}}}"#)), "{frame}");
    let body = format!(r#"{{"to":{{"user":"ann"}},"data":{data}}}"#);
    assert_eq!(call(&server, "POST", "/v1/messages", &body).0, 200);
    let frame = ann.client.hear_text();
    assert!(frame.ends_with(&format!(r#""data":{data}}}"#)), "{frame}");
}

#[test]
fn a_private_message_is_one_message_in_both_inboxes() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &[]);
    let mut phone = ChatClient::login(&server, "ann", &[]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    let mut cid = ChatClient::login(&server, "cid", &[]);
    let ok = ann.ok(json!({"type": "say", "to": {"user": "bob"}, "data": "psst"}));
    assert_eq!(ok["channel"], "@bob");
    let (at_bob, at_phone) = (bob.hear(), phone.hear());
    assert_eq!(
        (&at_bob["channel"], &at_phone["channel"]),
        (&json!("@bob"), &json!("@ann"))
    );
    for heard in [&at_bob, &at_phone] {
        assert_eq!(
            (&heard["id"], &heard["to"], &heard["from"]),
            (&ok["id"], &json!("bob"), &json!("ann"))
        );
    }
    let inbox = bob.ok(json!({"type": "history", "channel": "@bob"}));
    assert_eq!(inbox["messages"].as_array().unwrap().len(), 1);
    let own = bob.ok(json!({"type": "say", "to": {"user": "bob"}, "data": "note"}));
    assert_eq!(
        bob.ok(json!({"type": "history", "channel": "@bob"}))["messages"][1]["id"],
        own["id"]
    );
    // Nothing of it reached the one whom it wasn't for.
    assert_eq!(
        cid.ok(json!({"type": "online", "users": ["ann", "dora"]}))["online"],
        json!({"ann": true, "dora": false})
    );
    assert_eq!(
        cid.err(json!({"type": "history", "channel": "@bob"})).0,
        "forbidden"
    );
}

#[test]
fn who_comes_back_gets_what_was_missed_before_anything_newer() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut bob = ChatClient::login(&server, "bob", &["tea"]);
    let first = ann.ok(say("tea", "1"));
    bob.hear();
    drop(bob);
    for text in ["2", "3"] {
        ann.ok(say("tea", text));
    }
    let resume = json!({"tea": {"epoch": first["epoch"], "offset": 1}});
    let mut bob = ChatClient::connect(&server);
    let ok = bob.ok(json!({"type": "login", "uid": "bob", "rooms": ["tea"], "resume": resume}));
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    assert_eq!(ok["channels"]["tea"]["offset"], 3);
    ann.ok(say("tea", "4"));
    let heard: Vec<Value> = (0..3).map(|_| bob.hear()["offset"].clone()).collect();
    assert_eq!(heard, [2, 3, 4]);

    bob.ok(json!({"type": "ack", "channel": "tea", "offset": 3}));
    let mut phone = ChatClient::login(&server, "bob", &[]);
    let ok = phone.ok(json!({"type": "join", "room": "tea", "resume": "acked"}));
    assert_eq!(ok["channels"]["tea"]["recovered"], true);
    assert_eq!(phone.hear()["offset"], 4);
    let mut late = ChatClient::login(&server, "bob", &[]);
    let strange = json!({"epoch": "zzzzzz", "offset": 1});
    let ok = late.ok(json!({"type": "join", "room": "tea", "resume": strange}));
    assert_eq!(ok["channels"]["tea"]["recovered"], false);
}

#[test]
fn the_same_id_is_the_same_message() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["lobby"]);
    let mut command = say("lobby", "once");
    command["id"] = json!("k1");
    let first = ann.ok(command.clone());
    let again = ann.ok(command);
    assert_eq!(
        (&first["duplicate"], &again["duplicate"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(first["offset"], again["offset"]);
    let message = json!({"to": {"room": "lobby"}, "from": "shop", "id": "k1", "data": 1});
    let (_, shop) = post(&server, "/v1/messages", &message);
    assert_eq!(shop["results"][0]["duplicate"], false, "another sender");
    let (_, shop) = post(&server, "/v1/messages", &message);
    assert_eq!(shop["results"][0]["duplicate"], true);
}

#[test]
fn what_is_refused_says_what_to_mend() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::connect(&server);
    assert_eq!(ann.err(say("lobby", "x")).0, "unauthorized");
    assert_eq!(
        ann.err(json!({"type": "join", "room": "lobby"})).0,
        "unauthorized"
    );
    let ok = ann.ok(json!({"type": "login", "uid": 7}));
    assert!(
        ok["channels"]["@7"].is_object(),
        "a number is taken as its digits: {ok}"
    );
    for (command, code, field) in [
        (json!({"type": "login", "uid": "bob"}), "conflict", "uid"),
        (
            json!({"type": "join", "room": "@bob"}),
            "bad_request",
            "room",
        ),
        (json!({"type": "join", "room": ""}), "bad_request", "room"),
        (
            json!({"type": "leave", "room": "tea"}),
            "not_member",
            "room",
        ),
        (
            json!({"type": "say", "to": {"all": true}, "data": 1}),
            "forbidden",
            "to",
        ),
        (
            json!({"type": "say", "to": {"room": "a"}, "from": "b", "data": 1}),
            "forbidden",
            "from",
        ),
        (
            json!({"type": "say", "to": {"room": "a"}}),
            "bad_request",
            "data",
        ),
        (
            json!({"type": "history", "channel": "tea"}),
            "not_member",
            "room",
        ),
        (
            json!({"type": "history", "channel": "*", "limit": 0}),
            "bad_request",
            "limit",
        ),
        (
            json!({"type": "ack", "channel": "@7", "offset": 9}),
            "bad_request",
            "offset",
        ),
        (json!({"type": "fly"}), "bad_request", "type"),
    ] {
        let (was, message) = ann.err(command.clone());
        assert!(
            was == code && message.contains(field),
            "{command}: {was}: {message}"
        );
    }
    // What isn't understood is answered without a number, and closes nothing.
    ann.client.say("{");
    let err = ann.next();
    assert_eq!((&err["type"], &err["seq"]), (&json!("err"), &Value::Null));
    for ping in ["PING", "PING\n", "PING\r\n"] {
        ann.client.say(ping);
        assert_eq!(ann.client.hear_text(), "PONG");
    }
}

#[test]
fn a_query_logs_in_and_an_array_holds_several_commands() {
    let server = Program::serve(&[]);
    let mut client = server.websocket("/ws?uid=ann&room=lobby&room=tea");
    assert_eq!(parsed(&client.hear_text())["type"], "hello");
    let ok = parsed(&client.hear_text());
    assert_eq!((&ok["type"], &ok["seq"]), (&json!("ok"), &Value::Null));
    let channels = ok["channels"].as_object().unwrap();
    assert!(
        ["@ann", "*", "lobby", "tea"]
            .iter()
            .all(|name| channels.contains_key(*name)),
        "{ok}"
    );
    client.say(r#"[{"type":"who","seq":1,"room":"tea"},{"type":"leave","room":"tea"},{"type":"who","seq":2,"room":"tea"}]"#);
    let who = parsed(&client.hear_text());
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(1))
    );
    assert_eq!(parsed(&client.hear_text())["seq"], 2);
}

#[test]
fn a_member_who_returns_within_3_s_has_never_left() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["lobby"]);
    let bob = ChatClient::login(&server, "bob", &["lobby"]);
    assert_eq!(ann.next()["type"], "joined");
    drop(bob);
    let bob = ChatClient::login(&server, "bob", &["lobby"]);
    drop(bob);
    assert_eq!(
        ann.next(),
        json!({"type": "left", "room": "lobby", "uid": "bob"})
    );
}

#[test]
fn one_connection_too_many_ends_the_oldest() {
    let server = Program::serve(&["--set", "chat.connections_per_user_max=2"]);
    let mut first = ChatClient::login(&server, "ann", &[]);
    let _second = ChatClient::login(&server, "ann", &[]);
    let _third = ChatClient::login(&server, "ann", &[]);
    assert_eq!(first.next()["code"], "replaced");
    assert!(matches!(first.client.hear_text_or_close(), Err(4003)));
}

#[test]
fn a_stop_says_when_to_come_back() {
    let mut server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["lobby"]);
    assert_eq!(ann.hello["max"], 65_536);
    server.signal(Signal::TERM);
    let drain = ann.next();
    assert_eq!(drain["type"], "drain");
    assert!(
        (500..3_000).contains(&drain["after_ms"].as_u64().unwrap()),
        "{drain}"
    );
    assert!(matches!(ann.client.hear_text_or_close(), Err(1001)));
    drop(ann);
    assert_eq!(server.exit_code(), 0);
}

#[test]
fn the_back_end_sees_and_moves_people() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let fd = ann.hello["fd"].as_u64().unwrap();
    let (_, rooms) = call(&server, "GET", "/v1/rooms?prefix=te", "");
    assert_eq!(
        (&rooms["rooms"][0]["room"], &rooms["rooms"][0]["users"]),
        (&json!("tea"), &json!(1))
    );
    assert_eq!(
        call(&server, "PUT", "/v1/rooms/club/members/ann", "").1["added"],
        true
    );
    let (_, user) = call(&server, "GET", "/v1/users/ann", "");
    assert_eq!(
        (&user["online"], &user["rooms"]),
        (&json!(true), &json!(["club", "tea"]))
    );
    post(
        &server,
        "/v1/messages",
        &json!({"to": {"room": "club"}, "data": "in"}),
    );
    assert_eq!(ann.hear()["channel"], "club");
    let (status, results) = post(
        &server,
        "/v1/messages/batch",
        &json!({"messages": [
        {"to": {"fd": fd}, "data": "here"}, {"to": {"fd": 1}, "data": "nobody"}, {"to": 5, "data": 1}]}),
    );
    assert_eq!((status, ann.hear()["data"].clone()), (200, json!("here")));
    assert_eq!(results["results"][1]["error"]["code"], "not_found");
    assert_eq!(results["results"][2]["error"]["code"], "bad_request");
    let (status, purged) = call(&server, "DELETE", "/v1/rooms/club/messages", "");
    assert_eq!((status, ann.hear()["type"].clone()), (200, json!("gap")));
    let (_, page) = call(&server, "GET", "/v1/rooms/club/messages", "");
    assert_eq!(
        (&page["epoch"], &page["messages"]),
        (&purged["epoch"], &json!([]))
    );
    let path = format!("/v1/connections/{fd}");
    assert_eq!(call(&server, "GET", &path, "").1["uid"], "ann");
    assert_eq!(
        call(&server, "PUT", &format!("{path}/user"), r#"{"uid":"bob"}"#).0,
        409
    );
    assert_eq!(
        post(&server, "/v1/users/ann/kick", &json!({"message": "out"})).1["kicked"],
        1
    );
    assert_eq!(ann.hear()["message"], "out");
    assert!(matches!(ann.client.hear_text_or_close(), Err(4004)));
    assert_eq!(call(&server, "GET", &path, "").0, 404);
    assert_eq!(call(&server, "GET", "/v1/rooms?x=1", "").0, 400);
    assert_eq!(call(&server, "PATCH", "/v1/rooms", "").0, 405);
}

#[test]
fn with_keys_nobody_comes_in_without_one() {
    let keys = Keys::make();
    let file = keys.file();
    let impatient = ["--config", &file, "--set", "tokens.login_ms_max=300"];
    let impatient = Program::serve(&impatient);
    let server = Program::serve(&["--config", &file]);

    let mut late = ChatClient::connect(&impatient);
    assert_eq!(
        late.err(json!({"type": "login", "uid": "ann"})).0,
        "unauthorized"
    );
    assert_eq!(late.next()["code"], "no_login");
    assert!(matches!(late.client.hear_text_or_close(), Err(4002)));
    drop(late);
    impatient.stop();
    let mut wrong = ChatClient::connect(&server);
    wrong
        .client
        .say(json!({"type": "login", "token": "x.y.z"}).to_string());
    assert_eq!(wrong.next()["code"], "bad_token");
    let mut ann = ChatClient::connect(&server);
    ann.ok(
        json!({"type": "login", "token": keys.token("ann", "team-*", "1h"), "rooms": ["team-1"]}),
    );
    assert_eq!(
        ann.err(json!({"type": "join", "room": "lobby"})).0,
        "forbidden"
    );
    assert_eq!(ann.err(say("team-2", "x")).0, "not_member");
    ann.ok(say("team-1", "x"));

    let message = r#"{"to":{"all":true},"data":1}"#;
    assert_eq!(call(&server, "POST", "/v1/messages", message).0, 401);
    let mut http = server.http();
    let size = message.len();
    http.send(format!(
        "POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         {}Content-Length: {size}\r\n\r\n{message}",
        keys.field()
    ))
    .unwrap();
    assert_eq!(http.answer().unwrap().status, 200);
    assert_eq!(ann.hear()["channel"], "*");
}
