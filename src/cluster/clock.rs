//! Time as the machines of this layer see it: the system's, or one that a test moves.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// The clock of a node. Whatever waits or judges by time does so by it, never by the system's own.
pub trait Clock: Debug + Send + Sync {
    /// The monotonic time.
    fn now(&self) -> Instant;

    /// The time of day, in Unix milliseconds; it may jump.
    fn unix_ms(&self) -> u64;

    /// Waits for so long. No lock is held meanwhile.
    fn pause(&self, time: Duration);
}

/// The clock of the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_ms(&self) -> u64 {
        crate::base::clock::unix_ms()
    }

    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
