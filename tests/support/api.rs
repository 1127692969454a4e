//! The chat's HTTP API as a back end uses it, against `tidings serve`.

use serde_json::{Value, json};

use super::chat_client::Position;
use super::http::HttpClient;
use super::program::Program;

/// Posts `count` messages with these data to a room, in one request; the position of the last one.
#[track_caller]
pub fn post(http: &mut HttpClient, room: &str, count: usize, data: &Value) -> Position {
    let messages = vec![json!({"to": {"room": room}, "data": data}); count];
    let body = json!({ "messages": messages });
    let (status, answer) = http.json("POST", "/v1/messages/batch", &body);
    assert_eq!(status, 200, "{answer}");
    Position::of(answer["results"].as_array().unwrap().last().unwrap())
}

/// Posts as many bytes as that in messages of 1,000; the position of the last one.
#[track_caller]
pub fn post_bytes(http: &mut HttpClient, room: &str, bytes: usize) -> Position {
    // Batches below the 1 MiB that a body may have.
    const BATCH: usize = 800;
    let data = json!("x".repeat(1_000));
    let batches = (0..bytes.div_ceil(BATCH * 1_000)).map(|_| post(http, room, BATCH, &data));
    batches.last().unwrap()
}

/// The status and the JSON of an answer to no body, on a connection of its own.
#[track_caller]
pub fn ask_json(server: &Program, method: &str, path: &str) -> (u16, Value) {
    server.http().json(method, path, &Value::Null)
}

/// A number of `/v1/stats`.
#[track_caller]
pub fn number(server: &Program, part: &str, name: &str) -> u64 {
    let (_, stats) = ask_json(server, "GET", "/v1/stats");
    let number = stats[part][name].as_u64();
    number.unwrap_or_else(|| panic!("{part}.{name}: {stats}"))
}
