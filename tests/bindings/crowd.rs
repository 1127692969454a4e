//! Clients who log in and go, as fast as they can, until their server dies or they are told to rest.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;

use serde_json::json;

use super::support::parsed;
use super::support::random::Random;
use super::support::websocket::{Heard, WebSocketClient};

/// Threads of a crowd.
const THREADS: u64 = 4;

/// Connections of one thread, at the most.
const OF_A_THREAD_MAX: usize = 15;

/// How a crowd is told to rest, and what it has done.
#[derive(Default)]
pub struct Crowd {
    rests: AtomicBool,
    logins: AtomicUsize,
}

impl Crowd {
    /// The logins so far.
    pub fn logins(&self) -> usize {
        self.logins.load(Relaxed)
    }

    /// Has them rest.
    pub fn rest(&self) {
        self.rests.store(true, Relaxed);
    }

    /// Has a crowd log in and go on these servers while `run` runs, and until it rests; those who are still
    /// connected then come back.
    pub fn during(
        &self,
        addresses: &[SocketAddr],
        seed: u64,
        run: impl FnOnce(),
    ) -> Vec<WebSocketClient> {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|number| scope.spawn(move || self.hurry(addresses, seed * THREADS + number)))
                .collect();
            run();
            let clients = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            clients.collect()
        })
    }

    fn hurry(&self, addresses: &[SocketAddr], seed: u64) -> Vec<WebSocketClient> {
        let (mut random, mut clients) = (Random::new(seed), Vec::new());
        while !self.rests.load(Relaxed) {
            if clients.len() >= OF_A_THREAD_MAX || !clients.is_empty() && random.one_in(3) {
                drop(clients.swap_remove(random.below(clients.len())));
                continue;
            }
            let address = addresses[random.below(addresses.len())];
            let (uid, room) = (random.below(20_u64), random.below(5_u64));
            match try_login(address, &format!("u{uid}"), &format!("r{room}")) {
                Some(client) => {
                    clients.push(client);
                    self.logins.fetch_add(1, Relaxed);
                }
                // The server is gone, and they with it.
                None => return Vec::new(),
            }
        }
        clients
    }
}

/// A login that a server's death may end.
pub fn try_login(address: SocketAddr, uid: &str, room: &str) -> Option<WebSocketClient> {
    let mut client = WebSocketClient::try_connect(address, "/ws").ok()?;
    let login = json!({"type": "login", "seq": 1, "uid": uid, "rooms": [room]});
    client.try_say(login.to_string()).ok()?;
    loop {
        match client.hear() {
            Heard::Text(text) => {
                let frame = parsed(&text);
                if frame["seq"] == 1 {
                    return (frame["type"] == "ok").then_some(client);
                }
            }
            Heard::Close(_) | Heard::Cut => return None,
            _ => {}
        }
    }
}
