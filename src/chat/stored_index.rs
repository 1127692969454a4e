//! The index of the channels that are stored, as the chat needs it.

use crate::base::Epoch;

/// The index of the channels on disk. Called under the lock of a shard: an implementation does no
/// I/O and doesn't wait, except for a lock that is only ever held for a moment.
pub trait StoredIndex: Send + Sync {
    /// Returns the newest offset of a channel whose message isn't kept any more; `None` when the
    /// disk doesn't know the channel.
    fn floor(&self, channel: &str) -> Option<u64>;

    /// Returns the epoch of a channel; `None` when the disk doesn't know the channel.
    fn epoch(&self, channel: &str) -> Option<Epoch>;

    /// Counts the channels that were forgotten so far.
    fn forgotten(&self) -> u64;
}

/// The index of a chat that stores nothing.
#[derive(Debug)]
pub(super) struct NothingStored;

impl StoredIndex for NothingStored {
    fn floor(&self, _: &str) -> Option<u64> {
        None
    }

    fn epoch(&self, _: &str) -> Option<Epoch> {
        None
    }

    fn forgotten(&self) -> u64 {
        0
    }
}
