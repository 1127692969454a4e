//! The bounds of a store.

use std::path::PathBuf;
use std::sync::Arc;

/// When a record counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// After `fdatasync`: a crash of the process, the system or the power loses nothing that was
    /// acknowledged.
    #[default]
    Always,
    /// After the write; synced again after this many milliseconds: a crash of the process loses
    /// nothing, one of the system or the power what came since the last sync.
    IntervalMs(u64),
    /// After the write; the system syncs when it likes: a crash of the process loses nothing, one
    /// of the system or the power what it had not written yet.
    Os,
}

/// How long the messages of a channel are kept. The bound that is reached first lets the oldest go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages at the most.
    pub messages_max: u64,
    /// Milliseconds at the most, by the messages' own times.
    pub age_ms_max: u64,
    /// Bytes of records at the most.
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

/// What happens when all files together reach [`StoreSettings::bytes_max`].
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
    /// Where the files are.
    pub directory: PathBuf,
    /// When a record counts as durable.
    pub sync: SyncPolicy,
    /// How long messages are kept, by the channel's name.
    pub retention: Arc<dyn Fn(&str) -> Retention + Send + std::marker::Sync>,
    /// Bytes of all files at the most. Default 10 GiB.
    pub bytes_max: u64,
    /// What happens when the files reach `bytes_max`.
    pub when_full: WhenFull,
    /// Bytes that have to stay free on the disk; below, nothing is taken. Default 256 MiB.
    pub free_bytes_min: u64,
    /// Bytes after which a new file is begun. Default 64 MiB.
    pub segment_bytes_max: u64,
    /// Milliseconds for which a repeat is known. Default 300,000.
    pub dedup_ms: u64,
    /// Repeats that are known at the most; for one more the sender with the most loses its oldest,
    /// and that is counted. Default
    /// 1,000,000.
    pub dedup_entries_max: usize,
    /// Channels at the most. Default 1,000,000.
    pub channels_max: usize,
    /// Readers who acknowledge in one channel, at the most. Default 100,000.
    pub acks_per_channel_max: usize,
    /// Lasting memberships at the most. Default 1,000,000.
    pub members_max: usize,
    /// Producers at the most. Default 10,000.
    pub producers_max: usize,
}

impl StoreSettings {
    /// The defaults, in this directory.
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
            dedup_ms: 300_000,
            dedup_entries_max: 1_000_000,
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
