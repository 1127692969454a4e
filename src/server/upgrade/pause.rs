//! The length of the time in which a server stands still, measured across two images: by the monotonic
//! clock of the system, which goes on.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The monotonic clock, in microseconds.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

/// The time since such a moment.
#[must_use]
pub fn since(moment_us: u64) -> Duration {
    Duration::from_micros(now_us().saturating_sub(moment_us))
}
