//! Layer 4: what outlives the process: messages, and what has to be known of channels, readers,
//! members and producers.
//!
//! A [`Store`] belongs to one thread, which appends what waits, commits it with one write and one
//! sync, and only then tells anybody. [`Reader`]s belong to any thread and see what is committed,
//! never more. Nothing in here knows clients, connections or permissions.
//!
//! Invariants:
//! - **What [`Store::commit`] gave `Ok` for is there after a crash** (with [`SyncPolicy::Always`]), and
//!   what it failed for is nowhere: not in the state, not for a reader, not after a restart.
//! - Offsets of a channel count from 1 without holes; what goes, goes from the front.
//! - A record is there whole or not at all, also one that stands in two channels.
//! - Damage is named, with file and position; it is never taken for an end or a fresh start.

mod bytes;
mod channel;
mod dedup;
mod disk;
mod entry;
mod error;
mod files;
mod frame;
mod gathering;
mod identity;
mod journal;
mod located;
mod memory;
mod moving;
mod names;
mod offline;
mod reader;
mod record;
mod recover;
mod scan;
mod segment;
mod settings;
mod space;
mod staged;
mod start;
mod state;
mod upkeep;
mod view;

pub use disk::{Condition, Disk, DiskQueue, DiskSettings, Job};
pub use error::StoreError;
pub use journal::Journal;
pub use memory::MemoryStore;
pub use offline::{Repaired, VerifyReport, dump, repair, verify};
pub use reader::{
    ChannelState, LogPage, PageRange, Reader, StateRecord, StoreTotals, StoredMessage,
};
pub use record::{Appended, Channel, MessageRecord, Position, Record};
pub use settings::{Retention, StoreSettings, SyncPolicy, WhenFull};

/// Takes records. Belongs to one thread.
pub trait Store: Send {
    /// Takes a record into the batch that the next [`Store::commit`] writes, and says what will
    /// become of it: the offsets that a message will have, or that it is a repeat of one that is
    /// committed or stands in the same batch.
    ///
    /// `now_ms` are Unix milliseconds; repeats are known for [`StoreSettings::dedup_ms`].
    ///
    /// # Errors
    ///
    /// [`StoreError`]: the record is not taken; the rest of the batch is as it was.
    fn append(&mut self, now_ms: u64, record: &Record<'_>) -> Result<Appended, StoreError>;

    /// Makes durable what was appended since the last commit, as [`StoreSettings::sync`] says, and
    /// shows it to the readers.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: all of it is undone. [`StoreError::Failed`] stays until
    /// [`Store::maintain`] has reopened and verified the file.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// Does what is due, a bounded piece of it: drops what retention lets go, gives disk space
    /// back, syncs what waits for an interval, looks at the free space, recovers from a failure.
    /// To be called some times a second between commits; cheap when nothing is due.
    ///
    /// # Errors
    ///
    /// [`StoreError`] that keeps the store from taking anything; it is tried again next time.
    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError>;

    /// The side for other threads.
    fn reader(&self) -> std::sync::Arc<dyn Reader>;
}

#[cfg(test)]
mod tests;
