//! Whose a connection is, and what that lets it do, whichever way it became so.

use serde_json::{Value, json};

use crate::support::chat_client::{ChatClient, say};
use crate::support::keys::Keys;
use crate::support::program::Program;

/// Asks a server with keys as its back end.
#[track_caller]
fn back_end(server: &Program, keys: &Keys, method: &str, path: &str, body: &str) -> Value {
    let fields = format!("{}Content-Type: application/json\r\n", keys.field());
    let mut http = server.http();
    let answer = http.ask_with(method, path, &fields, body).unwrap();
    assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

fn with_key(server: &Program, keys: &Keys) -> ChatClient {
    let value = format!("Bearer {}", keys.api_key);
    ChatClient::on(server.websocket_with("/ws", &[("Authorization", &value)]))
}

/// Hears the `kick` and the Close that end a connection.
#[track_caller]
fn is_kicked(mut person: ChatClient, word: &str, code: u16) {
    assert_eq!(person.hear()["code"], word);
    assert_eq!(person.client.hear_text_or_close(), Err(code));
}

#[test]
fn a_bind_to_the_user_it_has_leaves_a_connection_its_token() {
    let keys = Keys::make();
    let file = keys.file();
    let server = Program::serve(&["--config", &file, "--set", "tokens.leeway_s=0"]);
    let mut ann = ChatClient::connect(&server);
    let token = keys.token("ann", "team-*", "4s");
    ann.ok(json!({"type": "login", "token": token, "rooms": ["team-1"]}));
    let path = format!("/v1/connections/{}", ann.fd());
    let user = format!("{path}/user");
    for _ in 0..2 {
        back_end(&server, &keys, "PUT", &user, r#"{"uid":"ann"}"#);
    }
    let shown = back_end(&server, &keys, "GET", &path, "");
    assert_eq!(shown["rooms"], json!(["team-1"]));
    ann.ok(json!({"type": "join", "room": "team-2"}));
    ann.ok(say("team-1", "still in there"));
    // Until the end of its token, and no longer.
    while ann.client.hear_text_or_close() != Err(4005) {}
    drop(ann);
    server.stop();
}

#[test]
fn whoever_loses_the_user_has_to_log_in_anew_in_time() {
    let keys = Keys::make();
    let limit = "tokens.login_ms_max=300";
    let server = Program::serve(&["--config", &keys.file(), "--set", limit]);
    // Bound by the back end, and by a token that would last an hour.
    let (bound, mut token) = (ChatClient::connect(&server), ChatClient::connect(&server));
    let bound_user = format!("/v1/connections/{}/user", bound.fd());
    back_end(&server, &keys, "PUT", &bound_user, r#"{"uid":"ann"}"#);
    token.ok(json!({"type": "login", "token": keys.token("bob", "*", "1h")}));
    let token_user = format!("/v1/connections/{}/user", token.fd());
    let mut shop = with_key(&server, &keys);
    shop.ok(json!({"type": "login", "uid": "shop"}));
    let shop_user = format!("/v1/connections/{}/user", shop.fd());
    for user in [&bound_user, &token_user, &shop_user] {
        back_end(&server, &keys, "DELETE", user, "");
    }
    is_kicked(bound, "no_login", 4002);
    is_kicked(token, "no_login", 4002);
    // A key needs no login.
    shop.ok(json!({"type": "online", "users": ["ann"]}));
    drop(shop);
    server.stop();
}

#[test]
fn a_back_end_that_logged_in_speaks_as_its_user() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut bob = ChatClient::connect(&server);
    bob.ok(json!({"type": "login", "token": keys.token("bob", "*", "1h")}));
    let mut shop = with_key(&server, &keys);
    let hello = json!({"type": "say", "to": {"user": "bob"}, "data": "hello"});
    shop.ok(hello.clone());
    assert_eq!(bob.hear()["from"], Value::Null, "before the login: nobody");

    shop.ok(json!({"type": "login", "uid": "shop"}));
    shop.ok_keeping(hello.clone());
    assert_eq!(bob.hear()["from"], "shop");
    let own = shop.hear();
    assert_eq!(
        (&own["channel"], &own["to"]),
        (&json!("@shop"), &json!("bob")),
        "it stands in both lines"
    );
    // The key's rights go on: another's name, any channel, everybody.
    let mut as_eve = hello;
    as_eve["from"] = "eve".into();
    shop.ok(as_eve);
    assert_eq!(bob.hear()["from"], "eve");
    shop.ok(json!({"type": "history", "channel": "@bob"}));
    shop.ok(json!({"type": "say", "to": {"all": true}, "data": 1}));
    shop.ok(say("a-room-it-never-joined", "x"));
    shop.ok(json!({"type": "ack", "channel": "@shop", "offset": 1}));
    drop((shop, bob));
    server.stop();
}

#[test]
fn a_back_end_is_answered_ahead_of_its_own_copy_of_a_private_message() {
    let (keys, data) = (Keys::make(), tempfile::tempdir().unwrap());
    let stored = ["--data", data.path().to_str().unwrap()];
    for more in [&[][..], &stored] {
        let file = keys.file();
        let server = Program::serve(&[&["--config", &file], more].concat());
        let mut shop = with_key(&server, &keys);
        shop.ok(json!({"type": "login", "uid": "shop"}));
        // What comes before the answer is passed over.
        shop.ok(json!({"type": "say", "to": {"user": "bob"}, "data": "hello"}));
        assert_eq!(shop.next()["data"], "hello", "{more:?}");
        // One without a number has no answer, and a refusal is one.
        shop.client
            .say(r#"{"type":"say","to":{"user":"bob"},"data":"once more"}"#);
        assert_eq!(shop.next()["data"], "once more", "{more:?}");
        shop.err(json!({"type": "say", "to": {"user": ""}, "data": 1}));
        drop(shop);
        server.stop();
    }
}

#[test]
fn a_uid_that_is_not_the_tokens_is_refused_with_both_names() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut client = ChatClient::connect(&server);
    let token = keys.token("ann", "*", "1h");
    let (code, message) = client.err(json!({"type": "login", "uid": "bob", "token": token}));
    assert_eq!(code, "forbidden");
    assert_eq!(message, r#"uid is "bob", but the token is for "ann""#);
    drop(client);
    server.stop();
}
