//! The scheduler of a thread that runs callbacks, a worker or a reactor: it decides whether an event
//! is handled at once or at its connection's turn.
//!
//! Its thread hands it the events in the order in which they came: [`Scheduler::admits`] says whether
//! one may be handled now; then [`Scheduler::handled`] looks at what it cost; otherwise
//! [`Scheduler::hold`] keeps it. [`Scheduler::serve_next`] gives one heavy connection its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::connection_job::{ConnectionJob, UserFunction};
use super::message::Frame;
use super::pauses::Pauses;
use super::queue::{Backlogged, Postponed, WorkerEvent};
use super::runner::Runner;
use super::turn;
use super::turns::{Turns, WaitingEvent};
use crate::base::Fd;
use crate::handover::SectionWriter;
use crate::net::command::AwaitedBy;

/// In a batch that takes long, an event that takes this long makes its connection a heavy one: a
/// hundred times what a message of a chat takes, half of what a page of history does.
const HEAVY_EVENT: Duration = Duration::from_micros(200);

/// Events between two looks at the clock on a reactor: a look costs about a tenth of an echo. Four of
/// the heaviest, pages of history, take some 2 ms.
const EVENTS_A_LOOK: u32 = 4;

/// Close code of the registry of RFC 6455 §11.7 for a server without room.
const TRY_AGAIN_LATER: u16 = 1013;

/// Bounds of what a thread keeps for the connections that ask for much.
#[derive(Debug, Clone)]
pub(super) struct TurnBounds {
    /// Bytes of its own answers that a connection gets in a turn; the next begins when no more than
    /// that waits for it.
    pub(super) answers_bytes_max: Arc<AtomicUsize>,
    /// Bytes of messages that wait for the turns of all; over it the connection with the most goes.
    pub(super) waiting_bytes_max: usize,
}

/// The scheduler of one thread.
pub(super) struct Scheduler {
    bounds: TurnBounds,
    turns: Turns,
    backlogged: Arc<Backlogged>,
    postponed: Arc<Postponed>,
    /// Whose event was handled last in this batch: its turn goes on.
    last: Option<Fd>,
    /// Events since the last look at the clock, where the scheduler looks itself.
    events_since_look: u32,
    /// What the clock showed at the last look in this batch.
    looked_at: Option<Timespec>,
    /// Whether the clock has moved between two looks in this batch.
    takes_long: bool,
    /// When the event that is handled now began, in a batch that takes long.
    began: Option<Instant>,
}

impl Scheduler {
    pub(super) fn new(
        bounds: TurnBounds,
        backlogged: Arc<Backlogged>,
        postponed: Arc<Postponed>,
        pauses: Arc<Pauses>,
    ) -> Self {
        Self {
            bounds,
            turns: Turns::new(Arc::clone(&backlogged), Arc::clone(&postponed), pauses),
            backlogged,
            postponed,
            last: None,
            events_since_look: 0,
            looked_at: None,
            takes_long: false,
            began: None,
        }
    }

    /// Makes the present thread this scheduler's.
    pub(super) fn start(&self) {
        turn::set_pushed_max(self.bounds.answers_bytes_max.load(Relaxed));
    }

    /// Begins a batch of events.
    pub(super) fn begin_batch(&mut self) {
        self.start();
        self.turns.forget_rested();
        self.last = None;
        self.looked_at = None;
        self.events_since_look = 0;
        self.takes_long = false;
    }

    /// Looks at the clock; whether it has moved since the last look in this batch, as it does every
    /// few milliseconds.
    pub(super) fn has_time_passed(&mut self) -> bool {
        let now = coarse_now();
        let before = self.looked_at.replace(now);
        let has_passed = before.is_some_and(|before| before != now);
        self.takes_long |= has_passed;
        has_passed
    }

    /// Whether the next event of a connection may be handled now; if so, its turn begins or goes on.
    pub(super) fn admits(&mut self, fd: Fd) -> bool {
        if self.turns.holds(fd) {
            return false;
        }
        if self.last != Some(fd) {
            turn::begin(fd);
            self.last = Some(fd);
        } else if turn::has_pushed_much() || (self.takes_long && turn::is_over()) {
            // A batch that takes no time needs no exact clock, which costs as much as an event.
            return false;
        }
        self.began = self.takes_long.then(Instant::now);
        true
    }

    /// The same for a thread that doesn't look at the clock itself: it is looked at between some
    /// events, so that the common batch of one costs no look.
    pub(super) fn admits_now(&mut self, fd: Fd) -> bool {
        self.events_since_look += 1;
        if self.events_since_look == EVENTS_A_LOOK {
            self.events_since_look = 0;
            self.has_time_passed();
        }
        self.admits(fd)
    }

    /// Looks at what the event that was admitted has cost; `rest` is what is left of it.
    pub(super) fn handled(&mut self, runner: &Runner, fd: Fd, rest: Option<WaitingEvent>) {
        if rest.is_some()
            || turn::has_pushed_much()
            || (self.began).is_some_and(|began| began.elapsed() > HEAVY_EVENT)
        {
            self.end_turn(runner, fd, rest);
        }
    }

    /// Keeps an event until it is its connection's turn.
    pub(super) fn hold(&mut self, runner: &Runner, event: WorkerEvent) {
        match event {
            // These are no questions of the peer's.
            WorkerEvent::BufferEmpty { fd } => runner.buffer_empty(fd),
            WorkerEvent::TurnComes { fd } => self.unpark(fd),
            event => {
                self.turns.put(WaitingEvent { event, parts: 0 });
                self.bound_waiting(runner);
            }
        }
    }

    /// Does a job about a connection.
    pub(super) fn take_job(&mut self, runner: &Runner, job: ConnectionJob) {
        match job {
            ConnectionJob::GoOn { fd, pause } => {
                if self.turns.go_on(fd, pause) && !self.backlogged.contains(fd) {
                    runner.handle.shared().mailboxes[fd.reactor()].nudge();
                }
            }
            ConnectionJob::Call { fd, function } => self.call(runner, fd, function),
        }
    }

    /// Calls a function, now or behind what of its connection waits for a turn.
    fn call(&mut self, runner: &Runner, fd: Fd, function: UserFunction) {
        if self.turns.goes_on(fd) {
            let event = WorkerEvent::Call { fd, function };
            return self.turns.put(WaitingEvent { event, parts: 0 });
        }
        if runner.has_not_closed(fd) {
            turn::begin(fd);
            self.last = None;
            runner.function(fd, function);
            if turn::has_pushed_much() {
                self.end_turn(runner, fd, None);
            }
        }
    }

    /// Calls the functions that wait, since nobody can hand them over; what stands before one is handled
    /// as well.
    pub(super) fn call_all(&mut self, runner: &Runner) {
        while let Some(WaitingEvent { event, parts }) = self.turns.take_for_function() {
            let fd = event.fd();
            turn::begin(fd);
            let rest = run(runner, event, parts, &[]);
            self.end_turn(runner, fd, rest);
        }
        runner.flush();
    }

    /// Lets a connection that has read most of its answers have turns again.
    pub(super) fn unpark(&mut self, fd: Fd) {
        self.turns.unpark(fd);
    }

    /// Whether somebody's turn can begin.
    pub(super) fn has_next(&self) -> bool {
        self.turns.has_next()
    }

    /// Gives the next heavy connection its turn; the commands of that are flushed.
    pub(super) fn serve_next(&mut self, runner: &Runner) {
        let Some(fd) = self.turns.next() else {
            return;
        };
        turn::begin(fd);
        let mut rest = None;
        while let Some(WaitingEvent { event, parts }) = self.turns.take(fd) {
            rest = run(runner, event, parts, &[]);
            if rest.is_some() || turn::is_over() {
                break;
            }
        }
        // Before the reactor may read more of its questions.
        runner.flush();
        self.end_turn(runner, fd, rest);
        runner.flush();
        if !self.backlogged.contains(fd) {
            runner.handle.shared().mailboxes[fd.reactor()].nudge();
        }
    }

    /// Handles all that waits, for nobody waits for anything any more.
    pub(super) fn finish(&mut self, runner: &Runner) {
        self.turns.end_all();
        while self.has_next() {
            self.serve_next(runner);
        }
    }

    /// Writes down the events that wait for their connections' turns.
    pub(super) fn hand_over(&self, section: &mut SectionWriter) {
        self.turns.hand_over(section);
    }

    /// Takes over events that waited for their connections' turns on a thread of another image.
    pub(super) fn take_over(&mut self, events: impl IntoIterator<Item = WaitingEvent>) {
        events.into_iter().for_each(|event| self.turns.put(event));
    }

    /// Gives away all that waits, since the thread has died; nothing waits here any more.
    pub(super) fn give_away(&mut self, mut take: impl FnMut(WorkerEvent)) {
        self.turns.end_all();
        while let Some(fd) = self.turns.next() {
            while let Some(waiting) = self.turns.take(fd) {
                take(waiting.event);
            }
        }
        self.backlogged.clear();
    }

    fn end_turn(&mut self, runner: &Runner, fd: Fd, rest: Option<WaitingEvent>) {
        if let Some(rest) = rest {
            self.turns.put_back(rest);
        }
        if self.turns.end(fd, turn::has_pushed_much()) {
            let bytes_max = self.bounds.answers_bytes_max.load(Relaxed);
            runner.handle.await_room(fd, bytes_max, AwaitedBy::Worker);
        }
    }

    /// Over the bound the connection with the most goes; what it said is still handled.
    fn bound_waiting(&mut self, runner: &Runner) {
        while self.turns.bytes() > self.bounds.waiting_bytes_max
            && let Some(fd) = self.turns.take_largest()
        {
            self.postponed.note_refused();
            let reason = "too much is waiting; come back later";
            runner.handle.give_up(fd, TRY_AGAIN_LATER, reason);
        }
    }
}

/// Handles an event of which `parts` parts are handled; what is left of it, if it stopped.
pub(super) fn run(
    runner: &Runner,
    event: WorkerEvent,
    parts: u32,
    payloads: &[u8],
) -> Option<WaitingEvent> {
    match event {
        WorkerEvent::Message {
            fd,
            kind,
            start,
            end,
        } => {
            let data = &payloads[start as usize..end as usize];
            runner.message(Frame {
                fd,
                kind,
                data,
                parts,
            });
            let parts = turn::take_stop()?;
            let event = event.owned(payloads);
            return Some(WaitingEvent { event, parts });
        }
        WorkerEvent::Large { fd, kind, payload } => {
            runner.message(Frame {
                fd,
                kind,
                data: &payload,
                parts,
            });
            let parts = turn::take_stop()?;
            let event = WorkerEvent::Large { fd, kind, payload };
            return Some(WaitingEvent { event, parts });
        }
        WorkerEvent::Opened { fd, head } => runner.opened(fd, *head),
        WorkerEvent::Request { fd, request } => runner.request(fd, *request),
        WorkerEvent::Closed { fd, reason } => runner.closed(fd, &reason),
        WorkerEvent::BufferEmpty { fd } => runner.buffer_empty(fd),
        // It isn't heavy any more.
        WorkerEvent::TurnComes { .. } => {}
        WorkerEvent::Farewell { fd } => runner.farewell(fd),
        WorkerEvent::Call { fd, function } => runner.function(fd, function),
    }
    None
}

/// Reads a clock that costs next to nothing and moves every few milliseconds.
fn coarse_now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}
