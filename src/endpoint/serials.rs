//! Serial numbers of connections, reserved on disk before they are handed out: none is used again
//! after a restart, whatever the clock says then.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::services::Services;
use super::store_task::{ReplyTo, StoreTask};
use crate::base::fd::serials_by_clock;
use crate::store::{Record, Store};

/// Serials that are reserved at a time; the next block is reserved once half of them may be handed
/// out. Four million last for minutes at any rate of accepting, and a restart may waste them: there
/// are 2^47.
const BLOCK: u64 = 1 << 22;

/// The serial numbers that are reserved.
#[derive(Debug)]
pub(super) struct Serials {
    /// The first number of this process.
    pub(super) from: u64,
    /// The bound below which the numbers are reserved.
    below: AtomicU64,
}

impl Serials {
    /// Reserves the first block. If the disk takes nothing at the moment, only the clock keeps the
    /// numbers from being used again.
    pub(super) fn reserve(store: &mut dyn Store) -> Self {
        let from = store.reader().serials_below().max(serials_by_clock());
        let below = from + BLOCK;
        let record = Record::Serials { below };
        let reserved = store.append(0, &record).and_then(|outcome| {
            store.commit()?;
            store.settle(&mut [Ok(outcome)]);
            Ok(())
        });
        if let Err(error) = reserved {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "serial numbers can't be reserved on disk");
        }
        Self {
            from,
            below: AtomicU64::new(below),
        }
    }

    /// Goes on with numbers that an earlier image of the program reserved.
    pub(super) fn take_over(from: u64, below: u64) -> Self {
        Self {
            from,
            below: AtomicU64::new(below),
        }
    }

    /// The bound below which the numbers are reserved.
    pub(super) fn below(&self) -> u64 {
        self.below.load(Relaxed)
    }

    /// Reserves more when so many connections have been accepted that they may run short.
    pub(super) fn renew(&self, services: &Services, accepted: u64) {
        let below = self.below.load(Relaxed);
        if self.from + accepted + BLOCK / 2 > below {
            self.below.store(below + BLOCK, Relaxed);
            let task = StoreTask::Serials(below + BLOCK);
            services.store(task, ReplyTo::Nobody);
        }
    }
}
