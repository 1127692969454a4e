//! Counters of an outbox, written by its disk thread.

use std::sync::atomic::AtomicU64;

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
