//! The supervisor, which keeps the server's processes running, from one thread, without waiting.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event;
use mio::{Registry, Token};

use super::child_process::ProcessTokens;
use super::event::ProcessEvent;
use super::handover::ProcessesHandover;
use super::link::{ProcessLink, ProcessStats, Wake};
use super::settings::{ProcessSettings, ProcessSpec};
use super::supervised::{Readiness, Supervised};
use crate::handover::SectionWriter;

/// Bytes of one read: a round number, so that many small frames come with one call.
const READ_SIZE: usize = 64 * 1024;

/// Tokens of one process: one for its pipe, one for its death.
const TOKENS_PER_PROCESS: usize = 2;

/// Keeps the processes of a server running.
///
/// Each time its poll returns (for an event, for the `wake` function or for
/// [`Supervisor::deadline`]), the main thread calls, in this order: [`Supervisor::ready`] for each
/// event, [`Supervisor::turn`], and [`Supervisor::next_event`] until it returns `None`. To slow the
/// processes down, leave `next_event` out for a while: meanwhile nothing is read from them.
///
/// Dropping the supervisor kills and reaps the processes that still run.
pub struct Supervisor {
    supervised: Vec<Supervised>,
    /// `None` before [`Supervisor::start`].
    base: Option<Registration>,
    /// The time of the last turn.
    now: Instant,
    scratch: Vec<u8>,
    renewal: ProcessRenewal,
    /// Whether nothing is read, written, started, killed or reaped.
    stands_still: bool,
}

/// The renewal of the processes, one after another.
#[derive(Debug, Default)]
struct ProcessRenewal {
    /// The one that is renewed now; those behind it follow.
    present: Option<usize>,
    /// The number of those that have a successor.
    renewed: usize,
    /// The names of those whose successor could not be started.
    failed: Vec<String>,
}

/// The poll's registry and the first token of the processes.
#[derive(Debug)]
struct Registration {
    registry: Registry,
    token: usize,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Makes a supervisor of these processes; none runs before [`Supervisor::start`].
    ///
    /// `wake` must make the driving thread's poll return, from any thread; it is called once for
    /// all tasks and messages that a process is given between two turns.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: two processes have the same name.
    pub fn new(
        specs: Vec<ProcessSpec>,
        settings: ProcessSettings,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let names: HashSet<_> = specs.iter().map(|spec| &spec.name).collect();
        if names.len() < specs.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "two processes have the same name",
            ));
        }
        let now = Instant::now();
        let supervised = specs
            .into_iter()
            .map(|spec| Supervised::new(spec, settings, Wake::clone(&wake), now));
        Ok(Self {
            supervised: supervised.collect(),
            base: None,
            now,
            scratch: vec![0; READ_SIZE],
            renewal: ProcessRenewal::default(),
            stands_still: false,
        })
    }

    /// Returns the link to the process of this name, for any thread; it works before `start` too.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<ProcessLink> {
        let supervised = self
            .supervised
            .iter()
            .find(|supervised| &*supervised.intake.name == name)?;
        Some(ProcessLink::new(supervised.intake.clone()))
    }

    /// Returns the number of tokens that the supervisor uses from `token_base` on.
    #[must_use]
    pub fn token_count(&self) -> usize {
        self.supervised.len() * TOKENS_PER_PROCESS
    }

    /// Starts the processes. One that can't be started is logged and tried again, as after a death.
    ///
    /// # Errors
    ///
    /// The registry can't be duplicated.
    pub fn start(&mut self, registry: &Registry, token_base: usize) -> io::Result<()> {
        self.base = Some(Registration {
            registry: registry.try_clone()?,
            token: token_base,
        });
        for (index, supervised) in self.supervised.iter_mut().enumerate() {
            supervised.register(registry, tokens_of(token_base, index));
        }
        self.turn(Instant::now());
        Ok(())
    }

    /// Writes down what each process is at. To be called once nothing is read, written, started, killed or
    /// reaped any more.
    pub fn hand_over(&mut self, now: Instant, section: &mut SectionWriter) {
        for supervised in &mut self.supervised {
            supervised.take_accepted();
            supervised.hand_over(now, section);
        }
    }

    /// Whether there are no processes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.supervised.is_empty()
    }

    /// Lists the descriptors of the children that run.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        let children = self.supervised.iter().filter_map(Supervised::descriptors);
        children.flatten().collect()
    }

    /// Goes on with processes that were handed over, before [`Supervisor::start`], which starts those that
    /// weren't. `own` makes an owner of a descriptor's number, and is called once for each.
    pub fn adopt(
        &mut self,
        handover: ProcessesHandover,
        mut own: impl FnMut(RawFd) -> OwnedFd,
        now: Instant,
    ) {
        for process in handover.processes {
            let mut all = self.supervised.iter_mut();
            // Checked when it was read.
            if let Some(supervised) = all.find(|one| *one.intake.name == *process.name) {
                supervised.adopt(process, &mut own, now);
            }
        }
    }

    /// Takes an event of the poll; an event with another source's token is ignored.
    pub fn ready(&mut self, event: &Event) {
        let Some(base) = &self.base else {
            return;
        };
        let Some(offset) = event.token().0.checked_sub(base.token) else {
            return;
        };
        if let Some(supervised) = self.supervised.get_mut(offset / TOKENS_PER_PROCESS) {
            let source = if offset % TOKENS_PER_PROCESS == 0 {
                Readiness::Pipe
            } else {
                Readiness::Death
            };
            match (source, self.stands_still) {
                // Looked at when all goes on.
                (Readiness::Death, true) => {}
                _ => supervised.ready(source, event),
            }
        }
    }

    /// Does nothing any more until [`Supervisor::go_on`]: all stays where it is, in the pipes, in the
    /// ledgers and in the kernel.
    pub fn stand_still(&mut self) {
        self.stands_still = true;
    }

    /// Has those wait who give tasks or messages to a process.
    pub fn hold_intakes(&self) {
        self.supervised.iter().for_each(|one| one.intake.hold());
    }

    /// Lets them go on.
    pub fn open_intakes(&self) {
        self.supervised.iter().for_each(|one| one.intake.let_go());
    }

    /// Takes what was accepted into the ledgers, also while all stands still.
    pub fn take_accepted(&mut self) {
        self.supervised
            .iter_mut()
            .for_each(Supervised::take_accepted);
    }

    /// Goes on after [`Supervisor::stand_still`], in the next turn.
    pub fn go_on(&mut self) {
        if std::mem::take(&mut self.stands_still) {
            self.supervised
                .iter_mut()
                .for_each(Supervised::look_at_death);
        }
    }

    /// Takes the status of a child that was reaped by its PID; `false` if it is none of these processes.
    pub fn reaped(&mut self, pid: u32, status: ExitStatus) -> bool {
        (self.supervised.iter_mut()).any(|supervised| supervised.reaped(pid, status))
    }

    /// Starts and kills the processes that are due, and writes the accepted tasks and messages.
    pub fn turn(&mut self, now: Instant) {
        if self.stands_still {
            return;
        }
        self.now = now;
        let Some(base) = &self.base else {
            return;
        };
        for (index, supervised) in self.supervised.iter_mut().enumerate() {
            let tokens = tokens_of(base.token, index);
            supervised.turn(now, &base.registry, tokens);
        }
        self.go_on_renewing();
    }

    /// Replaces each process, one after another: it finishes what it was given and ends, and the next one
    /// is started at once, which goes on with what waits and with what was left unfinished.
    ///
    /// A process that hasn't ended `stop_ms_max` later is killed.
    pub fn renew(&mut self, now: Instant) {
        if self.is_renewing() || self.supervised.is_empty() {
            return;
        }
        self.now = now;
        self.renewal = ProcessRenewal {
            present: Some(0),
            ..ProcessRenewal::default()
        };
        self.supervised[0].renew(now);
        self.go_on_renewing();
    }

    /// Whether a process waits for its successor.
    #[must_use]
    pub fn is_renewing(&self) -> bool {
        self.renewal.present.is_some()
    }

    /// Takes the outcome of the last renewal: the number of processes that have a successor, and the
    /// names of those whose successor could not be started.
    pub fn take_renewed(&mut self) -> (usize, Vec<String>) {
        let ProcessRenewal {
            renewed, failed, ..
        } = std::mem::take(&mut self.renewal);
        (renewed, failed)
    }

    fn go_on_renewing(&mut self) {
        while let Some(present) = self.renewal.present
            && !self.supervised[present].is_renewing()
        {
            match self.supervised[present].is_running() {
                true => self.renewal.renewed += 1,
                false => {
                    let name = self.supervised[present].intake.name.to_string();
                    self.renewal.failed.push(name);
                }
            }
            self.renewal.present = Some(present + 1).filter(|next| *next < self.supervised.len());
            if let Some(next) = self.renewal.present {
                self.supervised[next].renew(self.now);
            }
        }
    }

    /// Returns the latest moment at which the poll must return; `None` if there is nothing to do
    /// before the next event or wake-up.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.stands_still {
            return None;
        }
        self.supervised
            .iter()
            .filter_map(|supervised| supervised.deadline(self.now))
            .min()
    }

    /// Returns the next event; the events of each process come in their order.
    pub fn next_event(&mut self) -> Option<ProcessEvent> {
        if self.stands_still {
            return None;
        }
        self.supervised
            .iter_mut()
            .find_map(|supervised| supervised.next_event(self.now, &mut self.scratch))
    }

    /// Refuses further tasks and messages, and lets each process finish the accepted ones and end.
    ///
    /// A process that hasn't ended `stop_ms_max` later is killed.
    pub fn stop(&mut self, now: Instant) {
        for supervised in &mut self.supervised {
            supervised.stop(now);
        }
    }

    /// Kills all processes; returns the number of accepted tasks that may be lost by it. Keep
    /// driving the supervisor until [`Supervisor::is_finished`]: results that are already on the
    /// pipe still count.
    pub fn kill(&mut self) -> usize {
        for supervised in &mut self.supervised {
            supervised.kill();
        }
        self.stats()
            .iter()
            .map(|stats| stats.tasks_unfinished)
            .sum()
    }

    /// Whether every process has ended for good and all events were returned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.supervised.iter().all(Supervised::is_finished)
    }

    /// Reads the statistics of each process; any thread can also read them from a link.
    #[must_use]
    pub fn stats(&self) -> Vec<ProcessStats> {
        self.supervised
            .iter()
            .map(|supervised| supervised.intake.stats())
            .collect()
    }
}

fn tokens_of(first: usize, index: usize) -> ProcessTokens {
    let first = first + index * TOKENS_PER_PROCESS;
    ProcessTokens {
        pipe: Token(first),
        death: Token(first + 1),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_cannot_be_started_is_tried_again_later_and_later() {
        let poll = mio::Poll::new().unwrap();
        let mut spec = ProcessSpec::new("absent").unwrap();
        spec.program = PathBuf::from("/dev/null/absent");
        let settings = ProcessSettings {
            restart_backoff_ms_max: 500,
            ..ProcessSettings::default()
        };
        let mut supervisor = Supervisor::new(vec![spec], settings, Arc::new(|| {})).unwrap();
        let link = supervisor.link("absent").unwrap();
        supervisor.start(poll.registry(), 7).unwrap();
        let mut now = supervisor.now;
        for pause_ms in [100, 200, 400, 500, 500] {
            let deadline = supervisor.deadline().unwrap();
            assert_eq!(deadline - now, Duration::from_millis(pause_ms));
            supervisor.turn(deadline - Duration::from_millis(1));
            assert_eq!(supervisor.deadline(), Some(deadline), "not before its time");
            now = deadline;
            supervisor.turn(now);
        }
        assert!(supervisor.next_event().is_none());

        link.task("nobody will run it").unwrap();
        supervisor.stop(now);
        assert!(!supervisor.is_finished(), "a task is unfinished");
        supervisor.turn(now + settings.stop_max());
        let ended = ProcessEvent::Ended {
            process: "absent".into(),
            tasks_unfinished: 1,
        };
        assert_eq!(supervisor.next_event(), Some(ended));
        assert!(supervisor.is_finished());
    }

    #[test]
    fn a_successor_that_cannot_be_started_is_named() {
        let poll = mio::Poll::new().unwrap();
        let mut spec = ProcessSpec::new("absent").unwrap();
        spec.program = PathBuf::from("/dev/null/absent");
        let settings = ProcessSettings::default();
        let mut supervisor = Supervisor::new(vec![spec], settings, Arc::new(|| {})).unwrap();
        supervisor.start(poll.registry(), 7).unwrap();
        supervisor.renew(supervisor.now);
        assert!(supervisor.is_renewing());
        supervisor.turn(supervisor.now);
        assert!(!supervisor.is_renewing());
        assert_eq!(supervisor.take_renewed(), (0, vec!["absent".to_owned()]));
        assert!(supervisor.deadline().is_some(), "it is tried again later");
    }

    #[test]
    fn names_are_words_and_different() {
        assert!(ProcessSpec::new("").is_err());
        assert!(ProcessSpec::new("a\0b").is_err());
        let specs = vec![
            ProcessSpec::new("a").unwrap(),
            ProcessSpec::new("a").unwrap(),
        ];
        assert!(Supervisor::new(specs, ProcessSettings::default(), Arc::new(|| {})).is_err());
    }

    #[test]
    fn stopped_before_it_was_started_it_is_finished() {
        let specs = vec![ProcessSpec::new("a").unwrap()];
        let mut supervisor =
            Supervisor::new(specs, ProcessSettings::default(), Arc::new(|| {})).unwrap();
        supervisor.stop(Instant::now());
        let ended = ProcessEvent::Ended {
            process: "a".into(),
            tasks_unfinished: 0,
        };
        assert_eq!(supervisor.next_event(), Some(ended));
        assert!(supervisor.is_finished());
        assert!(supervisor.link("b").is_none());
    }
}
