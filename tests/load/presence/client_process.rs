//! A process that holds many WebSockets, so that all of them can be ended, or stopped, at once.

use std::collections::BTreeMap;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::alone::{again, part};
use crate::support::api::ask_json;
use crate::support::program::{Lines, Program};

/// New connections between two looks at what came.
const AT_ONCE: usize = 100;

/// The test that is the process itself when [`again`] runs it.
const HELD_UNTIL_KILLED: &str = "clients_are_held_and_counted_until_their_process_is_killed";

/// The process, seen from the test.
pub struct ClientProcess {
    child: Child,
    stdin: ChildStdin,
    lines: Lines,
}

impl ClientProcess {
    /// Holds `count` WebSockets, of a user each, who are all in.
    pub fn start(server: &Program, count: u64, rooms: u64) -> Self {
        let task = format!("{} {count} {rooms}", server.address);
        let mut child = again(module_path!(), HELD_UNTIL_KILLED, &task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Lines::of(child.stdout.take().unwrap());
        let stdin = child.stdin.take().unwrap();
        lines.wait_for("all are in");
        Self {
            child,
            stdin,
            lines,
        }
    }

    /// How many frames of each type have come so far.
    pub fn counts(&mut self) -> Value {
        self.stdin.write_all(b"\n").unwrap();
        let line = self.lines.wait_for("{");
        serde_json::from_str(&line).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn clients_are_held_and_counted_until_their_process_is_killed() {
    if let Some(task) = part() {
        return hold(&task);
    }
    let server = Program::serve(&[]);
    let held = || ask_json(&server, "GET", "/v1/stats").1["chat"]["connections"].clone();
    let mut clients = ClientProcess::start(&server, 3, 1);
    assert_eq!(held(), 3);
    let counts = clients.counts();
    assert_eq!((&counts["hello"], &counts["ok"]), (&json!(3), &json!(3)));
    clients.signal(Signal::KILL);
    let killed = Instant::now();
    while held() != 0 {
        assert!(killed.elapsed() < PATIENCE, "they are still held");
    }
    server.stop();
}

/// The process itself.
fn hold(task: &str) {
    // A socket takes a descriptor, and shells begin with 1,024 of them.
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    // An address, a number of clients, and how many rooms they are dealt to.
    let task: Vec<&str> = task.split(' ').collect();
    let (count, rooms): (usize, usize) = (task[1].parse().unwrap(), task[2].parse().unwrap());
    let questions = lines_of_stdin();
    let mut clients = Clients::new();
    for number in 0..count {
        clients.connect(task[0], number, number % rooms);
        if number % AT_ONCE == 0 {
            clients.listen(Duration::ZERO);
        }
    }
    let mut all_in = false;
    loop {
        clients.listen(Duration::from_millis(20));
        if !all_in && clients.counts.get("ok") == Some(&(count as u64)) {
            println!("all are in");
            all_in = true;
        }
        match questions.try_recv() {
            Ok(()) => println!("{}", serde_json::to_string(&clients.counts).unwrap()),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
            // The test has ended.
            Err(_) => return,
        }
    }
}

fn lines_of_stdin() -> Receiver<()> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            if sender.send(()).is_err() {
                return;
            }
        }
    });
    lines
}

struct Clients {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    counts: BTreeMap<String, u64>,
}

struct Client {
    socket: TcpStream,
    /// What came and isn't a whole frame, or head, yet.
    rest: Vec<u8>,
    is_open: bool,
}

impl Clients {
    fn new() -> Self {
        Self {
            poll: Poll::new().unwrap(),
            events: Events::with_capacity(1_024),
            clients: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    fn connect(&mut self, address: &str, number: usize, room: usize) {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        let request = format!(
            "GET /ws?uid=u{number}&room=r{room} HTTP/1.1\r\nHost: {address}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.clients.len());
        let registry = self.poll.registry();
        registry
            .register(&mut socket, token, Interest::READABLE)
            .unwrap();
        self.clients.push(Client {
            socket,
            rest: Vec::new(),
            is_open: false,
        });
    }

    /// Hears what there is, or what comes within `time`.
    fn listen(&mut self, time: Duration) {
        self.poll.poll(&mut self.events, Some(time)).unwrap();
        for event in &self.events {
            let client = &mut self.clients[event.token().0];
            client.read();
            while let Some(kind) = client.next() {
                *self.counts.entry(kind).or_default() += 1;
            }
        }
    }
}

impl Client {
    fn read(&mut self) {
        let mut bytes = [0; 16_384];
        loop {
            match self.socket.read(&mut bytes) {
                Ok(0) => return,
                Ok(size) => self.rest.extend_from_slice(&bytes[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The type of the next frame that has come as a whole; pings are answered.
    fn next(&mut self) -> Option<String> {
        if !self.is_open {
            let end = self.rest.windows(4).position(|four| four == b"\r\n\r\n")?;
            let head: Vec<u8> = self.rest.drain(..end + 4).collect();
            assert!(
                head.starts_with(b"HTTP/1.1 101 "),
                "{}",
                head.escape_ascii()
            );
            self.is_open = true;
        }
        let (start, size) = match (self.rest.get(1)?, self.rest.get(2..4)) {
            (126, long) => (
                4,
                usize::from(u16::from_be_bytes(long?.try_into().unwrap())),
            ),
            (127, _) => panic!("a frame of more than 64 KiB"),
            (short, _) => (2, usize::from(*short)),
        };
        self.rest.get(start + size - 1)?;
        let frame: Vec<u8> = self.rest.drain(..start + size).collect();
        let payload = &frame[start..];
        Some(match frame[0] {
            0x81 => type_of(payload),
            0x89 => {
                let pong = [&[0x8A, 0x80 | size as u8, 0, 0, 0, 0], payload].concat();
                self.socket.write_all(&pong).unwrap();
                "ping".into()
            }
            0x88 => "close".into(),
            other => panic!("a frame that begins with {other:#x}"),
        })
    }
}

fn type_of(text: &[u8]) -> String {
    let frame: Value = serde_json::from_slice(text).unwrap();
    frame["type"].as_str().unwrap().to_owned()
}
