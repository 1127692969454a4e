//! Whether the bus hears: pure state.
//!
//! Once a second the node sends itself a test, on the way that all frames take. Nothing else proves that it
//! hears: a connection may be open, and deaf.

use std::time::{Duration, Instant};

/// Time between two tests.
pub(super) const TEST_EVERY: Duration = Duration::from_secs(1);

/// The bus is deaf if a test was sent, and nothing at all was heard since, for so long. Three tests may
/// be lost in a burst.
pub(super) const DEAF_AFTER: Duration = Duration::from_secs(3);

/// What was heard of one bus of late.
#[derive(Debug)]
pub(super) struct BusPulse {
    /// When the next test is due.
    next_test: Instant,
    /// When the first test was sent after which nothing was heard, moved on by the time in which nobody
    /// wanted to hear.
    silent_since: Option<Instant>,
    has_heard: bool,
}

impl BusPulse {
    /// Begins with a bus that was opened at `now`.
    #[must_use]
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next_test: now,
            silent_since: None,
            has_heard: false,
        }
    }

    /// Whether a test is to be sent now; `true` counts as asked.
    pub(super) fn asks_test(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next_test;
        if is_due {
            self.next_test = now + TEST_EVERY;
        }
        is_due
    }

    /// Notes that a test was given to the engine.
    pub(super) fn note_sent(&mut self, now: Instant) {
        self.silent_since.get_or_insert(now);
    }

    /// Notes that something was heard; `true` for the first time.
    pub(super) fn note_heard(&mut self) -> bool {
        self.silent_since = None;
        !std::mem::replace(&mut self.has_heard, true)
    }

    /// Notes that nobody wanted to hear for so long.
    pub(super) fn note_pause(&mut self, time: Duration) {
        if let Some(since) = &mut self.silent_since {
            *since += time;
        }
    }

    /// Whether the bus has to be opened anew.
    #[must_use]
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        let silence = self
            .silent_since
            .map(|since| now.saturating_duration_since(since));
        silence.is_some_and(|silence| silence >= DEAF_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_is_deaf_when_a_test_isnt_heard_and_only_then() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = BusPulse::new(start);
        assert!(pulse.asks_test(at(0)) && !pulse.asks_test(at(999)) && pulse.asks_test(at(1_000)));
        assert!(
            !pulse.is_deaf(at(60_000)),
            "none was sent: the engine is away"
        );
        pulse.note_sent(at(60_000));
        pulse.note_sent(at(61_000));
        assert!(!pulse.is_deaf(at(62_999)));
        assert!(pulse.is_deaf(at(63_000)));
        assert!(pulse.note_heard() && !pulse.note_heard());
        assert!(!pulse.is_deaf(at(99_000)));
    }

    #[test]
    fn time_in_which_nobody_wanted_to_hear_doesnt_count() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pulse = BusPulse::new(start);
        pulse.note_pause(Duration::from_secs(9));
        pulse.note_sent(at(0));
        pulse.note_pause(Duration::from_millis(2_500));
        assert!(!pulse.is_deaf(at(5_499)));
        assert!(pulse.is_deaf(at(5_500)));
    }
}
