//! Clients that ask too often, over real sockets: what they are told, and what is taken all the
//! same.

use std::fmt::Write as _;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::Message;

use crate::support::http::{Answer, HttpClient, JSON};
use crate::support::parsed;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// Hardly one more is let through while a test runs; those that count exactly send one frame.
const SLOW: &str = "limits.commands_per_s_max=1";

/// Somebody who has logged in by query, which is no command.
fn come(server: &Program, uid: &str) -> WebSocketClient {
    let mut client = server.websocket(&format!("/ws?uid={uid}&room=tea"));
    assert_eq!(parsed(&client.hear_text())["type"], "hello");
    assert_eq!(parsed(&client.hear_text())["type"], "ok");
    client
}

/// So many messages in one frame, numbered from 1.
fn says(count: usize) -> String {
    let say = |seq| json!({"type": "say", "seq": seq, "to": {"room": "tea"}, "data": seq});
    Value::from_iter((1..=count).map(say)).to_string()
}

/// The next answer; what others say is passed over.
fn answer(client: &mut WebSocketClient) -> Value {
    loop {
        let frame = parsed(&client.hear_text());
        if frame["type"] != "msg" && frame["type"] != "joined" {
            return frame;
        }
    }
}

fn ask(http: &mut HttpClient, method: &str, path: &str, key: &str, body: &str) -> Answer {
    let fields = format!("{JSON}Authorization: Bearer {key}\r\n");
    http.ask_with(method, path, &fields, body).unwrap()
}

/// One of the numbers of `limits` at `/v1/stats`.
fn counted(server: &Program, name: &str) -> Value {
    let answer = ask(&mut server.http(), "GET", "/v1/stats", KEYS[0].1, "");
    parsed(&answer.body)["limits"][name].clone()
}

#[test]
fn commands_over_the_limit_are_refused_each_and_not_done() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=6"];
    let server = Program::serve(&flags);
    let (mut ann, mut bob) = (come(&server, "ann"), come(&server, "bob"));
    ann.say(says(8));
    for seq in 1..=8 {
        let answer = answer(&mut ann);
        assert_eq!(answer["seq"], seq, "{answer}");
        if seq <= 6 {
            assert_eq!(answer["type"], "ok", "{answer}");
        } else {
            let what = (&answer["type"], &answer["code"], &answer["retry"]);
            assert_eq!(what, (&json!("err"), &json!("rate_limited"), &json!(true)));
        }
    }
    // Others have limits of their own, and hear only what was taken.
    bob.say(r#"{"type":"history","seq":1,"channel":"tea"}"#);
    let history = answer(&mut bob);
    assert_eq!(
        (
            &history["offset"],
            history["messages"].as_array().unwrap().len()
        ),
        (&json!(6), 6)
    );
    assert_eq!(counted(&server, "commands_refused"), 2);
}

#[test]
fn who_waits_as_long_as_told_is_let_through_again() {
    let server = Program::serve(&[
        "--set",
        "limits.commands_per_s_max=5",
        "--set",
        "limits.commands_burst_max=1",
    ]);
    let mut ann = come(&server, "ann");
    ann.say(says(2));
    assert_eq!(answer(&mut ann)["type"], "ok");
    let refusal = answer(&mut ann);
    let message = refusal["message"].as_str().unwrap();
    let told = message.split(' ').rev().nth(1).unwrap();
    let told_ms: u64 = told
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {message}"));
    assert!((1..=200).contains(&told_ms), "{message}");
    // This wait is what is claimed to be enough.
    thread::sleep(Duration::from_millis(told_ms));
    ann.say(says(1));
    assert_eq!(answer(&mut ann)["type"], "ok");
}

#[test]
fn who_goes_on_far_over_the_limit_is_closed_with_4009() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=4"];
    let server = Program::serve(&flags);
    let mut ann = come(&server, "ann");
    ann.say(says(64));
    for (count, kind) in [(4, "ok"), (4, "err")] {
        for _ in 0..count {
            assert_eq!(answer(&mut ann)["type"], kind);
        }
    }
    let kick = answer(&mut ann);
    assert_eq!(
        (&kick["type"], &kick["code"]),
        (&json!("kick"), &json!("rate_limited"))
    );
    assert_eq!(ann.hear_text_or_close(), Err(4009));
    // Not one more of the 64 was taken.
    let mut bob = come(&server, "bob");
    bob.say(r#"{"type":"history","seq":1,"channel":"tea"}"#);
    assert_eq!(answer(&mut bob)["offset"], 4);
    assert_eq!(counted(&server, "connections_closed"), 1);
}

#[test]
fn pings_and_nonsense_count_as_commands_too() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=3"];
    let server = Program::serve(&flags);
    for (uid, noise) in [("ann", "PING"), ("bob", "{")] {
        let mut client = come(&server, uid);
        for _ in 0..7 {
            client.socket.write(Message::text(noise)).unwrap();
        }
        client.socket.flush().unwrap();
        for _ in 0..3 {
            let heard = client.hear_text();
            assert!(
                heard == "PONG" || parsed(&heard)["code"] == "bad_request",
                "{heard}"
            );
        }
        for _ in 0..3 {
            assert_eq!(parsed(&client.hear_text())["code"], "rate_limited");
        }
        assert_eq!(parsed(&client.hear_text())["type"], "kick");
        assert_eq!(client.hear_text_or_close(), Err(4009));
    }
}

#[test]
fn a_user_who_comes_again_finds_the_same_bucket_on_every_connection() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=8"];
    let server = Program::serve(&flags);
    let mut taken = 0;
    for _ in 0..4 {
        let mut ann = come(&server, "ann");
        ann.say(says(3));
        for _ in 0..3 {
            taken += u32::from(answer(&mut ann)["type"] == "ok");
        }
        drop(ann);
    }
    assert!((8..=9).contains(&taken), "{taken} of 12 were taken");
    let mut bob = come(&server, "bob");
    bob.say(says(1));
    assert_eq!(answer(&mut bob)["type"], "ok", "others aren't touched");
}

#[test]
fn before_a_login_an_address_has_one_bucket_and_logins_that_are_taken_need_none() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=5"];
    let server = Program::serve(&flags);
    let mut answered = 0;
    for _ in 0..4 {
        let mut nobody = server.websocket("/ws");
        assert_eq!(parsed(&nobody.hear_text())["type"], "hello");
        for _ in 0..2 {
            nobody.say(r#"{"type":"join","seq":1,"room":"tea"}"#);
            answered += u32::from(parsed(&nobody.hear_text())["code"] == "unauthorized");
        }
        drop(nobody);
    }
    assert!((5..=6).contains(&answered), "{answered} of 8 were answered");
    // All who come through one proxy have its address.
    for number in 0..20 {
        let mut client = server.websocket("/ws");
        assert_eq!(parsed(&client.hear_text())["type"], "hello");
        client.say(format!(
            r#"{{"type":"login","seq":1,"uid":"user-{number}"}}"#
        ));
        assert_eq!(parsed(&client.hear_text())["type"], "ok");
    }
}

#[test]
fn one_users_logins_are_counted_and_so_are_those_that_fail() {
    let flags = ["--set", SLOW, "--set", "limits.commands_burst_max=3"];
    let server = Program::serve(&flags);
    for (login, taken) in [
        (r#"{"type":"login","seq":1,"uid":"ann"}"#, "ok"),
        (r#"{"type":"login","seq":1}"#, "err"),
    ] {
        let mut clients = [(); 12].map(|()| server.websocket("/ws"));
        for client in &mut clients {
            assert_eq!(parsed(&client.hear_text())["type"], "hello");
        }
        // At once, since what is used up comes back with the time.
        for client in &mut clients {
            client.say(login);
        }
        let kinds = clients.map(|mut client| parsed(&client.hear_text()));
        let passed = kinds
            .iter()
            .filter(|answer| answer["type"] == taken && answer["code"] != "rate_limited");
        assert!((3..=7).contains(&passed.count()), "{kinds:?}");
        let is_kick = |answer: &Value| answer["type"] == "kick";
        assert!(kinds.iter().any(is_kick), "{kinds:?}");
    }
}

const KEYS: [(&str, &str); 2] = [
    ("shop", "a-key-of-the-shop-0123456789"),
    ("game", "a-key-of-the-game-0123456789"),
];

#[test]
fn a_key_over_the_limit_gets_429_and_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    let mut settings = String::from("[limits]\nrequests_per_s_max = 1\nrequests_burst_max = 3\n");
    for (name, key) in KEYS {
        writeln!(settings, "[api_keys.{name}]\nkey = \"{key}\"").unwrap();
    }
    std::fs::write(&file, settings).unwrap();
    let server = Program::serve(&["--config", file.to_str().unwrap()]);
    let [(_, shop), (_, game)] = KEYS;
    let mut http = server.http();
    let message = r#"{"to":{"room":"tea"},"data":1}"#;
    for offset in 1..=2 {
        let answer = ask(&mut http, "POST", "/v1/messages", shop, message);
        assert_eq!(parsed(&answer.body)["results"][0]["offset"], offset);
    }
    // A batch is taken as a whole, and paid for afterwards.
    let batch = format!(r#"{{"messages":[{message},{message},{message}]}}"#);
    let answer = ask(&mut http, "POST", "/v1/messages/batch", shop, &batch);
    assert_eq!(parsed(&answer.body)["results"][2]["offset"], 5);
    let refused = ask(&mut http, "POST", "/v1/messages", shop, message);
    assert_eq!(parsed(&refused.body)["error"]["code"], "rate_limited");
    assert_eq!((refused.status, refused.closes), (429, false));
    let after = refused.fields.split_once("retry-after: ").unwrap().1;
    let after: u64 = after.split_once("\r\n").unwrap().0.parse().unwrap();
    assert!((2..=3).contains(&after), "{}", refused.fields);
    // It was not taken. Another key has a limit of its own, and the numbers are always there.
    let history = ask(&mut http, "GET", "/v1/rooms/tea/messages", game, "");
    assert_eq!(parsed(&history.body)["offset"], 5);
    assert_eq!(counted(&server, "requests_refused"), 1);
    let metrics = ask(&mut http, "GET", "/metrics", shop, "");
    assert!(
        metrics
            .body
            .contains("\ntidings_limits_requests_refused_total 1\n"),
        "{}",
        metrics.body
    );
    // On a WebSocket the key counts too.
    let mut client = server.websocket_with("/ws", &[("Authorization", &format!("Bearer {shop}"))]);
    assert_eq!(parsed(&client.hear_text())["type"], "hello");
    client.say(r#"{"type":"who","seq":1,"room":"tea"}"#);
    assert_eq!(parsed(&client.hear_text())["code"], "rate_limited");
    // This wait, too, is what is claimed to be enough.
    thread::sleep(Duration::from_secs(after));
    let answer = ask(&mut http, "POST", "/v1/messages", shop, message);
    assert_eq!(parsed(&answer.body)["results"][0]["offset"], 6);
}

#[test]
fn without_a_limit_nobody_is_refused() {
    let server = Program::serve(&[]);
    let mut ann = come(&server, "ann");
    for _ in 0..40 {
        ann.say(says(64));
        for _ in 0..64 {
            assert_eq!(answer(&mut ann)["type"], "ok");
        }
    }
    assert_eq!(counted(&server, "commands_refused"), 0);
}
