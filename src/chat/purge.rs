//! Purging a room: its log is reset, under another epoch.

use super::Chat;
use super::error::ChatError;
use super::name::check_room;
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
    /// Resets the log of a room, under another epoch; those who hear it are told by a gap. Where
    /// the room is stored, nothing changes yet: the answer is the epoch that is to be written
    /// before [`Chat::purged`] is called.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoRoom`], [`ChatError::NotKept`].
    pub fn purge(&self, sink: &mut dyn Sink, room: &str) -> Result<PurgeOutcome, ChatError> {
        check_room("room", room)?;
        let epoch = self.common.ids.epoch();
        let channels = &mut self.rooms.lock(room).channels;
        let purged = match self.common.settings.kind_of(room) {
            ChannelKind::None => return Err(ChatError::NotKept),
            ChannelKind::Memory => channels
                .purge((&self.common, sink), room, epoch)
                .map(PurgeOutcome::Done),
            ChannelKind::Stored => channels.find(room).map(|_| PurgeOutcome::Stored(epoch)),
        };
        purged.ok_or_else(|| ChatError::NoRoom(room.into()))
    }

    /// Resets the log of a room that the disk has reset; returns the position at which the log
    /// begins.
    pub fn purged(&self, sink: &mut dyn Sink, room: &str, epoch: Epoch) -> Position {
        let channels = &mut self.rooms.lock(room).channels;
        let purged = channels.purge((&self.common, sink), room, epoch);
        purged.unwrap_or(Position { epoch, offset: 0 })
    }
}
