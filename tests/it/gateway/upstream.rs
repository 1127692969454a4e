//! An upstream of the tests: it speaks the protocol of a link by hand, and does what it is told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use super::machine::LINK_KEY;
use crate::support::port::OwnPort;

/// What it says when it refuses a message.
pub const SENTENCE: &str = "to: nobody of this name";

/// What outlives a crash of the upstream, and what it is told to do.
#[derive(Default)]
pub struct State {
    /// By producer.
    pub marks: HashMap<String, u64>,
    /// What was taken, in order.
    pub log: Vec<Value>,
    /// The `open`s that came.
    pub opens: Vec<Value>,
    /// Refuses so many messages as busy, one after the other.
    pub busy: u32,
    /// Refuses messages with these `id`s for good.
    pub refused: HashSet<String>,
    /// Says nothing of what it takes.
    pub is_mute: bool,
    /// How each link ended: the code of its Close, or nothing.
    pub ends: VecDeque<Option<u16>>,
    links: HashMap<String, TcpStream>,
    streams: Vec<TcpStream>,
}

pub struct Upstream {
    pub address: SocketAddr,
    port: Arc<OwnPort>,
    state: Arc<Mutex<State>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    pub fn start() -> Self {
        Self::start_at(Arc::new(OwnPort::new()), Arc::default())
    }

    fn start_at(port: Arc<OwnPort>, state: Arc<Mutex<State>>) -> Self {
        let listener = TcpListener::bind(port.address).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (state, is_over) = (Arc::clone(&state), Arc::clone(&is_over));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || serve(stream.unwrap(), &state));
                }
            })
        };
        Self {
            address: port.address,
            port,
            state,
            is_over,
            accepting: Some(accepting),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked under it has failed the test already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Dies, so that only what was taken is left; nobody listens any more.
    pub fn kill(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        for stream in self.state().streams.drain(..) {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }

    /// Comes back where it was.
    pub fn start_again(&mut self) {
        *self = Self::start_at(Arc::clone(&self.port), Arc::clone(&self.state));
    }

    /// What was taken of a sender, in order.
    pub fn heard_of(&self, from: &str) -> Vec<u64> {
        let state = self.state();
        let own = state.log.iter().filter(|one| one["from"] == from);
        own.map(|one| one["data"]["number"].as_u64().unwrap())
            .collect()
    }

    pub fn count(&self) -> usize {
        self.state().log.len()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if self.accepting.is_some() {
            self.kill();
        }
    }
}

#[expect(clippy::result_large_err, reason = "tungstenite asks for it")]
fn check(
    request: &Request,
    response: Response,
) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
    let key = request.headers().get("authorization");
    assert_eq!(request.uri().path(), "/link");
    assert_eq!(key.unwrap(), &format!("Bearer {LINK_KEY}"));
    Ok(response)
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    stream.set_nodelay(true).ok();
    // A link that is cut in silence must not keep a thread for ever.
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok();
    state
        .lock()
        .unwrap()
        .streams
        .push(stream.try_clone().unwrap());
    let Ok(mut socket) = tungstenite::accept_hdr(stream, check) else {
        return;
    };
    let mut link = Link::default();
    let end = loop {
        match socket.read() {
            Ok(Message::Text(text)) => {
                let answer = link.hear(&text, &socket, &mut state.lock().unwrap());
                if let Some(answer) = answer
                    && socket.send(Message::text(answer)).is_err()
                {
                    break None;
                }
            }
            Ok(Message::Close(frame)) => {
                socket.flush().ok();
                break Some(frame.map_or(1005, |frame| frame.code.into()));
            }
            Ok(_) => {}
            Err(_) => break None,
        }
    };
    state.lock().unwrap().ends.push_back(end);
}

/// What one link knows.
#[derive(Default)]
struct Link {
    producer: String,
    is_busy: bool,
}

impl Link {
    fn hear(
        &mut self,
        text: &str,
        socket: &WebSocket<TcpStream>,
        state: &mut State,
    ) -> Option<String> {
        if text == "PING" {
            return Some("PONG".into());
        }
        let mut frame: Value = serde_json::from_str(text).unwrap();
        if frame["type"] == "open" {
            self.producer = frame["producer"].as_str().unwrap().to_owned();
            let first = frame["first"].as_u64().unwrap();
            let own = socket.get_ref().try_clone().unwrap();
            if let Some(before) = state.links.insert(self.producer.clone(), own) {
                before.shutdown(std::net::Shutdown::Both).ok();
            }
            let mark = state.marks.entry(self.producer.clone()).or_default();
            *mark = (*mark).max(first - 1);
            let next = *mark + 1;
            state.opens.push(frame);
            return Some(json!({ "type": "open_ok", "next": next }).to_string());
        }
        let n = frame["n"].as_u64().unwrap();
        let mark = state.marks[&self.producer];
        if n > mark + 1 {
            assert!(self.is_busy, "{n} comes after {mark}");
            return None;
        }
        if n == mark + 1 && state.busy > 0 {
            (state.busy, self.is_busy) = (state.busy - 1, true);
            return Some(json!({ "type": "pub_busy", "after_ms": 20 }).to_string());
        }
        self.is_busy = false;
        let mut answer = json!({ "type": "pub_ack", "n": mark.max(n) });
        if n == mark + 1 {
            state.marks.insert(self.producer.clone(), n);
            let id = frame["id"].as_str();
            if id.is_some_and(|id| state.refused.contains(id)) {
                answer = json!({ "type": "pub_err", "n": n, "code": "bad_request", "message": SENTENCE });
            } else {
                state.log.push(frame.take());
            }
        }
        (!state.is_mute).then(|| answer.to_string())
    }
}
