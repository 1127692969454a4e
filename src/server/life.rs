//! The life of a server: starting its threads and processes, and ending them in order.
//!
//! The main thread only waits: for signals, for the processes, for being asked to stop. A stop goes
//! through [`Phase`]: the reactors answer and close what is open, then the processes finish what
//! they were given, then the workers run what came back, and end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Interest, Poll, Token, Waker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::builder::{Builder, ServerError};
use super::delivery::{AtOnce, PerBatch};
use super::handle::Handle;
use super::handlers::{Handlers, call};
use super::process::{ProcessEvent, ProcessSpec, Supervisor};
use super::runner::{Job, Runner};
use super::shared::{MainThread, Shared};
use super::threads::{Start, share};
use crate::net::command::{Command, CommandBatch};
use crate::net::listen;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const PROCESSES_FIRST: usize = 2;

/// Time that what was cut has to end, before threads are left behind.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// How a server ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerOutcome {
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

impl ServerOutcome {
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
    outcome: ServerOutcome,
}

/// What ends a server beside [`Handle::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stoppable {
    /// SIGTERM and SIGINT do too.
    BySignals,
    /// Nothing does.
    ByHandle,
}

impl Life {
    pub(super) fn start(
        builder: Builder,
        stoppable: Stoppable,
    ) -> Result<(Self, Handle), ServerError> {
        let Builder {
            addresses,
            reactors,
            workers,
            settings,
            gate,
            handlers,
            processes,
            mut pressures,
            serials_from,
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
        // Before anything is to be seen of the server: whoever waits for that may send a signal next.
        let signals = match stoppable {
            Stoppable::BySignals => Some(watch(&poll).map_err(system("watch for signals"))?),
            Stoppable::ByHandle => None,
        };
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
        pressures.extend(
            shared
                .mailboxes
                .iter()
                .filter_map(|mailbox| mailbox.pressure())
                .cloned(),
        );
        let start = Start {
            shared: &shared,
            pressures: pressures.into(),
            serials_from,
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
            signals,
            supervisor,
            shared,
            handlers,
            runner: main_runner,
            inline_jobs,
            threads,
            stop_ms_max: settings.stop_ms_max,
            phase: Phase::Running,
            outcome: ServerOutcome::default(),
        };
        Ok((life, handle))
    }

    /// Runs until the end.
    pub(super) fn run(mut self) -> ServerOutcome {
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

    fn end(mut self) -> ServerOutcome {
        if self.outcome.is_forced {
            self.outcome.tasks_unfinished += self.supervisor.kill();
        } else if self.outcome.threads_stuck == 0 {
            for thread in self.threads.drain(..) {
                // A panic outside a callback; the thread's guard has counted it out.
                if thread.join().is_err() {
                    self.outcome.threads_stuck += 1;
                }
            }
            if self.shared.workers.is_empty() {
                // In place of reactor 0, whose last jobs it has run.
                self.runner.stop();
            }
        }
        for counters in &self.shared.counters {
            self.outcome.connections_cut += counters.cut.get();
            self.outcome.requests_unanswered += counters.unanswered.get();
            if self.outcome.is_forced {
                // As of each reactor's last turn; nobody asks the reactors any more.
                self.outcome.connections_cut += counters.slots.get();
            }
        }
        if let Some(on_shutdown) = &self.handlers.on_shutdown {
            call("on_shutdown", None, on_shutdown);
        }
        let ServerOutcome {
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

fn watch(poll: &Poll) -> io::Result<Signals> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    poll.registry()
        .register(&mut signals, SIGNALS, Interest::READABLE)?;
    Ok(signals)
}
