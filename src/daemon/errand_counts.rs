//! Counts of the errands that this daemon has done beside serving: reloads, renewals and upgrades.

use std::sync::atomic::{AtomicU64, Ordering};

use tidings::base::Metric;

/// Something that a daemon is asked to do beside serving; one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Reload,
    Renewal,
    Upgrade,
}

/// Those that ended well and those that didn't, for each errand. There is one daemon in a process.
static ENDED: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Names and descriptions, in the same order.
const METRICS: [(&str, &str); 6] = [
    (
        "reloads",
        "Settings that were read anew and put into force.",
    ),
    (
        "reloads_refused",
        "Settings that were read anew and refused, or that not every thread took in time.",
    ),
    (
        "renewals",
        "Renewals of all workers and processes that were complete.",
    ),
    (
        "renewals_incomplete",
        "Renewals that left something as it was.",
    ),
    (
        "upgrades",
        "Upgrades in place after which the next program went on.",
    ),
    (
        "upgrades_refused",
        "Upgrades in place that were refused or taken back.",
    ),
];

/// Counts an errand that has ended.
pub(super) fn count(errand: Errand, is_ok: bool) {
    let place = 2 * errand as usize + usize::from(!is_ok);
    ENDED[place].fetch_add(1, Ordering::Relaxed);
}

/// The counts, for the next image.
pub(super) fn counts() -> Vec<u64> {
    let counts = ENDED.iter().map(|count| count.load(Ordering::Relaxed));
    counts.collect()
}

/// Goes on from the counts of the image before; what it didn't count begins with 0.
pub(super) fn go_on_from(counts: &[u64]) {
    for (own, count) in ENDED.iter().zip(counts) {
        own.store(*count, Ordering::Relaxed);
    }
}

/// Describes the counts.
pub(super) fn metrics() -> impl Iterator<Item = Metric> {
    let counts = METRICS.into_iter().zip(counts());
    counts.map(|((name, help), count)| Metric::counter(name, help, count))
}
