//! Thousands of clients that log in at the same moment.

use std::time::{Duration, Instant};

use crate::support::program::Program;
use crate::support::websocket::WebSocketClient;

/// Connects so many clients, whose handshakes are done.
pub fn prepare(server: &Program, count: u64) -> Vec<WebSocketClient> {
    let connect = |_| {
        let mut client = server.websocket("/ws");
        assert!(client.hear_text().contains("hello"));
        client
    };
    (0..count).map(connect).collect()
}

/// Logs all of them in, each as a user of its own in a room of its own, and waits for each answer;
/// returns the time that it took.
pub fn log_in(mut clients: Vec<WebSocketClient>) -> Duration {
    let began = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(format!(
            r#"{{"type":"login","seq":1,"uid":"u{number}","rooms":["room-{number}"]}}"#
        ));
    }
    for client in &mut clients {
        let answer = client.hear_text();
        assert!(answer.starts_with(r#"{"type":"ok","seq":1"#), "{answer}");
    }
    began.elapsed()
}
