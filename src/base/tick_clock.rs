//! A clock of ticks that stands while the program does.

use std::sync::atomic::{AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::time::Instant;

use super::Tick;

/// The clock runs.
const RUNS: u64 = u64::MAX;

/// Milliseconds since the start, without the times for which the clock stood: so no deadline counts
/// them.
#[derive(Debug)]
pub struct TickClock {
    started: Instant,
    /// Milliseconds for which the clock has stood before.
    stood_ms: AtomicU64,
    /// The tick at which the clock stands now, or [`RUNS`].
    stands_at: AtomicU64,
}

impl Default for TickClock {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            stood_ms: AtomicU64::new(0),
            stands_at: AtomicU64::new(RUNS),
        }
    }
}

impl TickClock {
    /// Makes a clock that stands at `tick` until it is told to go on.
    #[must_use]
    pub fn standing_at(tick: Tick) -> Self {
        Self {
            stands_at: AtomicU64::new(tick.0),
            ..Self::default()
        }
    }

    /// Reads the clock.
    #[must_use]
    pub fn now(&self) -> Tick {
        match self.stands_at.load(Acquire) {
            // A clock that began at a later tick has stood for less than nothing.
            RUNS => Tick(self.elapsed_ms().wrapping_sub(self.stood_ms.load(Relaxed))),
            at => Tick(at),
        }
    }

    /// Has the clock stand.
    pub fn stop(&self) {
        self.stands_at.store(self.now().0, Release);
    }

    /// Has the clock go on from where it stands.
    pub fn go_on(&self) {
        let at = self.stands_at.load(Acquire);
        if at != RUNS {
            self.stood_ms
                .store(self.elapsed_ms().wrapping_sub(at), Relaxed);
            self.stands_at.store(RUNS, Release);
        }
    }

    fn elapsed_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until as much time has passed.
    fn pass(ms: u64) {
        let began = Instant::now();
        while began.elapsed().as_millis() < u128::from(ms) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_clock_goes_on_without_the_time_for_which_it_stood() {
        let clock = TickClock::default();
        pass(20);
        clock.stop();
        let at = clock.now();
        assert!(at >= Tick(20));
        pass(300);
        assert_eq!(clock.now(), at);
        clock.stop();
        assert_eq!(clock.now(), at, "it stands already");
        clock.go_on();
        let now = clock.now();
        assert!(at <= now && now.0 < clock.elapsed_ms() - 290, "{now:?}");
        clock.go_on();
        assert!(clock.now() >= now, "it goes already");
    }

    #[test]
    fn a_clock_may_begin_where_another_one_stood() {
        let clock = TickClock::standing_at(Tick(9_000_000));
        pass(5);
        assert_eq!(clock.now(), Tick(9_000_000));
        clock.go_on();
        pass(5);
        let now = clock.now();
        assert!(now >= Tick(9_000_005) && now < Tick(9_100_000), "{now:?}");
    }
}
