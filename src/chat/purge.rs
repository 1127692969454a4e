//! Purging a room or a private line: its log is reset, under another epoch.

use super::Chat;
use super::channels::{Audience, ChannelKey, Channels};
use super::error::ChatError;
use super::name::{check_room, check_uid};
use super::settings::ChannelKind;
use super::sink::Sink;
use crate::base::{Epoch, Position};

/// The outcome of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// The purge is done, and the log begins at this position.
    Done(Position),
    /// The purge has to be stored first, with this epoch.
    Stored(Epoch),
}

impl Chat {
    /// Resets the log of a room, or of the private line `@uid` of a user, under another epoch; those
    /// who hear it are told by a gap. Where the channel is stored, nothing changes yet: the answer is
    /// the epoch that is to be written before [`Chat::purged`] is called.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoRoom`], [`ChatError::NoUser`], [`ChatError::NotKept`].
    pub fn purge(&self, sink: &mut dyn Sink, channel: &str) -> Result<PurgeOutcome, ChatError> {
        if self.common.in_cluster() {
            return self.purge_shared(channel);
        }
        let purged = match channel.strip_prefix('@') {
            Some(uid) => {
                check_uid("uid", uid)?;
                let channels = &mut self.inboxes.lock(uid).channels;
                self.purge_in(sink, channels, (channel, uid))?
            }
            None => {
                check_room("room", channel)?;
                let channels = &mut self.rooms.lock(channel).channels;
                self.purge_in(sink, channels, (channel, channel))?
            }
        };
        purged.ok_or_else(|| match channel.strip_prefix('@') {
            Some(uid) => ChatError::NoUser(uid.into()),
            None => ChatError::NoRoom(channel.into()),
        })
    }

    /// Leaves it to the log of a cluster, which tells all nodes: the channel may be on none of them.
    fn purge_shared(&self, channel: &str) -> Result<PurgeOutcome, ChatError> {
        match channel.strip_prefix('@') {
            Some(uid) => check_uid("uid", uid)?,
            None => check_room("room", channel)?,
        }
        match self.common.settings.kind_of(channel) {
            ChannelKind::None => Err(ChatError::NotKept),
            ChannelKind::Memory | ChannelKind::Stored => {
                Ok(PurgeOutcome::Stored(self.common.ids.epoch()))
            }
        }
    }

    fn purge_in<K: ChannelKey, A: Audience>(
        &self,
        sink: &mut dyn Sink,
        channels: &mut Channels<K, A>,
        (channel, name): (&str, &str),
    ) -> Result<Option<PurgeOutcome>, ChatError> {
        let epoch = self.common.ids.epoch();
        Ok(match self.common.settings.kind_of(channel) {
            ChannelKind::None => return Err(ChatError::NotKept),
            ChannelKind::Memory => channels
                .purge((&self.common, sink), name, epoch)
                .map(PurgeOutcome::Done),
            ChannelKind::Stored => channels.find(name).map(|_| PurgeOutcome::Stored(epoch)),
        })
    }

    /// Resets the log of a room or of a private line that the disk has reset; gives where it begins.
    pub fn purged(&self, sink: &mut dyn Sink, channel: &str, epoch: Epoch) -> Position {
        let common = &self.common;
        if common.in_cluster() {
            // The nodes are told in their turn, this one among them.
            return Position { epoch, offset: 0 };
        }
        let purged = match channel.strip_prefix('@') {
            Some(uid) => {
                let channels = &mut self.inboxes.lock(uid).channels;
                channels.purge((common, sink), uid, epoch)
            }
            None => {
                let channels = &mut self.rooms.lock(channel).channels;
                channels.purge((common, sink), channel, epoch)
            }
        };
        purged.unwrap_or(Position { epoch, offset: 0 })
    }
}
