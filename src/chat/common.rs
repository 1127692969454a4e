//! The state that all shards of the chat share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::error::ChatError;
use super::hasher::Hasher;
use super::id_source::IdSource;
use super::settings::{ChannelKind, ChatSettings};
use super::stats::Totals;
use super::stored_index::StoredIndex;
use crate::base::Epoch;

/// The state that all shards of the chat share.
pub(super) struct Common {
    pub(super) settings: ChatSettings,
    pub(super) totals: Totals,
    pub(super) ids: IdSource,
    pub(super) hasher: Hasher,
    pub(super) stored: Arc<dyn StoredIndex>,
    /// Calls of [`Chat::forget_channel`](super::Chat::forget_channel), each counted under the lock
    /// of its channel's shard: a reader under that lock sees both the count and the channel's new
    /// epoch, or neither.
    pub(super) forgets: AtomicU64,
}

/// Whether a new channel counts against `channels_max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    /// The channel is refused when the table is full.
    Checked,
    /// The channel was let in before, or is on disk. Each thread can go over the bound by the
    /// channels of one login at the most.
    Reserved,
}

impl Common {
    /// Counts a new channel.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`].
    pub(super) fn count_channel(&self, capacity: Capacity) -> Result<(), ChatError> {
        let max = self.settings.channels_max;
        if capacity == Capacity::Reserved {
            self.totals.channels.add(1);
        } else if !self.totals.channels.add_below(max) {
            self.totals.refused_full.add(1);
            return Err(ChatError::ChannelsFull(max));
        }
        Ok(())
    }

    /// Makes the epoch of a channel that begins. A stored channel has the same epoch after a
    /// restart as long as it has no message; one that was forgotten never gets an earlier epoch
    /// again.
    pub(super) fn epoch_of(&self, channel: &str) -> Epoch {
        match self.settings.kind_of(channel) {
            // Messages may be stored already and not delivered yet: those have an epoch.
            ChannelKind::Stored => (self.stored.epoch(channel))
                .unwrap_or_else(|| self.hasher.epoch(channel, self.stored.forgotten())),
            ChannelKind::Memory | ChannelKind::None => self.ids.epoch(),
        }
    }
}
