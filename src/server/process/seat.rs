//! The place of one named process, which outlives the process: what it owes, and its restarts.
//!
//! Driven by the supervisor: [`Seat::turn`] writes and starts, [`Seat::next_event`] reads.
//!
//! Invariant: what was accepted is in the ledger until it is settled, whoever lives or dies; and
//! [`ProcessEvent::Ended`] is the last event and comes exactly once.

use std::collections::VecDeque;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::Registry;
use mio::event::Event;
use tracing::{debug, error, info, warn};

use super::ledger::{Entry, Ledger};
use super::link::{Intake, TaskId, Wake};
use super::pipe::{Frame, Kind, PipeError};
use super::running::{Running, Tokens};
use super::settings::{ProcessSettings, ProcessSpec};
use super::supervisor::{ProcessEvent, TaskOutcome};

/// Bytes read from one process in one turn, so that no process starves the driving thread.
const TURN_BYTES_MAX: usize = 1 << 20;

/// What of a process the poll told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Pipe,
    Death,
}

#[derive(Debug)]
enum Life {
    /// Nobody sits here; the next start comes then.
    Waiting {
        until: Instant,
    },
    Running(Box<Running>),
    /// For good.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Whoever dies is followed by another.
    Serving,
    /// Ends once everything is settled; killed after `until`.
    Stopping { until: Instant },
    /// Ends with the process.
    Killed,
}

/// See the module.
pub(super) struct Seat {
    spec: ProcessSpec,
    settings: ProcessSettings,
    pub intake: Arc<Intake>,
    /// Taken from the intake; empty between calls, kept for its capacity.
    taken: Vec<Entry>,
    ledger: Ledger,
    life: Life,
    phase: Phase,
    /// Pause before the next restart, in milliseconds.
    backoff_ms: u64,
    /// What may still be read in this turn, in bytes.
    readable_bytes: usize,
    events: VecDeque<ProcessEvent>,
}

impl Seat {
    /// A seat whose first process starts in the first turn after `now`.
    pub fn new(spec: ProcessSpec, settings: ProcessSettings, wake: Wake, now: Instant) -> Self {
        Self {
            intake: Arc::new(Intake::new(spec.name.as_str().into(), settings, wake)),
            backoff_ms: settings.restart_backoff_ms_min,
            spec,
            settings,
            taken: Vec::new(),
            ledger: Ledger::default(),
            life: Life::Waiting { until: now },
            phase: Phase::Serving,
            readable_bytes: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes what the poll says; about an earlier process it does no harm.
    pub fn ready(&mut self, source: Source, event: &Event) {
        if let Life::Running(running) = &mut self.life {
            match source {
                Source::Pipe => running.pipe_ready(event),
                Source::Death => running.reap(),
            }
        }
    }

    /// Does what is due: takes what was accepted, starts, kills, writes.
    pub fn turn(&mut self, now: Instant, registry: &Registry, tokens: Tokens) {
        self.readable_bytes = TURN_BYTES_MAX;
        self.take_accepted();
        if matches!(self.phase, Phase::Stopping { until } if until <= now) {
            self.kill();
        }
        match &mut self.life {
            Life::Waiting { until } if *until <= now => self.start(now, registry, tokens),
            Life::Running(running) => running.expire(now, &self.settings),
            Life::Waiting { .. } | Life::Ended => {}
        }
        self.write();
    }

    /// The next moment at which [`Seat::turn`] has something to do.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let stop_at = match self.phase {
            Phase::Stopping { until } => Some(until),
            Phase::Serving | Phase::Killed => None,
        };
        let own = match &self.life {
            Life::Ended => return None,
            Life::Waiting { until } => Some(*until),
            // The turn's share was read, and the poll won't tell about the rest again.
            Life::Running(running) if running.is_readable() && self.readable_bytes == 0 => {
                Some(now)
            }
            Life::Running(running) => running.kill_at(),
        };
        own.into_iter().chain(stop_at).min()
    }

    /// The next thing that happened; reads from the pipe when nothing is at hand.
    pub fn next_event(&mut self, now: Instant, scratch: &mut [u8]) -> Option<ProcessEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let Life::Running(running) = &mut self.life else {
                return None;
            };
            match running.next_frame() {
                Ok(Some(frame)) => {
                    if let Err(error) = self.receive(frame) {
                        self.give_up(error);
                    }
                }
                // Seen right after the read that brought it; once given up nothing is readable.
                Err(error) if running.is_readable() => self.give_up(error),
                Ok(None) if running.is_readable() && self.readable_bytes > 0 => {
                    let size = running.read(scratch);
                    self.readable_bytes = self.readable_bytes.saturating_sub(size);
                    running.expire(now, &self.settings);
                }
                Ok(None) | Err(_) => {
                    let status = running.death()?;
                    self.bury(now, status);
                }
            }
        }
    }

    /// Accepts nothing any more; the process ends once it has finished everything.
    pub fn stop(&mut self, now: Instant) {
        if self.phase != Phase::Serving {
            return;
        }
        self.phase = Phase::Stopping {
            until: now + self.settings.stop_max(),
        };
        self.intake.close();
        self.take_accepted();
        match self.life {
            Life::Running(_) => self.accept_stop(),
            Life::Waiting { .. } if self.ledger.is_settled() => self.end(),
            Life::Waiting { .. } | Life::Ended => {}
        }
        self.write();
    }

    /// Ends it now, whatever is unfinished.
    pub fn kill(&mut self) {
        self.phase = Phase::Killed;
        self.intake.close();
        self.take_accepted();
        match &mut self.life {
            Life::Running(running) => running.kill(),
            Life::Waiting { .. } => self.end(),
            Life::Ended => {}
        }
    }

    /// Whether it has ended for good and all events were taken.
    pub fn is_finished(&self) -> bool {
        matches!(self.life, Life::Ended) && self.events.is_empty()
    }

    fn name(&self) -> Arc<str> {
        self.intake.name.clone()
    }

    fn take_accepted(&mut self) {
        self.intake.take(&mut self.taken);
        for entry in self.taken.drain(..) {
            self.ledger.accept(entry);
        }
    }

    fn accept_stop(&mut self) {
        self.ledger.accept(Entry {
            kind: Kind::Stop,
            id: 0,
            payload: Bytes::new(),
        });
    }

    fn start(&mut self, now: Instant, registry: &Registry, tokens: Tokens) {
        match Running::spawn(&self.spec, &self.settings, registry, tokens, now) {
            Ok(running) => {
                let pid = running.pid();
                info!(process = %self.intake.name, pid, "process started");
                self.intake.started(pid);
                self.life = Life::Running(Box::new(running));
                if self.phase != Phase::Serving {
                    self.accept_stop();
                }
                let process = self.name();
                self.events
                    .push_back(ProcessEvent::Started { process, pid });
            }
            Err(error) => {
                let pause = self.wait(now);
                error!(process = %self.intake.name, %error, ?pause, "process can't be started");
            }
        }
    }

    /// Puts the next start off; by how long.
    fn wait(&mut self, now: Instant) -> Duration {
        let pause = Duration::from_millis(self.backoff_ms);
        self.backoff_ms = self
            .backoff_ms
            .saturating_mul(2)
            .min(self.settings.restart_backoff_ms_max);
        self.life = Life::Waiting { until: now + pause };
        pause
    }

    fn write(&mut self) {
        let Life::Running(running) = &mut self.life else {
            return;
        };
        if self.ledger.is_waiting()
            && let Err(error) = running.write(&mut self.ledger)
        {
            error!(process = %self.intake.name, %error, "pipe failed");
            running.give_up();
        }
        self.intake.release_messages(self.ledger.take_released());
    }

    fn receive(&mut self, frame: Frame) -> Result<(), PipeError> {
        let outcome = match frame.kind {
            Kind::Message => {
                let process = self.name();
                self.events.push_back(ProcessEvent::Message {
                    process,
                    payload: frame.payload,
                });
                return Ok(());
            }
            Kind::Finish => TaskOutcome::Done(frame.payload),
            Kind::Failed => {
                TaskOutcome::Failed(String::from_utf8_lossy(&frame.payload).into_owned())
            }
            Kind::Task | Kind::Stop => return Err(PipeError::Direction(frame.kind)),
        };
        let Some(weight) = self.ledger.finish(frame.id) else {
            debug!(process = %self.intake.name, task = frame.id, "result of a task that is not under way");
            return Ok(());
        };
        self.intake.release_task(weight);
        if let Life::Running(running) = &mut self.life {
            running.has_finished = true;
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
        if let Life::Running(running) = &mut self.life {
            running.give_up();
        }
    }

    /// The process is dead and all that it said was heard: decides what follows.
    fn bury(&mut self, now: Instant, status: ExitStatus) {
        self.take_accepted();
        self.ledger.give_again();
        self.intake.died();
        if let Life::Running(running) = &self.life
            && (running.has_finished || now - running.started() >= self.settings.healthy())
        {
            self.backoff_ms = self.settings.restart_backoff_ms_min;
        }
        let is_over = match self.phase {
            Phase::Serving => false,
            Phase::Stopping { .. } => self.ledger.is_settled(),
            Phase::Killed => true,
        };
        let restart_in = (!is_over).then(|| self.wait(now));
        match restart_in {
            Some(pause) => warn!(process = %self.intake.name, %status, ?pause, "process died"),
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
        self.life = Life::Ended;
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
