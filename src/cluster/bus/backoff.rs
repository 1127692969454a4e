//! The pause before a connection is tried again: at random at first, so that nodes which lost an engine
//! together don't come back together, then longer each time.

use std::time::Duration;

/// The longest first pause.
const FIRST_MS_MAX: u64 = 500;

/// The longest pause at all, but for its random part.
const PAUSE_MS_MAX: u64 = 5_000;

/// How often something was tried in vain.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// The last pause; 0 after a success.
    last_ms: u64,
}

impl Backoff {
    /// Notes another failure, and returns the pause after it. `random` has 64 random bits.
    pub(super) fn fail(&mut self, random: u64) -> Duration {
        self.last_ms = match self.last_ms {
            0 => u64::from(random as u32) % FIRST_MS_MAX + 1,
            last => (last + last / 2 + 1).min(PAUSE_MS_MAX),
        };
        // A fifth more or less, from other bits.
        let spread = 80 + (random >> 32) % 41;
        Duration::from_millis((self.last_ms * spread / 100).max(1))
    }

    /// Notes a success.
    pub(super) fn succeed(&mut self) {
        self.last_ms = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_begin_at_random_and_grow_to_five_seconds_more_or_less_a_fifth() {
        let mut backoff = Backoff::default();
        let first = |random| Backoff::default().fail(random).as_millis();
        assert_eq!((first(20 << 32), first(20 << 32 | 499)), (1, 500));
        let grows: Vec<_> = (0..9)
            .map(|_| backoff.fail(20 << 32 | 299).as_millis())
            .collect();
        assert_eq!(
            grows,
            [300, 451, 677, 1_016, 1_525, 2_288, 3_433, 5_000, 5_000]
        );
        assert_eq!(backoff.fail(0).as_millis(), 4_000);
        assert_eq!(backoff.fail(40 << 32).as_millis(), 6_000);
        backoff.succeed();
        assert_eq!(backoff.fail(20 << 32).as_millis(), 1);
    }
}
