//! Counters of an outbox, written by its disk thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The numbers of postings that were taken, known and refused.
#[derive(Debug, Default)]
pub(in crate::gateway) struct OutboxCounters {
    /// Postings that were written.
    pub(in crate::gateway) taken: AtomicU64,
    /// Postings that were known by their id.
    pub(in crate::gateway) repeats: AtomicU64,
    /// Postings that there was no room for.
    pub(in crate::gateway) refused: AtomicU64,
    /// Dead letters that were written.
    pub(in crate::gateway) dead: AtomicU64,
}

impl OutboxCounters {
    /// Lists the counters by their names.
    pub(in crate::gateway) fn all(&self) -> [(&'static str, &AtomicU64); 4] {
        [
            ("taken", &self.taken),
            ("repeats", &self.repeats),
            ("refused", &self.refused),
            ("dead", &self.dead),
        ]
    }

    /// Counts on from a number of an earlier image; one that isn't there any more is passed over.
    pub(in crate::gateway) fn count_on(&self, name: &str, from: u64) {
        let mut all = self.all().into_iter();
        if let Some((_, count)) = all.find(|(known, _)| *known == name) {
            count.fetch_add(from, Relaxed);
        }
    }
}
