//! A reactor: one thread, one poll, the connections it owns.
//!
//! The methods of [`Reactor`] stand in one file for each step, in the order of a turn:
//!
//! 1. `turn`: the loop ([`Reactor::run`]), the events of the poll, the end of a turn;
//! 2. `accept`: new connections are accepted and dealt out to the reactors;
//! 3. `read`: bytes go into a connection's state machine, and events come out of it;
//! 4. `apply`: the commands of the other threads are carried out;
//! 5. `gather`: deliveries to a topic in a way of their own; `time`: the clock, and the timers that
//!    are due;
//! 6. `write`: each outbox is written once, in the order of `write_queue`; slow readers are closed;
//! 7. `leave`: one connection ends, from its last event to its free slot;
//! 8. `drain`: all connections end, because the server stops;
//! 9. `freeze`: the turns of a reactor that comes to a stand, from which it goes on;
//! 10. `handover` and `adopt`: another image of the program goes on from there.
//!
//! `rearm` puts other bounds and times into force; `proxied` and `preface` find out whom a request comes
//! from, and `event_streams` makes events of what a stream is sent.
//!
//! This file holds the reactor's fields and what it is made of.

mod accept;
mod adopt;
mod apply;
mod drain;
mod event_streams;
mod freeze;
mod gather;
mod handover;
mod leave;
mod preface;
mod proxied;
mod read;
mod rearm;
#[cfg(test)]
mod tests;
mod time;
mod tls;
mod turn;
mod write;
mod write_queue;

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use mio::{Poll, Token};

use super::TlsCertificates;
use super::budget::ByteBudget;
use super::command::{AwaitedBy, Command, CommandBatch};
use super::counters::Counters;
use super::directory::Directory;
use super::freeze::FreezeProgress;
use super::gathering::{Gathering, GatheringId};
use super::limits::ReactorLimits;
use super::listener::Acceptor;
use super::mailbox;
use super::outbox::Arena;
use super::refusals::ReactorRefusals;
pub use super::slots::{BatchNumber, HANDLED};
use super::slots::{SlotId, Slots};
use super::strangers::Strangers;
use super::topics::Topics;
use super::wheel::{Wheel, WheelTimer};
use crate::base::fd::FdSource;
use crate::base::pressure::Pressure;
use crate::base::serial_blocks::SerialBlocks;
use crate::base::{BySize, Fd, Tick};
use crate::handover::SectionWriter;
use crate::proto::connection::{CloseReason, HttpRequest, Rules, Verdict};
use crate::proto::http::{Head, Response};
use crate::proto::websocket::{Inflater, MessageKind};
use adopt::Adoption;
use drain::Drain;
pub use event_streams::EventName;
use freeze::ReactorFreeze;
pub use handover::{REACTOR, ReactorHandover};
use rearm::Rearming;
use time::Clock;
use write_queue::WriteQueue;

/// Looks at every request head on the reactor's thread, before anything is done for it.
///
/// The function is told the connection, and must not block. Health checks, Origin rules and refusals
/// belong here.
pub type Gate = dyn Fn(&Head, Fd) -> Verdict + Send + Sync;

/// The sending side of a reactor's mailbox.
pub type CommandSender = mailbox::MailboxSender<CommandBatch>;

/// The receiver of the events of a reactor's connections: the workers, or a handler on this
/// thread. Comments call it the owner of the events.
pub trait EventSink {
    /// A WebSocket was opened.
    fn opened(&mut self, fd: Fd, head: Box<Head>) -> BatchNumber;
    /// A message of a WebSocket arrived, whole and unmasked. `last` is what the event before it gave.
    fn message(
        &mut self,
        fd: Fd,
        kind: MessageKind,
        payload: Cow<'_, [u8]>,
        last: BatchNumber,
    ) -> BatchNumber;
    /// A request arrived; its answer comes back as a command. `last` is what the event before it gave.
    fn request(&mut self, fd: Fd, request: Box<HttpRequest>, last: BatchNumber) -> BatchNumber;
    /// An opened WebSocket ended; nothing more comes from it.
    fn closed(&mut self, fd: Fd, reason: CloseReason);
    /// The server stops: once all earlier events of `fd` are handled, disconnect it with 1001.
    fn farewell(&mut self, fd: Fd);
    /// A connection's outbox has become as small as [`Command::AwaitBuffer`] asked for.
    fn buffer_empty(&mut self, fd: Fd, by: AwaitedBy);
    /// A timer of the server's user is due.
    fn timer(&mut self, timer: u64);
    /// Whether reading from `fd` should stop until the reactor is woken.
    fn must_pause(&self, fd: Fd) -> bool;
    /// Whether a batch is handled and its commands are in the mailbox; if not, the reactor is
    /// woken once the batch is handled.
    fn has_handled(&self, fd: Fd, batch: BatchNumber) -> bool;
    /// Without workers: gives one of the connections whose messages wait on this thread its turn,
    /// once a turn of the reactor. Whether it did.
    fn serve_waiting(&mut self) -> bool;
    /// Whether there is more of that, so that the reactor mustn't sleep.
    fn has_waiting(&self) -> bool;
    /// Hands on the events of this turn; without workers, also runs the jobs of other threads.
    fn end_turn(&mut self);
    /// Whether [`EventSink::end_turn`] would hand anything on.
    fn has_pending(&self) -> bool;
    /// Takes the orders that came with [`Command::Renew`], between two events.
    fn renew(&mut self) {}
    /// Takes the commands that handlers on this thread gave for this very reactor.
    fn take_commands(&mut self) -> Option<CommandBatch>;
    /// Without workers, in a freeze: runs jobs of other threads, the last callbacks until the thaw;
    /// whether none is left.
    fn rest(&mut self) -> bool {
        true
    }
    /// Without workers, while all stands still: writes down the events that wait for their connections'
    /// turns.
    fn hand_over(&self, _: &mut SectionWriter) {}
    /// Learns how far the freeze of this number has come here.
    fn frozen(&mut self, _number: u64, _: FreezeProgress) {}
    /// Takes back the emptied list of such a batch, for the next one.
    fn reuse(&mut self, _: Vec<Command>) {}
    /// The order of those commands and of what stands in the mailbox.
    const OWN_COMMANDS: OwnCommands;
}

/// When the commands of handlers on a reactor's own thread are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnCommands {
    /// Before what stands in the mailbox: no other thread handles events of these connections.
    First,
    /// Behind what stood in the mailbox when the handlers ran: workers, too, answer these
    /// connections.
    Behind,
}

/// Why [`Reactor::run`] has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    /// The reactor has no connection any more.
    Done,
    /// The reactor stands still; run again, it goes on.
    Frozen {
        /// The number of the freeze.
        number: u64,
    },
}

/// State that a reactor shares with other threads.
#[derive(Debug, Clone)]
pub struct ReactorShared {
    /// The connections of this reactor.
    pub directory: Arc<Directory>,
    /// The counters of this reactor.
    pub counters: Arc<Counters>,
    /// The bytes that wait in all outboxes of the server.
    pub budget: Arc<ByteBudget>,
    /// The bytes that all connections of the server have half sent.
    pub unfinished: Arc<ByteBudget>,
    /// The connections of peers who haven't shown who they are.
    pub strangers: Arc<Strangers>,
    /// The pressures of all mailboxes and of other queues that all connections feed; no reactor
    /// reads while one of them is high.
    pub pressures: Arc<[Arc<Pressure>]>,
}

/// The parts from which [`Reactor::new`] makes a reactor.
pub struct ReactorParts<S> {
    /// The reactor's number, counted from 0.
    pub id: usize,
    /// The reactor's poll; the mailbox's waker is registered with [`WAKER`].
    pub poll: Poll,
    /// The receiving side of the reactor's mailbox.
    pub mailbox: mailbox::MailboxReceiver<CommandBatch>,
    /// All reactors' mailboxes, with its own among them.
    pub peers: Vec<CommandSender>,
    /// The listening sockets, for reactor 0.
    pub listeners: Vec<super::Listener>,
    /// What encrypted connections go by, where there is a listener for them.
    pub certificates: Option<Arc<TlsCertificates>>,
    /// Bounds of the reactor and of its connections.
    pub limits: Arc<ReactorLimits>,
    /// The function that sees every request head first.
    pub gate: Arc<Gate>,
    /// The function that names the events of streams.
    pub event_name: Arc<EventName>,
    /// The moment at which the server started.
    pub started: Instant,
    /// State shared with other threads.
    pub shared: ReactorShared,
    /// The receiver of the events.
    pub sink: S,
    /// Lower bound of the connections' serial numbers.
    pub serials_from: u64,
    /// The blocks from which these come, if not from the clock.
    pub serial_blocks: Option<Arc<SerialBlocks>>,
}

/// The token of the mailbox's waker.
pub const WAKER: Token = Token(usize::MAX);

/// The tokens of listeners count down from here; no slot has this generation.
const LISTENER_FIRST: usize = usize::MAX - 1;

/// Listeners a server may have: a round number. Each takes one token from the range above
/// `LISTENER_FIRST - LISTENERS_MAX`, which no slot's token reaches.
pub const LISTENERS_MAX: usize = 64;

/// The purpose of a timer in the wheel.
#[derive(Debug, Clone, Copy)]
enum TimerPurpose {
    /// A deadline of a connection.
    Connection(SlotId),
    /// A timer of the server's user.
    User(u64),
    /// Another try to accept: descriptors may be free again.
    Accept,
    /// The next group of farewells of a drain.
    Farewells,
    /// Deliveries of one topic that have waited for more.
    Gathered(GatheringId),
}

/// A connection whose outbox a handler waits for.
#[derive(Debug)]
struct Awaited {
    id: SlotId,
    fd: Fd,
    bytes_max: usize,
    by: AwaitedBy,
}

/// A timer of the server's user.
#[derive(Debug)]
struct UserTimer {
    id: WheelTimer,
    every_ms: Option<u64>,
}

/// One reactor; `mod.rs` says in which files its methods stand.
pub struct Reactor<S> {
    id: usize,
    poll: Poll,
    mailbox: mailbox::MailboxReceiver<CommandBatch>,
    peers: Vec<CommandSender>,
    acceptors: Vec<Acceptor>,
    certificates: Option<Arc<TlsCertificates>>,
    /// Whether encrypted connections wait to be accepted, for an upgrade.
    encrypted_wait: bool,
    /// Whether connections may wait that were too many for one turn.
    has_more_to_accept: bool,
    /// Whether a timer for another try to accept is set.
    accepts_again: bool,
    /// The reactor that got the last accepted connection; the next one follows it.
    next_peer: usize,
    refusals: ReactorRefusals,
    context: ReactorContext,
    shared: ReactorShared,
    sink: S,
    slots: Slots,
    arena: Arena,
    topics: Topics,
    gathering: Gathering,
    wheel: Wheel<TimerPurpose>,
    /// The time before which no timer is due.
    next_due: Tick,
    user_timers: HashMap<u64, UserTimer>,
    fds: FdSource,
    /// Connections that hear a topic, to read from.
    ready: VecDeque<SlotId>,
    /// The same for those that hear none: each turn reads from some of them.
    ready_without_topic: VecDeque<SlotId>,
    /// The same for those from which no request has come yet, and for those that have ended: each turn
    /// reads from some of them.
    coming_and_going: VecDeque<SlotId>,
    /// Encrypted connections whose handshake isn't done: each turn goes on with so many.
    handshakes: VecDeque<SlotId>,
    /// Connections that have bytes to read, but may not be read while a queue's pressure is high.
    held: Vec<SlotId>,
    /// Turns since these were looked at.
    held_turns: usize,
    /// Connections to write to.
    writes: WriteQueue,
    /// What handlers wait for, by the slot.
    awaited: HashMap<u32, Vec<Awaited>>,
    /// What of that has to be looked at, since bytes have left the outbox.
    awaited_news: Vec<Awaited>,
    /// Connections with something in the outbox, or with answers behind it, by the bytes of both.
    outbox_holders: BySize<u32>,
    /// Connections with something half sent, by its bytes.
    unfinished_holders: BySize<u32>,
    /// The members of the topic that is being published to.
    receivers: Vec<u32>,
    read_buffer: Vec<u8>,
    /// For what comes compressed; it owns nothing before that.
    inflater: Inflater,
    /// The plain bytes of what was read of an encrypted connection.
    plain_buffer: Vec<u8>,
    drain: Option<Drain>,
    freeze: Option<Box<ReactorFreeze>>,
    /// Set while connections are being armed for new bounds and times.
    rearming: Option<Rearming>,
    /// How far it has gone on with what another image handed over.
    adoption: Adoption,
    /// Reactors that must end before this one.
    peers_left: usize,
    stopped: bool,
}

/// The facts from which [`Rules`] are made: kept apart from the slots, so that both can be
/// borrowed at once.
struct ReactorContext {
    clock: Clock,
    limits: Arc<ReactorLimits>,
    gate: Arc<Gate>,
    event_name: Arc<EventName>,
    drain_since: Option<Tick>,
}

/// Refuses every head: where none is read, none may pass.
fn closed_gate(_: &Head) -> Verdict {
    Verdict::Answer(Response::new(503))
}

impl ReactorContext {
    /// The rules by which a connection goes, but for the gate: that one is told the connection.
    fn rules(&self) -> Rules<'_> {
        Rules {
            now: self.clock.now(),
            limits: &self.limits.connection,
            gate: &closed_gate,
            date: self.clock.date(),
            drain: self.drain_since,
            room: None,
            is_secure: false,
        }
    }

    /// Counts the bytes that may still be queued for a peer whose outbox has this size; `None` if
    /// there is no room.
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
            certificates: parts.certificates,
            encrypted_wait: false,
            has_more_to_accept: false,
            accepts_again: false,
            next_peer: 0,
            refusals: ReactorRefusals::default(),
            shared: parts.shared,
            sink: parts.sink,
            slots: Slots::default(),
            arena: Arena::default(),
            topics: Topics::new(limits.topics),
            gathering: Gathering::new(limits.gather),
            wheel: Wheel::new(clock.now()),
            next_due: Tick::NEVER,
            user_timers: HashMap::new(),
            fds: source_of(parts.id, parts.serials_from, parts.serial_blocks),
            ready: VecDeque::new(),
            ready_without_topic: VecDeque::new(),
            coming_and_going: VecDeque::new(),
            handshakes: VecDeque::new(),
            held: Vec::new(),
            held_turns: 0,
            writes: WriteQueue::default(),
            awaited: HashMap::new(),
            awaited_news: Vec::new(),
            outbox_holders: BySize::default(),
            unfinished_holders: BySize::default(),
            receivers: Vec::new(),
            read_buffer: vec![0; limits.read_bytes_max],
            inflater: Inflater::new(),
            plain_buffer: Vec::new(),
            drain: None,
            freeze: None,
            rearming: None,
            adoption: Adoption::Done,
            peers_left,
            stopped: false,
            context: ReactorContext {
                clock,
                limits,
                gate: parts.gate,
                event_name: parts.event_name,
                drain_since: None,
            },
        }
    }

    /// The receiver of the events.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Takes the receiver of the events out of a reactor that has no connection any more.
    pub fn into_sink(self) -> S {
        self.sink
    }
}

/// Makes the source of names behind a serial number.
fn source_of(id: usize, from: u64, blocks: Option<Arc<SerialBlocks>>) -> FdSource {
    match blocks {
        Some(blocks) => FdSource::of_blocks(id, from, blocks),
        None => FdSource::new(id, from),
    }
}

/// Sends one command. A mailbox without a receiver belongs to a reactor that has ended and has no
/// connections left, so the command is dropped.
fn send(mailbox: &CommandSender, command: Command) {
    send_all(mailbox, CommandBatch::of(command));
}

/// Sends a batch in the same way.
fn send_all(mailbox: &CommandSender, batch: CommandBatch) {
    let bytes = batch.size();
    drop(mailbox.send(batch, bytes));
}
