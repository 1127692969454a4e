//! Each status that the description of the HTTP API names, provoked at its operation.

use std::os::unix::fs::FileExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::chat_client::ChatClient;
use crate::support::http::{Answer, HttpClient};
use crate::support::keys::Keys;
use crate::support::parsed;
use crate::support::program::Program;

/// An fd that nobody has.
const NO_FD: u64 = 1 << 52;

/// One operation of the description.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    statuses: Vec<u16>,
}

fn operations(server: &Program) -> Vec<Operation> {
    let described = server.http().ask("GET", "/openapi.json", "").unwrap();
    let described = parsed(&described.body);
    let mut operations = Vec::new();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(responses) = operation["responses"].as_object() else {
                continue;
            };
            operations.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                statuses: responses.keys().map(|key| key.parse().unwrap()).collect(),
            });
        }
    }
    operations
}

impl Operation {
    fn url(&self, room: &str, uid: &str, fd: u64) -> String {
        self.path
            .replace("{room}", room)
            .replace("{uid}", uid)
            .replace("{fd}", &fd.to_string())
            .replace("{node}", "eu-2")
    }

    /// A body that is taken; empty where none is.
    fn body(&self) -> &'static str {
        match (&*self.method, &*self.path) {
            ("POST", "/v1/messages") => r#"{"to":{"room":"tea"},"data":1}"#,
            ("POST", "/v1/messages/batch") => {
                r#"{"messages":[{"to":{"room":"tea"},"data":1},{"to":{},"data":1}]}"#
            }
            ("POST", "/v1/users/{uid}/kick") => r#"{"code":"rude","message":"be kind"}"#,
            ("POST", "/v1/nodes/{node}/drain") => r#"{"within_ms":1}"#,
            ("PUT", "/v1/connections/{fd}/user") => r#"{"uid":"ann"}"#,
            ("PUT", "/v1/connections/{fd}/session") => r#"{"theme":"dark"}"#,
            _ => "",
        }
    }
}

/// A request in the making.
struct Asking<'a> {
    method: &'a str,
    url: String,
    fields: String,
    body: &'a str,
}

impl Asking<'_> {
    fn text(&self) -> String {
        let Self {
            method,
            url,
            fields,
            body,
        } = self;
        let size = body.len();
        format!(
            "{method} {url} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n{fields}\r\n{body}"
        )
    }
}

/// The server, and somebody to be asked about.
struct World {
    server: Program,
    keys: Keys,
}

impl World {
    /// Asks as the description says, but for what brings about `status`.
    fn provoke(&self, operation: &Operation, status: u16) -> Answer {
        // Somebody who is there, and a connection of somebody who isn't logged in.
        let person = self.person("ann", &["tea"]);
        let client = ChatClient::connect(&self.server);
        let bound = &person.hello["fd"];
        let unbinds = operation.method == "DELETE" && operation.path.ends_with("/user");
        let has_user = operation.path.ends_with("/session");
        let fd = if unbinds || has_user || status == 409 {
            bound.as_u64().unwrap()
        } else {
            client.hello["fd"].as_u64().unwrap()
        };
        let json = "Content-Type: application/json\r\n";
        let mut asking = Asking {
            method: &operation.method,
            url: operation.url("tea", "ann", fd),
            fields: self.keys.field() + json,
            body: operation.body(),
        };
        match status {
            200 if operation.path == "/v1/users" => asking.url += "?uid=ann",
            200 => {}
            400 => asking.fields += "Host: twice\r\n",
            401 => asking.fields = json.into(),
            403 => asking.fields += "Origin: http://evil.example\r\n",
            404 if operation.path == "/v1/messages" => {
                asking.body = r#"{"to":{"fd":4503599627370496},"data":1}"#;
            }
            404 if operation.path == "/v1/connections" => asking.url += "?node=eu-2",
            404 => asking.url = operation.url("none", "nobody", NO_FD),
            405 => asking.method = "PATCH",
            409 => asking.body = r#"{"uid":"bob"}"#,
            413 => {
                let head = asking.text();
                let head = head.replace(
                    &format!("Content-Length: {}\r\n", asking.body.len()),
                    "Content-Length: 1048577\r\n",
                );
                let (head, _) = head.split_once("\r\n\r\n").unwrap();
                return answer_to(&self.server, &operation.method, &format!("{head}\r\n\r\n"));
            }
            414 => asking.url += &format!("?{}", "x".repeat(8_192)),
            415 => asking.fields = self.keys.field() + "Content-Type: text/plain\r\n",
            431 => asking.fields += &format!("X-Long: {}\r\n", "x".repeat(16_384)),
            other => panic!("{operation:?}: nothing brings about {other}"),
        }
        answer_to(&self.server, asking.method, &asking.text())
    }

    fn person(&self, uid: &str, rooms: &[&str]) -> ChatClient {
        let mut person = ChatClient::connect(&self.server);
        let token = self.keys.token(uid, "*", "1h");
        person.ok(json!({"type": "login", "token": token, "rooms": rooms}));
        person
    }
}

fn answer_to(server: &Program, method: &str, request: &str) -> Answer {
    let mut http = server.http();
    http.send(request).unwrap();
    answer_of(&mut http, method)
}

/// The answer to HEAD announces a body that doesn't come.
fn answer_of(http: &mut HttpClient, method: &str) -> Answer {
    if method == "HEAD" {
        http.head().unwrap()
    } else {
        http.answer().unwrap()
    }
}

/// What every refusal looks like.
#[track_caller]
fn is_as_described(operation: &Operation, status: u16, answer: &Answer) {
    assert_eq!(answer.status, status, "{operation:?}: {}", answer.body);
    if status == 200 || answer.body.is_empty() {
        return;
    }
    let code = match status {
        400 | 405 | 408 | 415 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        404 => "not_found",
        409 => "conflict",
        413 | 414 | 431 => "too_large",
        429 => "rate_limited",
        500 => "internal",
        503 => "unavailable",
        504 => "unsettled",
        507 => "disk_full",
        other => panic!("{operation:?} describes {other}"),
    };
    assert_eq!(
        parsed(&answer.body)["error"]["code"],
        code,
        "{operation:?}: {}",
        answer.body
    );
    assert!(answer.fields.contains("content-type: application/json\r\n"));
    let retry = answer.fields.contains("retry-after: ");
    let may_retry = matches!(status, 429 | 503 | 504 | 507);
    assert_eq!(retry, may_retry, "{operation:?}: {}", answer.fields);
}

#[test]
fn every_described_status_of_every_operation_can_be_provoked() {
    let keys = Keys::make();
    let server = Program::serve(&["--config", &keys.file(), "--workers", "1"]);
    let world = World { server, keys };
    let operations = operations(&world.server);
    assert_eq!(operations.len(), 44);
    let mut count = 0;
    for operation in &operations {
        for status in &operation.statuses {
            // Those take servers of their own, see below; and a server by itself has no node to drain.
            let needs_nodes = *status == 200 && operation.path == "/v1/nodes/{node}/drain";
            if !needs_nodes && !matches!(status, 408 | 429 | 500 | 503 | 504 | 507) {
                is_as_described(operation, *status, &world.provoke(operation, *status));
                count += 1;
            }
        }
    }
    println!("{count} answers of {} operations", operations.len());
    world.server.stop();
}

#[test]
fn a_head_or_a_body_that_comes_too_late_is_408_at_every_operation() {
    let keys = Keys::make();
    let server = Program::serve(&[
        "--config",
        &keys.file(),
        "--set",
        "http.head_ms_max=200",
        "--set",
        "http.body_ms_max=200",
    ]);
    let operations = operations(&server);
    let begin = |operation: &Operation, request: String| {
        assert!(operation.statuses.contains(&408), "{operation:?}");
        let mut http = server.http();
        http.send(&request).unwrap();
        (operation.clone(), http)
    };
    let head = |operation: &Operation| {
        let url = operation.url("tea", "ann", NO_FD);
        format!("{} {url} HTTP/1.1\r\nHost: 127.0.0.1\r\n", operation.method)
    };
    let mut waiting: Vec<(Operation, HttpClient)> = operations
        .iter()
        .map(|operation| begin(operation, head(operation)))
        .collect();
    for operation in operations.iter().filter(|one| !one.body().is_empty()) {
        let rest = "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{";
        let request = head(operation) + &keys.field() + rest;
        waiting.push(begin(operation, request));
    }
    for (operation, mut http) in waiting {
        // Who can't say the method gets a body.
        let answer = http.answer().unwrap();
        assert!(answer.closes);
        is_as_described(&operation, 408, &answer);
    }
    server.stop();
}

#[test]
fn a_key_that_asks_too_often_is_429_at_every_operation_that_is_counted() {
    let keys = Keys::make();
    let server = Program::serve(&[
        "--config",
        &keys.file(),
        "--set",
        "limits.requests_per_s_max=1",
        "--set",
        "limits.requests_burst_max=1",
    ]);
    let ask = |operation: &Operation, url: String| {
        let asking = Asking {
            method: &operation.method,
            url,
            fields: keys.field() + "Content-Type: application/json\r\n",
            body: operation.body(),
        };
        answer_to(&server, &operation.method, &asking.text())
    };
    for operation in operations(&server) {
        let mut answer = ask(&operation, operation.url("tea", "ann", NO_FD));
        if !operation.statuses.contains(&429) {
            assert_ne!(answer.status, 429, "{operation:?}");
            continue;
        }
        // The one that there may be a second, if it just was one's turn.
        while answer.status != 429 {
            answer = ask(&operation, operation.url("tea", "ann", NO_FD));
        }
        is_as_described(&operation, 429, &answer);
    }
    server.stop();
}

#[test]
fn one_connection_too_many_is_503_at_every_operation() {
    let server = Program::serve(&["--set", "reactor.connections_max=1"]);
    let operations = operations(&server);
    // The one that there may be; the description's has gone by now, or its place is waited for.
    let mut one = server.http();
    while !one
        .ask("GET", "/healthz", "")
        .is_ok_and(|answer| answer.status == 200)
    {
        one = server.http();
    }
    for operation in &operations {
        assert!(operation.statuses.contains(&503), "{operation:?}");
        let mut http = server.http();
        // It may be told before it has asked.
        let _ = http.send(format!(
            "{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
            operation.method,
            operation.url("tea", "ann", NO_FD)
        ));
        is_as_described(operation, 503, &http.answer().unwrap());
    }
    assert_eq!(one.ask("GET", "/healthz", "").unwrap().status, 200);
    drop(one);
    server.stop();
}

#[test]
fn one_channel_too_many_is_503_and_takes_nothing() {
    let server = Program::serve(&["--set", "chat.channels_max=1"]);
    let post = |body: Value| answer_to(&server, "POST", &json_post("/v1/messages", &body));
    assert_eq!(post(json!({"to": {"room": "tea"}, "data": 1})).status, 200);
    let refused = post(json!({"to": {"room": "lobby"}, "data": 1}));
    assert_eq!(refused.status, 503);
    assert_eq!(parsed(&refused.body)["error"]["code"], "unavailable");
    assert!(refused.fields.contains("retry-after: 1\r\n"));
    let refused = post(json!({"to": {"user": "ann"}, "data": 1}));
    assert_eq!(refused.status, 503);
    let each = post(json!({"to": {"rooms": ["tea", "lobby"]}, "data": 1}));
    let results = &parsed(&each.body)["results"];
    assert_eq!(results[0]["offset"], 2);
    assert_eq!(results[1]["error"]["code"], "unavailable");
    let member = answer_to(
        &server,
        "PUT",
        &json_request("PUT", "/v1/rooms/x/members/y"),
    );
    assert_eq!(member.status, 503);
    assert_eq!(
        server
            .http()
            .ask("GET", "/v1/rooms/lobby", "")
            .unwrap()
            .status,
        404
    );
    server.stop();
}

#[test]
fn history_that_is_damaged_on_disk_is_500_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Program::serve(&["--set", &format!("store.data={}", data.display())]);
    for to in [json!({"room": "tea"}), json!({"user": "ann"})] {
        let message = json!({"to": to, "data": "as it was said"});
        let answer = answer_to(&server, "POST", &json_post("/v1/messages", &message));
        assert_eq!(answer.status, 200);
    }
    let journal = data.join("journal-0000000001.log");
    let bytes = std::fs::read(&journal).unwrap();
    let file = std::fs::File::options().write(true).open(&journal).unwrap();
    for (at, part) in bytes.windows(14).enumerate() {
        if part == b"as it was said" {
            file.write_all_at(b"X", at as u64).unwrap();
        }
    }
    let mut count = 0;
    for operation in operations(&server) {
        if !operation.statuses.contains(&500) {
            continue;
        }
        let asking = Asking {
            method: &operation.method,
            url: operation.url("tea", "ann", NO_FD),
            fields: String::new(),
            body: operation.body(),
        };
        let answer = answer_to(&server, &operation.method, &asking.text());
        is_as_described(&operation, 500, &answer);
        count += 1;
    }
    assert_eq!(count, 4);
    server.stop();
}

#[test]
fn a_disk_that_is_as_good_as_full_is_507_and_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = format!("store.data={}", folder.path().join("data").display());
    // More than there is: 1 TiB.
    let free = format!("store.disk_free_size_min={}", 1_u64 << 40);
    let server = Program::serve(&["--set", &data, "--set", &free]);
    let mut count = 0;
    for operation in operations(&server) {
        if !operation.statuses.contains(&507) {
            continue;
        }
        let asking = Asking {
            method: &operation.method,
            url: operation.url("tea", "ann", NO_FD),
            fields: "Content-Type: application/json\r\n".into(),
            body: operation.body(),
        };
        let answer = answer_to(&server, &operation.method, &asking.text());
        is_as_described(&operation, 507, &answer);
        count += 1;
    }
    assert_eq!(count, 3);
    let batch = json!({"messages": [{"to": {"room": "tea"}, "data": 1},
        {"to": {"room": "tea"}, "data": 1, "store": false}]});
    let each = answer_to(&server, "POST", &json_post("/v1/messages/batch", &batch));
    let results = &parsed(&each.body)["results"];
    assert_eq!(results[0]["error"]["code"], "disk_full");
    assert_eq!(
        results[1]["duplicate"], false,
        "what isn't stored goes on: {results}"
    );
    let ask = |path: &str| server.http().ask("GET", path, "").unwrap();
    assert_eq!((ask("/readyz").status, ask("/healthz").status), (503, 200));
    let user = parsed(&ask("/v1/users/ann").body);
    assert_eq!(user["rooms"], json!([]), "no member either");
    server.stop();
}

fn json_post(path: &str, body: &Value) -> String {
    let body = body.to_string();
    let size = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
         Content-Length: {size}\r\n\r\n{body}"
    )
}

fn json_request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
}

#[test]
fn a_server_that_stops_is_alive_but_not_ready() {
    let mut server = Program::serve(&[]);
    let mut ann = ChatClient::login(&server, "ann", &[]);
    // Only what has begun before the stop is answered during it.
    let mut asked: Vec<(HttpClient, u16)> = [("/readyz", 503), ("/healthz", 200)]
        .map(|(path, status)| {
            let mut http = server.http();
            assert_eq!(http.ask("GET", path, "").unwrap().status, 200);
            let begun = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
            http.send(&begun).unwrap();
            (http, status)
        })
        .into();
    server.signal(Signal::TERM);
    assert_eq!(ann.next()["type"], "drain");
    for (http, status) in &mut asked {
        http.send("\r\n").unwrap();
        assert_eq!(http.answer().unwrap().status, *status);
    }
    assert!(matches!(ann.client.hear_text_or_close(), Err(1001)));
    drop((ann, asked));
    assert_eq!(server.exit_code(), 0);
}
