//! The HTTP API by hand: each operation over real sockets, against the real binary.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::support::http::{Answer, HttpClient};
use crate::support::keys::Keys;
use crate::support::numbers::assert_same_names;
use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;
use crate::support::{PATIENCE, parsed};

/// A back end with a server of its own.
struct Api {
    server: Program,
    http: HttpClient,
}

impl Api {
    /// Stops it without its client, for which it would wait.
    fn stop(self) {
        drop(self.http);
        self.server.stop();
    }

    fn start() -> Self {
        let server = Program::serve(&["--workers", "1"]);
        let http = server.http();
        Self { server, http }
    }

    /// Asks; the body goes as JSON.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> Answer {
        self.http.ask_with_json(method, path, body).unwrap()
    }

    fn ask_with(&mut self, method: &str, path: &str, fields: &str, body: &str) -> Answer {
        self.http.ask_with(method, path, fields, body).unwrap()
    }

    #[track_caller]
    fn ok(&mut self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.ask(method, path, body);
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    #[track_caller]
    fn get(&mut self, path: &str) -> Value {
        self.ok("GET", path, "")
    }

    /// The result of one message.
    #[track_caller]
    fn post(&mut self, message: &Value) -> Value {
        let mut answer = self.ok("POST", "/v1/messages", &message.to_string());
        assert_eq!(answer["results"].as_array().unwrap().len(), 1);
        answer["results"][0].take()
    }

    /// Asks for what is refused; gives the message that says why.
    #[track_caller]
    fn refused(&mut self, method: &str, path: &str, body: &str, status: u16, code: &str) -> String {
        let answer = self.ask(method, path, body);
        is_error(&answer, status, code)
    }

    /// Somebody on a WebSocket, and the fd.
    fn login(&self, uid: &str, rooms: &[&str]) -> (WebSocketClient, u64) {
        let mut client = self.server.websocket("/ws");
        let fd = parsed(&client.hear_text())["fd"].as_u64().unwrap();
        client.say(json!({"type": "login", "seq": 1, "uid": uid, "rooms": rooms}).to_string());
        heard(&mut client, "ok");
        (client, fd)
    }
}

/// `{"error":{"code","message"}}` and nothing else.
#[track_caller]
fn is_error(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{}", answer.body);
    let body = parsed(&answer.body);
    let message = body["error"]["message"].as_str().unwrap();
    assert_eq!(body, json!({"error": {"code": code, "message": message}}));
    assert!(answer.fields.contains("content-type: application/json"));
    message.into()
}

/// The next frame of this type, as it came.
#[track_caller]
fn heard_text(client: &mut WebSocketClient, kind: &str) -> String {
    loop {
        let text = client.hear_text();
        let frame = parsed(&text);
        if frame["type"] == kind {
            return text;
        }
        assert!(
            frame["type"] == "joined" || frame["type"] == "left",
            "{text}"
        );
    }
}

#[track_caller]
fn heard(client: &mut WebSocketClient, kind: &str) -> Value {
    parsed(&heard_text(client, kind))
}

#[test]
fn a_message_reaches_each_kind_of_receiver() {
    let mut api = Api::start();
    let (mut ann, ann_fd) = api.login("ann", &["tea"]);
    let (mut bob, _) = api.login("bob", &["tea", "lobby"]);

    let result = api.post(&json!({"to": {"room": "tea"}, "from": "cat", "data": 1}));
    assert_eq!(
        (&result["channel"], &result["offset"]),
        (&json!("tea"), &json!(1))
    );
    assert_eq!(
        (&result["duplicate"], &result["receivers"]),
        (&json!(false), &json!(2))
    );
    for client in [&mut ann, &mut bob] {
        let msg = heard(client, "msg");
        assert_eq!((&msg["from"], &msg["data"]), (&json!("cat"), &json!(1)));
        assert_eq!(
            (&msg["epoch"], &msg["id"]),
            (&result["epoch"], &result["id"])
        );
    }

    let result = api.post(&json!({"to": {"user": "ann"}, "data": 2}));
    assert_eq!(result["channel"], "@ann");
    let msg = heard(&mut ann, "msg");
    assert_eq!((&msg["from"], &msg["to"]), (&Value::Null, &json!("ann")));

    let result = api.post(&json!({"to": {"fd": ann_fd}, "data": 3}));
    assert!(result.get("offset").is_none(), "{result}");
    assert_eq!(heard(&mut ann, "msg")["data"], 3);

    let result = api.post(&json!({"to": {"all": true}, "data": 4}));
    assert_eq!(result["channel"], "*");
    assert_eq!(heard(&mut ann, "msg")["data"], 4);
    assert_eq!(heard(&mut bob, "msg")["data"], 4);

    let body = json!({"to": {"rooms": ["lobby", "tea"]}, "data": 5}).to_string();
    let results = api.ok("POST", "/v1/messages", &body);
    assert_eq!(results["results"][0]["channel"], "lobby");
    assert_eq!(results["results"][1]["channel"], "tea");
    assert_eq!(heard(&mut ann, "msg")["channel"], "tea");
    assert_eq!(heard(&mut bob, "msg")["channel"], "lobby");
    assert_eq!(heard(&mut bob, "msg")["channel"], "tea");

    let body = json!({"to": {"users": ["bob", "ann"]}, "data": 6}).to_string();
    let results = api.ok("POST", "/v1/messages", &body);
    assert_eq!(results["results"][0]["channel"], "@bob");
    assert_eq!(heard(&mut ann, "msg")["channel"], "@ann");
    assert_eq!(heard(&mut bob, "msg")["channel"], "@bob");

    let gone = json!({"to": {"fd": 1u64 << 52}, "data": 7}).to_string();
    api.refused("POST", "/v1/messages", &gone, 404, "not_found");
}

#[test]
fn data_arrives_byte_for_byte() {
    let mut api = Api::start();
    let (mut ann, _) = api.login("ann", &["tea"]);
    for data in [
        "{ \"a\" : 1.0 }",
        "1e308",
        "\"\\u00e4\\/\"",
        "[ ]",
        "null",
        "-0",
    ] {
        let body = format!(r#"{{"to":{{"room":"tea"}},"data":{data}}}"#);
        api.ok("POST", "/v1/messages", &body);
        let text = ann.hear_text();
        assert!(text.ends_with(&format!("\"data\":{data}}}")), "{text}");
    }
}

#[test]
fn a_repeat_is_answered_with_the_first_position_and_not_delivered() {
    let mut api = Api::start();
    let (mut ann, _) = api.login("ann", &["tea"]);
    let message = json!({"to": {"room": "tea"}, "id": "one", "data": 1});
    let first = api.post(&message);
    api.post(&json!({"to": {"room": "tea"}, "data": 2}));
    let again = api.post(&message);
    assert_eq!(again["duplicate"], true);
    assert_eq!(
        (&again["epoch"], &again["offset"]),
        (&first["epoch"], &json!(1))
    );
    assert_eq!(heard(&mut ann, "msg")["data"], 1);
    assert_eq!(heard(&mut ann, "msg")["data"], 2);
    api.post(&json!({"to": {"room": "tea"}, "data": 3}));
    assert_eq!(heard(&mut ann, "msg")["data"], 3);
}

#[test]
fn a_message_that_is_not_kept_may_leave_connections_out() {
    let mut api = Api::start();
    let (mut ann, ann_fd) = api.login("ann", &["tea"]);
    let (mut bob, _) = api.login("bob", &["tea"]);
    let kept = json!({"to": {"room": "tea"}, "data": 1, "except": [ann_fd]}).to_string();
    let why = api.refused("POST", "/v1/messages", &kept, 400, "bad_request");
    assert!(why.contains("except"), "{why}");
    let result =
        api.post(&json!({"to": {"room": "tea"}, "data": 2, "store": false, "except": [ann_fd]}));
    assert!(result.get("offset").is_none(), "{result}");
    assert_eq!(heard(&mut bob, "msg")["data"], 2);
    api.post(&json!({"to": {"room": "tea"}, "data": 3}));
    assert_eq!(heard(&mut ann, "msg")["data"], 3);
    assert_eq!(
        api.get("/v1/rooms/tea/messages")["messages"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn each_message_of_a_batch_has_its_own_result() {
    let mut api = Api::start();
    let one = json!({"to": {"room": "tea"}, "data": 1});
    let body = json!({"messages": [one, {"to": {"room": "@x"}, "data": 1}, {"data": 1}, one]});
    let answer = api.ok("POST", "/v1/messages/batch", &body.to_string());
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0]["offset"], 1);
    assert_eq!(results[1]["error"]["code"], "bad_request");
    assert_eq!(results[2]["error"]["code"], "bad_request");
    assert_eq!(results[3]["offset"], 2);
    let most = json!({"messages": vec![&one; 1_000]}).to_string();
    let answer = api.ok("POST", "/v1/messages/batch", &most);
    assert_eq!(answer["results"].as_array().unwrap().len(), 1_000);
    let many = json!({"messages": vec![&one; 1_001]}).to_string();
    let why = api.refused("POST", "/v1/messages/batch", &many, 400, "bad_request");
    assert!(why.contains("messages"), "{why}");
    api.stop();
}

#[test]
fn bodies_that_cannot_be_taken_are_refused() {
    let mut api = Api::start();
    let good = r#"{"to":{"room":"tea"},"data":1}"#;
    for kind in ["", "Content-Type: text/plain\r\n"] {
        let answer = api.ask_with("POST", "/v1/messages", kind, good);
        is_error(&answer, 415, "bad_request");
    }
    let kind = "Content-Type: Application/JSON; charset=utf-8\r\n";
    assert_eq!(api.ask_with("POST", "/v1/messages", kind, good).status, 200);

    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for body in [
        format!(
            r#"{{"to":{{"room":"tea"}},"data":{}}}"#,
            &deep[99_935..100_065]
        ),
        format!(r#"{{"to":{},"data":1}}"#, deep),
        deep,
        "{".into(),
        String::new(),
    ] {
        api.refused("POST", "/v1/messages", &body, 400, "bad_request");
    }
    let sized = |size: usize| {
        let text = "x".repeat(size - 2);
        format!(r#"{{"to":{{"room":"tea"}},"data":"{text}"}}"#)
    };
    api.ok("POST", "/v1/messages", &sized(65_536));
    let why = api.refused("POST", "/v1/messages", &sized(65_537), 413, "too_large");
    assert!(why.starts_with("data has 65537 bytes"), "{why}");
    let batch = format!(r#"{{"messages":[{}]}}"#, sized(65_537));
    let answer = api.ok("POST", "/v1/messages/batch", &batch);
    assert_eq!(answer["results"][0]["error"]["code"], "too_large");
    // The head alone decides: no byte of the body is read.
    let head = "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                Content-Length: 1048577\r\n\r\n";
    let mut http = api.server.http();
    http.send(head).unwrap();
    is_error(&http.answer().unwrap(), 413, "too_large");
    api.get("/v1/stats");
    api.stop();
}

#[test]
fn lasting_members_join_and_leave_with_all_they_have() {
    let mut api = Api::start();
    let (mut ann, _) = api.login("ann", &[]);
    assert_eq!(
        api.ok("PUT", "/v1/rooms/tea/members/ann", ""),
        json!({"added": true})
    );
    assert_eq!(
        api.ok("PUT", "/v1/rooms/tea/members/ann", ""),
        json!({"added": false})
    );
    api.post(&json!({"to": {"room": "tea"}, "data": 1}));
    assert_eq!(heard(&mut ann, "msg")["data"], 1);
    let members = api.get("/v1/rooms/tea/members");
    assert_eq!(
        members,
        json!({"members": [{"uid": "ann", "connections": 1, "online": true}], "more": false})
    );
    assert_eq!(
        api.ok("DELETE", "/v1/rooms/tea/members/ann", ""),
        json!({"removed": true})
    );
    assert_eq!(
        api.ok("DELETE", "/v1/rooms/tea/members/ann", ""),
        json!({"removed": false})
    );
    assert_eq!(
        api.post(&json!({"to": {"room": "tea"}, "data": 2}))["receivers"],
        0
    );
    api.post(&json!({"to": {"user": "ann"}, "data": 3}));
    assert_eq!(heard(&mut ann, "msg")["data"], 3);
    api.refused(
        "PUT",
        "/v1/rooms/%40tea/members/ann",
        "",
        400,
        "bad_request",
    );
    api.refused("GET", "/v1/rooms/none/members", "", 404, "not_found");
}

#[test]
fn a_purge_begins_a_new_epoch_and_says_so() {
    let mut api = Api::start();
    let (mut ann, _) = api.login("ann", &["tea"]);
    let before = api.post(&json!({"to": {"room": "tea"}, "data": 1}));
    heard(&mut ann, "msg");
    let purged = api.ok("DELETE", "/v1/rooms/tea/messages", "");
    assert_eq!(
        (&purged["channel"], &purged["offset"]),
        (&json!("tea"), &json!(0))
    );
    assert_ne!(purged["epoch"], before["epoch"]);
    let gap = heard(&mut ann, "gap");
    assert_eq!(
        (&gap["epoch"], &gap["offset"]),
        (&purged["epoch"], &json!(0))
    );
    let history = api.get("/v1/rooms/tea/messages");
    assert_eq!(history["messages"], json!([]));
    api.refused("DELETE", "/v1/rooms/none/messages", "", 404, "not_found");
}

#[test]
fn a_purge_of_a_private_line_leaves_the_others_theirs() {
    let mut api = Api::start();
    let (mut ann, _) = api.login("ann", &[]);
    let (mut bob, _) = api.login("bob", &[]);
    let note = json!({"to": {"user": "bob"}, "from": "ann", "data": "lunch?"});
    let before = api.post(&note);
    assert_eq!(before["channel"], "@bob");
    heard(&mut bob, "msg");
    let purged = api.ok("DELETE", "/v1/users/bob/messages", "");
    assert_eq!(
        (&purged["channel"], &purged["offset"]),
        (&json!("@bob"), &json!(0))
    );
    assert_ne!(purged["epoch"], before["epoch"]);
    let gap = heard(&mut bob, "gap");
    assert_eq!(
        (&gap["channel"], &gap["epoch"], &gap["offset"]),
        (&json!("@bob"), &purged["epoch"], &json!(0))
    );
    let kept = |api: &mut Api, uid: &str| {
        let history = api.get(&format!("/v1/users/{uid}/messages"));
        history["messages"].as_array().unwrap().len()
    };
    assert_eq!((kept(&mut api, "bob"), kept(&mut api, "ann")), (0, 1));
    heard(&mut ann, "msg");
    let again = api.post(&json!({"to": {"user": "bob"}, "data": 2}));
    assert_eq!(
        (&again["epoch"], &again["offset"]),
        (&purged["epoch"], &json!(1))
    );
    api.refused("DELETE", "/v1/users/nobody/messages", "", 404, "not_found");
    // A line is no room.
    api.refused(
        "DELETE",
        "/v1/rooms/%40bob/messages",
        "",
        400,
        "bad_request",
    );
}

#[test]
fn history_comes_in_pages() {
    let mut api = Api::start();
    for data in 1..=5 {
        api.post(&json!({"to": {"room": "tea"}, "data": data}));
    }
    let mut page = |query: &str| {
        let page = api.get(&format!("/v1/rooms/tea/messages{query}"));
        assert_eq!(
            (&page["channel"], &page["offset"]),
            (&json!("tea"), &json!(5))
        );
        let offset = |message: &Value| message["offset"].as_u64().unwrap();
        let offsets: Vec<u64> = page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(offset)
            .collect();
        (offsets, page["more"].as_bool().unwrap())
    };
    assert_eq!(page(""), (vec![1, 2, 3, 4, 5], false));
    assert_eq!(page("?limit=2"), (vec![1, 2], true));
    assert_eq!(page("?after=2&limit=2"), (vec![3, 4], true));
    assert_eq!(page("?after=3"), (vec![4, 5], false));
    assert_eq!(
        page("?before=4&limit=2"),
        (vec![3, 2], true),
        "newest first"
    );
    assert_eq!(
        page("?after=1&before=4"),
        (vec![2, 3], false),
        "oldest first"
    );
    api.refused("GET", "/v1/rooms/none/messages", "", 404, "not_found");

    api.post(&json!({"to": {"user": "ann"}, "from": "bob", "data": 6}));
    for uid in ["ann", "bob"] {
        let inbox = api.get(&format!("/v1/users/{uid}/messages"));
        assert_eq!(inbox["channel"], format!("@{uid}"));
        assert_eq!(inbox["messages"][0]["data"], 6);
        assert_eq!(inbox["messages"][0]["to"], "ann");
    }
    api.stop();
}

#[test]
fn rooms_and_users_are_listed() {
    let mut api = Api::start();
    let (_ann, fd) = api.login("ann", &["tea", "team-a", "team-b"]);
    let mut rooms = |query: &str| -> Vec<String> {
        let list = api.get(&format!("/v1/rooms{query}"));
        let name = |room: &Value| room["room"].as_str().unwrap().to_owned();
        list["rooms"].as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(rooms(""), ["tea", "team-a", "team-b"]);
    assert_eq!(rooms("?prefix=team-"), ["team-a", "team-b"]);
    assert_eq!(rooms("?limit=1"), ["tea"]);
    assert_eq!(rooms("?limit=1&after=tea"), ["team-a"]);
    let room = api.get("/v1/rooms/tea");
    assert_eq!(
        (&room["users"], &room["connections"]),
        (&json!(1), &json!(1))
    );
    api.refused("GET", "/v1/rooms/none", "", 404, "not_found");

    let ann = json!({"uid": "ann", "online": true, "connections": [fd],
        "rooms": ["tea", "team-a", "team-b"]});
    let bob = json!({"uid": "bob", "online": false, "connections": [], "rooms": []});
    assert_eq!(api.get("/v1/users/ann"), ann);
    assert_eq!(
        api.get("/v1/users?uid=ann&uid=bob"),
        json!({"users": [ann, bob]})
    );
    api.refused("GET", "/v1/users", "", 400, "bad_request");
}

#[test]
fn connections_are_shown_bound_and_closed() {
    let mut api = Api::start();
    let mut client = api.server.websocket("/ws");
    let fd = parsed(&client.hear_text())["fd"].as_u64().unwrap();
    let path = format!("/v1/connections/{fd}");
    let user = format!("{path}/user");
    assert!(
        api.get("/v1/connections")["connections"]
            .as_array()
            .unwrap()
            .contains(&json!(fd))
    );
    let shown = api.get(&path);
    assert_eq!(
        (&shown["websocket"], &shown["uid"]),
        (&json!(true), &Value::Null)
    );

    api.refused("DELETE", &user, "", 404, "not_found");
    let bound = json!({"fd": fd, "uid": "ann"});
    assert_eq!(api.ok("PUT", &user, r#"{"uid":"ann"}"#), bound);
    assert_eq!(
        api.ok("PUT", &user, r#"{"uid":"ann"}"#),
        bound,
        "once more changes nothing"
    );
    api.refused("PUT", &user, r#"{"uid":"bob"}"#, 409, "conflict");
    api.post(&json!({"to": {"user": "ann"}, "data": 1}));
    assert_eq!(heard(&mut client, "msg")["data"], 1);
    assert_eq!(api.ok("DELETE", &user, ""), bound);
    assert_eq!(api.get(&path)["uid"], Value::Null);

    assert_eq!(api.ok("DELETE", &path, ""), json!({"closed": true}));
    assert_eq!(heard(&mut client, "kick")["code"], "kicked");
    assert_eq!(client.hear_text_or_close(), Err(4004));
    let gone = "/v1/connections/4503599627370496";
    api.refused("GET", gone, "", 404, "not_found");
    api.refused("DELETE", gone, "", 404, "not_found");
    let uid = r#"{"uid":"ann"}"#;
    api.refused("PUT", &format!("{gone}/user"), uid, 404, "not_found");
}

#[test]
fn a_kick_closes_all_connections_of_a_user() {
    let mut api = Api::start();
    let (mut one, _) = api.login("ann", &[]);
    let (mut other, _) = api.login("ann", &[]);
    let body = r#"{"code":"rude","message":"be kind"}"#;
    assert_eq!(
        api.ok("POST", "/v1/users/ann/kick", body),
        json!({"kicked": 2})
    );
    for client in [&mut one, &mut other] {
        let kick = heard(client, "kick");
        assert_eq!(
            (&kick["code"], &kick["message"]),
            (&json!("rude"), &json!("be kind"))
        );
        assert_eq!(client.hear_text_or_close(), Err(4004));
    }
    assert_eq!(
        api.ok("POST", "/v1/users/nobody/kick", ""),
        json!({"kicked": 0})
    );
}

#[test]
fn what_is_wrong_with_a_request_is_named() {
    let mut api = Api::start();
    for (path, field) in [
        ("/v1/rooms?limt=1", "limt"),
        ("/v1/rooms?limit=0", "limit"),
        ("/v1/rooms?limit=1001", "limit"),
        ("/v1/rooms/tea/messages?after=x", "after"),
        ("/v1/connections?after=-1", "after"),
        ("/v1/connections/x", "fd"),
        ("/v1/rooms/%ff", "room"),
    ] {
        let why = api.refused("GET", path, "", 400, "bad_request");
        assert!(why.contains(field), "{path}: {why}");
    }
    for (body, field) in [
        (r#"{"data":1}"#, "to"),
        (r#"{"to":{"room":"tea"}}"#, "data"),
        (r#"{"to":{"room":1},"data":1}"#, "to.room"),
        (r#"{"to":{"room":"tea"},"data":1,"id":""}"#, "id"),
        (r#"{"to":{"room":"tea"},"data":1,"store":1}"#, "store"),
        (r#"{"to":{"room":"tea"},"data":1,"dta":1}"#, "dta"),
    ] {
        let why = api.refused("POST", "/v1/messages", body, 400, "bad_request");
        assert!(why.contains(field), "{body}: {why}");
    }
    for (method, path, allowed) in [
        ("GET", "/v1/messages", "post"),
        ("POST", "/v1/rooms", "get, head"),
        ("POST", "/v1/rooms/tea/messages", "get, head, delete"),
        ("GET", "/v1/rooms/tea/members/ann", "put, delete"),
        ("DELETE", "/openapi.json", "get, head"),
    ] {
        let answer = api.ask(method, path, "");
        is_error(&answer, 405, "bad_request");
        assert!(
            answer.fields.contains(&format!("allow: {allowed}\r\n")),
            "{}",
            answer.fields
        );
    }
    api.refused("GET", "/v1/nothing", "", 404, "not_found");
    api.stop();
}

#[test]
fn pages_of_other_servers_are_kept_out() {
    let mut api = Api::start();
    for fields in ["Origin: http://evil.example\r\n", "Origin: null\r\n"] {
        for (method, path) in [("GET", "/v1/rooms"), ("POST", "/v1/messages")] {
            let answer = api.ask_with(method, path, fields, "");
            is_error(&answer, 403, "forbidden");
        }
    }
    let answer = api.ask_with("GET", "/v1/rooms", "Origin: http://127.0.0.1\r\n", "");
    assert_eq!(answer.status, 200);
    let mut http = api.server.http();
    http.send("GET /v1/rooms HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .unwrap();
    is_error(&http.answer().unwrap(), 403, "forbidden");
    api.stop();
}

#[test]
fn head_answers_as_get_without_a_body() {
    let api = Api::start();
    for path in [
        "/v1/rooms",
        "/v1/stats",
        "/metrics",
        "/openapi.json",
        "/healthz",
        "/readyz",
    ] {
        let mut stream = TcpStream::connect(api.server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("HEAD {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 "), "{path}: {text}");
        assert!(text.ends_with("\r\n\r\n"), "{path}: {text}");
        assert!(!text.contains("Content-Length: 0\r\n"), "{path}: {text}");
    }
    api.stop();
}

#[test]
fn the_description_names_every_method_that_is_allowed() {
    let mut api = Api::start();
    let described = api.get("/openapi.json");
    for (path, operations) in described["paths"].as_object().unwrap() {
        let mut methods: Vec<&str> = operations
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|key| *key != "parameters")
            .collect();
        methods.sort_unstable();
        let real = path
            .replace("{room}", "tea")
            .replace("{uid}", "ann")
            .replace("{fd}", "1");
        let answer = api.ask("PATCH", &real, "");
        is_error(&answer, 405, "bad_request");
        let (_, allowed) = answer.fields.split_once("allow: ").unwrap();
        let mut allowed: Vec<&str> = allowed.lines().next().unwrap().split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(methods, allowed, "{path}");
    }
    api.stop();
}

#[test]
fn with_keys_only_the_description_and_the_health_are_open() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    let http = server.http();
    let mut api = Api { server, http };
    for path in ["/openapi.json", "/healthz", "/readyz"] {
        assert_eq!(api.ask("GET", path, "").status, 200, "{path}");
    }
    for path in ["/v1/rooms", "/v1/stats", "/metrics", "/v1/connections"] {
        for fields in [
            "",
            "Authorization: Bearer x\r\n",
            "Authorization: Basic x\r\n",
        ] {
            let answer = api.ask_with("GET", path, fields, "");
            is_error(&answer, 401, "unauthorized");
            assert!(answer.fields.contains("www-authenticate: bearer\r\n"));
        }
        let answer = api.ask_with("GET", path, &keys.field(), "");
        assert_eq!(answer.status, 200, "{path}");
    }
}

#[test]
fn each_number_has_one_name_in_stats_and_metrics() {
    let mut api = Api::start();
    let stats = api.get("/v1/stats");
    let metrics = api.ask("GET", "/metrics", "");
    assert_same_names(&stats, &metrics.body, "tidings_");
    for name in [
        "worker_pressure_high",
        "mailbox_pressure_high",
        "disk_pressure_high",
    ] {
        assert!(
            metrics.body.contains(&format!("\ntidings_{name}")),
            "{name}"
        );
    }
    assert_eq!(stats["disk"]["pressure_high"], false, "{stats}");
    assert_eq!(stats["workers"][0]["pressure_high"], false, "{stats}");
    api.stop();
}

/// The head of a request whose body doesn't come.
fn head_alone(method: &str, path: &str, fields: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}Content-Length: 1000000\r\n\r\n"
    )
}

#[test]
fn who_shows_no_key_or_asks_for_what_takes_no_body_is_refused_before_the_body() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file()]);
    for (method, path, fields, status) in [
        ("POST", "/v1/messages", String::new(), 401),
        (
            "POST",
            "/v1/messages",
            "Authorization: Bearer x\r\n".into(),
            401,
        ),
        (
            "POST",
            "/v1/messages/batch",
            "Authorization: x\r\n".into(),
            401,
        ),
        ("PUT", "/v1/messages", keys.field(), 405),
        ("POST", "/v1/rooms/%ff", keys.field(), 400),
        ("POST", "/v1/nothing", keys.field(), 404),
        ("POST", "/", keys.field(), 405),
        ("POST", "/nothing", keys.field(), 404),
    ] {
        let mut http = server.http();
        http.send(head_alone(method, path, &fields)).unwrap();
        let answer = http.answer().unwrap();
        assert_eq!((answer.status, answer.closes), (status, true), "{path}");
    }
    let mut http = server.http();
    http.send(head_alone(
        "POST",
        "/v1/messages",
        &(keys.field() + "Expect: 100-continue\r\n"),
    ))
    .unwrap();
    assert_eq!(http.head().unwrap().status, 100, "who has a key goes on");
}
