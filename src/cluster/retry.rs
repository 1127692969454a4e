//! The time between two attempts to reach the engine.

use std::time::{Duration, Instant};

/// The wait after the first attempt that failed: an engine that restarts with little in it is back soon.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// The longest wait: what waits goes on within a second after the engine is back.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Attempts that are further apart the more of them have failed, and by dice, so that nodes which lost the
/// engine together don't come back together.
#[derive(Debug, Default)]
pub(super) struct Retry {
    wait: Duration,
    due: Option<Instant>,
}

impl Retry {
    /// Whether an attempt may be made.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }

    /// Notes that an attempt has failed, and returns the wait until the next one.
    pub(super) fn failed(&mut self, now: Instant, random: u64) -> Duration {
        self.wait = (self.wait * 3 / 2).clamp(WAIT_MIN, WAIT_MAX);
        // 80 to 120 %.
        let percent = 80 + u32::try_from(random % 41).unwrap_or(0);
        let wait = self.wait * percent / 100;
        self.due = Some(now + wait);
        wait
    }

    /// Notes that an attempt has succeeded.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_grow_apart_to_a_bound_and_begin_anew_after_one_that_succeeds() {
        let now = Instant::now();
        let mut retry = Retry::default();
        assert!(retry.is_due(now));
        let waits: Vec<u128> = (0..12).map(|_| retry.failed(now, 20).as_millis()).collect();
        assert_eq!(waits[..4], [20, 30, 45, 67]);
        assert_eq!(waits[9..], [500, 500, 500]);
        assert!(!retry.is_due(now + Duration::from_millis(499)));
        assert!(retry.is_due(now + Duration::from_millis(500)));
        retry.succeeded();
        assert!(retry.is_due(now));
        let spread: Vec<u128> = [0, 40]
            .map(|dice| {
                let mut retry = Retry::default();
                retry.failed(now, dice).as_millis()
            })
            .to_vec();
        assert_eq!(spread, [16, 24]);
    }
}
