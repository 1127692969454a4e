//! The two receivers of a reactor's events: [`WorkerSink`] hands them to the workers, but for light
//! ones, and [`InlineSink`] calls the callbacks on the reactor's own thread.

use std::borrow::Cow;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::connection_job::ConnectionJob;
use super::handle::TimerCallback;
use super::light::{LightEvents, Mailboxes};
use super::message::Frame;
use super::order::ReactorOrders;
use super::queue::{Backlogged, EventBatch, WorkerEvent, WorkerJob};
use super::runner::Runner;
use super::scheduler::{Scheduler, TurnBounds, run};
use super::shared::ServerShared;
use super::timers::Timers;
use super::turn;
use super::turns::WaitingEvent;
use crate::base::Fd;
use crate::handover::SectionWriter;
use crate::net::command::{AwaitedBy, Command, CommandBatch};
use crate::net::freeze::FreezeProgress;
use crate::net::reactor::{BatchNumber, EventSink, HANDLED, OwnCommands};
use crate::proto::connection::{CloseReason, HttpRequest};
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;

/// A payload of more bytes than this is handed over without a copy, if it owns its memory. A round
/// number: a smaller payload is cheap to copy, and its allocation is freed at once by the reactor.
const LARGE_BYTES: usize = 16 * 1024;

/// Jobs of other threads that one turn of a reactor runs, so that a process that talks without end
/// leaves the connections their turns. A round number.
const JOBS_A_TURN_MAX: usize = 64;

/// Hands events to the worker threads: all events of one connection to the same one, in order. Light
/// ones are handled at once, while nothing of their connection is with its worker.
pub(super) struct WorkerSink {
    shared: Arc<ServerShared>,
    timers: Arc<Timers<TimerCallback>>,
    reactor: usize,
    /// Batches submitted so far, by worker.
    submitted: Vec<u64>,
    /// The events of this turn, by worker.
    batches: Vec<EventBatch>,
    light: Option<LightEvents>,
}

impl WorkerSink {
    pub(super) fn new(
        shared: Arc<ServerShared>,
        timers: Arc<Timers<TimerCallback>>,
        reactor: usize,
        light: Option<LightEvents>,
    ) -> Self {
        let workers = shared.workers.len();
        let batch = || EventBatch::of(reactor);
        Self {
            shared,
            timers,
            reactor,
            submitted: vec![0; workers],
            batches: std::iter::repeat_with(batch).take(workers).collect(),
            light,
        }
    }

    /// Begins, on the reactor's thread.
    pub(super) fn start(&self) {
        if let Some(light) = &self.light {
            light.start();
        }
    }

    fn worker_of(&self, fd: Fd) -> usize {
        (fd.serial() % self.batches.len() as u64) as usize
    }

    fn put(&mut self, fd: Fd, event: WorkerEvent) -> BatchNumber {
        let worker = self.worker_of(fd);
        self.batches[worker].events.push(event);
        self.submitted[worker] + 1
    }

    /// Handles light events, if nothing of the connection is with its worker: `last` is the batch of
    /// its last event.
    fn light_for(&mut self, fd: Fd, last: BatchNumber) -> Option<&mut LightEvents> {
        let light = self.light.as_mut()?;
        if self.shared.pauses.contains(fd) {
            return None;
        }
        if last == HANDLED {
            return Some(light);
        }
        let worker = &self.shared.workers[(fd.serial() % self.batches.len() as u64) as usize];
        // In this order: a worker notes that an event waits for its turn before its batch is done.
        let is_done = worker.progress[self.reactor].is_past(last);
        (is_done && !worker.backlogged.contains(fd)).then_some(light)
    }
}

impl EventSink for WorkerSink {
    fn opened(&mut self, fd: Fd, head: Box<Head>) -> BatchNumber {
        self.put(fd, WorkerEvent::Opened { fd, head })
    }

    fn message(
        &mut self,
        fd: Fd,
        kind: MessageKind,
        payload: Cow<'_, [u8]>,
        last: BatchNumber,
    ) -> BatchNumber {
        if let Some(light) = self.light_for(fd, last)
            && light.message(Frame {
                fd,
                kind,
                data: &payload,
                parts: 0,
            })
        {
            return HANDLED;
        }
        let worker = self.worker_of(fd);
        let batch = &mut self.batches[worker];
        batch.events.push(match payload {
            Cow::Owned(payload) if payload.len() > LARGE_BYTES => {
                WorkerEvent::Large { fd, kind, payload }
            }
            payload => {
                let start = batch.payloads.len() as u32;
                batch.payloads.extend_from_slice(&payload);
                let end = batch.payloads.len() as u32;
                WorkerEvent::Message {
                    fd,
                    kind,
                    start,
                    end,
                }
            }
        });
        self.submitted[worker] + 1
    }

    fn request(&mut self, fd: Fd, mut request: Box<HttpRequest>, last: BatchNumber) -> BatchNumber {
        if let Some(light) = self.light_for(fd, last) {
            match light.request(fd, request) {
                Ok(()) => return HANDLED,
                Err(heavy) => request = heavy,
            }
        }
        self.put(fd, WorkerEvent::Request { fd, request })
    }

    fn closed(&mut self, fd: Fd, reason: CloseReason) {
        self.put(fd, WorkerEvent::Closed { fd, reason });
    }

    fn farewell(&mut self, fd: Fd) {
        self.put(fd, WorkerEvent::Farewell { fd });
    }

    fn buffer_empty(&mut self, fd: Fd, by: AwaitedBy) {
        let event = match by {
            AwaitedBy::User => WorkerEvent::BufferEmpty { fd },
            AwaitedBy::Worker => WorkerEvent::TurnComes { fd },
        };
        self.put(fd, event);
    }

    fn timer(&mut self, timer: u64) {
        if self.timers.claim(timer) {
            self.shared.submit(timer, WorkerJob::Timer(timer));
        }
    }

    fn must_pause(&self, fd: Fd) -> bool {
        let worker = &self.shared.workers[self.worker_of(fd)];
        worker.pressure.is_high()
            || worker.backlogged.contains(fd)
            || self.shared.pauses.contains(fd)
    }

    fn has_handled(&self, fd: Fd, batch: BatchNumber) -> bool {
        self.shared.workers[self.worker_of(fd)].progress[self.reactor].has_reached(batch)
    }

    /// The workers have schedulers of their own.
    fn serve_waiting(&mut self) -> bool {
        if let Some(light) = &mut self.light {
            light.begin_turn();
        }
        false
    }

    fn has_waiting(&self) -> bool {
        false
    }

    fn end_turn(&mut self) {
        if let Some(light) = &self.light {
            let goes_nothing = self.batches.iter().all(|batch| batch.events.is_empty());
            light.send(match goes_nothing {
                true => Mailboxes::Others,
                // A worker may answer before this reactor comes to its own commands.
                false => Mailboxes::All,
            });
        }
        for (worker, batch) in self.batches.iter_mut().enumerate() {
            if !batch.events.is_empty() {
                let batch = std::mem::replace(batch, EventBatch::of(self.reactor));
                self.shared.workers[worker].submit_batch(batch);
                self.submitted[worker] += 1;
            }
        }
    }

    fn has_pending(&self) -> bool {
        self.batches.iter().any(|batch| !batch.events.is_empty())
            || self.light.as_ref().is_some_and(LightEvents::has_commands)
    }

    fn renew(&mut self) {
        if let Some(light) = &mut self.light {
            light.renew();
        }
    }

    fn take_commands(&mut self) -> Option<CommandBatch> {
        self.light.as_ref()?.take_commands()
    }

    fn frozen(&mut self, number: u64, progress: FreezeProgress) {
        self.shared.freeze.note(self.reactor, number, progress);
    }

    fn reuse(&mut self, commands: Vec<Command>) {
        if let Some(light) = &self.light {
            light.reuse(commands);
        }
    }

    const OWN_COMMANDS: OwnCommands = OwnCommands::Behind;
}

/// Runs the handlers on the reactor's thread, as Swoole's BASE mode does.
pub(super) struct InlineSink {
    runner: Runner,
    scheduler: Scheduler,
    /// Whose messages wait for their turn.
    backlogged: Arc<Backlogged>,
    /// Whether somebody had a turn in this turn of the reactor, and may be read from again.
    has_served: bool,
    /// Jobs of other threads; only reactor 0 takes them.
    jobs: Option<Receiver<WorkerJob>>,
    /// Jobs about connections of this reactor.
    connection_jobs: Receiver<ConnectionJob>,
    /// How many of them may still be run in this turn of the reactor.
    jobs_left: usize,
    /// Whether that was too few for the jobs of the last turn. Jobs that come later wake the reactor.
    has_more_jobs: bool,
    orders: ReactorOrders,
}

impl InlineSink {
    pub(super) fn new(
        runner: Runner,
        bounds: TurnBounds,
        (jobs, connection_jobs): (Option<Receiver<WorkerJob>>, Receiver<ConnectionJob>),
        orders: ReactorOrders,
    ) -> Self {
        let backlogged = Arc::default();
        let shared = runner.handle.shared();
        let (postponed, pauses) = (Arc::clone(&shared.postponed), Arc::clone(&shared.pauses));
        Self {
            scheduler: Scheduler::new(bounds, Arc::clone(&backlogged), postponed, pauses),
            runner,
            backlogged,
            has_served: false,
            jobs,
            connection_jobs,
            jobs_left: JOBS_A_TURN_MAX,
            has_more_jobs: false,
            orders,
        }
    }

    /// Takes over events that waited for their connections' turns on a thread of another image.
    pub(super) fn take_over(&mut self, events: impl IntoIterator<Item = WaitingEvent>) {
        self.scheduler.take_over(events);
    }

    pub(super) fn takes_jobs(&self) -> bool {
        self.jobs.is_some()
    }

    /// Begins, on the reactor's thread.
    pub(super) fn start(&self) {
        self.scheduler.start();
        self.runner.start();
    }

    /// Handles what is left once all connections have ended.
    pub(super) fn finish(&mut self) {
        self.scheduler.finish(&self.runner);
        self.runner.flush();
    }

    pub(super) fn runner(&self) -> &Runner {
        &self.runner
    }

    fn has_jobs(&self) -> bool {
        !self.connection_jobs.is_empty() || self.jobs.as_ref().is_some_and(|jobs| !jobs.is_empty())
    }

    /// Runs one job of another thread; `false` if there is none.
    fn run_job(&mut self) -> bool {
        if let Ok(job) = self.connection_jobs.try_recv() {
            self.scheduler.take_job(&self.runner, job);
            return true;
        }
        let job = self.jobs.as_ref().and_then(|jobs| jobs.try_recv().ok());
        let has_one = job.is_some();
        if let Some(job) = job {
            self.runner.job(job);
        }
        has_one
    }

    fn take(&mut self, event: WorkerEvent) {
        let (fd, runner) = (event.fd(), &self.runner);
        if !self.scheduler.admits_now(fd) {
            return self.scheduler.hold(runner, event);
        }
        let rest = run(runner, event, 0, &[]);
        self.scheduler.handled(runner, fd, rest);
    }
}

impl EventSink for InlineSink {
    fn opened(&mut self, fd: Fd, head: Box<Head>) -> BatchNumber {
        self.take(WorkerEvent::Opened { fd, head });
        HANDLED
    }

    fn message(
        &mut self,
        fd: Fd,
        kind: MessageKind,
        payload: Cow<'_, [u8]>,
        _: BatchNumber,
    ) -> BatchNumber {
        let runner = &self.runner;
        let large = |payload: Cow<'_, [u8]>| WorkerEvent::Large {
            fd,
            kind,
            payload: payload.into_owned(),
        };
        if !self.scheduler.admits_now(fd) {
            self.scheduler.hold(runner, large(payload));
            return HANDLED;
        }
        runner.message(Frame {
            fd,
            kind,
            data: &payload,
            parts: 0,
        });
        let rest = turn::take_stop().map(|parts| WaitingEvent {
            event: large(payload),
            parts,
        });
        self.scheduler.handled(runner, fd, rest);
        HANDLED
    }

    fn request(&mut self, fd: Fd, request: Box<HttpRequest>, _: BatchNumber) -> BatchNumber {
        self.take(WorkerEvent::Request { fd, request });
        HANDLED
    }

    fn closed(&mut self, fd: Fd, reason: CloseReason) {
        self.take(WorkerEvent::Closed { fd, reason });
    }

    fn farewell(&mut self, fd: Fd) {
        self.take(WorkerEvent::Farewell { fd });
    }

    fn buffer_empty(&mut self, fd: Fd, by: AwaitedBy) {
        match by {
            AwaitedBy::User => self.runner.buffer_empty(fd),
            AwaitedBy::Worker => self.scheduler.unpark(fd),
        }
    }

    fn timer(&mut self, timer: u64) {
        self.runner.job(WorkerJob::Timer(timer));
    }

    fn must_pause(&self, fd: Fd) -> bool {
        self.backlogged.contains(fd) || self.runner.handle.shared().pauses.contains(fd)
    }

    fn has_handled(&self, _: Fd, _: BatchNumber) -> bool {
        true
    }

    fn serve_waiting(&mut self) -> bool {
        self.has_served = self.scheduler.has_next();
        if self.has_served {
            self.scheduler.serve_next(&self.runner);
        }
        self.scheduler.begin_batch();
        self.has_more_jobs = self.jobs_left == 0;
        self.jobs_left = JOBS_A_TURN_MAX;
        self.has_served
    }

    fn has_waiting(&self) -> bool {
        self.has_served || self.has_more_jobs || self.scheduler.has_next()
    }

    fn end_turn(&mut self) {
        while self.jobs_left > 0 && self.run_job() {
            self.jobs_left -= 1;
        }
        let delivery = &self.runner.handle.delivery;
        delivery.flush(self.runner.handle.shared());
    }

    fn has_pending(&self) -> bool {
        !self.runner.handle.delivery.is_empty() || (self.jobs_left > 0 && self.has_jobs())
    }

    fn renew(&mut self) {
        for order in self.orders.try_iter() {
            if let Some(handlers) = order.take() {
                self.runner.stop();
                self.runner.renew(handlers);
                self.runner.start();
                order.finish();
                self.runner.handle.shared().main.wake();
            }
        }
    }

    fn take_commands(&mut self) -> Option<CommandBatch> {
        self.runner.handle.delivery.take_own()
    }

    /// The events that wait for their connections' turns go on waiting.
    fn rest(&mut self) -> bool {
        self.jobs_left = JOBS_A_TURN_MAX;
        self.scheduler.call_all(&self.runner);
        self.end_turn();
        !self.has_jobs()
    }

    fn hand_over(&self, section: &mut SectionWriter) {
        self.scheduler.hand_over(section);
    }

    fn frozen(&mut self, number: u64, progress: FreezeProgress) {
        let shared = self.runner.handle.shared();
        shared.freeze.note(self.runner.id(), number, progress);
    }

    fn reuse(&mut self, commands: Vec<Command>) {
        self.runner.handle.delivery.reuse(commands);
    }

    const OWN_COMMANDS: OwnCommands = OwnCommands::First;
}
