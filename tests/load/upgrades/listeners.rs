//! Many WebSockets in one thread, which hear what is said in the rooms and compare it byte by byte: all of
//! them get the same frames, in the same order in each room.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::Value;

use super::ledger::{Board, Ledger, ROOMS};
use crate::support::PATIENCE;
use crate::support::frame::frame;

/// New connections between two looks at what came.
const AT_ONCE: usize = 100;

/// What a listener waits for.
#[derive(PartialEq, Eq)]
enum Stage {
    Head,
    Hello,
    Welcome,
    In,
}

struct Listener {
    socket: TcpStream,
    stage: Stage,
    /// What came and isn't a whole frame, or head, yet.
    rest: Vec<u8>,
    fd: u64,
    /// The offset of the next message in each room.
    next: [u64; ROOMS.len()],
    last_at: Option<Instant>,
}

pub struct Listeners {
    poll: Poll,
    events: Events,
    listeners: Vec<Listener>,
    bytes: Box<[u8]>,
    pub ledger: Ledger,
}

impl Listeners {
    /// Has so many users come: `u0` and so on. The first `members` of them are in the rooms, the others in
    /// none.
    pub fn connect(address: SocketAddr, count: usize, members: usize) -> Self {
        let mut all = Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1_024),
            listeners: Vec::new(),
            bytes: vec![0; 1 << 18].into(),
            ledger: Ledger::default(),
        };
        let rooms: String = ROOMS.iter().map(|room| format!("&room={room}")).collect();
        for number in 0..count {
            let rooms = if number < members { &*rooms } else { "" };
            all.add(address, &format!("/ws?uid=u{number}{rooms}"));
            if (number + 1) % AT_ONCE == 0 {
                all.listen(None, Duration::ZERO);
            }
        }
        let late = Instant::now() + PATIENCE;
        while all.listeners.iter().any(|one| one.stage != Stage::In) {
            assert!(Instant::now() < late, "not all are in");
            all.listen(None, Duration::from_millis(20));
        }
        all
    }

    fn add(&mut self, address: SocketAddr, target: &str) {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.listeners.len());
        let registry = self.poll.registry();
        registry
            .register(&mut socket, token, Interest::READABLE)
            .unwrap();
        self.listeners.push(Listener {
            socket,
            stage: Stage::Head,
            rest: Vec::new(),
            fd: 0,
            next: [1; ROOMS.len()],
            last_at: None,
        });
    }

    /// The names that the server gave, in the order of the users.
    pub fn fds(&self) -> Vec<u64> {
        self.listeners.iter().map(|one| one.fd).collect()
    }

    /// Hears until somebody knows that everything was heard.
    pub fn hear(&mut self, board: &Board) {
        while !board.is_finished() {
            self.listen(Some(board), Duration::from_millis(20));
        }
    }

    fn listen(&mut self, board: Option<&Board>, time: Duration) {
        self.poll.poll(&mut self.events, Some(time)).unwrap();
        let mut heard = 0;
        for event in &self.events {
            let listener = &mut self.listeners[event.token().0];
            heard += listener.hear(&mut self.bytes, &mut self.ledger, board);
        }
        if let Some(board) = board {
            board.heard_more(heard);
        }
    }
}

impl Listener {
    /// Hears what there is; gives how many messages that were.
    fn hear(&mut self, bytes: &mut [u8], ledger: &mut Ledger, board: Option<&Board>) -> u64 {
        let mut heard = 0;
        loop {
            let begun = self.rest.len();
            bytes[..begun].copy_from_slice(&self.rest);
            match self.socket.read(&mut bytes[begun..]) {
                Ok(0) => panic!("fd {} was closed by the server", self.fd),
                Ok(size) => {
                    let there = &bytes[..begun + size];
                    let (used, messages) = self.take(there, ledger);
                    self.rest.clear();
                    self.rest.extend_from_slice(&there[used..]);
                    heard += messages;
                    if messages > 0 {
                        let now = Instant::now();
                        let last_at = self.last_at.replace(now);
                        if let (Some(board), Some(at)) = (board, last_at) {
                            board.saw_gap(now - at);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return heard,
                Err(error) => panic!("fd {}: {error}", self.fd),
            }
        }
    }

    /// Takes the whole frames; gives their bytes, and the number of messages.
    fn take(&mut self, bytes: &[u8], ledger: &mut Ledger) -> (usize, u64) {
        let (mut used, mut messages) = (0, 0);
        if self.stage == Stage::Head {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return (0, 0);
            };
            assert!(
                bytes.starts_with(b"HTTP/1.1 101 "),
                "{:?}",
                bytes.escape_ascii()
            );
            self.stage = Stage::Hello;
            used = end + 4;
        }
        while let Some((size, opcode, payload)) = next_frame(&bytes[used..]) {
            used += size;
            match opcode {
                0x81 => messages += u64::from(self.text(payload, ledger)),
                0x89 => self.socket.write_all(&frame(0x8A, payload)).unwrap(),
                other => panic!("fd {}: {other:#x} {:?}", self.fd, payload.escape_ascii()),
            }
        }
        (used, messages)
    }

    /// Whether the text is a message.
    fn text(&mut self, text: &[u8], ledger: &mut Ledger) -> bool {
        if self.stage == Stage::In {
            for (room, next) in self.next.iter_mut().enumerate() {
                if ledger.frame(room, *next) == Some(text) {
                    *next += 1;
                    return true;
                }
            }
        }
        self.other_text(text, ledger)
    }

    /// One that nobody has heard before, or that is no message.
    fn other_text(&mut self, text: &[u8], ledger: &mut Ledger) -> bool {
        let is = |kind: &str| text.starts_with(format!("{{\"type\":\"{kind}\"").as_bytes());
        if is("msg") {
            let room = ledger.enter(text);
            self.next[room] += 1;
            let newest = ledger.frame(room, self.next[room] - 1);
            assert_eq!(newest, Some(text), "fd {} has missed some", self.fd);
            return true;
        }
        if is("joined") || is("left") || is("presence") {
            return false;
        }
        let frame: Value = serde_json::from_slice(text).unwrap();
        self.stage = match (frame["type"].as_str(), &self.stage) {
            (Some("hello"), Stage::Hello) => {
                self.fd = frame["fd"].as_u64().unwrap();
                Stage::Welcome
            }
            (Some("ok"), Stage::Welcome) => Stage::In,
            _ => panic!("fd {}: {frame}", self.fd),
        };
        false
    }
}

/// The first frame, if it is whole: its size, its first byte and its payload.
fn next_frame(bytes: &[u8]) -> Option<(usize, u8, &[u8])> {
    let (start, size) = match *bytes.get(1)? {
        126 => {
            let size = bytes.get(2..4)?.try_into().unwrap();
            (4, usize::from(u16::from_be_bytes(size)))
        }
        127 => panic!("a frame of more than 64 KiB"),
        size => (2, usize::from(size)),
    };
    let payload = bytes.get(start..start + size)?;
    Some((start + size, bytes[0], payload))
}
