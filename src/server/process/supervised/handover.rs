//! A supervised process in a handover.

use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use mio::Registry;

use super::super::child_process::{ChildProcess, ProcessTokens};
use super::super::handover::{LifeHandover, ProcessHandover};
use super::{ProcessState, StopState, Supervised};
use crate::handover::SectionWriter;

impl Supervised {
    /// Writes down what the process is at; its accepted entries are in the ledger.
    pub(in super::super) fn hand_over(&self, now: Instant, section: &mut SectionWriter) {
        let life = match &self.state {
            ProcessState::Waiting { until } => {
                let left = until.saturating_duration_since(now);
                LifeHandover::Waiting(left.as_millis() as u64)
            }
            ProcessState::Running(child_process) => {
                let last_words = self.ledger.last_words();
                LifeHandover::Running(Box::new(child_process.hand_over(now, last_words)))
            }
            // Only a stop ends a process for good, and nothing is handed over during one.
            ProcessState::Ended => return,
        };
        let process = ProcessHandover {
            name: self.intake.name.to_string(),
            backoff_ms: self.backoff_ms,
            is_renewing: self.is_renewing(),
            counts: self.intake.counts(),
            ledger: &self.ledger,
            life,
        };
        section.record(|record| process.write(record));
    }

    /// The descriptors of the child that runs.
    pub(in super::super) fn descriptors(&self) -> Option<[RawFd; 2]> {
        match &self.state {
            ProcessState::Running(child_process) => Some(child_process.descriptors()),
            ProcessState::Waiting { .. } | ProcessState::Ended => None,
        }
    }

    /// Goes on from what was handed over; `own` makes an owner of a descriptor's number.
    pub(in super::super) fn adopt(
        &mut self,
        handover: ProcessHandover,
        own: &mut impl FnMut(RawFd) -> OwnedFd,
        now: Instant,
    ) {
        self.backoff_ms = handover
            .backoff_ms
            .min(self.settings.restart_backoff_ms_max);
        self.ledger = handover.ledger;
        let mut is_renewing = handover.is_renewing;
        self.state = match handover.life {
            LifeHandover::Waiting(ms) => {
                let pause = ms.min(self.settings.restart_backoff_ms_max);
                let until = now + Duration::from_millis(pause);
                ProcessState::Waiting { until }
            }
            LifeHandover::Running(child) => {
                let owned = (own(child.pidfd), own(child.pipe));
                let child_process = ChildProcess::adopt(*child, owned, &self.settings, now);
                if child_process.is_foreign() {
                    self.ledger.leave_to_last_words();
                    is_renewing = true;
                }
                ProcessState::Running(Box::new(child_process))
            }
        };
        if is_renewing {
            let until = Some(now + self.settings.stop_max());
            self.phase = StopState::Renewing { until };
        }
        let pid = match &self.state {
            ProcessState::Running(child_process) => Some(child_process.pid()),
            _ => None,
        };
        // What the last words have ended is no longer counted.
        self.ledger.take_released();
        (self.intake).take_over(handover.counts, self.ledger.unfinished(), pid);
    }

    /// Has a poll report on a child that was handed over; one that can't be watched is given up.
    pub(in super::super) fn register(&mut self, registry: &Registry, tokens: ProcessTokens) {
        if let ProcessState::Running(child_process) = &mut self.state
            && let Err(error) = child_process.register(registry, tokens)
        {
            tracing::error!(process = %self.intake.name, %error, "process can't be watched");
            child_process.give_up();
        }
    }
}
