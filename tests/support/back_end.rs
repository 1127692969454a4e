//! The side that posts and asks by HTTP.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::guest::{Spot, parsed};
use crate::program::{Http, PATIENCE, Program};

/// A server with its data in this folder.
pub fn serve(data: &Path, settings: &[&str]) -> Program {
    let data = data.to_str().unwrap();
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let flags: Vec<&str> = ["--data", data].into_iter().chain(settings).collect();
    Program::serve(&flags)
}

pub fn call(http: &mut Http, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    http.send(&format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
    .unwrap();
    let answer = http.answer().unwrap();
    (answer.status, parsed(&answer.body))
}

/// Posts `count` messages with these data to a room, in one request; the place of the last one.
pub fn post(http: &mut Http, room: &str, count: usize, data: &Value) -> Spot {
    let messages = vec![json!({"to": {"room": room}, "data": data}); count];
    let body = json!({ "messages": messages });
    let (status, answer) = call(http, "POST", "/v1/messages/batch", &body);
    assert_eq!(status, 200, "{answer}");
    Spot::of(answer["results"].as_array().unwrap().last().unwrap())
}

/// Posts as many bytes as that in messages of 1,000; the place of the last one.
pub fn post_bytes(http: &mut Http, room: &str, bytes: usize) -> Spot {
    let data = json!("x".repeat(1_000));
    let batches = (0..bytes.div_ceil(800_000)).map(|_| post(http, room, 800, &data));
    batches.last().unwrap()
}

/// A number of `/v1/stats`.
pub fn number(server: &Program, part: &str, name: &str) -> u64 {
    let (_, stats) = call(&mut server.http(), "GET", "/v1/stats", &Value::Null);
    let number = stats[part][name].as_u64();
    number.unwrap_or_else(|| panic!("{part}.{name}: {stats}"))
}

/// Looks again and again, but not for ever.
pub fn until(what: &str, is_so: impl FnMut() -> bool) {
    within(PATIENCE, what, is_so);
}

pub fn within(time: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < time, "{what}: not within {time:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
