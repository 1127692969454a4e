//! The timers of the server's user: what to call; a reactor knows when.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use crate::base::sync;

/// Names a timer, for [`super::Handle::clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(pub u64);

/// How often a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    UntilCleared,
}

struct TimerEntry<C> {
    times: Times,
    callback: C,
    /// A worker has been told, and hasn't come to it yet.
    is_queued: bool,
}

/// The timers that are set, each with a callback `C`.
pub(super) struct Timers<C> {
    callbacks: Mutex<HashMap<u64, TimerEntry<C>>>,
    last: AtomicU64,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self {
            callbacks: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }
}

impl<C: Clone> Timers<C> {
    pub(super) fn add(&self, times: Times, callback: C) -> TimerId {
        let timer = self.last.fetch_add(1, Relaxed) + 1;
        let is_queued = false;
        self.lock().insert(
            timer,
            TimerEntry {
                times,
                callback,
                is_queued,
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
    pub(super) fn claim(&self, timer: u64) -> bool {
        let mut callbacks = self.lock();
        let found = callbacks.get_mut(&timer);
        found.is_some_and(|timer| !std::mem::replace(&mut timer.is_queued, true))
    }

    /// What to call now; `None` when it was cleared on its way.
    pub(super) fn due(&self, timer: u64) -> Option<C> {
        let mut callbacks = self.lock();
        let found = callbacks.get_mut(&timer)?;
        found.is_queued = false;
        match found.times {
            Times::UntilCleared => Some(found.callback.clone()),
            Times::Once => callbacks.remove(&timer).map(|timer| timer.callback),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, TimerEntry<C>>> {
        sync::lock(&self.callbacks)
    }
}

impl<C> fmt::Debug for Timers<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers")
            .field("len", &sync::lock(&self.callbacks).len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_still_waits_for_its_worker_is_not_queued_again() {
        let timers = Timers::default();
        let TimerId(tick) = timers.add(Times::UntilCleared, "callback");
        assert!(timers.claim(tick));
        assert!(!timers.claim(tick), "it waits");
        assert!(timers.due(tick).is_some());
        assert!(timers.claim(tick), "its worker has come to it");
        assert!(timers.remove(TimerId(tick)));
        assert!(!timers.claim(tick) && timers.due(tick).is_none(), "cleared");
    }
}
