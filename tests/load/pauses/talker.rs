//! A client that says stored messages at a fixed rate, and notes how long each `ok` took.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::websocket::WebSocketClient;

/// The room that the talker is alone in.
pub const ROOM: &str = "talk";

/// The times from the moment at which a message was due to its `ok`, shortest first.
#[derive(Debug)]
pub struct Delays(Vec<Duration>);

impl Delays {
    /// Returns the delay that this many of 1,000 messages had at the most.
    pub fn of_thousand(&self, count: usize) -> Duration {
        let place = (self.0.len() * count).div_ceil(1_000).max(1) - 1;
        self.0[place]
    }

    /// Returns the longest delay.
    pub fn longest(&self) -> Duration {
        self.of_thousand(1_000)
    }

    /// Counts the messages.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Says `rate` messages a second, however long the answers take, until `is_over`; each delay counts
/// from the moment at which the message was due, so that a pause counts for all that it held up.
pub fn talk(server: SocketAddr, rate: u32, is_over: &AtomicBool) -> Delays {
    let mut client = WebSocketClient::connect(server, &format!("/ws?uid=talker&room={ROOM}"));
    while !is_ok(&client.hear_text()) {}
    let mut hearing = WebSocketClient::on(client.stream().try_clone().unwrap());
    let (due, answered) = std::sync::mpsc::channel::<Option<Instant>>();
    thread::scope(|scope| {
        let heard = scope.spawn(move || {
            let mut delays = Vec::new();
            while let Ok(Some(due)) = answered.recv() {
                while !is_ok(&hearing.hear_text()) {}
                delays.push(due.elapsed());
            }
            delays
        });
        let every = Duration::from_secs(1) / rate;
        let mut at = Instant::now();
        let mut seq = 10;
        while !is_over.load(Relaxed) {
            at += every;
            thread::sleep(at.saturating_duration_since(Instant::now()));
            seq += 1;
            due.send(Some(at)).unwrap();
            client.say(format!(
                r#"{{"type":"say","seq":{seq},"to":{{"room":"{ROOM}"}},"data":"a word or two, {seq}"}}"#
            ));
        }
        due.send(None).unwrap();
        let mut delays = heard.join().unwrap();
        delays.sort_unstable();
        Delays(delays)
    })
}

fn is_ok(text: &str) -> bool {
    assert!(!text.starts_with(r#"{"type":"err""#), "{text}");
    text.starts_with(r#"{"type":"ok""#)
}
