//! A reactor: one thread, one poll, the connections it owns.
//!
//! The files follow the turn: `turn` (the loop), `accept`, `read`, `apply` (commands), `time`
//! (deadlines), `write`, `leave` (the way out of one connection), `drain` (the way out of all).

mod accept;
mod apply;
mod drain;
mod leave;
mod read;
mod time;
mod turn;
mod write;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use mio::{Poll, Token};

use super::budget::OutboxBudget;
use super::command::{Command, CommandBatch};
use super::counters::Counters;
use super::directory::Directory;
use super::listener::Acceptor;
use super::mailbox;
use super::outbox::Arena;
use super::slots::{SlotId, Slots};
use super::topics::{TopicBounds, Topics};
use super::wheel::{Wheel, WheelTimer};
use crate::base::Fd;
use crate::base::Tick;
use crate::base::fd::FdSource;
use crate::base::pressure::Pressure;
use crate::proto::connection::{CloseReason, HttpRequest, Limits, Rules, Verdict};
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;
use drain::Drain;
use time::Clock;

/// Looks at every request head on the reactor's thread, before anything is done for it.
///
/// It must not block. Health checks, Origin rules and refusals belong here.
pub type Gate = dyn Fn(&Head) -> Verdict + Send + Sync;

/// Where commands for a reactor are sent.
pub type CommandSender = mailbox::MailboxSender<CommandBatch>;

/// Bounds of a reactor and of what it keeps for slow peers.
#[derive(Debug, Clone)]
pub struct ReactorLimits {
    /// Of each connection.
    pub connection: Limits,
    /// Connections a reactor owns at most; one more is answered 503. Default 1,000,000.
    pub connections_max: usize,
    /// Bytes read from one connection a turn. Default 65,536.
    pub read_bytes_max: usize,
    /// Bytes that may wait for one peer; over it the WebSocket is closed with 4008. One message
    /// may exceed it when nothing else waited. Default 1 MiB.
    pub outbox_bytes_max: usize,
    /// Bytes waiting for a peer above which nothing is read from it; messages of it that aren't
    /// handled yet count too. Default 256 KiB.
    ///
    /// Below a third of `outbox_bytes_max`, so that a peer whose messages are answered in their
    /// own length isn't closed for that.
    pub outbox_pause_bytes: usize,
    /// Time a peer may take nothing although something waits, in milliseconds; then 4008. Default
    /// 10,000.
    pub stall_ms_max: u64,
    /// Time between the last byte and the cut, for a peer that doesn't close, in milliseconds.
    /// Default 5,000.
    pub linger_ms_max: u64,
    /// Bytes waiting for one peer that are written without waiting for the turn's end. Default
    /// 64 KiB.
    pub flush_bytes: usize,
    /// Topics of a reactor and of one connection; a subscription over them is refused and
    /// counted. Default 1,000,000 and 1,000.
    pub topics: TopicBounds,
}

impl Default for ReactorLimits {
    fn default() -> Self {
        Self {
            connection: Limits::default(),
            connections_max: 1_000_000,
            read_bytes_max: 64 * 1024,
            outbox_bytes_max: 1024 * 1024,
            outbox_pause_bytes: 256 * 1024,
            stall_ms_max: 10_000,
            linger_ms_max: 5_000,
            flush_bytes: 64 * 1024,
            topics: TopicBounds {
                topics_max: 1_000_000,
                topics_per_connection_max: 1_000,
            },
        }
    }
}

/// Who gets what happens on a reactor's connections: the workers, or a handler on this thread.
pub trait EventSink {
    /// A WebSocket is open.
    fn opened(&mut self, fd: Fd, head: Box<Head>);
    /// A message came.
    fn message(&mut self, fd: Fd, kind: MessageKind, payload: Cow<'_, [u8]>);
    /// A request came; its answer is a command.
    fn request(&mut self, fd: Fd, request: Box<HttpRequest>);
    /// An opened WebSocket ended; nothing more comes from it.
    fn closed(&mut self, fd: Fd, reason: CloseReason);
    /// The server stops: once everything before this is handled, disconnect with 1001.
    fn farewell(&mut self, fd: Fd);
    /// A connection has as few bytes waiting as somebody asked to be told of.
    fn buffer_empty(&mut self, fd: Fd);
    /// A timer's time came.
    fn timer(&mut self, timer: u64);
    /// Whether nothing should be read from `fd` until the reactor is woken.
    fn must_pause(&self, fd: Fd) -> bool;
    /// The number of the batch in which this turn's events of `fd` are handed on.
    fn batch_of(&self, fd: Fd) -> u64;
    /// Whether that batch is handled, and what it led to is in the mailbox; if not, the reactor is
    /// woken when it is.
    fn has_handled(&self, fd: Fd, batch: u64) -> bool;
    /// Hand on what was collected; also, without workers, run what other threads left here.
    fn end_turn(&mut self);
    /// Whether there is something that [`EventSink::end_turn`] would hand on.
    fn has_pending(&self) -> bool;
    /// Commands for this very reactor that were given on this thread.
    fn take_commands(&mut self) -> Option<CommandBatch>;
}

/// What a reactor shares with other threads.
#[derive(Debug, Clone)]
pub struct ReactorShared {
    /// Who is connected to it.
    pub directory: Arc<Directory>,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// What waits in all outboxes of the server.
    pub budget: Arc<OutboxBudget>,
    /// The marks of all mailboxes, and of what else is fed by all connections: while one is
    /// pressed no reactor reads.
    pub pressures: Arc<[Arc<Pressure>]>,
}

/// What [`Reactor::new`] needs.
pub struct ReactorParts<S> {
    /// Which one it is.
    pub id: usize,
    /// Its poll; the mailbox's waker is registered with [`WAKER`].
    pub poll: Poll,
    /// Its commands.
    pub mailbox: mailbox::MailboxReceiver<CommandBatch>,
    /// All reactors' mailboxes, its own among them.
    pub peers: Vec<CommandSender>,
    /// The listening sockets, for reactor 0.
    pub listeners: Vec<super::Listener>,
    /// Bounds.
    pub limits: Arc<ReactorLimits>,
    /// Sees every head.
    pub gate: Arc<Gate>,
    /// When the server started.
    pub started: Instant,
    /// ReactorShared with other threads.
    pub shared: ReactorShared,
    /// Gets the events.
    pub sink: S,
    /// The first serial number of a connection, at least.
    pub serials_from: u64,
}

/// The token of the mailbox's waker.
pub const WAKER: Token = Token(usize::MAX);

/// The tokens of listeners count down from here; no slot has this generation.
const LISTENER_FIRST: usize = usize::MAX - 1;

/// Listeners a server may have.
pub const LISTENERS_MAX: usize = 64;

/// What a timer of the wheel is for.
#[derive(Debug, Clone, Copy)]
enum TimerPurpose {
    /// A deadline of a connection.
    Connection(SlotId),
    /// A timer of the server's user.
    User(u64),
    /// Descriptors may be free again.
    Accept,
    /// Some more WebSockets are told to leave.
    Farewells,
}

/// A connection whose outbox somebody waits for.
#[derive(Debug)]
struct Awaited {
    id: SlotId,
    fd: Fd,
    bytes_max: usize,
}

/// A timer of the server's user.
#[derive(Debug)]
struct UserTimer {
    id: WheelTimer,
    every_ms: Option<u64>,
}

/// See the module.
pub struct Reactor<S> {
    id: usize,
    poll: Poll,
    mailbox: mailbox::MailboxReceiver<CommandBatch>,
    peers: Vec<CommandSender>,
    acceptors: Vec<Acceptor>,
    /// A timer for another try is set.
    accepts_again: bool,
    /// Whom the next accepted connection goes to.
    next_peer: usize,
    context: ReactorContext,
    shared: ReactorShared,
    sink: S,
    slots: Slots,
    arena: Arena,
    topics: Topics,
    wheel: Wheel<TimerPurpose>,
    /// No timer is due before this.
    next_due: Tick,
    user_timers: HashMap<u64, UserTimer>,
    fds: FdSource,
    /// Connections to read from.
    ready: Vec<SlotId>,
    /// Connections that have something but whose owner is pressed.
    held: Vec<SlotId>,
    /// Connections to write to at the end of this turn.
    dirty: Vec<u32>,
    /// Connections whose outboxes somebody waits for.
    awaited: Vec<Awaited>,
    /// The members of the topic that is being published to.
    receivers: Vec<u32>,
    read_buffer: Vec<u8>,
    drain: Option<Drain>,
    /// Reactors that must end before this one.
    peers_left: usize,
    stopped: bool,
}

/// What a connection is judged by.
struct ReactorContext {
    clock: Clock,
    limits: Arc<ReactorLimits>,
    gate: Arc<Gate>,
    drain_since: Option<Tick>,
}

impl ReactorContext {
    fn rules(&self) -> Rules<'_> {
        Rules {
            now: self.clock.now(),
            limits: &self.limits.connection,
            gate: &*self.gate,
            date: self.clock.date(),
            drain: self.drain_since,
            room: None,
        }
    }

    /// Bytes that a peer may still be made to wait for, with so many waiting already.
    fn room_beside(&self, outbox_bytes: usize) -> Option<usize> {
        self.limits.outbox_pause_bytes.checked_sub(outbox_bytes)
    }
}

impl<S: EventSink> Reactor<S> {
    /// Puts a reactor together; [`Reactor::run`] is its thread.
    #[must_use]
    pub fn new(parts: ReactorParts<S>) -> Self {
        let clock = Clock::new(parts.started);
        let limits = parts.limits;
        // Timers live on reactor 0, and so do jobs where there are no workers: an answer on any
        // other reactor may wait for one of them.
        let peers_left = if parts.id == 0 {
            parts.peers.len().saturating_sub(1)
        } else {
            0
        };
        Self {
            id: parts.id,
            poll: parts.poll,
            mailbox: parts.mailbox,
            peers: parts.peers,
            acceptors: parts.listeners.into_iter().map(Acceptor::new).collect(),
            accepts_again: false,
            next_peer: 0,
            shared: parts.shared,
            sink: parts.sink,
            slots: Slots::default(),
            arena: Arena::default(),
            topics: Topics::new(limits.topics),
            wheel: Wheel::new(clock.now()),
            next_due: Tick::NEVER,
            user_timers: HashMap::new(),
            fds: FdSource::new(parts.id, parts.serials_from),
            ready: Vec::new(),
            held: Vec::new(),
            dirty: Vec::new(),
            awaited: Vec::new(),
            receivers: Vec::new(),
            read_buffer: vec![0; limits.read_bytes_max],
            drain: None,
            peers_left,
            stopped: false,
            context: ReactorContext {
                clock,
                limits,
                gate: parts.gate,
                drain_since: None,
            },
        }
    }

    /// Who gets the events.
    pub fn sink(&self) -> &S {
        &self.sink
    }
}

/// Sends one command. A mailbox that nobody reads any more belongs to a reactor that has ended,
/// and has no connection for it.
fn send(mailbox: &CommandSender, command: Command) {
    let batch = CommandBatch::of(command);
    let bytes = batch.size();
    drop(mailbox.send(batch, bytes));
}
