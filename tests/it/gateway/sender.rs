//! Back ends that post without a pause, each its own numbers, again and again until each is taken.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::machine::message;
use crate::support::http::HttpClient;

pub struct Senders {
    /// Where the gateway is now.
    address: Arc<Mutex<SocketAddr>>,
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
    /// Numbers that were answered with 202, over all senders.
    taken: Arc<AtomicU64>,
}

impl Senders {
    pub fn start(address: SocketAddr, count: usize) -> Self {
        let address = Arc::new(Mutex::new(address));
        let is_over = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicU64::new(0));
        let threads = (0..count).map(|index| {
            let (address, is_over) = (Arc::clone(&address), Arc::clone(&is_over));
            let taken = Arc::clone(&taken);
            std::thread::spawn(move || send(&name(index), &address, &is_over, &taken))
        });
        Self {
            threads: threads.collect(),
            address,
            is_over,
            taken,
        }
    }

    /// The gateway is there now.
    pub fn go_on_at(&self, address: SocketAddr) {
        *self.address.lock().unwrap() = address;
    }

    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// Ends them; how many of each were taken.
    pub fn stop(self) -> Vec<(String, u64)> {
        self.is_over.store(true, Ordering::SeqCst);
        let counts = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap());
        counts
            .enumerate()
            .map(|(index, count)| (name(index), count))
            .collect()
    }
}

fn name(index: usize) -> String {
    format!("sender-{index}")
}

/// Posts 1, 2, 3 …, each until it is taken; the last one.
fn send(from: &str, address: &Mutex<SocketAddr>, is_over: &AtomicBool, taken: &AtomicU64) -> u64 {
    let mut number = 0;
    let mut http = None;
    while !is_over.load(Ordering::SeqCst) {
        number += 1;
        // Also after the end: what was begun may have been taken.
        while !try_to_say(&mut http, address, from, number) {
            std::thread::sleep(Duration::from_millis(5));
        }
        taken.fetch_add(1, Ordering::SeqCst);
    }
    number
}

/// Whether the message was taken. No answer says nothing: it may be there, or not.
fn try_to_say(
    http: &mut Option<HttpClient>,
    address: &Mutex<SocketAddr>,
    from: &str,
    number: u64,
) -> bool {
    if http.is_none() {
        let address = *address.lock().unwrap();
        *http = HttpClient::try_connect(address).ok();
    }
    let answer = http.as_mut().and_then(|http| {
        let message = message(from, number);
        http.ask_with_json("POST", "/v1/messages", &message).ok()
    });
    let Some(answer) = answer else {
        *http = None;
        return false;
    };
    assert!([202, 503].contains(&answer.status), "{answer:?}");
    if answer.closes {
        *http = None;
    }
    answer.status == 202
}
