//! The state that all threads of the test share: the server's present address, and whether the test
//! goes on.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::parsed;
use crate::support::websocket::{Heard, WebSocketClient};

/// How long a thread listens before it looks round.
pub const MOMENT: Duration = Duration::from_millis(20);

/// The state that all threads of the test share.
pub struct Place {
    state: Mutex<State>,
    changed: Condvar,
    until: Instant,
}

#[derive(Default)]
struct State {
    address: Option<SocketAddr>,
    /// Nothing new is begun.
    over: bool,
    /// A thread found a fault: the others needn't go on.
    spoilt: bool,
    /// Where each channel ended.
    ends: Option<HashMap<String, u64>>,
}

impl Place {
    /// Nobody waits for anything beyond `time`.
    pub fn new(time: Duration) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            until: Instant::now() + time,
        }
    }

    pub fn set(&self, address: Option<SocketAddr>) {
        self.change(|state| state.address = address);
    }

    pub fn set_over(&self) {
        self.change(|state| state.over = true);
    }

    pub fn set_ends(&self, ends: HashMap<String, u64>) {
        self.change(|state| state.ends = Some(ends));
    }

    pub fn is_over(&self) -> bool {
        self.check().over
    }

    pub fn ends(&self) -> Option<HashMap<String, u64>> {
        self.check().ends.clone()
    }

    /// Tells the others when the thread that holds it panics.
    pub fn watch(&self) -> Watch<'_> {
        Watch(self)
    }

    /// Where the server is, once it is there; after a failure, a moment later.
    pub fn address(&self, failed: bool) -> SocketAddr {
        if failed {
            drop(self.changed.wait_timeout(self.check(), MOMENT).unwrap());
        }
        loop {
            let state = self.check();
            match state.address {
                Some(address) => return address,
                None => drop(self.changed.wait_timeout(state, MOMENT).unwrap()),
            }
        }
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
