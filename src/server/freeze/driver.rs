//! The driver of freezes, one after the other, on the main thread.

use std::sync::Arc;
use std::time::Instant;

use super::course::{Freeze, FreezingServer};
use super::errand::FreezeError;
use super::part::Freezes;
use crate::server::process::Supervisor;
use crate::server::runner::Runner;

/// Begins freezes, and goes on with the one that is under way.
pub(in crate::server) struct FreezeDriver {
    parts: Vec<Arc<dyn Freezes>>,
    under_way: Option<Freeze>,
    /// Freezes so far.
    count: u64,
    /// Signals that came meanwhile.
    signals: Vec<i32>,
}

impl FreezeDriver {
    /// Makes the driver of a server with these parts.
    pub(in crate::server) fn new(parts: Vec<Arc<dyn Freezes>>) -> Self {
        Self {
            parts,
            under_way: None,
            count: 0,
            signals: Vec::new(),
        }
    }

    /// Whether a freeze is under way.
    pub(in crate::server) fn is_busy(&self) -> bool {
        self.under_way.is_some()
    }

    /// The moment at which the driver has to look.
    pub(in crate::server) fn deadline(&self) -> Option<Instant> {
        self.under_way.as_ref().map(Freeze::deadline)
    }

    /// Begins the freeze that is asked for, and goes on with the one that is under way.
    /// `hold_signals` holds all signals back that would come, and gives those that have come.
    pub(in crate::server) fn turn(
        &mut self,
        runner: &Runner,
        supervisor: &mut Supervisor,
        hold_signals: &mut dyn FnMut() -> Vec<i32>,
    ) {
        let (parts, shared) = (&self.parts, &**runner.handle.shared());
        let mut server = FreezingServer {
            shared,
            runner,
            supervisor,
            parts,
            signals: &mut self.signals,
            hold_signals,
        };
        if let Some(errand) = shared.main.takes_freeze() {
            if self.under_way.is_some() {
                errand.refuse(FreezeError::Busy);
            } else if shared.main.is_asked_to_stop() {
                errand.refuse(FreezeError::Stops);
            } else {
                self.count += 1;
                let ms_max = shared.main.times.freeze_ms_max();
                let freeze = Freeze::begin(self.count, errand, ms_max, &mut server);
                self.under_way = Some(freeze);
            }
        }
        // It stays here until it has ended: where something panics in between, a stop takes it back.
        let outcome = (self.under_way.as_mut()).and_then(|freeze| freeze.go_on(&mut server));
        if let Some(outcome) = outcome
            && let Some(freeze) = self.under_way.take()
        {
            freeze.end(outcome);
        }
    }

    /// Takes the freeze back that is under way, since the server stops.
    pub(in crate::server) fn stop(&mut self, runner: &Runner, supervisor: &mut Supervisor) {
        if let Some(freeze) = self.under_way.take() {
            freeze.take_back(&mut FreezingServer {
                shared: runner.handle.shared(),
                runner,
                supervisor,
                parts: &self.parts,
                signals: &mut self.signals,
                hold_signals: &mut Vec::new,
            });
        }
    }

    /// Keeps a signal until all goes on.
    pub(in crate::server) fn keep_signal(&mut self, signal: i32) {
        self.signals.push(signal);
    }

    /// Takes the signals that were kept, once all goes on.
    pub(in crate::server) fn take_signals(&mut self) -> Vec<i32> {
        match self.is_busy() {
            true => Vec::new(),
            false => std::mem::take(&mut self.signals),
        }
    }
}
