//! The callbacks of the user's timers; reactor 0 keeps their deadlines.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

use crate::base::sync;

/// The name of a timer, for [`super::Handle::clear`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId(pub u64);

thread_local! {
    /// The timers that are set on this thread, while somebody collects them.
    static COLLECTED: RefCell<Option<Vec<TimerId>>> = const { RefCell::new(None) };
}

/// Calls `set`, and returns the timers that it sets on this thread, with any handle.
pub(super) fn collect(set: impl FnOnce()) -> Vec<TimerId> {
    COLLECTED.set(Some(Vec::new()));
    set();
    COLLECTED.take().unwrap_or_default()
}

/// The number of times that a timer fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Times {
    Once,
    UntilCleared,
}

struct TimerEntry<C> {
    times: Times,
    callback: C,
    /// Whether a worker has the timer in its queue.
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
        COLLECTED.with_borrow_mut(|collected| {
            if let Some(collected) = collected {
                collected.push(TimerId(timer));
            }
        });
        TimerId(timer)
    }

    /// Removes a timer; returns `false` if the timer had fired for the last time, or was removed
    /// before.
    pub(super) fn remove(&self, timer: TimerId) -> bool {
        self.lock().remove(&timer.0).is_some()
    }

    /// Whether the timer has to be put into a worker's queue. A timer that still waits in one isn't
    /// put there again, since the ticks of a stuck worker would pile up.
    pub(super) fn claim(&self, timer: u64) -> bool {
        let mut callbacks = self.lock();
        let found = callbacks.get_mut(&timer);
        found.is_some_and(|timer| !std::mem::replace(&mut timer.is_queued, true))
    }

    /// Returns the callback to call now; `None` if the timer was cleared while it was in the queue.
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
    fn timers_are_collected_only_while_somebody_does() {
        let timers = Timers::default();
        timers.add(Times::Once, "before");
        let mut set = Vec::new();
        let collected = collect(|| set.extend([1, 2].map(|_| timers.add(Times::Once, "callback"))));
        timers.add(Times::Once, "after");
        assert_eq!((collected, timers.len()), (set, 4));
        assert_eq!(collect(|| {}), []);
    }

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
