//! Where the server is just now, and whether the test goes on: what all threads share.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;
use tungstenite::{Error, Message, WebSocket};

use crate::program::PATIENCE;

/// How long a thread listens before it looks round.
pub const MOMENT: Duration = Duration::from_millis(20);

/// See the module.
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

/// A WebSocket that may break at any time.
pub struct Line(WebSocket<TcpStream>);

impl Line {
    pub fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.set_write_timeout(Some(PATIENCE)).ok()?;
        let url = format!("ws://{address}/ws");
        let (socket, _) = tungstenite::client(url, stream).ok()?;
        socket.get_ref().set_read_timeout(Some(MOMENT)).ok()?;
        Some(Self(socket))
    }

    /// `None`: it is broken.
    pub fn say(&mut self, command: &Value) -> Option<()> {
        self.0.send(Message::text(command.to_string())).ok()
    }

    /// The next frame, if one comes within a moment.
    pub fn hear(&mut self) -> Result<Option<Value>, Broken> {
        match self.0.read() {
            Ok(Message::Text(text)) => Ok(Some(serde_json::from_str(&text).unwrap())),
            Ok(Message::Close(_)) => Err(Broken),
            Ok(_) => Ok(None),
            Err(Error::Io(error)) if is_timeout(&error) => Ok(None),
            Err(_) => Err(Broken),
        }
    }
}

/// A connection has ended.
#[derive(Debug)]
pub struct Broken;

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
