//! Rates and buckets of tokens, as pure state.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A rate, and the number that may come at once; used by a [`Bucket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds until one more may be done.
    every_us: u64,
    /// Time by which somebody may be ahead of the rate, in microseconds.
    ahead_us_max: u64,
}

/// A bucket of tokens, which fills at a [`Rate`]: whoever does something takes one out.
///
/// A bucket keeps the moment at which it will be full again, not its level (the generic cell rate
/// algorithm): it takes eight bytes, time passes without any work, and a full bucket is as good as
/// none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at_us: u64,
}

impl Rate {
    /// Makes a rate of so many a second, and so many at once after a pause; 0 a second is no limit
    /// and gives `None`.
    #[must_use]
    pub fn new(per_s_max: u64, burst_max: u64) -> Option<Self> {
        let every_us = 1_000_000_u64.checked_div(per_s_max)?.max(1);
        Some(Self {
            every_us,
            ahead_us_max: every_us.saturating_mul(burst_max.max(1) - 1),
        })
    }
}

/// A rate that may change while it is in use, or none.
#[derive(Debug)]
pub(crate) struct ChangingRate {
    /// 0 for none.
    every_us: AtomicU64,
    ahead_us_max: AtomicU64,
}

impl ChangingRate {
    pub(crate) fn new(rate: Option<Rate>) -> Self {
        let own = Self {
            every_us: AtomicU64::new(0),
            ahead_us_max: AtomicU64::new(0),
        };
        own.set(rate);
        own
    }

    /// Changes the rate. A taker at the same moment may see one half of the change, once.
    pub(crate) fn set(&self, rate: Option<Rate>) {
        let ahead_us_max = rate.map_or(0, |rate| rate.ahead_us_max);
        self.ahead_us_max.store(ahead_us_max, Relaxed);
        let every_us = rate.map_or(0, |rate| rate.every_us);
        self.every_us.store(every_us, Relaxed);
    }

    pub(crate) fn get(&self) -> Option<Rate> {
        let every_us = self.every_us.load(Relaxed);
        (every_us > 0).then(|| Rate {
            every_us,
            ahead_us_max: self.ahead_us_max.load(Relaxed),
        })
    }
}

impl Bucket {
    /// Takes one token out at a moment in milliseconds.
    ///
    /// # Errors
    ///
    /// The bucket is empty; it has a token again after this many milliseconds.
    pub fn take(&mut self, now_ms: u64, rate: Rate) -> Result<(), u64> {
        let now_us = now_ms * 1_000;
        let ahead_us = self.full_at_us.saturating_sub(now_us);
        if ahead_us > rate.ahead_us_max {
            return Err((ahead_us - rate.ahead_us_max).div_ceil(1_000));
        }
        self.owe(now_ms, rate, 1);
        Ok(())
    }

    /// Takes `count` tokens out, even if there are fewer: then the bucket stays empty until they
    /// have come in. For requests whose cost shows only afterwards.
    pub fn owe(&mut self, now_ms: u64, rate: Rate, count: u64) {
        let from_us = self.full_at_us.max(now_ms * 1_000);
        self.full_at_us = from_us.saturating_add(rate.every_us.saturating_mul(count));
    }

    /// The moment at which it is as good as a new one, in milliseconds.
    #[must_use]
    pub fn full_at_ms(&self) -> u64 {
        self.full_at_us.div_ceil(1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, now_ms: u64, rate: Rate) -> usize {
        (0..1_000)
            .take_while(|_| bucket.take(now_ms, rate).is_ok())
            .count()
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (rate, mut bucket) = (Rate::new(10, 5).unwrap(), Bucket::default());
        assert_eq!(taken(&mut bucket, 7_000, rate), 5);
        assert_eq!(bucket.take(7_000, rate), Err(100));
        assert_eq!(bucket.take(7_099, rate), Err(1));
        assert_eq!(taken(&mut bucket, 7_100, rate), 1);
        assert_eq!(taken(&mut bucket, 7_350, rate), 2);
        assert_eq!(bucket.full_at_ms(), 7_800);
        assert_eq!(taken(&mut bucket, 99_000, rate), 5, "it fills no higher");
    }

    #[test]
    fn over_a_long_time_it_is_the_rate_whatever_comes() {
        let (rate, mut bucket) = (Rate::new(300, 20).unwrap(), Bucket::default());
        let taken: usize = (0..10_000).map(|ms| taken(&mut bucket, ms, rate)).sum();
        assert!((3_000..=3_021).contains(&taken), "{taken} in 10 s");
    }

    #[test]
    fn a_debt_is_paid_before_anything_else() {
        let (rate, mut bucket) = (Rate::new(100, 10).unwrap(), Bucket::default());
        bucket.owe(0, rate, 1_000);
        assert_eq!(bucket.take(0, rate), Err(9_910));
        assert_eq!(bucket.take(9_910, rate), Ok(()));
    }

    #[test]
    fn no_rate_is_no_limit_and_no_burst_is_one() {
        assert_eq!(Rate::new(0, 10), None);
        let (rate, mut bucket) = (Rate::new(1, 0).unwrap(), Bucket::default());
        assert_eq!(taken(&mut bucket, 0, rate), 1);
    }

    #[test]
    fn a_bucket_takes_8_bytes() {
        assert_eq!(size_of::<Bucket>(), 8);
    }
}
