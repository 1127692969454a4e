//! The life of a server: starting its threads and processes, and ending them in order.
//!
//! The main thread only waits: for signals, for the processes, for being asked to stop. A stop goes
//! through [`Phase`]: the reactors answer and close what is open, then the processes finish what
//! they were given, then the workers run what came back, and end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::builder::{Builder, ServerError};
use super::delivery::{AtOnce, PerBatch};
use super::handle::Handle;
use super::handlers::{Handlers, call};
use super::owners::{Inline, ToWorkers};
use super::process::{ProcessEvent, ProcessSpec, Supervisor};
use super::runner::{Job, Runner};
use super::settings::ServerSettings;
use super::shared::{MainThread, Shared};
use super::timers::Timers;
use super::worker::{WorkerInbox, work, worker_queue};
use crate::net::budget::OutboxBudget;
use crate::net::command::{Command, CommandBatch};
use crate::net::mailbox::{Receiver as MailboxReceiver, mailbox};
use crate::net::marks::Gauge;
use crate::net::reactor::{self, Gate, Owner, Reactor, ReactorLimits, ReactorParts};
use crate::net::{Listener, listen};

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const PROCESSES_FIRST: usize = 2;

/// Time that what was cut has to end, before threads are left behind.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// How a server ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Connections that were cut when the time for the stop was over.
    pub connections_cut: u64,
    /// Requests that got no answer.
    pub requests_unanswered: u64,
    /// Tasks that were accepted and didn't finish.
    pub tasks_unfinished: usize,
    /// Threads that were stuck in a callback.
    pub threads_stuck: usize,
    /// Whether a second signal ended it at once.
    pub is_forced: bool,
}

impl Outcome {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// How far a server is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// The reactors answer and close; cut at the deadline.
    Draining(Instant),
    /// The reactors were told to cut; given up at the deadline.
    Cutting(Instant),
    /// The processes finish; they have their own deadline.
    Finishing,
    /// The workers run what is left; given up at the deadline.
    Joining(Instant),
    Done,
}

/// What the main thread owns; see the module.
pub(super) struct Life {
    poll: Poll,
    signals: Option<Signals>,
    supervisor: Supervisor,
    shared: Arc<Shared>,
    handlers: Arc<Handlers>,
    /// Runs `on_start`, and what the processes say once the reactors have ended.
    runner: Runner,
    inline_jobs: Receiver<Job>,
    threads: Vec<JoinHandle<()>>,
    stop_ms_max: u64,
    phase: Phase,
    outcome: Outcome,
}

impl Life {
    pub(super) fn start(builder: Builder) -> Result<(Self, Handle), ServerError> {
        let Builder {
            addresses,
            reactors,
            workers,
            settings,
            gate,
            handlers,
            processes,
            ..
        } = builder;
        let system = ServerError::system;
        let mut listeners = Vec::new();
        for address in addresses {
            let listener = listen(address);
            listeners.push(listener.map_err(|source| ServerError::Listen { address, source })?);
        }
        let addresses: Vec<_> = listeners.iter().map(|listener| listener.address).collect();

        let poll = Poll::new().map_err(system("make a poll"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(system("make a waker"))?);
        let specs: io::Result<Vec<_>> = processes
            .iter()
            .map(|(name, _)| ProcessSpec::new(name))
            .collect();
        let mut supervisor = {
            let waker = Arc::clone(&waker);
            let wake = move || drop(waker.wake());
            Supervisor::new(
                specs.map_err(system("name a process"))?,
                settings.process,
                Arc::new(wake),
            )
            .map_err(system("name a process"))?
        };
        let main = MainThread::new(waker, reactors, workers);
        let (inline_sender, inline_jobs) = crossbeam_channel::unbounded();
        let (shared, pieces) = share(
            reactors,
            workers,
            &settings,
            &supervisor,
            main,
            inline_sender,
            addresses,
        )?;

        let handlers = Arc::new(handlers);
        let runner = |id, own| {
            let handle = Handle::new(Arc::clone(&shared), PerBatch::new(reactors, own));
            Runner::new(handle, Arc::clone(&handlers), id)
        };
        let start = Start {
            shared: &shared,
            limits: Arc::new(settings.reactor.clone()),
            gate,
            jobs: &inline_jobs,
        };
        let main_runner = runner(0, None);
        supervisor
            .start(poll.registry(), PROCESSES_FIRST)
            .map_err(system("start the processes"))?;
        if let Some(on_start) = &handlers.on_start {
            call("on_start", None, || on_start(&main_runner.handle));
            main_runner.flush();
        }
        let mut threads = start
            .workers(pieces.inboxes, runner)
            .map_err(system("start a thread"))?;
        threads.extend(
            start
                .reactors(pieces.reactors, listeners, runner)
                .map_err(system("start a thread"))?,
        );
        let handle = Handle::new(Arc::clone(&shared), AtOnce);
        let life = Self {
            poll,
            signals: None,
            supervisor,
            shared,
            handlers,
            runner: main_runner,
            inline_jobs,
            threads,
            stop_ms_max: settings.stop_ms_max,
            phase: Phase::Running,
            outcome: Outcome::default(),
        };
        Ok((life, handle))
    }

    /// Has SIGTERM and SIGINT stop the server.
    pub(super) fn with_signals(mut self) -> io::Result<Self> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        self.poll
            .registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(self)
    }

    /// Runs until the end.
    pub(super) fn run(mut self) -> Outcome {
        let mut events = Events::with_capacity(64);
        while self.phase != Phase::Done {
            let timeout = self
                .deadline()
                .map(|at| at.saturating_duration_since(Instant::now()));
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::error!(%error, "the main thread can't wait for events");
                    self.outcome.is_forced = true;
                    break;
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    SIGNALS => self.look_at_signals(),
                    _ => self.supervisor.ready(event),
                }
            }
            self.drive_processes();
            self.advance();
        }
        self.end()
    }

    fn look_at_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        for signal in signals.pending() {
            let name = if signal == SIGTERM {
                "SIGTERM"
            } else {
                "SIGINT"
            };
            if self.phase == Phase::Running && !self.shared.main.is_asked_to_stop() {
                tracing::info!(signal = name, "stopping; once more stops at once");
                self.shared.main.ask_to_stop();
            } else {
                tracing::warn!(signal = name, "stopping at once");
                self.outcome.is_forced = true;
                self.phase = Phase::Done;
            }
        }
    }

    fn drive_processes(&mut self) {
        self.supervisor.turn(Instant::now());
        while let Some(event) = self.supervisor.next_event() {
            match event {
                ProcessEvent::Started { process, pid } => {
                    tracing::info!(%process, pid, "process started");
                }
                ProcessEvent::Died {
                    process,
                    status,
                    restart_in: Some(pause),
                } => {
                    tracing::warn!(%process, %status, restart_in = ?pause, "process died");
                }
                ProcessEvent::Died {
                    process,
                    status,
                    restart_in: None,
                } => {
                    tracing::info!(%process, %status, "process ended");
                }
                ProcessEvent::Ended {
                    tasks_unfinished, ..
                } => {
                    self.outcome.tasks_unfinished += tasks_unfinished;
                }
                ProcessEvent::Message { process, payload } => {
                    self.give(0, Job::PipeMessage { process, payload });
                }
                ProcessEvent::Finished { task, outcome, .. } => {
                    self.give(task.0, Job::TaskFinished { task, outcome });
                }
            }
        }
    }

    /// Gives a job to a worker, or runs it here when no reactor is left to do so.
    fn give(&mut self, number: u64, job: Job) {
        let inline = self.shared.workers.is_empty();
        if inline && self.shared.main.reactors.load(Ordering::Acquire) == 0 {
            self.runner.job(job);
        } else {
            self.shared.give(number, job);
        }
    }

    /// When the poll must return at the latest.
    fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Draining(at) | Phase::Cutting(at) | Phase::Joining(at) => Some(at),
            Phase::Running | Phase::Finishing | Phase::Done => None,
        };
        [phase, self.supervisor.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Goes on to the next phase where the present one is over.
    fn advance(&mut self) {
        let now = Instant::now();
        let reactors = self.shared.main.reactors.load(Ordering::Acquire);
        let workers = self.shared.main.workers.load(Ordering::Acquire);
        match self.phase {
            Phase::Running if self.shared.main.is_asked_to_stop() => {
                tracing::info!("draining: no new connections, what is under way is answered");
                self.command(0, Command::Drain);
                self.phase = Phase::Draining(now + Duration::from_millis(self.stop_ms_max));
            }
            Phase::Draining(_) | Phase::Cutting(_) if reactors == 0 => self.finish(now),
            Phase::Draining(at) if at <= now => {
                for reactor in 0..self.shared.mailboxes.len() {
                    self.command(reactor, Command::Stop);
                }
                self.phase = Phase::Cutting(now + CUT_GRACE);
            }
            Phase::Cutting(at) if at <= now => {
                self.outcome.threads_stuck += reactors;
                self.finish(now);
            }
            Phase::Finishing if self.supervisor.is_finished() => {
                for queue in &self.shared.workers {
                    queue.stop();
                }
                self.phase = Phase::Joining(now + CUT_GRACE);
                self.advance();
            }
            Phase::Joining(_) if workers == 0 => self.phase = Phase::Done,
            Phase::Joining(at) if at <= now => {
                self.outcome.threads_stuck += workers;
                self.phase = Phase::Done;
            }
            _ => {}
        }
    }

    fn finish(&mut self, now: Instant) {
        self.supervisor.stop(now);
        self.phase = Phase::Finishing;
        // What was meant for reactor 0 and came too late for it.
        while self.shared.workers.is_empty()
            && let Ok(job) = self.inline_jobs.try_recv()
        {
            self.runner.job(job);
        }
        self.drive_processes();
        self.advance();
    }

    fn command(&self, reactor: usize, command: Command) {
        self.shared.send(reactor, CommandBatch::of(command));
    }

    fn end(mut self) -> Outcome {
        if self.outcome.is_forced {
            self.outcome.tasks_unfinished += self.supervisor.kill();
        } else if self.outcome.threads_stuck == 0 {
            for thread in self.threads.drain(..) {
                // A panic outside a callback; the thread's guard has counted it out.
                if thread.join().is_err() {
                    self.outcome.threads_stuck += 1;
                }
            }
        }
        for counters in &self.shared.counters {
            self.outcome.connections_cut += counters.cut.get();
            self.outcome.requests_unanswered += counters.unanswered.get();
        }
        if let Some(on_shutdown) = &self.handlers.on_shutdown {
            call("on_shutdown", None, on_shutdown);
        }
        let Outcome {
            connections_cut,
            requests_unanswered,
            tasks_unfinished,
            threads_stuck,
            ..
        } = self.outcome;
        if self.outcome.is_clean() {
            tracing::info!("stopped");
        } else {
            tracing::error!(
                connections_cut,
                requests_unanswered,
                tasks_unfinished,
                threads_stuck,
                "stopped, but not everything could be finished"
            );
        }
        self.outcome
    }
}

/// What belongs to one reactor and isn't shared.
struct ReactorPiece {
    poll: Poll,
    mailbox: MailboxReceiver<CommandBatch>,
}

/// What the threads take with them.
struct Pieces {
    reactors: Vec<ReactorPiece>,
    inboxes: Vec<WorkerInbox>,
}

fn share(
    reactors: usize,
    workers: usize,
    settings: &ServerSettings,
    supervisor: &Supervisor,
    main: MainThread,
    inline_jobs: Sender<Job>,
    addresses: Vec<SocketAddr>,
) -> Result<(Arc<Shared>, Pieces), ServerError> {
    let system = ServerError::system;
    let (mut mailboxes, mut gauges) = (Vec::new(), Vec::new());
    let mut reactor_pieces = Vec::new();
    for _ in 0..reactors {
        let poll = Poll::new().map_err(system("make a poll"))?;
        let waker = Waker::new(poll.registry(), reactor::WAKER).map_err(system("make a waker"))?;
        let gauge = Arc::new(Gauge::new(settings.mailbox));
        let wake = move || {
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "a reactor can't be woken");
            }
        };
        let (sender, receiver) = mailbox(Some(Arc::clone(&gauge)), wake);
        gauges.push(gauge);
        mailboxes.push(sender);
        reactor_pieces.push(ReactorPiece {
            poll,
            mailbox: receiver,
        });
    }
    let (queues, inboxes) = (0..workers)
        .map(|_| worker_queue(Gauge::new(settings.worker_queue), reactors))
        .unzip();
    let links = supervisor.stats().into_iter().filter_map(|stats| {
        let link = supervisor.link(&stats.name)?;
        Some((stats.name, link))
    });
    let shared = Arc::new(Shared {
        mailboxes,
        gauges: gauges.into(),
        directories: (0..reactors).map(|_| Arc::default()).collect(),
        counters: (0..reactors).map(|_| Arc::default()).collect(),
        budget: OutboxBudget::new(settings.outbox_bytes_total_max),
        workers: queues,
        inline_jobs,
        timers: Timers::default(),
        processes: links.collect(),
        main,
        started: Instant::now(),
        addresses,
    });
    Ok((
        shared,
        Pieces {
            reactors: reactor_pieces,
            inboxes,
        },
    ))
}

/// Starts the threads.
struct Start<'a> {
    shared: &'a Arc<Shared>,
    limits: Arc<ReactorLimits>,
    gate: Arc<Gate>,
    jobs: &'a Receiver<Job>,
}

impl Start<'_> {
    fn workers(
        &self,
        inboxes: Vec<WorkerInbox>,
        runner: impl Fn(usize, Option<usize>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut threads = Vec::new();
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let (runner, ended) = (runner(id, None), Ended::worker(self.shared));
            threads.push(spawn(format!("worker-{id}"), move || {
                let _ended = ended;
                work(&runner, &inbox);
            })?);
        }
        Ok(threads)
    }

    fn reactors(
        &self,
        pieces: Vec<ReactorPiece>,
        listeners: Vec<Listener>,
        runner: impl Fn(usize, Option<usize>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut listeners = Some(listeners);
        let mut threads = Vec::new();
        for (id, piece) in pieces.into_iter().enumerate() {
            let listeners = listeners.take().unwrap_or_default();
            let ended = Ended::reactor(self.shared);
            let name = format!("reactor-{id}");
            threads.push(if self.shared.workers.is_empty() {
                let jobs = (id == 0).then(|| self.jobs.clone());
                let owner = Inline::new(runner(id, Some(id)), jobs);
                let reactor = Reactor::new(self.parts(id, piece, listeners, owner));
                spawn(name, move || run_inline(reactor, ended))?
            } else {
                let owner = ToWorkers::new(Arc::clone(self.shared), id);
                let reactor = Reactor::new(self.parts(id, piece, listeners, owner));
                spawn(name, move || drop(run(reactor, ended)))?
            });
        }
        Ok(threads)
    }

    fn parts<O>(
        &self,
        id: usize,
        piece: ReactorPiece,
        listeners: Vec<Listener>,
        owner: O,
    ) -> ReactorParts<O> {
        ReactorParts {
            id,
            poll: piece.poll,
            mailbox: piece.mailbox,
            peers: self.shared.mailboxes.clone(),
            listeners,
            limits: Arc::clone(&self.limits),
            gate: Arc::clone(&self.gate),
            started: self.shared.started,
            shared: reactor::Shared {
                directory: Arc::clone(&self.shared.directories[id]),
                counters: Arc::clone(&self.shared.counters[id]),
                budget: Arc::clone(&self.shared.budget),
                mailbox_gauges: Arc::clone(&self.shared.gauges),
            },
            owner,
        }
    }
}

fn run_inline(reactor: Reactor<Inline>, ended: Ended) {
    reactor.owner().runner().start();
    if let Some((owner, _ended)) = run(reactor, ended) {
        owner.runner().stop();
        owner.runner().flush();
    }
}

fn run<O: Owner>(reactor: Reactor<O>, ended: Ended) -> Option<(O, Ended)> {
    match reactor.run() {
        Ok(owner) => Some((owner, ended)),
        Err(error) => {
            tracing::error!(%error, "a reactor can't go on");
            ended.shared.main.ask_to_stop();
            None
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(run)
}

/// Counts a thread out when it ends, however it does.
struct Ended {
    shared: Arc<Shared>,
    kind: ThreadKind,
}

enum ThreadKind {
    Reactor,
    Worker,
}

impl Ended {
    fn reactor(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Reactor,
        }
    }

    fn worker(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Worker,
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let main = &self.shared.main;
        match self.kind {
            ThreadKind::Reactor => main.reactors.fetch_sub(1, Ordering::AcqRel),
            ThreadKind::Worker => main.workers.fetch_sub(1, Ordering::AcqRel),
        };
        if std::thread::panicking() {
            tracing::error!("a thread of the server panicked");
            main.ask_to_stop();
        } else {
            main.wake();
        }
    }
}
