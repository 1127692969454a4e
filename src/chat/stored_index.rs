//! What the chat has to know of the channels that are stored.

use crate::base::Epoch;

/// The index of what is on disk. Called under the lock of a shard: an implementation neither does
/// I/O nor waits, but for a lock that is only ever held for a moment.
pub trait StoredIndex: Send + Sync {
    /// The newest offset of a channel whose message isn't kept any more; `None` when the disk doesn't
    /// know the channel.
    fn floor(&self, channel: &str) -> Option<u64>;

    /// The epoch of a channel; `None` when the disk doesn't know the channel.
    fn epoch(&self, channel: &str) -> Option<Epoch>;

    /// The number of channels that were forgotten so far.
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
