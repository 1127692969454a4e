//! The bounds of a store.

use std::path::PathBuf;
use std::sync::Arc;

/// The moment from which a record counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// A record is durable after `fdatasync`: a crash of the process, the system or the power loses
    /// nothing that was acknowledged.
    #[default]
    Always,
    /// A record is durable after the write, and synced after this many milliseconds: a crash of the
    /// process loses nothing, one of the system or the power loses what came since the last sync.
    IntervalMs(u64),
    /// A record is durable after the write, and the system syncs when it likes: a crash of the
    /// process loses nothing, one of the system or the power loses what the system had not written
    /// yet.
    Os,
}

/// The bounds up to which the messages of a channel are kept. The bound that is reached first lets
/// the oldest go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The most messages of one channel.
    pub messages_max: u64,
    /// The greatest age of a message, in milliseconds, by the messages' own times.
    pub age_ms_max: u64,
    /// The most bytes of one channel's records.
    pub bytes_max: u64,
}

impl Retention {
    /// Keeps each message until a record lets it go, or the whole store is full.
    pub const UNBOUNDED: Self = Self {
        messages_max: u64::MAX,
        age_ms_max: u64::MAX,
        bytes_max: u64::MAX,
    };
}

/// The outcome when all files together reach [`StoreSettings::bytes_max`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The oldest file goes, with the messages in it.
    #[default]
    DropOldest,
    /// The store takes no more records.
    Refuse,
}

/// Every bound of a store, with its unit last.
#[derive(Clone)]
pub struct StoreSettings {
    /// The directory of the files.
    pub directory: PathBuf,
    /// The moment from which a record counts as durable.
    pub sync: SyncPolicy,
    /// The bounds for the messages of a channel, by the channel's name.
    pub retention: Arc<dyn Fn(&str) -> Retention + Send + std::marker::Sync>,
    /// Bytes of all files at the most. Default 10 GiB: a round number that most disks have.
    pub bytes_max: u64,
    /// The outcome when the files reach `bytes_max`.
    pub when_full: WhenFull,
    /// Bytes that have to stay free on the disk; with fewer, nothing is taken. Default 256 MiB:
    /// four segments, so that compaction has room.
    pub free_bytes_min: u64,
    /// Bytes after which a new file is begun. Default 64 MiB: room comes back by whole files, and
    /// each begins with a checkpoint.
    pub segment_bytes_max: u64,
    /// Records that a piece of long work writes between two batches, and channels that it visits;
    /// after a batch eight more for each record of it. Default 1,024: a fraction of a millisecond.
    pub upkeep_records_max: usize,
    /// Milliseconds for which a repeat is known. Default 300,000: longer than a client tries again.
    pub dedup_ms: u64,
    /// Repeats that are known at the most; for one more the sender with the most loses its oldest,
    /// and that is counted. Default
    /// 1,000,000.
    pub dedup_entries_max: usize,
    /// In a store that nodes share: repeats of one sender that are known at the most among the last quarter
    /// of `dedup_entries_max`; one more message with an id is refused. Default 10,000.
    pub dedup_entries_per_sender_max: usize,
    /// Channels at the most. Default 1,000,000: as many as the chat has.
    pub channels_max: usize,
    /// Readers who acknowledge in one channel, at the most. Default 100,000: as many as the chat
    /// allows.
    pub acks_per_channel_max: usize,
    /// Lasting memberships at the most. Default 1,000,000: as many as the chat has.
    pub members_max: usize,
    /// Producers at the most. Default 10,000: a gateway is one, with a second for messages with
    /// several receivers.
    pub producers_max: usize,
}

impl StoreSettings {
    /// Makes the default settings of a store in this directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            sync: SyncPolicy::default(),
            retention: Arc::new(|_| Retention::UNBOUNDED),
            bytes_max: 10 << 30,
            when_full: WhenFull::default(),
            free_bytes_min: 256 << 20,
            segment_bytes_max: 64 << 20,
            upkeep_records_max: 1_024,
            dedup_ms: 300_000,
            dedup_entries_max: 1_000_000,
            dedup_entries_per_sender_max: 10_000,
            channels_max: 1_000_000,
            acks_per_channel_max: 100_000,
            members_max: 1_000_000,
            producers_max: 10_000,
        }
    }
}

impl std::fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreSettings")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
