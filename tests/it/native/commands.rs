//! The commands of the native protocol in full: each field, and what it changes for whom.

use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::parsed;
use crate::support::program::Program;

fn texts(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["data"]["text"].as_str().unwrap())
        .collect()
}

fn history(channel: &str, fields: Value) -> Value {
    let mut command = json!({"type": "history", "channel": channel});
    for (name, value) in fields.as_object().unwrap() {
        command[name] = value.clone();
    }
    command
}

#[test]
fn a_frame_full_of_questions_gets_every_answer_however_large_they_are() {
    const PAGES: u64 = 64;
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    for _ in 0..64 {
        ann.ok(say("tea", &"x".repeat(4_000)));
    }
    let mut bob = server.websocket("/ws?uid=bob&room=tea");
    let page = |seq| json!({"type": "history", "seq": seq, "channel": "tea", "limit": 1_000});
    bob.say(Value::from_iter((1..=PAGES).map(page)).to_string());
    bob.say(json!({"type": "online", "seq": PAGES + 1, "users": ["ann"]}).to_string());
    let mut seq = 0;
    while seq <= PAGES {
        let answer = parsed(&bob.hear_text());
        if answer["type"] == "ok" && answer["seq"].is_u64() {
            seq += 1;
            assert_eq!(answer["seq"], seq, "in order");
            let full = answer["messages"].as_array().map_or(0, Vec::len);
            assert_eq!(full > 50, seq <= PAGES, "{full} messages in {seq}");
        }
    }
}

#[test]
fn login_resumes_every_channel_from_where_it_is_asked_to() {
    let server = Program::serve(&[]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    for text in ["1", "2", "3"] {
        bob.ok(say("tea", text));
        bob.ok(say("lobby", text));
        bob.ok(json!({"type": "say", "to": {"user": "ann"}, "data": {"text": text}}));
    }
    let epoch = bob.ok(say("lobby", "4"))["epoch"].clone();
    // Without a resume, from now on; from 0, all that is kept; behind a position, what is newer.
    let mut ann = ChatClient::connect(&server);
    let ok = ann.ok(json!({"type": "login", "uid": "ann", "rooms": ["tea", "lobby", "new"],
        "resume": {"@ann": {"offset": 0}, "lobby": {"epoch": epoch, "offset": 3}, "else": "acked"}}));
    let channels = &ok["channels"];
    assert_eq!(channels.as_object().unwrap().len(), 5, "{channels}");
    for (channel, newest) in [("tea", 3), ("lobby", 4), ("new", 0), ("@ann", 3), ("*", 0)] {
        assert_eq!(channels[channel]["offset"], newest, "{channels}");
        assert_eq!(channels[channel]["recovered"], true, "{channels}");
    }
    let heard: Vec<(Value, Value)> = (0..4)
        .map(|_| ann.hear())
        .map(|msg| (msg["channel"].clone(), msg["offset"].clone()))
        .collect();
    let private = (1..=3).map(|offset| (json!("@ann"), json!(offset)));
    let expected: Vec<_> = private.chain([(json!("lobby"), json!(4))]).collect();
    assert_eq!(heard, expected);
    bob.ok(say("tea", "now"));
    assert_eq!(ann.hear()["data"]["text"], "now");
}

#[test]
fn join_once_more_is_answered_and_repeats_nothing() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    bob.ok(say("tea", "1"));
    assert_eq!(ann.hear()["offset"], 1);
    let again = ann.ok(json!({"type": "join", "room": "tea", "resume": {"offset": 0}}));
    let tea = &again["channels"]["tea"];
    assert_eq!((&tea["offset"], &tea["members"]), (&json!(1), &json!(1)));
    bob.ok(say("tea", "2"));
    assert_eq!(ann.hear()["offset"], 2);
}

#[test]
fn leave_is_for_one_connection_and_a_resume_fills_what_it_left_out() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut phone = ChatClient::login(&server, "ann", &["tea"]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    let epoch = ann.ok(json!({"type": "join", "room": "tea"}))["channels"]["tea"]["epoch"].clone();
    phone.ok(json!({"type": "leave", "room": "tea"}));
    let who = ann.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(1))
    );
    bob.ok(say("tea", "1"));
    assert_eq!(ann.hear()["offset"], 1);
    phone.ok(json!({"type": "join", "room": "tea", "resume": {"epoch": epoch, "offset": 0}}));
    assert_eq!(phone.hear()["offset"], 1);
}

#[test]
fn what_is_not_stored_is_heard_and_forgotten() {
    let server = Program::serve(&["--set", "chat.unkept=live-*"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea", "live-1"]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    let mut passing = say("tea", "typing");
    passing["store"] = false.into();
    for command in [passing, say("live-1", "goal")] {
        let ok = bob.ok(command);
        assert!(ok["offset"].is_null() && ok["epoch"].is_null(), "{ok}");
        let msg = ann.hear();
        assert!(msg["offset"].is_null() && msg["epoch"].is_null(), "{msg}");
        assert_eq!((&msg["id"], &msg["channel"]), (&ok["id"], &ok["channel"]));
    }
    for channel in ["tea", "live-1"] {
        assert_eq!(ann.ok(history(channel, json!({})))["messages"], json!([]));
    }
    assert_eq!(ann.ok(say("tea", "1"))["offset"], 1);
    // Nothing could be filled there, and that is said.
    let ok = bob.ok(json!({"type": "join", "room": "live-1", "resume": {"offset": 0}}));
    assert_eq!(ok["channels"]["live-1"]["recovered"], false, "{ok}");
}

#[test]
fn acks_are_the_users_and_only_grow() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    for text in ["1", "2", "3", "4"] {
        ann.ok(say("tea", text));
    }
    let ack = |offset: u64| json!({"type": "ack", "channel": "tea", "offset": offset});
    ann.ok(ack(3));
    ann.ok(ack(2));
    for (uid, first) in [("ann", 4), ("bob", 1)] {
        // With no ack of one's own: all that is kept.
        let mut phone = ChatClient::login(&server, uid, &[]);
        let ok = phone.ok(json!({"type": "join", "room": "tea", "resume": "acked"}));
        assert_eq!(ok["channels"]["tea"]["recovered"], true);
        assert_eq!(phone.hear()["offset"], first, "{uid}");
    }
}

#[test]
fn history_goes_both_ways_and_ends_a_page_by_number_or_by_size() {
    let server = Program::serve(&["--set", "chat.page_size_max=4096"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea", "long"]);
    for text in ["1", "2", "3", "4", "5"] {
        ann.ok(say("tea", text));
    }
    for (fields, expected, more) in [
        (json!({}), &["1", "2", "3", "4", "5"][..], false),
        (json!({"limit": 2}), &["1", "2"], true),
        (json!({"after": 2}), &["3", "4", "5"], false),
        (json!({"after": 2, "limit": 2}), &["3", "4"], true),
        (json!({"before": 4}), &["3", "2", "1"], false),
        (json!({"before": 4, "limit": 2}), &["3", "2"], true),
        (json!({"after": 1, "before": 4}), &["2", "3"], false),
        (json!({"after": 5}), &[], false),
        (json!({"after": 99}), &[], false),
    ] {
        let page = ann.ok(history("tea", fields.clone()));
        assert_eq!(
            (texts(&page), &page["more"]),
            (expected.to_vec(), &json!(more)),
            "{fields}"
        );
        assert_eq!(
            (&page["channel"], &page["offset"]),
            (&json!("tea"), &json!(5))
        );
    }
    for _ in 0..3 {
        ann.ok(say("long", &"x".repeat(3_000)));
    }
    let page = ann.ok(history("long", json!({})));
    let count = page["messages"].as_array().unwrap().len();
    assert!((1..3).contains(&count) && page["more"] == true, "{count}");
    let rest = ann.ok(history("long", json!({"after": count})));
    assert_eq!(rest["messages"][0]["offset"], count + 1);
}

#[test]
fn who_counts_users_once_and_online_needs_no_room() {
    let server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let _phone = ChatClient::login(&server, "ann", &["tea"]);
    let bob = ChatClient::login(&server, "bob", &[]);
    let who = ann.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(
        (&who["users"], &who["connections"]),
        (&json!(["ann"]), &json!(2))
    );
    let nobody = ann.ok(json!({"type": "who", "room": "empty"}));
    assert_eq!(
        (&nobody["users"], &nobody["connections"]),
        (&json!([]), &json!(0))
    );
    let question = json!({"type": "online", "users": ["bob", "cid", "bob"]});
    assert_eq!(
        ann.ok(question.clone())["online"],
        json!({"bob": true, "cid": false})
    );
    bob.client.leave();
    while ann.ok(question.clone())["online"]["bob"] == true {}
}
