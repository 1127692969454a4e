//! The state that all shards of the chat share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::binding_queue::BindingQueue;
use super::bindings::BindingKey;
use super::cluster_state::ClusterState;
use super::error::ChatError;
use super::hasher::Hasher;
use super::id_source::IdSource;
use super::live_settings::LiveChatSettings;
use super::name::User;
use super::openers::{OpenRefusal, OpenedKind, Openers};
use super::settings::ChannelKind;
use super::stats::Totals;
use super::stored_index::StoredIndex;
use crate::base::Epoch;

/// The state that all shards of the chat share.
pub(super) struct Common {
    pub(super) settings: LiveChatSettings,
    pub(super) totals: Totals,
    pub(super) ids: IdSource,
    pub(super) hasher: Hasher,
    pub(super) stored: Arc<dyn StoredIndex>,
    pub(super) openers: Openers,
    /// Calls of [`Chat::forget_channel`](super::Chat::forget_channel), each counted under the lock
    /// of its channel's shard: a reader under that lock sees both the count and the channel's new
    /// epoch, or neither.
    pub(super) forgets: AtomicU64,
    /// Where changes of bindings are noted, one for each store that they are written to.
    pub(super) bindings: Vec<Arc<BindingQueue>>,
    /// What the node of a cluster knows beside; `None` for a server by itself.
    pub(super) cluster: Option<ClusterState>,
}

/// One of so many channels is kept free for back ends: users, however many they are together, can't
/// keep them from opening rooms.
const ONE_FOR_BACK_ENDS_IN: usize = 10;

/// Against which bound a new channel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity<'a> {
    /// A back end opens the channel: it is refused when the table is full.
    BackEnd,
    /// A user opens the channel: it is refused when the user's share is used up too. The line of
    /// another user, who never came, counts apart.
    User(&'a User),
    /// The channel was let in before, is on disk, or is the own line of a user who logs in. Each
    /// thread can go over the bound by these.
    Reserved,
}

impl Common {
    /// Whether the chat is that of a node of a cluster.
    #[inline]
    pub(super) fn in_cluster(&self) -> bool {
        self.cluster.is_some()
    }

    /// Says that channels aren't here, unless there is no room for them.
    pub(super) fn not_attached(&self, names: Vec<Box<str>>) -> ChatError {
        let rooms = names.iter().filter(|name| !name.starts_with('@'));
        match self.room_for(rooms.count()) {
            Ok(()) => ChatError::NotAttached(names.into()),
            Err(full) => full,
        }
    }

    /// Whether the node may hear so many channels more.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`].
    pub(super) fn room_for(&self, more: usize) -> Result<(), ChatError> {
        let max = self.settings.channels_max();
        if more > 0 && self.totals.channels.now() + more > max {
            self.totals.refused_full.add(1);
            return Err(ChatError::ChannelsFull(max));
        }
        Ok(())
    }

    /// Notes that a row of the bindings has changed, under the lock under which it did.
    #[inline]
    pub(super) fn note(&self, row: impl FnOnce() -> BindingKey) {
        if let Some((last, others)) = self.bindings.split_last() {
            let row = row();
            others.iter().for_each(|queue| queue.note(row.clone()));
            last.note(row);
        }
    }

    /// Notes in a cluster that other connections hear a channel than before, under the lock under which
    /// that changed.
    #[inline]
    pub(super) fn note_heard(&self, channel: &Arc<str>) {
        if self.in_cluster() {
            self.note(|| BindingKey::Heard(Arc::clone(channel)));
        }
    }

    /// Counts a new channel.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`], [`ChatError::ChannelsOfUser`], [`ChatError::LinesFull`].
    pub(super) fn count_channel(
        &self,
        channel: &Arc<str>,
        capacity: Capacity<'_>,
    ) -> Result<(), ChatError> {
        let max = self.settings.channels_max();
        let max = match capacity {
            Capacity::Reserved => {
                self.totals.channels.add(1);
                return Ok(());
            }
            Capacity::BackEnd => max,
            Capacity::User(opener) => {
                self.open(opener, channel)?;
                if OpenedKind::of(channel) == OpenedKind::Line {
                    self.totals.unclaimed_lines.add(1);
                    return Ok(());
                }
                max - max / ONE_FOR_BACK_ENDS_IN
            }
        };
        if !self.totals.channels.add_below(max) {
            self.openers.remove(channel);
            self.totals.refused_full.add(1);
            return Err(ChatError::ChannelsFull(max));
        }
        Ok(())
    }

    fn open(&self, opener: &User, channel: &Arc<str>) -> Result<(), ChatError> {
        let share_max = self.settings.channels_per_user_max();
        let lines_max = self.settings.unclaimed_lines_max();
        let opened = self.openers.open(opener, channel, share_max, lines_max);
        opened.map_err(|refusal| match refusal {
            OpenRefusal::Share => {
                self.totals.refused_share.add(1);
                ChatError::ChannelsOfUser(share_max)
            }
            OpenRefusal::Lines => {
                self.totals.refused_full.add(1);
                ChatError::LinesFull(lines_max)
            }
        })
    }

    /// Brings back who opened a channel that is there.
    pub(super) fn restore_opener(&self, opener: &User, channel: &Arc<str>) {
        self.openers.restore(opener, channel);
        if OpenedKind::of(channel) == OpenedKind::Line {
            self.totals.channels.subtract(1);
            self.totals.unclaimed_lines.add(1);
        }
    }

    /// Counts a channel that was let in before, and who opened it is known.
    pub(super) fn count_again(&self, channel: &str, has_opener: bool) {
        match (has_opener, OpenedKind::of(channel)) {
            (true, OpenedKind::Line) => self.totals.unclaimed_lines.add(1),
            _ => self.totals.channels.add(1),
        }
    }

    /// Counts a line, which another user opened, as its own user's from now on.
    pub(super) fn claim_line(&self, line: &str) {
        if self.openers.remove(line).is_some() {
            self.totals.unclaimed_lines.subtract(1);
            self.totals.channels.add(1);
        }
    }

    /// Counts a channel no more, which is gone.
    pub(super) fn uncount_channel(&self, channel: &str) {
        match self.openers.remove(channel) {
            Some(OpenedKind::Line) => self.totals.unclaimed_lines.subtract(1),
            Some(OpenedKind::Room) | None => self.totals.channels.subtract(1),
        }
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
