//! One supervised process over all its lives: its ledger, its restarts, its end.
//!
//! The supervisor drives it: [`Supervised::turn`] writes and starts, [`Supervised::next_event`]
//! reads.
//!
//! Invariant: an accepted task is in the ledger until it is finished, however often the process
//! dies; and [`ProcessEvent::Ended`] is the last event and comes exactly once.

mod handover;

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::event::Event;
use tracing::{debug, error, info, warn};

use super::child_process::{ChildProcess, ProcessTokens};
use super::event::{ProcessEvent, TaskOutcome};
use super::ledger::{Ledger, LedgerEntry};
use super::link::{TaskId, TaskIntake, Wake};
use super::pipe::{PipeError, PipeFrame, PipeKind};
use super::settings::{ProcessSettings, ProcessSpec};

/// Bytes read from one process in one turn, so that no process starves the driving thread. A round
/// number: sixteen reads.
const TURN_BYTES_MAX: usize = 1 << 20;

/// The source of a process's event in the poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Pipe,
    Death,
}

#[derive(Debug)]
enum ProcessState {
    /// No process runs; the next start comes at `until`.
    Waiting {
        until: Instant,
    },
    Running(Box<ChildProcess>),
    /// The process has ended for good.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopState {
    /// A process that dies is started again.
    Serving,
    /// The process ends once it has finished what it was given, and the next one is started at once;
    /// it is killed at `until`, unless it was killed already.
    Renewing { until: Option<Instant> },
    /// The process ends once all tasks are finished; it is killed at `until`.
    Stopping { until: Instant },
    /// The process was killed and isn't started again.
    Killed,
}

/// One supervised process over all its lives.
pub(super) struct Supervised {
    spec: ProcessSpec,
    settings: ProcessSettings,
    pub intake: Arc<TaskIntake>,
    /// A buffer for entries from the intake; empty between calls, kept for its capacity.
    taken: Vec<LedgerEntry>,
    ledger: Ledger,
    state: ProcessState,
    phase: StopState,
    /// Pause before the next restart, in milliseconds.
    backoff_ms: u64,
    /// Bytes that may still be read in this turn.
    readable_bytes: usize,
    events: VecDeque<ProcessEvent>,
}

impl Supervised {
    /// Makes a supervised process whose first life starts in the first turn after `now`.
    pub(super) fn new(
        spec: ProcessSpec,
        settings: ProcessSettings,
        wake: Wake,
        now: Instant,
    ) -> Self {
        Self {
            intake: Arc::new(TaskIntake::new(spec.name.as_str().into(), settings, wake)),
            backoff_ms: settings.restart_backoff_ms_min,
            spec,
            settings,
            taken: Vec::new(),
            ledger: Ledger::default(),
            state: ProcessState::Waiting { until: now },
            phase: StopState::Serving,
            readable_bytes: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes an event of the poll; one of an earlier life does no harm.
    pub(super) fn ready(&mut self, source: Readiness, event: &Event) {
        if let ProcessState::Running(child_process) = &mut self.state {
            match source {
                Readiness::Pipe => child_process.pipe_ready(event),
                Readiness::Death => child_process.reap(),
            }
        }
    }

    /// Takes the status of a child that was reaped by its PID; `false` if it isn't this process.
    pub(super) fn reaped(&mut self, pid: u32, status: ExitStatus) -> bool {
        match &mut self.state {
            ProcessState::Running(child_process) if child_process.pid() == pid => {
                child_process.reaped(status);
                true
            }
            _ => false,
        }
    }

    /// Takes the accepted entries, starts or kills the process if that is due, and writes.
    pub(super) fn turn(&mut self, now: Instant, registry: &Registry, tokens: ProcessTokens) {
        self.readable_bytes = TURN_BYTES_MAX;
        self.take_accepted();
        match self.phase {
            StopState::Stopping { until } if until <= now => self.kill(),
            StopState::Renewing { until: Some(until) } if until <= now => self.kill_predecessor(),
            _ => {}
        }
        match &mut self.state {
            ProcessState::Waiting { until } if *until <= now => self.start(now, registry, tokens),
            ProcessState::Running(child_process) => child_process.expire(now, &self.settings),
            ProcessState::Waiting { .. } | ProcessState::Ended => {}
        }
        self.write();
    }

    /// Returns the next moment at which [`Supervised::turn`] has something to do.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let stop_at = match self.phase {
            StopState::Stopping { until } => Some(until),
            StopState::Renewing { until } => until,
            StopState::Serving | StopState::Killed => None,
        };
        let own = match &self.state {
            ProcessState::Ended => return None,
            ProcessState::Waiting { until } => Some(*until),
            // The turn's share was read; the edge-triggered poll won't report the rest again.
            ProcessState::Running(child_process)
                if child_process.is_readable() && self.readable_bytes == 0 =>
            {
                Some(now)
            }
            ProcessState::Running(child_process) => child_process.kill_at(),
        };
        own.into_iter().chain(stop_at).min()
    }

    /// Returns the next event; reads from the pipe if none is queued.
    pub(super) fn next_event(&mut self, now: Instant, scratch: &mut [u8]) -> Option<ProcessEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let ProcessState::Running(child_process) = &mut self.state else {
                return None;
            };
            match child_process.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(error) = self.receive(frame) {
                        self.give_up(error);
                    }
                }
                // A bad frame is found right after the read that brought it; after `give_up` the
                // pipe isn't readable, so this happens once.
                Err(error) if child_process.is_readable() => self.give_up(error),
                Ok(None) if child_process.is_readable() && self.readable_bytes > 0 => {
                    let size = child_process.read(scratch);
                    self.readable_bytes = self.readable_bytes.saturating_sub(size);
                    child_process.expire(now, &self.settings);
                }
                Ok(None) | Err(_) => {
                    let status = child_process.death()?;
                    self.bury(now, status);
                }
            }
        }
    }

    /// Has the process finish what it was given and end, and the next one go on with the rest.
    pub(super) fn renew(&mut self, now: Instant) {
        if self.phase != StopState::Serving {
            return;
        }
        self.phase = StopState::Renewing {
            until: Some(now + self.settings.stop_max()),
        };
        match &mut self.state {
            ProcessState::Running(_) => self.ledger.stop_here(),
            ProcessState::Waiting { until } => *until = now,
            ProcessState::Ended => {}
        }
        self.write();
    }

    /// Whether the next process hasn't been started yet.
    pub(super) fn is_renewing(&self) -> bool {
        matches!(self.phase, StopState::Renewing { .. })
    }

    /// Whether a process runs.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, ProcessState::Running(_))
    }

    /// Refuses further tasks and messages; the process ends once it has finished its tasks.
    pub(super) fn stop(&mut self, now: Instant) {
        if matches!(self.phase, StopState::Stopping { .. } | StopState::Killed) {
            return;
        }
        self.phase = StopState::Stopping {
            until: now + self.settings.stop_max(),
        };
        self.intake.close();
        self.take_accepted();
        match self.state {
            ProcessState::Running(_) => self.accept_stop(),
            ProcessState::Waiting { .. } if self.ledger.is_settled() => self.end(),
            ProcessState::Waiting { .. } | ProcessState::Ended => {}
        }
        self.write();
    }

    /// Ends the process now, even with unfinished tasks.
    pub(super) fn kill(&mut self) {
        self.phase = StopState::Killed;
        self.intake.close();
        self.take_accepted();
        match &mut self.state {
            ProcessState::Running(child_process) => child_process.kill(),
            ProcessState::Waiting { .. } => self.end(),
            ProcessState::Ended => {}
        }
    }

    /// Whether the process has ended for good and all events were returned.
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.state, ProcessState::Ended) && self.events.is_empty()
    }

    fn name(&self) -> Arc<str> {
        self.intake.name.clone()
    }

    /// Looks whether the process has died; what it wrote is still read.
    pub(super) fn look_at_death(&mut self) {
        if let ProcessState::Running(child_process) = &mut self.state {
            child_process.reap();
        }
    }

    pub(super) fn take_accepted(&mut self) {
        self.intake.take(&mut self.taken);
        for entry in self.taken.drain(..) {
            self.ledger.accept(entry);
        }
    }

    fn accept_stop(&mut self) {
        self.ledger.accept(LedgerEntry::stop());
    }

    /// Kills a process that doesn't make room for the next one.
    fn kill_predecessor(&mut self) {
        if let ProcessState::Running(child_process) = &mut self.state {
            warn!(process = %self.intake.name, "killed, since it has not ended in time for its successor");
            child_process.kill();
        }
        self.phase = StopState::Renewing { until: None };
    }

    fn start(&mut self, now: Instant, registry: &Registry, tokens: ProcessTokens) {
        match ChildProcess::spawn(&self.spec, &self.settings, registry, tokens, now) {
            Ok(child_process) => {
                let pid = child_process.pid();
                info!(process = %self.intake.name, pid, "process started");
                self.intake.started(pid);
                self.state = ProcessState::Running(Box::new(child_process));
                match self.phase {
                    StopState::Serving => {}
                    StopState::Renewing { .. } => self.phase = StopState::Serving,
                    StopState::Stopping { .. } | StopState::Killed => self.accept_stop(),
                }
                let process = self.name();
                self.events
                    .push_back(ProcessEvent::Started { process, pid });
            }
            Err(error) => {
                let pause = self.wait(now);
                if self.is_renewing() {
                    self.phase = StopState::Serving;
                }
                error!(process = %self.intake.name, %error, restart_in = ?pause, "process can't be started");
            }
        }
    }

    /// Delays the next start; returns the delay.
    fn wait(&mut self, now: Instant) -> Duration {
        let pause = Duration::from_millis(self.backoff_ms);
        self.backoff_ms = self
            .backoff_ms
            .saturating_mul(2)
            .min(self.settings.restart_backoff_ms_max);
        self.state = ProcessState::Waiting { until: now + pause };
        pause
    }

    /// Has the next start come in the next turn; returns the delay.
    fn start_at_once(&mut self, now: Instant) -> Duration {
        self.state = ProcessState::Waiting { until: now };
        Duration::ZERO
    }

    fn write(&mut self) {
        let ProcessState::Running(child_process) = &mut self.state else {
            return;
        };
        if child_process.has_to_write(&self.ledger)
            && let Err(error) = child_process.write(&mut self.ledger)
        {
            error!(process = %self.intake.name, %error, "pipe failed");
            child_process.give_up();
        }
        self.intake.release_messages(self.ledger.take_released());
    }

    fn receive(&mut self, frame: PipeFrame) -> Result<(), PipeError> {
        let outcome = match frame.kind {
            PipeKind::Message => {
                let process = self.name();
                self.events.push_back(ProcessEvent::Message {
                    process,
                    payload: frame.payload,
                });
                return Ok(());
            }
            PipeKind::Finish => TaskOutcome::Done(frame.payload),
            PipeKind::Failed => {
                TaskOutcome::Failed(String::from_utf8_lossy(&frame.payload).into_owned())
            }
            PipeKind::Task | PipeKind::Stop => return Err(PipeError::Direction(frame.kind)),
        };
        let Some(weight) = self.ledger.finish(frame.id) else {
            debug!(process = %self.intake.name, task = frame.id, "result of a task that is not under way");
            return Ok(());
        };
        self.intake.release_task(weight);
        if let ProcessState::Running(child_process) = &mut self.state {
            child_process.has_finished = true;
        }
        let (process, task) = (self.name(), TaskId(frame.id));
        self.events.push_back(ProcessEvent::Finished {
            process,
            task,
            outcome,
        });
        Ok(())
    }

    fn give_up(&mut self, error: PipeError) {
        error!(process = %self.intake.name, %error, "process is killed");
        if let ProcessState::Running(child_process) = &mut self.state {
            child_process.give_up();
        }
    }

    /// Decides what follows the death of the process, all of whose frames have been read.
    fn bury(&mut self, now: Instant, status: ExitStatus) {
        self.take_accepted();
        self.ledger.give_again();
        self.intake.died();
        if let ProcessState::Running(child_process) = &self.state
            && (child_process.has_finished
                || now - child_process.started() >= self.settings.healthy())
        {
            self.backoff_ms = self.settings.restart_backoff_ms_min;
        }
        let is_over = match self.phase {
            StopState::Serving | StopState::Renewing { .. } => false,
            StopState::Stopping { .. } => self.ledger.is_settled(),
            StopState::Killed => true,
        };
        let restart_in = (!is_over).then(|| match self.is_renewing() {
            true => self.start_at_once(now),
            false => self.wait(now),
        });
        match restart_in {
            Some(_) if self.is_renewing() => {
                info!(process = %self.intake.name, %status, "process ended for its successor");
            }
            Some(restart_in) => {
                warn!(process = %self.intake.name, %status, ?restart_in, "process died");
            }
            None => info!(process = %self.intake.name, %status, "process ended"),
        }
        let process = self.name();
        self.events.push_back(ProcessEvent::Died {
            process,
            status,
            restart_in,
        });
        if is_over {
            self.end();
        }
    }

    fn end(&mut self) {
        self.state = ProcessState::Ended;
        let tasks_unfinished = self.intake.stats().tasks_unfinished;
        if tasks_unfinished > 0 {
            warn!(process = %self.intake.name, tasks_unfinished, "process ended before its tasks");
        }
        let process = self.name();
        self.events.push_back(ProcessEvent::Ended {
            process,
            tasks_unfinished,
        });
    }
}
