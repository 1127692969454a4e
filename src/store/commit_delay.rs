//! The commit delay: the time for which a batch waits for more jobs.
//!
//! Senders who each wait for an answer fall into two halves that take turns, and every sync carries
//! only half of them, unless the disk rests until those who were answered just now have sent again.
//! The delay pays as long as the senders need less time than a commit does; where they need more,
//! or send at random, the delay only makes every message later. So a delay that was in vain isn't
//! tried again for a while.

use std::time::{Duration, Instant};

/// Batches in a row that waited in vain, after which none waits for a while: one may be chance.
const MISSES_MAX: u32 = 2;
/// Batches of that while: a delay in vain costs at most 2 commits in 34.
const REST_BATCHES: u32 = 32;

/// The decision for each batch until when it waits.
#[derive(Debug)]
pub(super) struct CommitDelay {
    /// The longest delay, in hundredths of a commit's time.
    percent: u32,
    time_max: Duration,
    /// Jobs that are expected soon: those that were answered last, and those that waited then.
    expected: usize,
    until: Option<Instant>,
    commit_time: Duration,
    misses: u32,
    rests: u32,
}

impl CommitDelay {
    /// Makes a delay of at most `percent` of a commit's time, and at most `us_max` microseconds.
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

    /// Changes the bounds of the delay, for the next batch.
    pub(super) fn set_max(&mut self, percent: u32, us_max: u32) {
        self.percent = percent;
        self.time_max = Duration::from_micros(us_max.into());
    }

    /// Returns the time until which a batch of `count` jobs waits for more; `None` if it doesn't
    /// wait.
    pub(super) fn until(&self, count: usize) -> Option<Instant> {
        self.until.filter(|_| count < self.expected)
    }

    /// Notes that a batch of `count` jobs is complete.
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

    /// Notes the time that a commit took, and the number of jobs that were in it or waited at its
    /// end.
    pub(super) fn committed(&mut self, took: Duration, here: usize) {
        self.commit_time = took;
        self.expected = here;
    }

    /// Notes that all jobs of the batch were answered at this time.
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
    fn after(delay: &mut CommitDelay, at: Instant, count: usize, took: Duration) {
        delay.gathered(count);
        delay.committed(took, count);
        delay.answered(at);
    }

    #[test]
    fn a_batch_waits_for_those_who_were_answered_but_not_longer_than_a_commit() {
        let (mut delay, now) = (CommitDelay::new(100, 2_000), Instant::now());
        assert_eq!(delay.until(1), None, "nobody was answered yet");
        after(&mut delay, now, 3, MS);
        assert_eq!(delay.until(2), Some(now + MS));
        assert_eq!(delay.until(3), None, "all are there");
        after(&mut delay, now, 3, 50 * MS);
        assert_eq!(delay.until(2), Some(now + 2 * MS), "nor than the bound");
    }

    #[test]
    fn who_waits_twice_in_vain_rests() {
        let (mut delay, now) = (CommitDelay::new(100, 2_000), Instant::now());
        after(&mut delay, now, 4, MS);
        for few in [3, 2] {
            assert!(delay.until(1).is_some());
            after(&mut delay, now, few, MS);
        }
        for batch in 0..REST_BATCHES {
            assert_eq!(delay.until(1), None, "{batch}");
            after(&mut delay, now, 2, MS);
        }
        assert!(delay.until(1).is_some(), "it tries again");
    }

    #[test]
    fn one_in_vain_is_forgiven() {
        let (mut delay, now) = (CommitDelay::new(100, 2_000), Instant::now());
        after(&mut delay, now, 4, MS);
        for _ in 0..9 {
            after(&mut delay, now, 3, MS);
            assert!(delay.until(2).is_some());
            after(&mut delay, now, 4, MS);
            assert!(delay.until(2).is_some());
        }
    }

    #[test]
    fn with_nothing_of_a_commits_time_nobody_is_waited_for() {
        let (mut delay, now) = (CommitDelay::new(0, 2_000), Instant::now());
        after(&mut delay, now, 4, MS);
        assert_eq!(delay.until(1), None);
    }
}
