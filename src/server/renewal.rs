//! A renewal that was asked for, its outcome, and the desk at which the main thread finds it.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::base::sync::lock;

/// A renewal that [`Handle::reload`](super::Handle::reload) has asked for.
///
/// It comes to its end whether or not somebody waits for it. Never wait in a callback: the thread that
/// runs the callback can't be renewed meanwhile.
#[derive(Debug, Clone)]
pub struct Renewal {
    end: Arc<RenewalEnd>,
}

#[derive(Debug, Default)]
struct RenewalEnd {
    outcome: Mutex<Option<Result<RenewalOutcome, RenewalError>>>,
    /// Notified when there is an outcome.
    ended: Condvar,
}

/// What a renewal has renewed, and what it couldn't.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenewalOutcome {
    /// Threads with new callbacks: workers, or reactors where there are no workers.
    pub workers_renewed: usize,
    /// The names of threads that were stuck in a callback for longer than `renew_ms_max`. They keep their
    /// old callbacks, but for one that is stuck in its `on_worker_stop` or the next one's
    /// `on_worker_start`.
    pub threads_stuck: Vec<String>,
    /// Processes that have a successor.
    pub processes_renewed: usize,
    /// The names of processes whose successor can't be started; the server goes on trying.
    pub processes_failed: Vec<String>,
}

impl RenewalOutcome {
    /// Whether everything was renewed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.threads_stuck.is_empty() && self.processes_failed.is_empty()
    }
}

impl fmt::Display for RenewalOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (workers, processes) = (self.workers_renewed, self.processes_renewed);
        write!(f, "renewed: workers {workers}, processes {processes}")?;
        for thread in &self.threads_stuck {
            write!(f, "; {thread} is stuck in a callback")?;
        }
        for process in &self.processes_failed {
            write!(f, "; the process {process} can't be started")?;
        }
        Ok(())
    }
}

/// The reason why a renewal has changed nothing, or was left half done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenewalError {
    /// The function of [`Builder::handlers`](super::Builder::handlers) failed, for this reason; all stays
    /// as it was.
    #[error("the callbacks can't be made anew: {0}")]
    Handlers(String),
    /// That function has taken longer than `renew_ms_max`; all stays as it was.
    #[error("the callbacks were not made anew within {0} ms")]
    Slow(u64),
    /// The system gives no thread; those that were renewed before stay so.
    #[error("the system gives no thread: {0}")]
    Thread(String),
    /// The server stops.
    #[error("the server stops")]
    Stopping,
}

impl Renewal {
    fn new() -> Self {
        let end = Arc::default();
        Self { end }
    }

    /// Waits for the end of the renewal.
    ///
    /// # Errors
    ///
    /// [`RenewalError`].
    pub fn wait(&self) -> Result<RenewalOutcome, RenewalError> {
        let mut outcome = lock(&self.end.outcome);
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            outcome = match self.end.ended.wait(outcome) {
                Ok(outcome) => outcome,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }

    /// Waits for the end of the renewal, but no longer than `time`.
    #[must_use]
    pub fn wait_for(&self, time: Duration) -> Option<Result<RenewalOutcome, RenewalError>> {
        let until = Instant::now() + time;
        let mut outcome = lock(&self.end.outcome);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if outcome.is_some() || left.is_zero() {
                return outcome.clone();
            }
            outcome = match self.end.ended.wait_timeout(outcome, left) {
                Ok((outcome, _)) => outcome,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Tells whoever waits how it ended; what was told first stays.
    pub(super) fn end(&self, how: Result<RenewalOutcome, RenewalError>) {
        lock(&self.end.outcome).get_or_insert(how);
        self.end.ended.notify_all();
    }
}

/// The place where renewals are asked for. While one is under way one more may wait here, which is then
/// that of all who ask.
#[derive(Debug, Default)]
pub(super) struct RenewalDesk(Mutex<DeskState>);

#[derive(Debug, Default)]
struct DeskState {
    next: Option<Renewal>,
    is_closed: bool,
}

impl RenewalDesk {
    /// Asks for a renewal; one at a desk that is closed has ended.
    pub(super) fn ask(&self) -> Renewal {
        let mut state = lock(&self.0);
        if state.is_closed {
            let refused = Renewal::new();
            refused.end(Err(RenewalError::Stopping));
            return refused;
        }
        state.next.get_or_insert_with(Renewal::new).clone()
    }

    /// Whether somebody has asked for one that hasn't begun.
    pub(super) fn is_asked(&self) -> bool {
        lock(&self.0).next.is_some()
    }

    /// Takes the next renewal, if somebody has asked for one.
    pub(super) fn take(&self) -> Option<Renewal> {
        lock(&self.0).next.take()
    }

    /// Refuses what was asked for and what will be, since the server stops.
    pub(super) fn close(&self) {
        let mut state = lock(&self.0);
        state.is_closed = true;
        if let Some(next) = state.next.take() {
            next.end(Err(RenewalError::Stopping));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_ask_before_it_begins_wait_for_the_same_renewal() {
        let desk = RenewalDesk::default();
        let (first, second) = (desk.ask(), desk.ask());
        let begun = desk.take().expect("it was asked for");
        assert!(desk.take().is_none());
        let next = desk.ask();
        begun.end(Ok(RenewalOutcome::default()));
        let ended = Some(Ok(RenewalOutcome::default()));
        assert_eq!(first.wait_for(Duration::ZERO), ended);
        assert_eq!(second.wait_for(Duration::ZERO), ended);
        assert_eq!(next.wait_for(Duration::ZERO), None, "it has not begun");
    }

    #[test]
    fn once_the_server_stops_nobody_waits_for_a_renewal() {
        let desk = RenewalDesk::default();
        let before = desk.ask();
        desk.close();
        assert_eq!(before.wait(), Err(RenewalError::Stopping));
        assert_eq!(desk.ask().wait(), Err(RenewalError::Stopping));
    }
}
