//! What the chat has to know of the channels that are stored.

use crate::base::Epoch;

/// The index of what is on disk. Called under the lock of a shard: an implementation neither does
/// I/O nor waits, but for a lock that is only ever held for a moment.
pub trait StoredIndex: Send + Sync {
    /// The newest offset of a channel that isn't kept any more; `None` when it isn't known.
    fn floor(&self, channel: &str) -> Option<u64>;

    /// The epoch of a channel; `None` when it isn't known.
    fn epoch(&self, channel: &str) -> Option<Epoch>;

    /// Channels that were forgotten so far.
    fn forgotten(&self) -> u64;
}

/// The shelf of a chat that stores nothing.
#[derive(Debug)]
pub(super) struct Empty;

impl StoredIndex for Empty {
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
