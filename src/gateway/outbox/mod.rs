//! The outbox: the messages that were posted and that not all upstreams have acknowledged, on disk.
//!
//! An outbox is one channel of a store of its own. A message's offset is its number, so numbers count
//! from 1 without holes and are never used twice. Upstreams are readers of the channel: the store
//! keeps an offset for each, and the messages that all of them have acknowledged go.

mod counters;
mod jobs;
mod records;
mod refusal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(super) use counters::OutboxCounters;
pub(super) use jobs::{OutboxContext, OutboxJob};
pub(super) use records::message;
pub use records::{DEAD, OUTBOX, store_settings};
pub(super) use refusal::OutboxRefusal;

use crate::store::{Condition, Disk, Reader};

/// An outbox, as all threads of the gateway read it; `disk` writes.
pub(super) struct Outbox {
    pub(super) disk: Disk<OutboxJob>,
    pub(super) reader: Arc<dyn Reader>,
    bytes_max: AtomicU64,
}

impl Outbox {
    /// Makes an outbox that takes nothing once it has `bytes_max` bytes on disk.
    pub(super) fn new(disk: Disk<OutboxJob>, reader: Arc<dyn Reader>, bytes_max: u64) -> Self {
        Self {
            disk,
            reader,
            bytes_max: AtomicU64::new(bytes_max),
        }
    }

    /// Changes the bound.
    pub(super) fn set_max(&self, bytes_max: u64) {
        self.bytes_max.store(bytes_max, Relaxed);
    }

    /// Returns the oldest number that is kept (or will come next), and the newest; 0 before the
    /// first.
    pub(super) fn kept(&self) -> (u64, u64) {
        let state = self.reader.channel(OUTBOX);
        state.map_or((1, 0), |state| (state.floor + 1, state.newest))
    }

    /// Returns the newest number that an upstream has acknowledged, as far as it is written down.
    pub(super) fn acked(&self, upstream: &str) -> u64 {
        let floor = self.kept().0 - 1;
        let acked = self.reader.acked(OUTBOX, upstream);
        acked.unwrap_or(0).max(floor)
    }

    /// Counts the outbox's bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.reader.totals().bytes
    }

    /// Returns the reason why nothing is taken now, if there is one.
    pub(super) fn refusal(&self) -> Option<OutboxRefusal> {
        if self.bytes() >= self.bytes_max.load(Relaxed) {
            return Some(OutboxRefusal::Full);
        }
        match self.disk.condition() {
            Condition::Good => None,
            Condition::Full => Some(OutboxRefusal::DiskFull),
            Condition::Failed => Some(OutboxRefusal::Failed),
        }
    }
}
