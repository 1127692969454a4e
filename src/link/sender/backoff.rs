//! The pauses between tries to connect.

use crate::link::settings::LinkSettings;

/// Pauses that grow by half, each up to a fifth longer or shorter: gateways that lost one upstream
/// at the same moment don't all come back at the same moment.
#[derive(Debug)]
pub(super) struct Backoff {
    ms: u64,
    ms_min: u64,
    ms_max: u64,
    /// The state of a linear congruential generator (Knuth's MMIX); spreading needs no better one.
    random: u64,
}

impl Backoff {
    pub(super) fn new(settings: &LinkSettings, seed: u64) -> Self {
        Self {
            ms: settings.retry_ms_min,
            ms_min: settings.retry_ms_min,
            ms_max: settings.retry_ms_max,
            random: seed,
        }
    }

    /// Begins with the shortest pause again, after a link that was open.
    pub(super) fn reset(&mut self) {
        self.ms = self.ms_min;
    }

    /// Goes on with the longest pause: nothing is going to change soon.
    pub(super) fn slow_down(&mut self) {
        self.ms = self.ms_max;
    }

    /// Returns the pause before the next try, in milliseconds.
    pub(super) fn next_ms(&mut self) -> u64 {
        let ms = self.ms;
        self.ms = (ms + ms / 2).min(self.ms_max);
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let spread = ms / 5;
        // The upper bits: the lower ones of such a generator have short periods.
        ms - spread + (self.random >> 33) % (2 * spread + 1)
    }
}
