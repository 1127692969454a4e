//! The loop of a worker thread.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::message::Frame;
use super::queue::{EventBatch, QueueItem, WorkerEvent, WorkerInbox};
use super::runner::Runner;
use super::turn;
use super::turns::{Turns, WaitingEvent};
use crate::base::Fd;
use crate::net::command::AwaitedBy;

/// Items taken in a row while heavy connections wait for their turn: a round number, which takes
/// well below a millisecond unless one of them is costly.
const ITEMS_A_ROUND_MAX: usize = 64;

/// Time that an event has to take, in a batch that takes long, to make its connection a heavy one:
/// a hundred times that of a chat message, half that of a page of history.
const HEAVY_EVENT: Duration = Duration::from_micros(200);

/// Close code of the registry of RFC 6455 §11.7 for a server without room.
const TRY_AGAIN_LATER: u16 = 1013;

/// Bounds of what a worker keeps for the connections that ask for much.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkerBounds {
    /// Bytes of its own answers that a connection gets in a turn; the next begins when no more than
    /// that waits for it.
    pub(super) answers_bytes_max: usize,
    /// Bytes of messages that wait for the turns of all connections; above this number the
    /// connection with the most is closed.
    pub(super) waiting_bytes_max: usize,
}

/// Runs a worker until its queue says `Stop`.
///
/// The order after each item matters: the commands are flushed first, so that a reactor that is
/// nudged for this batch finds them in its mailbox; the pressure is taken off last.
pub(super) fn work(runner: &Runner, inbox: &WorkerInbox, bounds: WorkerBounds) {
    turn::set_pushed_max(bounds.answers_bytes_max);
    runner.start();
    runner.flush();
    let mut worker = Worker {
        runner,
        inbox,
        bounds,
        turns: Turns::default(),
    };
    while worker.take_items() {
        worker.serve_next();
    }
    worker.turns.end_all();
    while worker.turns.has_next() {
        worker.serve_next();
    }
    runner.stop();
    runner.flush();
}

struct Worker<'a> {
    runner: &'a Runner,
    inbox: &'a WorkerInbox,
    bounds: WorkerBounds,
    turns: Turns,
}

impl Worker<'_> {
    /// Handles the items that have come, or waits for one if there is nothing else to do; `false`
    /// at the end.
    fn take_items(&mut self) -> bool {
        if !self.turns.has_next() {
            return match self.inbox.receiver.recv() {
                Ok(item) => self.take(item),
                Err(_) => false,
            };
        }
        for _ in 0..ITEMS_A_ROUND_MAX {
            let Ok(item) = self.inbox.receiver.try_recv() else {
                break;
            };
            if !self.take(item) {
                return false;
            }
        }
        true
    }

    fn take(&mut self, item: QueueItem) -> bool {
        let (items, bytes, reactor) = match item {
            QueueItem::Batch { batch, bytes } => {
                let (items, reactor) = (batch.events.len(), batch.reactor);
                self.run_batch(batch);
                (items, bytes, Some(reactor))
            }
            QueueItem::Job(job) => {
                self.runner.job(job);
                (1, 0, None)
            }
            QueueItem::Stop => return false,
        };
        self.runner.flush();
        let shared = self.runner.handle.shared();
        if let Some(reactor) = reactor
            && self.inbox.progress[reactor].step()
        {
            shared.mailboxes[reactor].nudge();
        }
        if self.inbox.pressure.take(items, bytes) {
            shared.nudge_reactors();
        }
        true
    }

    fn run_batch(&mut self, batch: EventBatch) {
        let EventBatch {
            events, payloads, ..
        } = batch;
        self.turns.forget_rested();
        let mut flushed_at = coarse_now();
        let (mut takes_long, mut last) = (false, None);
        for event in events {
            let fd = event.fd();
            if self.turns.holds(fd) {
                self.hold(fd, event, &payloads);
                continue;
            }
            if last == Some(fd) && turn::is_over() {
                self.hold(fd, event, &payloads);
                continue;
            }
            if last != Some(fd) {
                turn::begin(fd);
                last = Some(fd);
            }
            let began = takes_long.then(Instant::now);
            let rest = self.run(event, 0, &payloads);
            if rest.is_some()
                || turn::has_pushed_much()
                || began.is_some_and(|began| began.elapsed() > HEAVY_EVENT)
            {
                self.end_turn(fd, rest);
            }
            // A handler may block: the commands of the handlers before it mustn't wait for it.
            let now = coarse_now();
            if now != flushed_at {
                flushed_at = now;
                takes_long = true;
                self.runner.flush();
            }
        }
    }

    /// Keeps an event until its connection's turn.
    fn hold(&mut self, fd: Fd, event: WorkerEvent, payloads: &[u8]) {
        match event {
            // These events are no questions of the peer's.
            WorkerEvent::BufferEmpty { fd } => self.runner.buffer_empty(fd),
            WorkerEvent::TurnComes { fd } => self.turns.unpark(fd),
            event => {
                let event = event.owned(payloads);
                let waiting = WaitingEvent { event, parts: 0 };
                self.turns.put(fd, waiting, &self.inbox.backlogged);
                self.bound_waiting();
            }
        }
    }

    /// Gives the next heavy connection its turn.
    fn serve_next(&mut self) {
        let Some(fd) = self.turns.next() else {
            return;
        };
        turn::begin(fd);
        let mut rest = None;
        while let Some(WaitingEvent { event, parts }) = self.turns.take(fd) {
            rest = self.run(event, parts, &[]);
            if rest.is_some() || turn::is_over() {
                break;
            }
        }
        // Before the reactor may read more of its questions.
        self.runner.flush();
        self.end_turn(fd, rest);
        self.runner.flush();
        if !self.inbox.backlogged.contains(fd) {
            self.runner.handle.shared().mailboxes[fd.reactor()].nudge();
        }
    }

    fn end_turn(&mut self, fd: Fd, rest: Option<WaitingEvent>) {
        let backlogged = &self.inbox.backlogged;
        if let Some(rest) = rest {
            self.turns.put_back(fd, rest, backlogged);
        }
        if self.turns.end(fd, turn::has_pushed_much(), backlogged) {
            let bytes_max = self.bounds.answers_bytes_max;
            self.runner
                .handle
                .await_room(fd, bytes_max, AwaitedBy::Worker);
        }
    }

    /// Handles an event of which `parts` parts are handled; returns the rest of the event, if it
    /// stopped.
    fn run(&self, event: WorkerEvent, parts: u32, payloads: &[u8]) -> Option<WaitingEvent> {
        let runner = self.runner;
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
            // The connection isn't heavy any more.
            WorkerEvent::TurnComes { .. } => {}
            WorkerEvent::Farewell { fd } => runner.farewell(fd),
        }
        None
    }

    /// Closes the connection with the most waiting bytes while the bound is exceeded; what it said
    /// is still handled.
    fn bound_waiting(&mut self) {
        if self.turns.bytes() > self.bounds.waiting_bytes_max
            && let Some(fd) = self.turns.largest()
        {
            // A connection that is gone needs no Close.
            let reason = "too much is waiting; come back later";
            self.runner
                .handle
                .disconnect(fd, TRY_AGAIN_LATER, reason)
                .ok();
        }
    }
}

/// Reads a clock that costs next to nothing and moves every few milliseconds.
fn coarse_now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}
