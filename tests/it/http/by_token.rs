//! A user posts by HTTP with a token: where the token leads, and nowhere else.

use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::http::{Answer, JSON};
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::program::Program;

/// Asks with what a caller shows.
#[track_caller]
fn ask(server: &Program, shown: &str, method: &str, path: &str, body: &Value) -> Answer {
    let fields = format!("{JSON}Authorization: Bearer {shown}\r\n");
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let answer = server.http().ask_with(method, path, &fields, &body);
    answer.unwrap()
}

/// The only result of a message that is taken.
#[track_caller]
fn posted(server: &Program, token: &str, message: &Value) -> Value {
    let answer = ask(server, token, "POST", "/v1/messages", message);
    assert_eq!(answer.status, 200, "{}", answer.body);
    parsed(&answer.body)["results"][0].clone()
}

/// Status and sentence of a refusal.
fn refused(answer: &Answer) -> (u16, String) {
    let message = parsed(&answer.body)["error"]["message"].clone();
    (answer.status, message.as_str().unwrap_or_default().into())
}

#[test]
fn a_token_posts_to_its_rooms_and_to_users_and_joins_nothing() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut bob = ChatClient::connect(&server);
    let token = keys.token("bob", "tea", "1h");
    bob.ok(json!({"type": "login", "token": token, "rooms": ["tea"]}));
    let ann = keys.token("ann", "te*", "1h");
    let result = posted(&server, &ann, &json!({"to": {"room": "tea"}, "data": 1}));
    assert_eq!(
        (&result["channel"], &result["receivers"]),
        (&json!("tea"), &json!(1))
    );
    // The message is the first thing that comes: nobody came in for it.
    let heard = bob.next();
    assert_eq!(
        (&heard["type"], &heard["from"]),
        (&json!("msg"), &json!("ann"))
    );
    let who = bob.ok(json!({"type": "who", "room": "tea"}));
    assert_eq!(who["users"], json!(["bob"]));
    let result = posted(&server, &ann, &json!({"to": {"user": "bob"}, "data": 2}));
    assert_eq!(result["channel"], "@bob");
    let heard = bob.hear();
    assert_eq!(
        (&heard["from"], &heard["to"]),
        (&json!("ann"), &json!("bob"))
    );
    drop(bob);
    server.stop();
}

#[test]
fn a_message_by_http_and_the_same_by_websocket_are_one_user_s() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let token = keys.token("ann", "tea", "1h");
    let mut ann = ChatClient::connect(&server);
    ann.ok(json!({"type": "login", "token": token, "rooms": ["tea"]}));
    let mut first = say("tea", "once");
    first["id"] = "i1".into();
    let said = ann.ok(first);
    let again = json!({"to": {"room": "tea"}, "id": "i1", "data": "once"});
    let result = posted(&server, &token, &again);
    assert_eq!(
        (&result["offset"], &result["duplicate"]),
        (&said["offset"], &json!(true))
    );
    drop(ann);
    server.stop();
}

#[test]
fn what_only_a_back_end_may_do_a_token_may_not() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let token = keys.token("ann", "tea", "1h");
    for (message, missing) in [
        (
            json!({"to": {"room": "board"}}),
            "room: the token's rooms don't include board",
        ),
        (
            json!({"to": {"room": "tea"}, "from": "ann"}),
            "from: only with an API key",
        ),
        (
            json!({"to": {"user": "bob"}, "from": "eve"}),
            "from: only with an API key",
        ),
        (json!({"to": {"all": true}}), "to: only with an API key"),
        (json!({"to": {"fd": 7}}), "to: only with an API key"),
        (
            json!({"to": {"room": "tea"}, "store": false, "except": [7]}),
            "except: only with an API key",
        ),
        (
            json!({"to": {"rooms": ["tea", "board"]}}),
            "room: the token's rooms don't include board",
        ),
    ] {
        let mut message = message;
        message["data"] = 1.into();
        let answer = ask(&server, &token, "POST", "/v1/messages", &message);
        assert_eq!(refused(&answer), (403, missing.into()), "{message}");
    }
    let tea = json!({"to": {"room": "tea"}, "data": 1});
    let board = json!({"to": {"room": "board"}, "data": 1});
    let batch = json!({ "messages": [tea, board] });
    let answer = ask(&server, &token, "POST", "/v1/messages/batch", &batch);
    let results = parsed(&answer.body)["results"].clone();
    assert_eq!(
        (&results[0]["offset"], &results[1]["error"]["code"]),
        (&json!(1), &json!("forbidden")),
        "each by itself, and nothing of the refused ones"
    );
    for (method, path) in [
        ("GET", "/v1/rooms"),
        ("GET", "/v1/rooms/tea/messages"),
        ("GET", "/v1/users/ann"),
        ("GET", "/v1/stats"),
        ("GET", "/metrics"),
        ("POST", "/v1/users/bob/kick"),
        ("DELETE", "/v1/rooms/tea/messages"),
    ] {
        let answer = ask(&server, &token, method, path, &Value::Null);
        let no_key = "Authorization holds no API key of ours";
        assert_eq!(refused(&answer), (401, no_key.into()), "{method} {path}");
    }
    server.stop();
}

#[test]
fn a_token_that_is_not_taken_is_told_why_and_counted() {
    let keys = Keys::make();
    let flags = ["--config", &keys.file(), "--set", "tokens.leeway_s=0"];
    let server = Program::serve(&flags);
    let message = json!({"to": {"room": "tea"}, "data": 1});
    let token = keys.token("ann", "tea", "1h");
    let foreign = Keys::make().token("ann", "tea", "1h");
    let short = keys.token("ann", "tea", "1s");
    let post = |token: &str| refused(&ask(&server, token, "POST", "/v1/messages", &message));
    for wrong in [&foreign, "a.b.c", &token.replace('.', "..")] {
        let (status, said) = post(wrong);
        assert_eq!(status, 401, "{wrong}: {said}");
        assert!(said.contains("ours"), "{wrong}: {said}");
    }
    // Its time is over within a second.
    crate::support::wait::until("the token has ended", || {
        post(&short) == (401, "the token's time is over".into())
    });
    let answer = ask(&server, &keys.api_key, "GET", "/v1/stats", &Value::Null);
    let refusals = parsed(&answer.body)["refusals"].clone();
    assert_eq!(refusals["token"], 2, "{refusals}");
    assert_eq!(refusals["api_key"], 1, "{refusals}");
    assert_eq!(refusals["token_expired"], 1, "{refusals}");
    server.stop();
}

#[test]
fn users_by_http_have_the_rate_of_a_connection_each() {
    let keys = Keys::make();
    let server = Program::serve(&[
        "--config",
        &keys.file(),
        "--set",
        "limits.commands_per_s_max=1",
        "--set",
        "limits.commands_burst_max=3",
    ]);
    let (ann, bob) = (
        keys.token("ann", "tea", "1h"),
        keys.token("bob", "tea", "1h"),
    );
    let message = json!({"to": {"room": "tea"}, "data": 1});
    let batch = json!({ "messages": vec![message.clone(); 9] });
    let answer = ask(&server, &ann, "POST", "/v1/messages/batch", &batch);
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The batch was counted by its messages.
    let answer = ask(&server, &ann, "POST", "/v1/messages", &message);
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert!(answer.fields.contains("retry-after: "), "{}", answer.fields);
    posted(&server, &bob, &message);
    server.stop();
}
