//! Channels whose deliveries wait for more (`chat.gather`): what their members notice, and what the
//! others don't.

use serde_json::{Value, json};

use crate::support::api::{ask_json, number};
use crate::support::chat_client::{ChatClient, say};
use crate::support::program::Program;
use crate::support::wait::until;

/// Longer than any test: what gathers goes out by its number, or since something makes it.
const RULE: &str = "chat.gather=live-* delay=10s";

/// Runs `test` with servers whose channels `live-*` wait for three messages, on one thread and on
/// several.
fn with_servers(test: impl Fn(&Program)) {
    for (reactors, workers) in [("1", "0"), ("1", "1"), ("2", "0"), ("2", "2")] {
        let threads = ["--reactors", reactors, "--workers", workers];
        let set = ["--set", RULE, "--set", "chat.gather_messages_max=3"];
        let quiet = ["--set", "chat.presence_users_max=0"];
        test(&Program::serve(&[&threads[..], &set, &quiet].concat()));
    }
}

/// Until as many messages wait on each of `reactors`.
fn until_waiting(server: &Program, count: u64) {
    until("they wait", || {
        number(server, "totals", "gathered_waiting") == count
    });
}

fn data(frames: &[Value]) -> Vec<&str> {
    let texts = frames.iter().map(|frame| frame["data"]["text"].as_str());
    texts.map(Option::unwrap).collect()
}

#[test]
fn a_room_that_gathers_keeps_its_order_and_the_others_never_wait() {
    with_servers(|server| {
        let mut ann = ChatClient::login(server, "ann", &["live-1", "tea"]);
        let mut bob = ChatClient::login(server, "bob", &["live-1", "tea"]);
        // `ok` doesn't wait, and neither do other rooms and private messages.
        assert_eq!(bob.ok_keeping(say("live-1", "1"))["offset"], 1);
        assert_eq!(bob.ok_keeping(say("live-1", "2"))["receivers"], 2);
        bob.ok_keeping(say("tea", "now"));
        bob.ok_keeping(json!({"type": "say", "to": {"user": "ann"}, "data": {"text": "you"}}));
        let at_once = [ann.hear(), ann.hear()];
        assert_eq!(data(&at_once), ["now", "you"]);
        // Not kept, and so without an offset, but in its place.
        let mut passing = say("live-1", "3");
        passing["store"] = false.into();
        bob.ok_keeping(passing);
        for client in [&mut ann, &mut bob] {
            let mut heard = Vec::new();
            while heard.len() < 3 {
                let frame = client.hear();
                if frame["channel"] == "live-1" {
                    heard.push(frame);
                }
            }
            assert_eq!(data(&heard), ["1", "2", "3"]);
            assert_eq!(heard[1]["offset"], 2);
            assert!(heard[2]["offset"].is_null(), "{heard:?}");
        }
    });
}

#[test]
fn who_joins_meanwhile_hears_nothing_twice_and_misses_nothing() {
    with_servers(|server| {
        let mut ann = ChatClient::login(server, "ann", &["live-1"]);
        let mut bob = ChatClient::login(server, "bob", &[]);
        let epoch = bob.ok(say("live-1", "1"))["epoch"].clone();
        bob.ok(say("live-1", "2"));
        let (mut late, mut new) = (ChatClient::connect(server), ChatClient::connect(server));
        late.ok(json!({"type": "login", "uid": "late", "rooms": ["live-1"],
            "resume": {"live-1": {"epoch": epoch, "offset": 1}}}));
        assert_eq!(late.hear()["offset"], 2);
        let ok = new.ok(json!({"type": "login", "uid": "new", "rooms": ["live-1"]}));
        assert_eq!(ok["channels"]["live-1"]["offset"], 2);
        bob.ok(say("live-1", "3"));
        for (client, first) in [(&mut ann, 1), (&mut late, 3), (&mut new, 3)] {
            // With two reactors it may be the only one there, where two more would be waited for.
            client.send(json!({"type": "leave", "room": "live-1"}));
            client.hear_offsets("live-1", first..=3);
        }
    });
}

#[test]
fn who_leaves_hears_what_was_said_before_ahead_of_the_answer() {
    with_servers(|server| {
        let mut ann = ChatClient::login(server, "ann", &["live-1"]);
        let mut bob = ChatClient::login(server, "bob", &["live-1"]);
        bob.ok(say("live-1", "1"));
        bob.ok(say("live-1", "2"));
        let seq = ann.send(json!({"type": "leave", "room": "live-1"}));
        ann.hear_offsets("live-1", 1..=2);
        assert_eq!(ann.next()["seq"], seq);
        bob.ok_keeping(say("live-1", "3"));
        bob.hear_offsets("live-1", 1..=3);
        assert_eq!(ann.ok(json!({"type": "join", "room": "tea"}))["type"], "ok");
    });
}

#[test]
fn a_purge_comes_behind_what_was_said_before_it() {
    with_servers(|server| {
        let mut ann = ChatClient::login(server, "ann", &["live-1"]);
        let mut bob = ChatClient::login(server, "bob", &[]);
        bob.ok(say("live-1", "1"));
        let (status, purged) = ask_json(server, "DELETE", "/v1/rooms/live-1/messages");
        assert_eq!((status, &purged["offset"]), (200, &json!(0)));
        assert_eq!(bob.ok(say("live-1", "2"))["offset"], 1);
        assert_eq!(ann.hear()["data"]["text"], "1");
        let gap = ann.hear();
        assert_eq!(
            (&gap["type"], &gap["epoch"]),
            (&json!("gap"), &purged["epoch"])
        );
        assert_eq!(ann.hear()["data"]["text"], "2");
    });
}

#[test]
fn presence_of_a_room_that_gathers_keeps_its_place_among_the_messages() {
    let server = Program::serve(&["--set", RULE, "--set", "chat.gather_messages_max=3"]);
    let mut ann = ChatClient::login(&server, "ann", &["live-1"]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    bob.ok(say("live-1", "1"));
    bob.ok(json!({"type": "join", "room": "live-1"}));
    bob.ok(say("live-1", "2"));
    assert_eq!(ann.next()["offset"], 1);
    assert_eq!(
        ann.next(),
        json!({"type": "joined", "room": "live-1", "uid": "bob"})
    );
    assert_eq!(ann.next()["offset"], 2);
}

#[test]
fn who_is_closed_gets_what_waits_before_the_close() {
    with_servers(|server| {
        let mut ann = ChatClient::login(server, "ann", &["live-1"]);
        let mut bob = ChatClient::login(server, "bob", &["live-1"]);
        let mut cid = ChatClient::login(server, "cid", &[]);
        cid.ok(say("live-1", "1"));
        cid.ok(say("live-1", "2"));
        let kick = format!("/v1/connections/{}", ann.fd());
        assert_eq!(ask_json(server, "DELETE", &kick).0, 200);
        let before_close = |client: &mut ChatClient, code| {
            let mut offsets = Vec::new();
            let close = loop {
                match client.hear_or_close() {
                    Ok(frame) if frame["type"] == "msg" => offsets.push(frame["offset"].clone()),
                    Ok(frame) => assert!(frame["type"] == "kick" || frame["type"] == "drain"),
                    Err(code) => break code,
                }
            };
            assert_eq!((offsets, close), (vec![json!(1), json!(2)], code));
        };
        before_close(&mut ann, 4004);
        server.signal(rustix::process::Signal::TERM);
        before_close(&mut bob, 1001);
    });
}

#[test]
fn what_gathers_goes_out_in_time_and_is_counted() {
    let server = Program::serve(&["--set", "chat.gather=live-* delay=20ms"]);
    let mut ann = ChatClient::login(&server, "ann", &["live-1"]);
    let mut bob = ChatClient::login(&server, "bob", &[]);
    for number in 1..=5 {
        bob.send(say("live-1", &number.to_string()));
    }
    ann.hear_offsets("live-1", 1..=5);
    until_waiting(&server, 0);
    let gathered = number(&server, "totals", "gathered");
    assert!((1..=5).contains(&gathered), "{gathered}");
    assert_eq!(number(&server, "totals", "gathered_full"), 0);
    assert_eq!(number(&server, "totals", "gathered_bytes"), 0);
    drop((ann, bob));
    server.stop();
}
