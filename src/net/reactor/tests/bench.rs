//! A reactor whose turns the test takes one by one, with sockets of this machine; it sends back what
//! its connections say.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mio::{Events, Poll, Waker};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::{
    BatchNumber, EventSink, HANDLED, OwnCommands, Reactor, ReactorLimits, ReactorParts,
    ReactorShared, WAKER, send,
};
use crate::base::Fd;
use crate::base::sync::lock;
use crate::net::budget::ByteBudget;
use crate::net::command::{Arrival, AwaitedBy, Command, CommandBatch, Outgoing};
use crate::net::mailbox::mailbox;
use crate::net::reactor::CommandSender;
use crate::net::slots::WriteTurn;
use crate::net::strangers::Strangers;
use crate::proto::connection::{CloseReason, HttpRequest, Verdict};
use crate::proto::http::Head;
use crate::proto::websocket::{MessageKind, encode_message};

/// The reactors of these tests run one after the other: together they would need too many descriptors.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends back what connections say, on the reactor's thread.
#[derive(Default)]
pub(super) struct EchoSink {
    outgoing: Outgoing,
    pub(super) opened: Vec<Fd>,
    pub(super) closed: Vec<Fd>,
    /// Messages that came.
    pub(super) heard: usize,
    pub(super) farewells: Vec<Fd>,
    /// Whether nothing may be read.
    pub(super) is_full: bool,
    /// How often that was asked.
    pub(super) looks: Cell<usize>,
    /// Timers that were reported.
    pub(super) timers: usize,
    /// Outboxes that became as small as somebody waits for.
    pub(super) emptied: Vec<(Fd, AwaitedBy)>,
    /// Requests that came.
    pub(super) requests: Vec<(Fd, Box<HttpRequest>)>,
    /// Why connections were closed.
    pub(super) reasons: Vec<CloseReason>,
}

impl EventSink for EchoSink {
    fn opened(&mut self, fd: Fd, _: Box<Head>) -> BatchNumber {
        self.opened.push(fd);
        HANDLED
    }

    fn message(
        &mut self,
        fd: Fd,
        kind: MessageKind,
        payload: Cow<'_, [u8]>,
        _: BatchNumber,
    ) -> BatchNumber {
        self.heard += 1;
        self.outgoing
            .push(fd, |frames| encode_message(frames, kind, &payload));
        HANDLED
    }

    fn request(&mut self, fd: Fd, request: Box<HttpRequest>, _: BatchNumber) -> BatchNumber {
        self.requests.push((fd, request));
        HANDLED
    }

    fn closed(&mut self, fd: Fd, reason: CloseReason) {
        self.closed.push(fd);
        self.reasons.push(reason);
    }

    fn farewell(&mut self, fd: Fd) {
        self.farewells.push(fd);
    }

    fn buffer_empty(&mut self, fd: Fd, by: AwaitedBy) {
        self.emptied.push((fd, by));
    }

    fn timer(&mut self, _: u64) {
        self.timers += 1;
    }

    fn must_pause(&self, _: Fd) -> bool {
        self.looks.set(self.looks.get() + 1);
        self.is_full
    }

    fn has_handled(&self, _: Fd, _: BatchNumber) -> bool {
        true
    }

    fn serve_waiting(&mut self) -> bool {
        false
    }

    fn has_waiting(&self) -> bool {
        false
    }

    fn end_turn(&mut self) {}

    fn has_pending(&self) -> bool {
        !self.outgoing.is_empty()
    }

    fn take_commands(&mut self) -> Option<CommandBatch> {
        (!self.outgoing.is_empty()).then(|| self.outgoing.take())
    }

    const OWN_COMMANDS: OwnCommands = OwnCommands::First;
}

/// A client's end of a connection.
pub(super) struct Peer {
    pub(super) fd: Fd,
    pub(super) socket: BufReader<TcpStream>,
}

/// A reactor on the test's thread.
pub(super) struct Bench {
    pub(super) reactor: Reactor<EchoSink>,
    pub(super) mailbox: CommandSender,
    pub(super) limits: Arc<ReactorLimits>,
    pub(super) strangers_max: usize,
    listener: TcpListener,
    events: Events,
    _alone: MutexGuard<'static, ()>,
}

/// The bytes that all outboxes of a bench may hold.
const BUDGET_BYTES_MAX: usize = 1 << 30;

/// A reactor's parts, and the other end of its mailbox.
pub(super) fn parts(
    limits: &Arc<ReactorLimits>,
    strangers_max: usize,
) -> (ReactorParts<EchoSink>, CommandSender) {
    let poll = Poll::new().unwrap();
    let waker = Waker::new(poll.registry(), WAKER).unwrap();
    let (sender, receiver) = mailbox(None, move || waker.wake().unwrap());
    let parts = ReactorParts {
        id: 0,
        poll,
        mailbox: receiver,
        peers: vec![sender.clone()],
        listeners: Vec::new(),
        certificates: None,
        limits: Arc::clone(limits),
        gate: Arc::new(|_: &Head, _| Verdict::Pass),
        event_name: Arc::new(|_| None),
        started: Instant::now(),
        shared: ReactorShared {
            directory: Arc::default(),
            counters: Arc::default(),
            budget: ByteBudget::new(BUDGET_BYTES_MAX),
            unfinished: ByteBudget::new(BUDGET_BYTES_MAX),
            strangers: Arc::new(Strangers::new(strangers_max)),
            pressures: Arc::new([]),
        },
        sink: EchoSink::default(),
        serials_from: 1,
        serial_blocks: None,
    };
    (parts, sender)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(ReactorLimits::default(), 0)
    }

    /// A reactor without heartbeats unless `limits` have some.
    pub(super) fn with(mut limits: ReactorLimits, strangers_max: usize) -> Self {
        let alone = lock(&ONE_AT_A_TIME);
        let descriptors = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: descriptors.maximum.map(|maximum| maximum.min(20_000)),
            ..descriptors
        };
        setrlimit(Resource::Nofile, raised).unwrap();
        if limits.connection.ping_ms == ReactorLimits::default().connection.ping_ms {
            limits.connection.ping_ms = 0;
        }
        let limits = Arc::new(limits);
        let (parts, mailbox) = parts(&limits, strangers_max);
        Self {
            reactor: Reactor::new(parts),
            mailbox,
            limits,
            strangers_max,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            events: Events::with_capacity(1_024),
            _alone: alone,
        }
    }

    /// Gives the reactor a connection that asks for a WebSocket.
    pub(super) fn connect(&self) -> TcpStream {
        let mut socket = self.accept();
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        socket.write_all(request.as_bytes()).unwrap();
        socket
    }

    /// Gives the reactor a connection that says nothing yet.
    pub(super) fn connect_http(&mut self) -> TcpStream {
        let socket = self.accept();
        let before = self.reactor.slots.len();
        self.turn_until(|bench| bench.reactor.slots.len() > before);
        socket
    }

    fn accept(&self) -> TcpStream {
        let (socket, served) = self.pair();
        let peer = served.peer_addr().unwrap().into();
        let socket_here = mio::net::TcpStream::from_std(served);
        let arrival = Arrival {
            socket: socket_here,
            peer,
            is_tls: false,
        };
        self.command(Command::Adopt(Box::new(arrival)));
        socket
    }

    /// A client's socket, and its other end.
    pub(super) fn pair(&self) -> (TcpStream, TcpStream) {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let (served, _) = self.listener.accept().unwrap();
        served.set_nonblocking(true).unwrap();
        (socket, served)
    }

    /// Opens WebSockets.
    pub(super) fn open(&mut self, count: usize) -> Vec<Peer> {
        let mut peers = Vec::new();
        for _ in 0..count {
            let before = self.reactor.sink.opened.len();
            let mut socket = BufReader::new(self.connect());
            // One after the other, so that the callbacks tell whose `Fd` it is.
            self.turn_until(|bench| bench.reactor.sink.opened.len() > before);
            let mut line = String::new();
            while line != "\r\n" {
                line.clear();
                socket.read_line(&mut line).unwrap();
            }
            let fd = self.reactor.sink.opened[before];
            peers.push(Peer { fd, socket });
        }
        peers
    }

    /// Opens WebSockets that hear a topic.
    pub(super) fn open_members(&mut self, topic: &str, count: usize) -> Vec<Peer> {
        let peers = self.open(count);
        for peer in &peers {
            self.command(Command::Subscribe {
                fd: peer.fd,
                topic: topic.into(),
                frames_first: Bytes::new(),
            });
        }
        self.turn_until(|bench| bench.reactor.topics.members(topic).len() == count);
        peers
    }

    pub(super) fn command(&self, command: Command) {
        send(&self.mailbox, command);
    }

    /// Makes the reactor take one turn more.
    pub(super) fn nudge(&self) {
        self.mailbox.nudge();
    }

    pub(super) fn publish(&self, topic: &str, text: &str) {
        self.command(Command::Publish {
            topic: topic.into(),
            frame: frame(text).into(),
        });
    }

    pub(super) fn push(&self, fd: Fd, text: &str) {
        self.command(Command::PushLarge {
            fd,
            frame: frame(text),
        });
    }

    /// Takes one turn; returns how many writes it made.
    pub(super) fn turn(&mut self) -> u64 {
        let before = self.reactor.shared.counters.writes.get();
        self.reactor.next_turn(&mut self.events).unwrap();
        self.reactor.shared.counters.writes.get() - before
    }

    pub(super) fn turn_until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let late = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < late);
            self.turn();
        }
    }

    /// Takes turns until nothing waits to be written; returns how many writes they made.
    pub(super) fn write_rest(&mut self) -> u64 {
        let mut writes = 0;
        while self.reactor.writes.has_later() {
            let timeout = self.reactor.timeout();
            assert_eq!(timeout, Some(Duration::ZERO), "asleep with writes to make");
            writes += self.turn();
        }
        writes
    }

    /// The slot of this peer's connection.
    pub(super) fn slot_of(&self, peer: &Peer) -> u32 {
        let slot = self.reactor.shared.directory.slots().slot_of(peer.fd);
        slot.expect("it is open")
    }

    /// Whether something for this peer waits for a later turn.
    pub(super) fn waits(&self, peer: &Peer) -> bool {
        self.reactor.slots[self.slot_of(peer)].write == Some(WriteTurn::Later)
    }
}

impl Peer {
    pub(super) fn say(&mut self, text: &str) {
        let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        bytes.extend_from_slice(text.as_bytes());
        self.socket.get_mut().write_all(&bytes).unwrap();
    }

    /// Reads one message.
    pub(super) fn hear(&mut self) -> String {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x81, "a short text");
        let mut payload = vec![0; usize::from(head[1])];
        self.socket.read_exact(&mut payload).unwrap();
        String::from_utf8(payload).unwrap()
    }

    /// Reads the code of a Close.
    pub(super) fn hear_close(&mut self) -> u16 {
        let mut head = [0; 4];
        self.socket.read_exact(&mut head).unwrap();
        assert_eq!(head[0], 0x88);
        u16::from_be_bytes([head[2], head[3]])
    }

    /// Whether there is nothing to read.
    pub(super) fn hears_nothing(&mut self) -> bool {
        self.socket.get_mut().set_nonblocking(true).unwrap();
        let read = self.socket.read(&mut [0; 64]);
        self.socket.get_mut().set_nonblocking(false).unwrap();
        read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Reads to the end.
    pub(super) fn hear_end(&mut self) {
        assert_eq!(self.socket.read(&mut [0; 64]).unwrap(), 0);
    }
}

pub(super) fn frame(text: &str) -> Bytes {
    let mut frame = BytesMut::new();
    encode_message(&mut frame, MessageKind::Text, text.as_bytes());
    frame.freeze()
}
