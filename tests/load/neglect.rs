//! Three crowds at once that ask and don't read, or begin and don't finish: what they may keep in
//! memory, and how long another user waits beside them. The real binary, with its data on disk.
//!
//! `TIDINGS_NEGLECT=200` is the full size of each crowd, `TIDINGS_NEGLECT_SECONDS=20` lets them do
//! it for longer; best with `--release`.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::support::api::{ask_json, number, post};
use crate::support::chat_client::ChatClient;
use crate::support::frame::frame;
use crate::support::program::Program;
use crate::support::wait::until_none;
use crate::support::websocket::WebSocketClient;
use crate::support::{PATIENCE, number_in_env};

/// Bytes of a body that come at once; the others follow, one a second.
const BEGUN: usize = 400_000;

/// Shares of one of a crowd in the budgets: less than it would take, so that somebody has to go.
const OUTBOX_SHARE: u64 = 400 << 10;
const UNFINISHED_SHARE: u64 = 200 << 10;

/// What the queues between threads may hold by default, and what an allocator keeps beside it.
const QUEUES_MAX: u64 = (16 + 16 + 64) << 20;
const ALLOCATOR_MAX: u64 = 64 << 20;

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// A bound for a busy machine and a build without optimization; the figures that are printed say more.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What one of a crowd does.
#[derive(Debug, Clone, Copy)]
enum Neglect {
    /// Asks over HTTP, as much as the socket takes, and doesn't read.
    Answers,
    /// Begins a body, and sends a byte of it a second.
    Body,
    /// Asks for history on a WebSocket, as much as the socket takes, and doesn't read.
    History,
}

/// One of a crowd; when the server has enough of it, it comes again.
struct Peer {
    neglect: Neglect,
    stream: TcpStream,
    /// What it writes again and again, and how much of it has been written.
    text: Vec<u8>,
    written: usize,
    wrote: Instant,
}

impl Neglect {
    fn connect(self, address: SocketAddr) -> Peer {
        let (stream, text) = match self {
            Self::Answers => {
                let ask = |path| format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                let page = ask("/v1/rooms/tea/messages?limit=1000");
                let text = (page + &ask("/openapi.json")).repeat(20);
                (narrow(address), text.into_bytes())
            }
            Self::Body => {
                let head = format!(
                    "POST /v1/messages HTTP/1.1\r\nHost: {address}\r\n\
                     Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n"
                );
                let text = [head.as_bytes(), &[b' '; 1_000_000]].concat();
                (narrow(address), text)
            }
            Self::History => {
                let path = "/ws?uid=greedy&room=tea";
                let mut client = WebSocketClient::connect_narrow(address, path);
                let ask = json!({"type": "history", "seq": 1, "channel": "tea", "limit": 1_000});
                let text = frame(0x81, json!(vec![ask; 20]).to_string().as_bytes());
                (client.stream().try_clone().unwrap(), text)
            }
        };
        stream.set_nonblocking(true).unwrap();
        Peer {
            neglect: self,
            stream,
            text,
            written: 0,
            wrote: Instant::now(),
        }
    }
}

impl Peer {
    /// Goes on; `false` when the server has cut it.
    fn go_on(&mut self) -> bool {
        loop {
            let part = match self.neglect {
                Neglect::Body if self.written >= BEGUN => {
                    if self.wrote.elapsed() < Duration::from_secs(1) {
                        return true;
                    }
                    &self.text[self.written..=self.written]
                }
                Neglect::Body => &self.text[self.written..BEGUN],
                Neglect::Answers | Neglect::History => &self.text[self.written..],
            };
            match self.stream.write(part) {
                Ok(size) => self.written = (self.written + size) % self.text.len(),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
            self.wrote = Instant::now();
        }
    }
}

/// A client for whom the kernels take little.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// Has so many of each crowd at the server until it is over; how often one was cut.
fn neglect(address: SocketAddr, count: u64, is_over: &AtomicBool) -> u64 {
    let crowds = [Neglect::Answers, Neglect::Body, Neglect::History];
    let all = (0..count).flat_map(|_| crowds);
    let mut peers: Vec<Peer> = all.map(|neglect| neglect.connect(address)).collect();
    let mut cuts = 0;
    while !is_over.load(Relaxed) {
        for peer in &mut peers {
            if !peer.go_on() {
                *peer = peer.neglect.connect(address);
                cuts += 1;
            }
        }
        sleep(Duration::from_millis(5));
    }
    cuts
}

/// The most that was seen at any time.
#[derive(Default)]
struct Peaks {
    memory: u64,
    outboxes: u64,
    unfinished_refused: u64,
    slow_readers: u64,
}

impl Peaks {
    fn look(&mut self, server: &Program) {
        self.memory = self.memory.max(server.memory());
        let (_, stats) = ask_json(server, "GET", "/v1/stats");
        let number = |path: &str| stats.pointer(path).unwrap().as_u64().unwrap();
        self.outboxes = self.outboxes.max(number("/outbox_bytes"));
        self.unfinished_refused = number("/totals/unfinished_refused");
        self.slow_readers = number("/totals/slow_readers") + number("/totals/slow_http_readers");
    }

    /// Whether both budgets were full, so that somebody had to go.
    fn is_full(&self) -> bool {
        self.unfinished_refused > 0 && self.slow_readers > 0
    }
}

#[test]
fn those_who_neglect_what_they_asked_for_keep_their_share_of_memory_and_nobodys_time() {
    let count = number_in_env("TIDINGS_NEGLECT").unwrap_or(8);
    let time = Duration::from_secs(number_in_env("TIDINGS_NEGLECT_SECONDS").unwrap_or(3));
    for workers in ["0", "1"] {
        run(count, time, workers);
    }
}

fn run(count: u64, time: Duration, workers: &str) {
    let data = TempDir::new().unwrap();
    let (outbox_max, unfinished_max) = (count * OUTBOX_SHARE, count * UNFINISHED_SHARE);
    let budget = format!("outbox.total_size_max={outbox_max}");
    let unfinished = format!("limits.unfinished_size_max={unfinished_max}");
    let many = "chat.connections_per_user_max=1000000";
    let workers_set = format!("workers={workers}");
    let server = Program::serve_in(data.path(), &[&budget, &unfinished, many, &workers_set]);
    let text = json!("x".repeat(200));
    post(&mut server.http(), "tea", 1_000, &text);
    let mut user = ChatClient::login(&server, "user", &["own"]);
    let before = server.memory();

    // Not stored: it shows who waits for the threads, not who waits for the disk.
    let hello = json!({"type": "say", "to": {"room": "own"}, "data": "hello", "store": false});
    let is_over = AtomicBool::new(false);
    let (mut waits, mut peaks) = (Vec::new(), Peaks::default());
    let cuts = scope(|scope| {
        let crowds = scope.spawn(|| neglect(server.address, count, &is_over));
        let (began, mut looked) = (Instant::now(), Instant::now());
        while began.elapsed() < time || !peaks.is_full() && began.elapsed() < PATIENCE {
            let asked = Instant::now();
            user.ok(hello.clone());
            waits.push(asked.elapsed());
            if looked.elapsed() > BETWEEN_LOOKS {
                peaks.look(&server);
                looked = Instant::now();
            }
        }
        is_over.store(true, Relaxed);
        crowds.join().unwrap()
    });
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    let worst = waits[waits.len() - 1];
    let Peaks {
        memory, outboxes, ..
    } = peaks;
    let waiting = number(&server, "turns", "bytes_peak");
    println!(
        "{workers} workers, {count} of each: {} answers, median {:?}, p99 {p99:?}, worst {worst:?}; \
         {cuts} cut ({} slow readers, {} half sent); {} KiB before, {} KiB at most, {} KiB in outboxes, {} KiB waited for turns",
        waits.len(),
        waits[waits.len() / 2],
        peaks.slow_readers,
        peaks.unfinished_refused,
        before >> 10,
        memory >> 10,
        outboxes >> 10,
        waiting >> 10,
    );
    assert!(peaks.is_full() && cuts > 0, "nobody had to go");
    // Looked at in the middle of a turn, it may be over by what that turn has written.
    assert!(outboxes <= outbox_max + (8 << 20), "{outboxes}");
    // The mark, and what was read from each of them in one turn.
    let waiting_max = (16 << 20) + 2 * count * (100 << 10);
    assert!(waiting <= waiting_max, "{waiting}");
    let memory_max = before + outbox_max + unfinished_max + QUEUES_MAX + ALLOCATOR_MAX;
    assert!(memory <= memory_max, "{memory} of {memory_max}");
    assert!(p99 <= ANSWER_MAX, "{p99:?}");
    until_only_the_user_is_left(&server);
    drop(user);
    server.stop();
}

fn until_only_the_user_is_left(server: &Program) {
    until_none("something of the crowds is left", || {
        let (_, stats) = ask_json(server, "GET", "/v1/stats");
        let number = |path: &str| stats.pointer(path).unwrap().as_u64().unwrap();
        let left = [
            ("WebSockets", number("/totals/websockets"), 1),
            // That of the user, and that of the numbers.
            ("connections", number("/totals/slots"), 2),
            ("half sent", number("/totals/unfinished_bytes"), 0),
            ("in outboxes", number("/outbox_bytes"), 0),
            ("wait for turns", number("/turns/events"), 0),
        ];
        let left = left.into_iter().filter(|(_, count, rest)| count > rest);
        left.collect::<Vec<_>>()
    });
}
