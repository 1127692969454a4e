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

#[derive(Default)]
pub(super) struct Timers {
    callbacks: Mutex<HashMap<u64, (Times, TimerCallback)>>,
    last: AtomicU64,
}

impl Timers {
    pub(super) fn add(&self, times: Times, callback: TimerCallback) -> TimerId {
        let timer = self.last.fetch_add(1, Relaxed) + 1;
        self.lock().insert(timer, (times, callback));
        TimerId(timer)
    }

    /// Whether it was still to fire.
    pub(super) fn remove(&self, timer: TimerId) -> bool {
        self.lock().remove(&timer.0).is_some()
    }

    /// What to call now; `None` when it was cleared on its way.
    pub(super) fn due(&self, timer: u64) -> Option<TimerCallback> {
        let mut callbacks = self.lock();
        match callbacks.get(&timer)? {
            (Times::UntilCleared, callback) => Some(Arc::clone(callback)),
            (Times::Once, _) => callbacks.remove(&timer).map(|(_, callback)| callback),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, (Times, TimerCallback)>> {
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
