//! The state that all threads of a test share: where the server or the nodes are, and whether the test goes
//! on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::chat_client::Position;
use super::parsed;
use super::random::Random;
use super::websocket::{Heard, WebSocketClient};

/// How long a thread listens before it looks round.
pub const MOMENT: Duration = Duration::from_millis(20);

/// The state that all threads of a test share.
pub struct Place {
    state: Mutex<State>,
    changed: Condvar,
    until: Instant,
}

#[derive(Default)]
struct State {
    addresses: Vec<Option<SocketAddr>>,
    /// Nothing new is begun.
    over: bool,
    /// A thread found a fault: the others needn't go on.
    spoilt: bool,
    /// Where each channel ended.
    ends: Option<BTreeMap<String, Position>>,
}

impl Place {
    /// Nobody waits for anything beyond `time`.
    pub fn new(nodes: usize, time: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                addresses: vec![None; nodes],
                ..State::default()
            }),
            changed: Condvar::new(),
            until: Instant::now() + time,
        }
    }

    pub fn set(&self, node: usize, address: Option<SocketAddr>) {
        self.change(|state| state.addresses[node] = address);
    }

    pub fn set_over(&self) {
        self.change(|state| state.over = true);
    }

    pub fn set_ends(&self, ends: BTreeMap<String, Position>) {
        self.change(|state| state.ends = Some(ends));
    }

    pub fn is_over(&self) -> bool {
        self.check().over
    }

    pub fn ends(&self) -> Option<BTreeMap<String, Position>> {
        self.check().ends.clone()
    }

    /// Tells the others when the thread that holds it panics.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// A node that is there, once there is one; after a failure, a moment later.
    pub fn address(&self, random: &mut Random, failed: bool) -> SocketAddr {
        if failed {
            self.wait_a_moment();
        }
        loop {
            let state = self.check();
            let there: Vec<SocketAddr> = state.addresses.iter().flatten().copied().collect();
            match random.one_of(&there) {
                Some(address) => return *address,
                None => drop(self.changed.wait_timeout(state, MOMENT).unwrap()),
            }
        }
    }

    pub fn wait_a_moment(&self) {
        drop(self.changed.wait_timeout(self.check(), MOMENT).unwrap());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }

    fn check(&self) -> MutexGuard<'_, State> {
        let state = self.state.lock().unwrap();
        let (spoilt, late) = (state.spoilt, Instant::now() > self.until);
        if spoilt || late {
            drop(state);
            assert!(!spoilt, "another thread found a fault");
            panic!("it takes too long");
        }
        state
    }
}

/// See [`Place::watch`].
pub struct Watch<'a>(&'a Place);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(mut state) = self.0.state.lock()
        {
            state.spoilt = true;
        }
    }
}

/// A connection has ended.
#[derive(Debug)]
pub struct Broken;

/// The next frame, if one comes within a moment.
pub fn hear(client: &mut WebSocketClient) -> Result<Option<Value>, Broken> {
    match client.hear_within(MOMENT) {
        Some(Heard::Text(text)) => Ok(Some(parsed(&text))),
        Some(Heard::Close(_) | Heard::Cut) => Err(Broken),
        _ => Ok(None),
    }
}
