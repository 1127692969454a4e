//! The store, which outlives the process: messages, and the state of channels, readers, members and
//! producers.
//!
//! A [`Store`] belongs to one thread, which appends the records that wait, commits them with one
//! write and one sync, and only then tells anybody. [`Reader`]s belong to any thread and see what is committed,
//! never more. Nothing in here knows clients, connections or permissions.
//!
//! The files, in the order in which a newcomer may read them:
//!
//! - the write path: `record` comes in, `pending` decides what it does, `log_record` and
//!   `raw_record` are its form on disk, `batch` is written by `journal`, and `state`, `channel_log`,
//!   `channel_names`, `location` and `usage` change by it; `resolved` is the shorter way for most messages, `dedup`
//!   knows the repeats;
//! - segments: `segment`, `segment_head`, `segment_draft`; the next one: `rollover`,
//!   `next_segment`, `snapshot`, `checkpoint`, `tail`;
//! - the read path: `read_view`, `reader`;
//! - between commits: `upkeep`, `piece`, `maintenance`, `compaction`, `recover`, `rest`,
//!   `free_space`, `aside`;
//! - opening: `loader`, `directory`, `identity`, `scan`, `names`; in the next image of the program
//!   `journal_handover`, `resume`, `leftovers`;
//! - for a store that no process has open: `verify`, `dump`, `repair`;
//! - the thread: `disk`, `commit_delay`.
//!
//! Invariants:
//! - **What [`Store::commit`] gave `Ok` for is there after a crash** (with [`SyncPolicy::Always`]), and
//!   what it failed for is nowhere: not in the state, not for a reader, not after a restart.
//! - Offsets of a channel count from 1 without holes; what goes, goes from the front.
//! - A record is there whole or not at all, also one that stands in two channels.
//! - Damage is named, with file and position; it is never taken for an end or a fresh start.

// The write path.
mod batch;
mod bytes;
mod channel_log;
mod channel_names;
mod dedup;
mod dedup_shares;
mod journal;
mod journal_handover;
mod location;
mod log_record;
mod pending;
mod raw_record;
mod record;
mod resolved;
mod rest;
mod state;
mod usage;

// Segments.
mod checkpoint;
mod new_settings;
mod next_segment;
mod rollover;
mod segment;
mod segment_draft;
mod segment_head;
mod snapshot;
mod tail;

// The read path.
mod read_view;
mod reader;

// Between commits.
mod aside;
mod compaction;
mod free_space;
mod maintenance;
mod maintenance_state;
mod piece;
mod recover;
mod sync_times;
mod upkeep;

// A start.
mod directory;
mod epoch_masks;
mod identity;
mod leftovers;
mod loader;
mod names;
mod permissions;
mod resume;
mod scan;

// While no process has the store open, but for `look`.
mod dump;
mod look;
mod repair;
mod verify;

// The thread.
mod commit_delay;
mod disk;
mod disk_job;
mod job_queue;

// What all of it stands on.
mod error;
mod files;
mod memory;
mod settings;

pub use disk::{Condition, Disk, DiskQueue, DiskSettings};
pub use disk_job::{DiskJob, JobOutcomes};
pub use dump::dump;
pub use error::StoreError;
pub use journal::Journal;
pub use journal_handover::JOURNAL_FORMAT;
pub use look::look;
pub use memory::{MemoryStore, STORE_FORMAT};
pub use piece::Upkeep;
pub use reader::{
    ChannelState, LogPage, PageRange, Reader, StateRecord, StoreTotals, StoredMessage,
};
pub use record::{
    Appended, Channel, EnteredChannels, LoginRecord, MessageRecord, OwnedChannel, Record,
};
pub use repair::{Repaired, repair};
pub use settings::{Retention, StoreSettings, SyncPolicy, WhenFull};
pub use verify::{VerifyReport, verify};

pub use crate::base::{Epoch, MessageBody, Position};
use crate::handover::SectionWriter;

/// The writing side of a store, which belongs to one thread.
pub trait Store: Send {
    /// Takes a record into the batch that the next [`Store::commit`] writes, and returns its
    /// outcome: the offsets that a message will have, or the place of the message that it repeats,
    /// which is committed or stands in the same batch.
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

    /// Puts outcomes into place that are known only after the commit: those of the batch, in the order in
    /// which its records were appended. Called behind each [`Store::commit`]. Returns the channels that
    /// are heard now, for [`Appended::Entered`].
    fn settle(&mut self, _outcomes: &mut [Result<Appended, StoreError>]) -> Vec<EnteredChannels> {
        Vec::new()
    }

    /// Does a bounded piece of the work that is due: drops what retention lets go, gives disk space
    /// back, syncs what waits for an interval, looks at the free space, recovers from a failure. To
    /// be called some times a second between commits; cheap when nothing is due.
    ///
    /// # Errors
    ///
    /// [`StoreError`] that keeps the store from taking anything; the next call tries again.
    fn maintain(&mut self, now_ms: u64) -> Result<(), StoreError>;

    /// Does one piece of the long work that [`Store::maintain`] has begun. To be called after each
    /// commit, and again as long as there is more and no record waits.
    fn upkeep(&mut self) -> Upkeep {
        Upkeep::Nothing
    }

    /// Goes by other settings from now on; the directory and [`StoreSettings::when_full`] stay. Channels
    /// that are there already are looked at by [`Store::maintain`], some at each call.
    fn set_settings(&mut self, settings: StoreSettings);

    /// Confirms what was written: the program may be replaced before anything else happens, without a
    /// drop. Called between a commit and the next record.
    fn rest(&mut self) {}

    /// Writes down what the next image of the program goes on with, instead of reading the files. Called
    /// after [`Store::rest`].
    fn hand_over(&mut self) -> Option<SectionWriter> {
        None
    }

    /// Returns the reading side, for other threads.
    fn reader(&self) -> std::sync::Arc<dyn Reader>;
}

#[cfg(test)]
mod tests;
