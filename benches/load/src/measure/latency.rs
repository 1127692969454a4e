//! Latencies, recorded by batch.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds: a minute. Longer ones count as this.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// The distribution of latencies, with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    histogram: Histogram<u64>,
}

impl Default for Latency {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3);
        Self {
            histogram: histogram.expect("the bounds are constants within hdrhistogram's"),
        }
    }
}

impl Latency {
    /// Records `count` answers that took `ns` nanoseconds each.
    pub(crate) fn record(&mut self, ns: u64, count: u64) {
        self.histogram.saturating_record_n(ns.max(1), count);
    }

    /// Records one answer that took so long.
    pub(crate) fn record_one(&mut self, time: Duration) {
        self.record(u64::try_from(time.as_nanos()).unwrap_or(LATENCY_NS_MAX), 1);
    }

    /// Takes over what another thread or round recorded.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("all have the same bounds");
    }

    /// The latency that this share of all answers (0.0 to 1.0) kept, in microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The longest of all, in microseconds.
    pub(crate) fn max_us(&self) -> f64 {
        self.histogram.max() as f64 / 1e3
    }

    /// How many were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_weighs_as_much_as_its_messages() {
        let mut latency = Latency::default();
        latency.record(1_000, 99);
        latency.record(u64::MAX, 1);
        assert_eq!(latency.count(), 100);
        assert!((latency.quantile_us(0.99) - 1.0).abs() < 0.01);
        assert!(latency.max_us() >= 59e6);
    }
}
