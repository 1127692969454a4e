//! Every error code of the native protocol: what brings it about, and that nothing else comes of it.

use serde_json::{Value, json};

use crate::support::api::ask_json;
use crate::support::chat_client::{ChatClient, say};
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::websocket::Heard;

/// Each command is refused with this code, names `field`, and says whether to try again.
#[track_caller]
fn refuses(person: &mut ChatClient, code: &str, cases: &[(Value, &str)]) {
    for (command, field) in cases {
        let answer = person.ask(command.clone());
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(
            answer["type"] == "err" && answer["code"] == code && message.contains(field),
            "{command}: {answer}"
        );
        let may_retry = matches!(code, "unavailable" | "disk_full");
        assert_eq!(answer["retry"], may_retry, "{answer}");
        let mut keys: Vec<&String> = answer.as_object().unwrap().keys().collect();
        keys.sort();
        assert_eq!(
            keys,
            ["code", "message", "retry", "seq", "type"],
            "{answer}"
        );
    }
}

fn with_key(server: &Program, keys: &Keys) -> ChatClient {
    let field = keys.field();
    let (name, value) = field.trim_end().split_once(": ").unwrap();
    ChatClient::on(server.websocket_with("/ws", &[(name, value)]))
}

#[test]
fn bad_request_names_the_field_that_is_wrong() {
    let server = Program::serve(&["--set", "chat.unkept=live-*"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea", "live-1"]);
    let (long, longer) = ("x".repeat(256), "x".repeat(65));
    let to = json!({"room": "tea"});
    refuses(
        &mut ann,
        "bad_request",
        &[
            (json!({"type": "fly"}), "type"),
            (json!({"type": 1}), "type"),
            (json!({}), "type"),
            (json!({"type": "login", "uid": ""}), "uid"),
            (json!({"type": "login", "uid": "a\u{7}"}), "uid"),
            (json!({"type": "login", "uid": "x".repeat(255)}), "uid"),
            (json!({"type": "login"}), "uid"),
            (
                json!({"type": "login", "uid": "ann", "rooms": "tea"}),
                "rooms",
            ),
            (
                json!({"type": "login", "uid": "ann", "rooms": vec!["a"; 101]}),
                "rooms",
            ),
            (
                json!({"type": "login", "uid": "ann", "resume": 1}),
                "resume",
            ),
            (json!({"type": "join"}), "room"),
            (json!({"type": "join", "room": ""}), "room"),
            (json!({"type": "join", "room": "*"}), "room"),
            (json!({"type": "join", "room": "@ann"}), "room"),
            (json!({"type": "join", "room": "a\nb"}), "room"),
            (json!({"type": "join", "room": &long}), "room"),
            (
                json!({"type": "join", "room": "a", "resume": "all"}),
                "resume",
            ),
            (
                json!({"type": "join", "room": "a", "resume": {"offset": 1}}),
                "resume.epoch",
            ),
            (
                json!({"type": "join", "room": "a", "resume": {"epoch": "e"}}),
                "resume.offset",
            ),
            (json!({"type": "leave"}), "room"),
            (json!({"type": "say", "data": 1}), "to"),
            (json!({"type": "say", "to": "tea", "data": 1}), "to"),
            (json!({"type": "say", "to": {}, "data": 1}), "to"),
            (
                json!({"type": "say", "to": {"room": "a", "user": "b"}, "data": 1}),
                "to",
            ),
            (
                json!({"type": "say", "to": {"all": false}, "data": 1}),
                "to",
            ),
            (
                json!({"type": "say", "to": {"rooms": ["a"]}, "data": 1}),
                "to",
            ),
            (json!({"type": "say", "to": to}), "data"),
            (
                json!({"type": "say", "to": to, "data": 1, "id": &longer}),
                "id",
            ),
            (json!({"type": "say", "to": to, "data": 1, "id": ""}), "id"),
            (json!({"type": "say", "to": to, "data": 1, "id": 1.5}), "id"),
            (
                json!({"type": "say", "to": to, "data": 1, "store": 1}),
                "store",
            ),
            (json!({"type": "ack", "channel": "tea"}), "offset"),
            (json!({"type": "ack", "offset": 1}), "channel"),
            (
                json!({"type": "ack", "channel": "tea", "offset": 1}),
                "offset",
            ),
            (
                json!({"type": "ack", "channel": "tea", "offset": -1}),
                "offset",
            ),
            (
                json!({"type": "ack", "channel": "live-1", "offset": 0}),
                "channel",
            ),
            (json!({"type": "history"}), "channel"),
            (
                json!({"type": "history", "channel": "tea", "limit": 0}),
                "limit",
            ),
            (
                json!({"type": "history", "channel": "tea", "limit": 1_001}),
                "limit",
            ),
            (
                json!({"type": "history", "channel": "tea", "after": "x"}),
                "after",
            ),
            (
                json!({"type": "history", "channel": "tea", "before": 1.5}),
                "before",
            ),
            (json!({"type": "who", "room": 5}), "room"),
            (json!({"type": "online"}), "users"),
            (json!({"type": "online", "users": vec!["a"; 101]}), "users"),
            (json!({"type": "online", "users": [""]}), "users"),
        ],
    );
    assert_eq!(
        ann.ok(say("tea", "still here"))["offset"],
        1,
        "nothing was kept"
    );
    drop(ann);
    server.stop();
}

#[test]
fn a_frame_that_cannot_be_read_is_one_err_without_a_number() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &[]);
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let many = format!("[{}]", vec![r#"{"type":"who","room":"a"}"#; 65].join(","));
    let numbered = r#"{"type":"who","room":"tea","seq":-1}"#;
    for frame in [
        "", "{", "5", "null", r#"[5]"#, "ping", &deep, &many, numbered,
    ] {
        ann.client.say(frame);
        let err = ann.next();
        let start = &frame[..frame.len().min(30)];
        assert_eq!(
            (&err["type"], &err["code"], &err["seq"]),
            (&json!("err"), &json!("bad_request"), &Value::Null),
            "{start}"
        );
    }
    // Without a number only what fails is answered, and 64 commands are no more than may come.
    ann.client.say(r#"{"type":"join","room":"tea"}"#);
    ann.client.say(r#"{"type":"leave","room":"lobby"}"#);
    let err = ann.next();
    assert_eq!(
        (&err["code"], &err["seq"]),
        (&json!("not_member"), &Value::Null)
    );
    let most: Vec<Value> = (1..=64)
        .map(|seq| json!({"type": "who", "room": "tea", "seq": seq}))
        .collect();
    ann.client.say(Value::from(most).to_string());
    for seq in 1..=64 {
        let who = ann.next();
        assert_eq!((&who["seq"], &who["users"]), (&json!(seq), &json!(["ann"])));
    }
    drop(ann);
    server.stop();
}

#[test]
fn unauthorized_is_whoever_has_not_logged_in() {
    let keys = Keys::make();
    let to = json!({"user": "ann"});
    let cases = [
        (json!({"type": "join", "room": "tea"}), "log in"),
        (json!({"type": "leave", "room": "tea"}), "log in"),
        (json!({"type": "say", "to": to, "data": 1}), "log in"),
        (
            json!({"type": "ack", "channel": "tea", "offset": 1}),
            "log in",
        ),
        (json!({"type": "history", "channel": "*"}), "log in"),
        (json!({"type": "who", "room": "tea"}), "log in"),
        (json!({"type": "online", "users": ["ann"]}), "log in"),
    ];
    for flags in [&[][..], &["--config", &keys.file()]] {
        let server = Program::serve(flags);
        let mut client = ChatClient::connect(&server);
        refuses(&mut client, "unauthorized", &cases);
        drop(client);
        server.stop();
    }
    let server = Program::serve(&["--config", &keys.file()]);
    let mut client = ChatClient::connect(&server);
    let login = json!({"type": "login", "uid": "ann"});
    refuses(&mut client, "unauthorized", &[(login, "token")]);
    drop(client);
    server.stop();
}

#[test]
fn forbidden_is_what_the_rights_do_not_reach() {
    let keys = Keys::make();
    let to = json!({"room": "team-1"});
    let fd = json!({"fd": 1});
    let by_key = [
        (json!({"type": "say", "to": fd, "data": 1}), "to"),
        (json!({"type": "say", "to": {"all": true}, "data": 1}), "to"),
        (
            json!({"type": "say", "to": to, "from": "bob", "data": 1}),
            "from",
        ),
        (json!({"type": "history", "channel": "@bob"}), "channel"),
        (
            json!({"type": "ack", "channel": "@bob", "offset": 1}),
            "channel",
        ),
    ];
    let open = Program::serve(&["--set", "chat.rooms_per_connection_max=2"]);
    let mut ann = ChatClient::login(&open, "ann", &["team-1", "b"]);
    refuses(&mut ann, "forbidden", &by_key);
    let one_more = json!({"type": "join", "room": "c"});
    refuses(&mut ann, "forbidden", &[(one_more, "2 rooms")]);
    drop(ann);
    open.stop();

    let server = Program::serve(&["--config", &keys.file()]);
    let token = keys.token("ann", "team-*", "1h");
    let mut ann = ChatClient::connect(&server);
    let other = json!({"type": "login", "uid": "bob", "token": token});
    let room = json!({"type": "login", "token": token, "rooms": ["lobby"]});
    refuses(&mut ann, "forbidden", &[(other, "uid"), (room, "rooms")]);
    ann.ok(json!({"type": "login", "token": token, "rooms": ["team-1"]}));
    refuses(&mut ann, "forbidden", &by_key);
    let lobby = json!({"type": "join", "room": "lobby"});
    refuses(&mut ann, "forbidden", &[(lobby, "lobby")]);
    drop(ann);
    server.stop();
}

#[test]
fn not_member_is_who_has_not_joined() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut ann = ChatClient::connect(&server);
    ann.ok(json!({"type": "login", "token": keys.token("ann", "*", "1h")}));
    refuses(
        &mut ann,
        "not_member",
        &[
            (say("tea", "x"), "tea"),
            (json!({"type": "who", "room": "tea"}), "tea"),
            (json!({"type": "leave", "room": "tea"}), "tea"),
            (json!({"type": "history", "channel": "tea"}), "tea"),
            (json!({"type": "ack", "channel": "tea", "offset": 1}), "tea"),
        ],
    );
    drop(ann);
    server.stop();
}

#[test]
fn not_found_and_all_that_an_api_key_may_do_on_a_websocket() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut shop = with_key(&server, &keys);
    let nobody = json!({"fd": 1u64 << 52});
    refuses(
        &mut shop,
        "not_found",
        &[
            (json!({"type": "say", "to": nobody, "data": 1}), "fd"),
            (json!({"type": "history", "channel": "none"}), "none"),
            (json!({"type": "history", "channel": "@none"}), "none"),
        ],
    );
    let mut ann = ChatClient::connect(&server);
    ann.ok(json!({"type": "login", "token": keys.token("ann", "*", "1h"), "rooms": ["tea"]}));
    let fd = &ann.hello["fd"];
    for (to, channel) in [
        (json!({"fd": fd}), Value::Null),
        (json!({"all": true}), json!("*")),
        (json!({"room": "tea"}), json!("tea")),
        (json!({"user": "ann"}), json!("@ann")),
    ] {
        let ok = shop.ok(json!({"type": "say", "to": to, "from": "shop", "data": 1}));
        assert_eq!(ok["receivers"], 1, "{ok}");
        let msg = ann.hear();
        assert_eq!((&msg["channel"], &msg["from"]), (&channel, &json!("shop")));
    }
    assert_eq!(
        shop.ok(json!({"type": "who", "room": "tea"}))["users"],
        json!(["ann"])
    );
    let history = shop.ok(json!({"type": "history", "channel": "@ann"}));
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    // It may be somebody, too.
    shop.ok(json!({"type": "login", "uid": "shop", "rooms": ["tea"]}));
    drop((shop, ann));
    server.stop();
}

#[test]
fn conflict_is_a_second_user_on_one_connection() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let other = json!({"type": "login", "uid": "bob"});
    refuses(&mut ann, "conflict", &[(other, "uid")]);
    let again = ann.ok(json!({"type": "login", "uid": "ann", "rooms": ["lobby"]}));
    assert!(
        again["channels"]["lobby"].is_object(),
        "the same user may: {again}"
    );
    let (_, user) = ask_json(&server, "GET", "/v1/users/ann");
    assert_eq!(user["rooms"], json!(["lobby", "tea"]));
    drop(ann);
    server.stop();
}

#[test]
fn a_frame_over_max_is_closed_with_1009_also_where_another_path_takes_larger_ones() {
    for flags in [&[][..], &["--echo"]] {
        let server = Program::serve(flags);
        let mut ann = ChatClient::login(&server, "ann", &["tea"]);
        let max = usize::try_from(ann.hello["max"].as_u64().unwrap()).unwrap();
        let empty = json!({"type": "say", "seq": 9, "to": {"room": "tea"}, "data": ""}).to_string();
        let sized = |size: usize| {
            let data = "x".repeat(size - empty.len());
            json!({"type": "say", "seq": 9, "to": {"room": "tea"}, "data": data}).to_string()
        };
        let mut bob = server.websocket("/ws?uid=bob&room=tea");
        bob.say(sized(max));
        bob.say(sized(max + 1));
        assert_eq!(bob.hear_all().1, Heard::Close(1009), "{flags:?}");
        assert_eq!(ann.hear()["from"], "bob", "the one that isn't larger came");
        drop((ann, bob));
        server.stop();
    }
}

#[test]
fn unavailable_is_one_channel_too_many_and_may_be_tried_again() {
    let flags = ["chat.channels_max=2", "chat.unclaimed_lines_max=1"];
    let flags = flags.iter().flat_map(|flag| ["--set", flag]);
    let server = Program::serve(&flags.collect::<Vec<_>>());
    // The own line, and a room.
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    ann.ok(json!({"type": "say", "to": {"user": "nobody"}, "data": 1}));
    let to = json!({"user": "nobody too"});
    refuses(
        &mut ann,
        "unavailable",
        &[
            (json!({"type": "join", "room": "lobby"}), "2 channels"),
            (say("lobby", "x"), "2 channels"),
            (json!({"type": "say", "to": to, "data": 1}), "1 lines"),
        ],
    );
    // A login needs no free channel, unless it is to open a room.
    let mut bob = ChatClient::connect(&server);
    let login = json!({"type": "login", "uid": "bob", "rooms": ["lobby"]});
    refuses(&mut bob, "unavailable", &[(login, "2 channels")]);
    bob.ok(json!({"type": "login", "uid": "bob", "rooms": ["tea"]}));
    assert_eq!(
        ann.ok(say("tea", "x"))["offset"],
        1,
        "what there is goes on"
    );
    drop((ann, bob));
    server.stop();
}

#[test]
fn disk_full_is_what_cannot_be_stored_and_all_else_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("store.data={}", folder.path().join("data").display());
    // More than there is: 1 TiB.
    let free = format!("store.disk_free_size_min={}", 1_u64 << 40);
    let server = Program::serve(&["--set", &data, "--set", &free]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut passing = say("tea", "typing");
    let to = json!({"user": "bob"});
    refuses(
        &mut ann,
        "disk_full",
        &[
            (say("tea", "x"), "free"),
            (json!({"type": "say", "to": to, "data": 1}), "free"),
        ],
    );
    passing["store"] = false.into();
    assert_eq!(ann.ok(passing)["receivers"], 1);
    let page = ann.ok(json!({"type": "history", "channel": "tea"}));
    assert_eq!(
        (&page["messages"], &page["offset"]),
        (&json!([]), &json!(0))
    );
    drop(ann);
    server.stop();
}

#[test]
fn a_query_that_is_refused_is_an_err_without_a_number() {
    let server = Program::serve(&[]);
    for (query, code) in [
        ("uid=ann&room=@bob", "bad_request"),
        ("uid=%07", "bad_request"),
        (&*format!("uid=ann{}", "&room=a".repeat(101)), "bad_request"),
    ] {
        let mut client = server.websocket(&format!("/ws?{query}"));
        assert_eq!(parsed(&client.hear_text())["type"], "hello");
        let err = parsed(&client.hear_text());
        assert_eq!(
            (&err["code"], &err["seq"]),
            (&json!(code), &Value::Null),
            "{query}"
        );
        client.leave();
    }
    server.stop();
}
