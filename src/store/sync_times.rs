//! How long the syncs of a store took, in classes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Classes for each doubling of the time.
const CLASSES_A_DOUBLING: u32 = 4;
/// Classes, for up to about an hour.
const CLASSES: usize = 128;

/// The number of syncs of each class of times.
#[derive(Debug)]
pub(super) struct SyncTimes([AtomicU64; CLASSES]);

impl Default for SyncTimes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CLASSES])
    }
}

impl SyncTimes {
    /// Notes a sync that took so many microseconds.
    pub(super) fn note(&self, us: u64) {
        self.0[class_of(us)].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the microseconds that this many of 1,000 syncs took at the most; 0 before the first
    /// one.
    pub(super) fn us_of_thousand(&self, count: u64) -> u64 {
        let counts = self.0.each_ref().map(|of| of.load(Ordering::Relaxed));
        let wanted = (counts.iter().sum::<u64>() * count).div_ceil(1_000);
        let mut seen = 0;
        let class = counts.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        class.map_or(0, us_max_of)
    }
}

/// The class of a time: its highest bit, and the two below that.
fn class_of(us: u64) -> usize {
    let us = us.max(CLASSES_A_DOUBLING.into());
    let doubling = us.ilog2() - 2;
    let part = (us >> doubling) as u32 - CLASSES_A_DOUBLING;
    ((doubling * CLASSES_A_DOUBLING + part) as usize).min(CLASSES - 1)
}

/// The longest time of a class.
fn us_max_of(class: usize) -> u64 {
    let class = class as u32;
    let part = u64::from(CLASSES_A_DOUBLING + class % CLASSES_A_DOUBLING);
    ((part + 1) << (class / CLASSES_A_DOUBLING)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_within_a_quarter() {
        for us in (0..5_000).chain([1 << 20, 3_600_000_000]) {
            let told = us_max_of(class_of(us));
            assert!(told >= us && told <= us.max(4) * 5 / 4, "{us}: {told}");
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn one_slow_sync_of_a_thousand_is_left_out_and_two_are_not() {
        let times = SyncTimes::default();
        assert_eq!(times.us_of_thousand(999), 0);
        for _ in 0..999 {
            times.note(100);
        }
        times.note(50_000);
        assert_eq!(times.us_of_thousand(999), 111);
        times.note(50_000);
        assert!(times.us_of_thousand(999) >= 50_000);
    }
}
