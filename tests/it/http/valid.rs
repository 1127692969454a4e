//! What is valid is valid at every door: WebSocket, HTTP, batch and link read with one reader.

use serde_json::{Value, json};

use crate::support::chat_client::ChatClient;
use crate::support::keys::Keys;
use crate::support::program::Program;

/// JSON by its grammar that a strict reader refuses, and what the refusal says of it.
const NOT_STRICT: [(&str, &str); 5] = [
    (r#""\ud83d""#, "surrogate pair at byte 1"),
    (r#"{"\udc00":1}"#, "surrogate pair at byte 2"),
    (r#"["\ude00\ud83d"]"#, "surrogate pair at byte 2"),
    ("1e999", "beyond a double at byte 0"),
    ("[0,-1e400]", "beyond a double at byte 3"),
];

#[test]
fn data_that_a_strict_reader_cannot_read_is_refused_everywhere_and_stored_nowhere() {
    let server = Program::serve(&["--set", "uplink.key=0123456789abcdef0123"]);
    let mut ann = ChatClient::login(&server, "ann", &["tea"]);
    let mut http = server.http();
    let key = ("Authorization", "Bearer 0123456789abcdef0123");
    let mut link = server.websocket_with("/link", &[key]);
    link.say(r#"{"type":"open","producer":"p","name":"gw","first":1}"#);
    assert!(link.hear_text().contains("open_ok"));
    for (n, (data, why)) in (1..).zip(NOT_STRICT) {
        ann.client.say(format!(
            r#"{{"type":"say","seq":7,"to":{{"room":"tea"}},"data":{data}}}"#
        ));
        let err = ann.next();
        assert_eq!(
            (&err["seq"], &err["code"]),
            (&json!(7), &json!("bad_request"))
        );
        assert!(err["message"].as_str().unwrap().contains(why), "{err}");

        let message = format!(r#"{{"to":{{"room":"tea"}},"data":{data}}}"#);
        let answer = http
            .ask_with_json("POST", "/v1/messages", &message)
            .unwrap();
        assert_eq!(answer.status, 400, "{data}");
        assert!(answer.body.contains(why), "{}", answer.body);
        let batch = format!(r#"{{"messages":[{message}]}}"#);
        let answer = http
            .ask_with_json("POST", "/v1/messages/batch", &batch)
            .unwrap();
        assert!(answer.body.contains(why), "{}", answer.body);

        link.say(format!(
            r#"{{"type":"pub","n":{n},"to":{{"room":"tea"}},"id":"i{n}","data":{data}}}"#
        ));
        let heard: Value = serde_json::from_str(&link.hear_text()).unwrap();
        assert_eq!(
            (&heard["type"], &heard["n"], &heard["code"]),
            (&json!("pub_err"), &json!(n), &json!("bad_request"))
        );
        assert!(heard["message"].as_str().unwrap().contains(why), "{heard}");
    }
    // A pair, and a number that becomes 0, can be read by everybody.
    let pair = r#"{"type":"say","seq":8,"to":{"room":"tea"},"data":["\ud83d\ude00",1e-999]}"#;
    ann.client.say(pair);
    let heard = ann.hear();
    assert_eq!(
        (&heard["type"], &heard["offset"]),
        (&json!("msg"), &json!(1))
    );
    assert_eq!(heard["data"], json!(["😀", 0.0]));
    drop((ann, link, http));
    server.stop();
}

#[test]
fn a_user_may_be_a_number_wherever_one_is_named() {
    let server = Program::serve(&[]);
    let mut user = ChatClient::connect(&server);
    user.ok(json!({"type": "login", "uid": 42, "rooms": [], "resume": []}));
    let online = user.ok(json!({"type": "online", "users": [42, "ann", 7]}));
    assert_eq!(
        online["online"],
        json!({"42": true, "ann": false, "7": false})
    );
    user.ok_keeping(json!({"type": "say", "to": {"user": 42}, "id": 12, "data": 1}));
    assert_eq!(user.hear()["id"], "12");
    let mut http = server.http();
    for (message, from) in [
        (json!({"to": {"user": 42}, "data": 1}), Value::Null),
        (
            json!({"to": {"users": [42]}, "from": 7, "id": 13, "data": []}),
            json!("7"),
        ),
    ] {
        let (status, answer) = http.json("POST", "/v1/messages", &message);
        assert_eq!(
            (status, &answer["results"][0]["receivers"]),
            (200, &json!(1))
        );
        assert_eq!(user.hear()["from"], from);
    }
    let other = ChatClient::connect(&server);
    let path = format!("/v1/connections/{}/user", other.fd());
    let (status, bound) = http.json("PUT", &path, &json!({"uid": 43}));
    assert_eq!((status, &bound["uid"]), (200, &json!("43")));
    // As PHP writes a map without entries.
    let (status, kicked) = http.json("POST", "/v1/users/42/kick", &json!([]));
    assert_eq!((status, &kicked["kicked"]), (200, &json!(1)));
    drop((user, other, http));
    server.stop();
}

#[test]
fn a_name_that_is_no_utf_8_is_refused_in_the_query_too() {
    let server = Program::serve(&[]);
    let mut http = server.http();
    for path in [
        "/v1/users?uid=%ff",
        "/v1/rooms?prefix=%C3",
        "/v1/rooms?%ff=1",
    ] {
        let answer = http.get(path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains("UTF-8"), "{path}: {}", answer.body);
    }
    for query in ["uid=%ff", "uid=ann&room=%C3", "token=%ff"] {
        let mut client = ChatClient::on(server.websocket(&format!("/ws?{query}")));
        assert_eq!(client.next()["code"], "bad_request", "{query}");
    }
    drop(http);
    server.stop();
}

#[test]
fn a_refusal_names_fields_and_no_types_of_a_program() {
    let server = Program::serve(&[]);
    let mut http = server.http();
    for (path, body) in [
        ("/v1/messages", "[1]"),
        ("/v1/messages", "5"),
        ("/v1/messages", "{"),
        (
            "/v1/messages",
            r#"{"to":["a",null,null,null,null,null],"data":1}"#,
        ),
        ("/v1/messages", r#"{"to":{"room":"a"},"data":1,"data":2}"#),
        (
            "/v1/messages",
            r#"{"to":{"room":"a"},"data":1,"except":[-1],"store":false}"#,
        ),
        ("/v1/messages", r#"{"to":{"users":[1.5]},"data":1}"#),
        ("/v1/messages/batch", r#"{"messages":1}"#),
        ("/v1/messages/batch", "[[]]"),
        ("/v1/users/ann/kick", r#"{"code":1}"#),
        ("/v1/users/ann/kick", "[1]"),
    ] {
        let answer = http.ask_with_json("POST", path, body).unwrap();
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
        for word in [
            "struct",
            "sequence",
            "u64",
            "usize",
            "Fields",
            "invalid type",
        ] {
            assert!(
                !answer.body.contains(word),
                "{path} {body}: {}",
                answer.body
            );
        }
    }
    drop(http);
    server.stop();
}

#[test]
fn an_origin_is_compared_by_what_it_means_and_a_refusal_names_the_right_one() {
    let keys = Keys::make();
    let server = Program::serve(&[
        "--config",
        &keys.file(),
        "--allow-origin",
        "capacitor://localhost",
        "--allow-origin",
        "https://app.example:443",
    ]);
    let own = server.address;
    let name = own.ip();
    let mut http = server.http();
    let mut status = |origin: &str| {
        let fields = format!("Origin: {origin}\r\n");
        let path = "/openapi.json";
        let request = format!("GET {path} HTTP/1.1\r\nHost: {own}\r\n{fields}\r\n");
        http.send(request).unwrap();
        let answer = http.answer().unwrap();
        (answer.status, answer.body)
    };
    for origin in [
        "capacitor://localhost",
        "https://app.example",
        "HTTPS://APP.example",
        &format!("http://{own}"),
        // As a load tool sends it.
        &name.to_string(),
    ] {
        assert_eq!(status(origin).0, 200, "{origin}");
    }
    for origin in [
        "null",
        "capacitor://evil",
        "ionic://localhost",
        "http://app.example",
        "http://evil.example",
        "evil.example",
    ] {
        let (status, body) = status(origin);
        assert_eq!(status, 403, "{origin}");
        assert!(body.contains(&format!("http://{own}")), "{body}");
        assert!(body.contains(origin), "{body}");
    }
    drop(http);
    server.stop();
}

#[test]
fn the_client_is_served_with_keys_too_and_a_page_that_is_off_says_how_to_turn_it_on() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file(), "--set", "page=off"]);
    let mut http = server.http();
    for path in ["/client.js", "/client.d.ts"] {
        let answer = http.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains("Client"), "{path}");
    }
    let answer = http.get("/");
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains("TIDINGS_PAGE=on"), "{}", answer.body);
    assert_eq!(http.get("/page.js").status, 404);
    drop(http);
    server.stop();
}

#[test]
fn every_refusal_is_counted_by_its_reason() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let mut http = server.http();
    let mut status = |fields: &str| {
        let answer = http.ask_with("GET", "/v1/stats", fields, "").unwrap();
        (answer.status, answer.body)
    };
    assert_eq!(status("").0, 401);
    assert_eq!(status("Authorization: Bearer none-of-ours\r\n").0, 401);
    assert_eq!(status("Origin: http://evil.example\r\n").0, 403);
    let ann = keys.token("ann", "*", "1h");
    let mut client = ChatClient::connect(&server);
    client.err(json!({"type": "login", "uid": "bob", "token": ann}));
    client.client.say_bytes(b"binary");
    assert_eq!(client.hear_or_close(), Err(1003));
    let mut client = ChatClient::connect(&server);
    client.send(json!({"type": "login", "token": "x.y.z"}));
    assert_eq!(client.hear()["code"], "bad_token");
    let (_, stats) = status(&keys.field());
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let refusals = &stats["refusals"];
    for (reason, count) in [
        ("api_key", 2),
        ("origin", 1),
        ("uid", 1),
        ("binary", 1),
        ("token", 1),
        ("host", 0),
        ("rate", 0),
    ] {
        assert_eq!(refusals[reason], count, "{reason}: {refusals}");
    }
    drop((client, http));
    server.stop();
}
