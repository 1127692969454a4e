//! The life of a server: starting its threads and processes, and ending them in order.
//!
//! The main thread only waits: for signals, for the processes, for a request to stop. A stop goes
//! through [`LifecyclePhase`]: the reactors answer requests and close connections, then the
//! processes finish their tasks, then the workers run the last callbacks and end. Each step still
//! needs the later ones: an answer may need a task, and the task's outcome needs a worker.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token, Waker};
use rustix::process::{getpid, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook_mio::v1_0::Signals;

use super::delivery::AtOnce;
use super::error::ServerError;
use super::freeze::FreezeDriver;
use super::handle::{Handle, TimerCallback};
use super::handler_set::HandlersSource;
use super::lifecycle_phase::LifecyclePhase;
use super::listeners::{Wanted, listeners};
use super::orphans::{is_first_process, reap_orphans};
use super::outcome::ServerOutcome;
use super::process::{ProcessEvent, Supervisor};
use super::queue::WorkerJob;
use super::renewing::{RenewedParts, Renewing};
use super::runner::{Runner, RunnerMaker};
use super::shared::{MainThread, ServerShared};
use super::signal::{ServerSignal, StopSource, name_of, pending, watch};
use super::spawn::{Spawner, Threads, build_shared};
use super::spec::ServerSpec;
use super::start_parts::{all_pressures, supervisor};
use super::threads::ServerThreads;
use super::timers::Timers;
use super::upgrade::kernel::{heed_signals, heeding_signals, hold_signals, holds_signals};
use super::upgrade::{CommittedParts, ThawedProgram, ThawedServer, reactors, waiting};
use super::upgrading::Upgrading;
use crate::base::rest::{take_no_part, take_part};
use crate::base::vital::{may_die_here, wait_while_told};
use crate::net::SocketFiles;
use crate::net::command::{Command, CommandBatch};

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const PROCESSES_FIRST: usize = 2;

/// Bytes of put-off events that a worker keeps at least, however low the marks of its queue are: a
/// mark of nothing pauses all reading, but what one turn has read before must have a place. Sixteen
/// reads of 64 KiB.
const WAITING_BYTES_LEAST: usize = 1 << 20;

/// Time that threads have to end after a cut, before they are left behind. A round number: a thread
/// needs it only if a callback is stuck.
const CUT_GRACE: Duration = Duration::from_secs(2);

/// Time that the reactors get at a second signal to see what has reached them already, such as the
/// end of a connection, and to count what they cut: a turn takes far less, unless a callback is stuck.
const FORCED_GRACE: Duration = Duration::from_millis(200);

/// A running server, as its main thread owns it.
pub(super) struct Lifecycle {
    poll: Poll,
    signals: Option<Signals>,
    supervisor: Supervisor,
    shared: Arc<ServerShared>,
    /// Runs `on_start`, and without workers the jobs of the processes once the reactors have ended.
    runner: Runner,
    inline_jobs: Receiver<WorkerJob>,
    threads: ServerThreads,
    renewing: Renewing,
    freezes: FreezeDriver,
    upgrading: Upgrading,
    /// What was handed over of the program, until the commit.
    thawed: Option<ThawedProgram>,
    /// What was handed over, until the commit.
    thaw: Option<ThawedServer>,
    /// The files of its Unix sockets, which go at the end.
    socket_files: SocketFiles,
    phase: LifecyclePhase,
    outcome: ServerOutcome,
}

impl Lifecycle {
    /// Binds the addresses, starts the processes and then the threads: the processes start from a
    /// program in which this server has no thread yet.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: the system refused an address or a resource; then nothing runs.
    pub(super) fn start(
        mut spec: ServerSpec,
        stop_source: StopSource,
    ) -> Result<(Self, Handle), ServerError> {
        let system = ServerError::system;
        let upgrading = Upgrading::of(&mut spec, stop_source == StopSource::Signals);
        let wanted = Wanted::of(&mut spec);
        let source = HandlersSource {
            kept: spec.handlers,
            factory: spec.factory,
        };
        let handlers = source.make().map_err(ServerError::Handlers)?;
        let (listeners, socket_files) = listeners(wanted, spec.entered.as_deref())?;
        let poll = Poll::new().map_err(system("make a poll"))?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(system("make a waker"))?);
        // Before the server can be seen from outside: the program that waits for it may send a
        // signal next.
        let signals = match stop_source {
            StopSource::Signals => {
                Some(watch(&poll, SIGNALS).map_err(system("watch for signals"))?)
            }
            StopSource::Handle => None,
        };
        let names = spec.processes.iter().map(|(name, _)| &**name);
        let processes = (names, &spec.process_launch);
        let mut supervisor = supervisor(processes, &spec.settings, Arc::clone(&waker))
            .map_err(system("name a process"))?;
        let (inline_sender, inline_jobs) = crossbeam_channel::unbounded();
        let threads = Threads {
            reactors: spec.reactors,
            workers: spec.workers,
            parts: spec.parts.len(),
            main: MainThread::new(waker, (spec.reactors, spec.workers), &spec.settings),
            inline_jobs: inline_sender,
            listening: (listeners
                .iter()
                .map(|one| (one.address.clone(), one.is_tls)))
            .collect(),
        };
        let (shared, mut unshared) = build_shared(threads, &spec.settings, &supervisor)?;
        if let Some(entered) = &spec.entered {
            let handed = reactors(entered, spec.reactors, &shared.budget);
            unshared.hand(handed.map_err(system("take over the connections"))?);
            let handed = waiting(entered).map_err(system("take over what waits"))?;
            let paused = handed.paused.into_iter();
            paused.for_each(|fd| shared.pauses.begin(fd, || true));
            unshared.waiting = handed.events;
        }
        let timers: Arc<Timers<TimerCallback>> = Arc::default();
        let maker = RunnerMaker {
            shared: Arc::clone(&shared),
            timers: Arc::clone(&timers),
        };
        let main_runner = maker.make(0, None, &handlers);
        let spawner = Spawner {
            maker,
            pressures: all_pressures(spec.pressures, &shared),
            serials_from: spec.serials_from,
            serial_blocks: spec.serial_blocks,
            limits: Arc::new(spec.settings.reactor.clone()),
            waiting_bytes_max: (spec.settings.worker_queue.bytes_high).max(WAITING_BYTES_LEAST),
            gate: spec.gate,
            event_name: spec.event_name,
            certificates: spec.certificates,
            jobs: &inline_jobs,
            start_gate: Arc::default(),
            entered: spec.entered.clone(),
        };
        let start_gate = Arc::clone(&spawner.start_gate);
        let thaw = spec.entered.map(|entered| {
            let processes = (&supervisor, &spec.settings.process);
            ThawedServer::new(entered, Arc::clone(&start_gate), processes)
        });
        let thaw = (thaw.transpose()).map_err(system("take over the processes"))?;
        if thaw.is_none() {
            heeding_signals(|| supervisor.start(poll.registry(), PROCESSES_FIRST))
                .map_err(system("start the processes"))?;
            main_runner.server_started();
            start_gate.open();
        }
        let threads = spawner
            .start(unshared, listeners, &handlers)
            .map_err(system("start a thread"))?;
        let handle = Handle::new(Arc::clone(&shared), Arc::clone(&timers), AtOnce);
        let lifecycle = Self {
            poll,
            signals,
            supervisor,
            shared,
            renewing: Renewing::new(Arc::new(source), spec.settings.renew_ms_max),
            runner: main_runner,
            inline_jobs,
            threads,
            thaw,
            freezes: FreezeDriver::new(spec.parts),
            upgrading,
            thawed: spec.thawed,
            socket_files,
            phase: LifecyclePhase::Running,
            outcome: ServerOutcome::default(),
        };
        Ok((lifecycle, handle))
    }

    /// Runs the main thread until the server has ended.
    pub(super) fn run(mut self) -> ServerOutcome {
        take_part();
        self.commit();
        if holds_signals() {
            heed_signals();
        }
        let mut events = Events::with_capacity(64);
        if self.signals.is_some() && is_first_process() {
            // Those that have died before somebody watched for that.
            self.reap_orphans();
        }
        while self.phase != LifecyclePhase::Done {
            let turned = catch_unwind(AssertUnwindSafe(|| self.turn(&mut events)));
            if turned.is_err() {
                // Once more, and there is no order left in which to stop.
                if self.shared.main.failure().is_some() {
                    self.force();
                }
                self.shared.main.fail("the main thread has panicked");
            }
        }
        let outcome = self.end();
        take_no_part();
        outcome
    }

    /// Goes on with a freeze; while all stands still, no signal comes.
    fn freeze(&mut self) {
        let (signals, mut is_held) = (&mut self.signals, false);
        let mut hold = || match signals {
            Some(signals) if holds_signals() => {
                hold_signals();
                is_held = true;
                pending(signals)
            }
            _ => Vec::new(),
        };
        (self.freezes).turn(&self.runner, &mut self.supervisor, &mut hold);
        if is_held {
            heed_signals();
        }
    }

    /// Makes what was handed over this image's own. From here on nothing goes back.
    fn commit(&mut self) {
        let Some(thaw) = self.thaw.take() else {
            return;
        };
        wait_while_told("commit.wait");
        let signals = thaw.commit(CommittedParts {
            shared: &self.shared,
            runner: &self.runner,
            program: self.thawed.take(),
            supervisor: &mut self.supervisor,
            registry: (self.poll.registry(), PROCESSES_FIRST),
        });
        self.socket_files.commit();
        for signal in signals {
            // As it came to the image before.
            _ = kill_process(getpid(), signal);
        }
    }

    fn turn(&mut self, events: &mut Events) {
        let timeout = self
            .deadline()
            .map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                tracing::error!(%error, "the main thread can't wait for events");
                self.outcome.is_forced = true;
                self.phase = LifecyclePhase::Done;
                return;
            }
        }
        if self.phase == LifecyclePhase::Running && self.shared.main.failure().is_none() {
            may_die_here();
        }
        if self.shared.main.takes_force() {
            tracing::warn!("stopping immediately");
            self.force();
        }
        for event in events.iter() {
            match event.token() {
                WAKER => {}
                SIGNALS => self.look_at_signals(),
                _ => self.supervisor.ready(event),
            }
        }
        self.drive_processes();
        self.renew();
        self.upgrade();
        self.advance();
    }

    /// Goes on with a renewal, or begins the next one, while nothing else is under way.
    fn renew(&mut self) {
        let is_running =
            self.phase == LifecyclePhase::Running && !self.shared.main.is_asked_to_stop();
        // One of them at a time.
        if is_running && !self.freezes.is_busy() && !self.shared.main.upgrades.is_busy() {
            let (renewing, parts) = self.renewed_parts();
            renewing.advance(Instant::now(), parts);
        }
    }

    /// Begins the upgrade that was asked for, while nothing else is under way.
    fn upgrade(&mut self) {
        let is_running =
            self.phase == LifecyclePhase::Running && !self.shared.main.is_asked_to_stop();
        if is_running && !self.freezes.is_busy() && self.renewing.is_idle() {
            self.upgrading.advance(&self.runner.handle.handle());
        }
    }

    fn renewed_parts(&mut self) -> (&mut Renewing, RenewedParts<'_>) {
        let parts = RenewedParts {
            shared: &self.shared,
            threads: &mut self.threads,
            supervisor: &mut self.supervisor,
            runner: &mut self.runner,
        };
        (&mut self.renewing, parts)
    }

    fn stop_renewing(&mut self) {
        let (renewing, parts) = self.renewed_parts();
        renewing.stop(parts);
    }

    fn look_at_signals(&mut self) {
        let Some(signals) = &mut self.signals else {
            return;
        };
        for signal in pending(signals) {
            match (self.freezes.is_busy(), signal) {
                (false, _) | (true, SIGTERM | SIGINT) => self.heed(signal),
                (true, _) => self.freezes.keep_signal(signal),
            }
        }
    }

    fn reap_orphans(&mut self) {
        reap_orphans(|pid, status| self.supervisor.reaped(pid, status));
    }

    fn heed(&mut self, signal: i32) {
        if signal == SIGCHLD {
            return self.reap_orphans();
        }
        let name = name_of(signal);
        let is_stopping = self.shared.main.is_asked_to_stop();
        if let Some(signal) = ServerSignal::of(signal)
            && !is_stopping
            && self.runner.signalled(signal)
        {
            return;
        }
        if signal == SIGUSR1 && !is_stopping {
            // How it ends is logged.
            drop(self.shared.main.ask_to_renew());
            return;
        }
        if signal == SIGUSR2 && !is_stopping {
            return self.shared.main.ask_to_upgrade();
        }
        if matches!(signal, SIGUSR1 | SIGUSR2) {
            tracing::info!(signal = name, "this signal is ignored");
            return;
        }
        if self.phase == LifecyclePhase::Running && !is_stopping {
            tracing::info!(
                signal = name,
                "stopping gracefully; send the signal again to stop immediately"
            );
            self.shared.main.ask_to_stop();
        } else if signal == SIGHUP {
            // The shell and the terminal that closes may both send one.
            tracing::info!(signal = name, "stopping already");
        } else {
            tracing::warn!(signal = name, "stopping immediately");
            self.force();
        }
    }

    /// Ends at once: cuts the reactors' connections, and waits for nothing else.
    fn force(&mut self) {
        self.freezes.stop(&self.runner, &mut self.supervisor);
        self.phase = if self.phase.has_reactors() && !self.outcome.is_forced {
            self.stop_reactors();
            LifecyclePhase::Cutting(Instant::now() + FORCED_GRACE)
        } else {
            LifecyclePhase::Done
        };
        self.outcome.is_forced = true;
    }

    fn stop_reactors(&self) {
        for reactor in 0..self.shared.mailboxes.len() {
            self.command(reactor, Command::Stop);
        }
    }

    fn drive_processes(&mut self) {
        self.supervisor.turn(Instant::now());
        while let Some(event) = self.supervisor.next_event() {
            match event {
                // The supervisor has logged them.
                ProcessEvent::Started { .. } | ProcessEvent::Died { .. } => {}
                ProcessEvent::Ended {
                    tasks_unfinished, ..
                } => {
                    self.outcome.tasks_unfinished += tasks_unfinished;
                }
                ProcessEvent::Message { process, payload } => {
                    self.submit(0, WorkerJob::PipeMessage { process, payload });
                }
                ProcessEvent::Finished { task, outcome, .. } => {
                    self.submit(task.0, WorkerJob::TaskFinished { task, outcome });
                }
            }
        }
    }

    /// Gives a job to a worker, or runs it here when no reactor is left to do so.
    fn submit(&mut self, number: u64, job: WorkerJob) {
        let inline = self.shared.workers.is_empty();
        if inline && self.shared.main.reactors.load(Ordering::Acquire) == 0 {
            self.runner.job(job);
        } else {
            self.shared.submit(number, job);
        }
    }

    /// Returns the latest moment at which the poll must return.
    fn deadline(&self) -> Option<Instant> {
        let renewing = self.renewing.deadline();
        [
            self.phase.deadline(),
            self.supervisor.deadline(),
            renewing,
            self.freezes.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Goes on to the next phase if the present one is over.
    fn advance(&mut self) {
        if self.phase == LifecyclePhase::Running {
            if self.renewing.is_idle() {
                self.freeze();
            }
            if self.freezes.is_busy() {
                return;
            }
            for signal in self.freezes.take_signals() {
                self.heed(signal);
            }
        }
        let now = Instant::now();
        let reactors = self.shared.main.reactors.load(Ordering::Acquire);
        let workers = self.shared.main.workers.load(Ordering::Acquire);
        match self.phase {
            LifecyclePhase::Running if self.shared.main.is_asked_to_stop() => self.announce(now),
            LifecyclePhase::Announcing(at) if at <= now || self.shared.main.failure().is_some() => {
                self.drain(now);
            }
            LifecyclePhase::Cutting(at)
                if self.outcome.is_forced && (reactors == 0 || at <= now) =>
            {
                self.phase = LifecyclePhase::Done;
            }
            // Nothing else moves a forced stop on.
            LifecyclePhase::Cutting(_) if self.outcome.is_forced => {}
            LifecyclePhase::Draining(_) | LifecyclePhase::Cutting(_) if reactors == 0 => {
                self.finish(now)
            }
            LifecyclePhase::Draining(at) if at <= now => {
                self.stop_reactors();
                self.phase = LifecyclePhase::Cutting(now + CUT_GRACE);
            }
            LifecyclePhase::Cutting(at) if at <= now => {
                self.outcome.threads_stuck += reactors;
                self.finish(now);
            }
            LifecyclePhase::Finishing if self.supervisor.is_finished() => {
                for queue in &self.shared.workers {
                    queue.stop();
                }
                self.phase = LifecyclePhase::Joining(now + CUT_GRACE);
                self.advance();
            }
            LifecyclePhase::Joining(_) if workers == 0 => self.phase = LifecyclePhase::Done,
            LifecyclePhase::Joining(at) if at <= now => {
                self.outcome.threads_stuck += workers;
                self.phase = LifecyclePhase::Done;
            }
            _ => {}
        }
    }

    /// Tells that the server is about to stop. Whoever sends new work here is given the time to see it.
    fn announce(&mut self, now: Instant) {
        self.stop_renewing();
        self.runner.server_stops();
        let delay_ms = self.shared.main.times.stop_delay_ms();
        if delay_ms == 0 || self.shared.main.failure().is_some() {
            return self.drain(now);
        }
        tracing::info!(
            stop_delay_ms = delay_ms,
            "about to stop; new work is still taken"
        );
        self.phase = LifecyclePhase::Announcing(now + Duration::from_millis(delay_ms));
    }

    fn drain(&mut self, now: Instant) {
        tracing::info!("draining: no new connections; requests under way are answered");
        self.command(0, Command::Drain);
        if self.shared.main.failure().is_some() {
            // The one that would tell the others may be gone, or going.
            for reactor in 1..self.shared.mailboxes.len() {
                self.command(reactor, Command::Drain);
            }
        }
        let stop_max = Duration::from_millis(self.shared.main.times.stop_ms_max());
        self.phase = LifecyclePhase::Draining(now + stop_max);
    }

    fn finish(&mut self, now: Instant) {
        self.supervisor.stop(now);
        self.phase = LifecyclePhase::Finishing;
        // Runs the jobs that came too late for reactor 0.
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
        self.stop_renewing();
        self.shared.main.close_freezes();
        if self.outcome.is_forced {
            self.outcome.tasks_unfinished += self.supervisor.kill();
        } else if self.outcome.threads_stuck == 0 {
            // A panic outside a callback; the thread's guard has counted it out.
            self.outcome.threads_stuck += self.threads.join();
            if self.shared.workers.is_empty() {
                // In place of reactor 0, whose last jobs this thread has run.
                self.runner.stop();
            }
        }
        self.outcome.has_failed = self.shared.main.failure().is_some();
        let is_running =
            self.outcome.is_forced && self.shared.main.reactors.load(Ordering::Acquire) > 0;
        for counters in &self.shared.counters {
            self.outcome.connections_cut += counters.cut.get();
            self.outcome.requests_unanswered += counters.unanswered.get();
            if is_running {
                // As of each reactor's last turn: one that is stuck counts no cuts.
                self.outcome.connections_cut += counters.slots.get();
            }
        }
        self.runner.server_stopped();
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
