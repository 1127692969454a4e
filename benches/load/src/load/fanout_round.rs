//! What one round of fan-out showed.

use crate::load::delivery_audit::Faults;
use crate::load::in_flight::FanoutTally;
use crate::measure::failure::Failures;
use crate::measure::latency::Latency;

/// What one round showed.
#[derive(Debug, Default)]
pub(crate) struct FanoutRound {
    /// What was counted within the window.
    pub(crate) tally: FanoutTally,
    /// What went astray in the whole round.
    pub(crate) faults: Faults,
    /// Length of the window as it really was, in seconds.
    pub(crate) seconds: f64,
    /// CPU time of the server's process tree, in nanoseconds, when its pid is known.
    pub(crate) server_ns: Option<u64>,
    /// CPU time of this process, in nanoseconds.
    pub(crate) generator_ns: u64,
    /// Latencies of the small talk beside the room, within the window.
    pub(crate) beside: Latency,
    /// What failed in the whole round.
    pub(crate) failures: Failures,
}

impl FanoutRound {
    /// A count by the length of the window.
    pub(crate) fn a_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds.max(1e-9)
    }

    /// CPU time for one delivery, in microseconds.
    pub(crate) fn per_delivery_us(&self, ns: u64) -> f64 {
        ns as f64 / 1e3 / self.tally.deliveries.max(1) as f64
    }
}
