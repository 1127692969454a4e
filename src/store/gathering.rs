//! Whether a batch waits for more, and how long.
//!
//! Senders who each wait for an answer fall into two halves that take turns, and every sync carries
//! only half of them: unless the disk rests until those who were answered just now have come back.
//! That pays as long as they need less than a commit does; where they need more, or come when they
//! like, it only makes everybody's message later. So what didn't work is left alone for a while.

use std::time::{Duration, Instant};

/// Batches in a row that waited in vain, after which none waits for a while.
const MISSES_MAX: u32 = 2;
/// For so many batches.
const REST_BATCHES: u32 = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct Gathering {
    /// Of a commit's time, in hundredths.
    percent: u32,
    time_max: Duration,
    /// Jobs that are to come soon: those that were answered last, and those that waited then.
    expected: usize,
    until: Option<Instant>,
    commit_time: Duration,
    misses: u32,
    rests: u32,
}

impl Gathering {
    pub(super) fn new(percent: u32, us_max: u32) -> Self {
        Self {
            percent,
            time_max: Duration::from_micros(us_max.into()),
            expected: 0,
            until: None,
            commit_time: Duration::ZERO,
            misses: 0,
            rests: 0,
        }
    }

    /// Up to when a batch of so many waits for more.
    pub(super) fn until(&self, count: usize) -> Option<Instant> {
        self.until.filter(|_| count < self.expected)
    }

    /// A batch of so many is complete.
    pub(super) fn gathered(&mut self, count: usize) {
        if self.until.is_none() {
            self.rests = self.rests.saturating_sub(1);
        } else if count >= self.expected {
            self.misses = 0;
        } else {
            self.misses += 1;
            if self.misses == MISSES_MAX {
                self.misses = 0;
                self.rests = REST_BATCHES;
            }
        }
    }

    /// It took so long to commit it; so many jobs were in it, or waited when it was done.
    pub(super) fn committed(&mut self, took: Duration, here: usize) {
        self.commit_time = took;
        self.expected = here;
    }

    /// All were answered, at this time.
    pub(super) fn answered(&mut self, at: Instant) {
        let time = self.commit_time.saturating_mul(self.percent) / 100;
        let time = time.min(self.time_max);
        let waits = self.rests == 0 && !time.is_zero();
        self.until = waits.then(|| at + time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// After a batch of so many, each of whose jobs was answered `at`.
    fn after(gathering: &mut Gathering, at: Instant, count: usize, took: Duration) {
        gathering.gathered(count);
        gathering.committed(took, count);
        gathering.answered(at);
    }

    #[test]
    fn a_batch_waits_for_those_who_were_answered_but_not_longer_than_a_commit() {
        let (mut gathering, now) = (Gathering::new(100, 2_000), Instant::now());
        assert_eq!(gathering.until(1), None, "nobody was answered yet");
        after(&mut gathering, now, 3, MS);
        assert_eq!(gathering.until(2), Some(now + MS));
        assert_eq!(gathering.until(3), None, "all are there");
        after(&mut gathering, now, 3, 50 * MS);
        assert_eq!(gathering.until(2), Some(now + 2 * MS), "nor than the bound");
    }

    #[test]
    fn who_waits_twice_in_vain_rests() {
        let (mut gathering, now) = (Gathering::new(100, 2_000), Instant::now());
        after(&mut gathering, now, 4, MS);
        for few in [3, 2] {
            assert!(gathering.until(1).is_some());
            after(&mut gathering, now, few, MS);
        }
        for batch in 0..REST_BATCHES {
            assert_eq!(gathering.until(1), None, "{batch}");
            after(&mut gathering, now, 2, MS);
        }
        assert!(gathering.until(1).is_some(), "it tries again");
    }

    #[test]
    fn one_in_vain_is_forgiven() {
        let (mut gathering, now) = (Gathering::new(100, 2_000), Instant::now());
        after(&mut gathering, now, 4, MS);
        for _ in 0..9 {
            after(&mut gathering, now, 3, MS);
            assert!(gathering.until(2).is_some());
            after(&mut gathering, now, 4, MS);
            assert!(gathering.until(2).is_some());
        }
    }

    #[test]
    fn with_nothing_of_a_commits_time_nobody_is_waited_for() {
        let (mut gathering, now) = (Gathering::new(0, 2_000), Instant::now());
        after(&mut gathering, now, 4, MS);
        assert_eq!(gathering.until(1), None);
    }
}
