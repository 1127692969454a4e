//! The timers of the server's user: what to call; a reactor knows when.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::handle::WorkerHandle;

/// Names a timer, for [`super::Handle::clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(pub u64);

pub(super) type TimerCallback = Arc<dyn Fn(&WorkerHandle) + Send + Sync>;

/// How often a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    UntilCleared,
}

struct Timer {
    times: Times,
    callback: TimerCallback,
    /// A worker has been told, and hasn't come to it yet.
    is_given: bool,
}

#[derive(Default)]
pub(super) struct Timers {
    callbacks: Mutex<HashMap<u64, Timer>>,
    last: AtomicU64,
}

impl Timers {
    pub(super) fn add(&self, times: Times, callback: TimerCallback) -> TimerId {
        let timer = self.last.fetch_add(1, Relaxed) + 1;
        let is_given = false;
        self.lock().insert(
            timer,
            Timer {
                times,
                callback,
                is_given,
            },
        );
        TimerId(timer)
    }

    /// Whether it was still to fire.
    pub(super) fn remove(&self, timer: TimerId) -> bool {
        self.lock().remove(&timer.0).is_some()
    }

    /// Whether a worker has to be told. One that still waits for a busy worker isn't told again:
    /// the ticks of a stuck worker would pile up.
    pub(super) fn give(&self, timer: u64) -> bool {
        let mut callbacks = self.lock();
        let found = callbacks.get_mut(&timer);
        found.is_some_and(|timer| !std::mem::replace(&mut timer.is_given, true))
    }

    /// What to call now; `None` when it was cleared on its way.
    pub(super) fn due(&self, timer: u64) -> Option<TimerCallback> {
        let mut callbacks = self.lock();
        let found = callbacks.get_mut(&timer)?;
        found.is_given = false;
        match found.times {
            Times::UntilCleared => Some(Arc::clone(&found.callback)),
            Times::Once => callbacks.remove(&timer).map(|timer| timer.callback),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Timer>> {
        self.callbacks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_still_waits_for_its_worker_is_not_given_again() {
        let timers = Timers::default();
        let TimerId(tick) = timers.add(Times::UntilCleared, Arc::new(|_| {}));
        assert!(timers.give(tick));
        assert!(!timers.give(tick), "it waits");
        assert!(timers.due(tick).is_some());
        assert!(timers.give(tick), "its worker has come to it");
        assert!(timers.remove(TimerId(tick)));
        assert!(!timers.give(tick) && timers.due(tick).is_none(), "cleared");
    }
}
