//! Bringing back what the disk knows, and forgetting what it forgot.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Chat;
use super::moment::Moment;
use super::name::{EVERYONE, User, check_room, check_uid};
use super::settings::ChannelKind;
use super::sink::Sink;
use crate::base::sync::lock;
use crate::base::{Position, Tick};

/// One fact that the disk knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored<'a> {
    /// A channel, with its newest message.
    Channel(&'a str, Position),
    /// A user has everything of a channel up to an offset.
    Ack {
        /// The channel, which was restored before.
        channel: &'a str,
        /// The id of the user.
        uid: &'a str,
        /// The newest offset that the user has acknowledged.
        offset: u64,
    },
    /// A channel counts for the user who opened it.
    Opener {
        /// The channel, which was restored before.
        channel: &'a str,
        /// The user.
        uid: &'a str,
    },
    /// A lasting membership.
    Member {
        /// The name of the room.
        room: &'a str,
        /// The id of the member.
        uid: &'a str,
    },
}

impl Chat {
    /// Brings back one fact, before the first connection. Channels that the present settings don't
    /// store are passed over, and so are invalid names. The bounds of tables aren't checked, since
    /// the fact was let in before.
    pub fn restore(&self, known: Restored<'_>) {
        match known {
            Restored::Channel(channel, newest) => self.restore_channel(channel, newest),
            Restored::Ack {
                channel,
                uid,
                offset,
            } => {
                let user = User::new(uid);
                let _ = self.with_log(channel, |_, log| {
                    let offset = offset.min(log.position().offset);
                    log.ack(&user, offset, usize::MAX)
                });
            }
            Restored::Opener { channel, uid } => self.restore_opener(channel, uid),
            Restored::Member { room, uid } => self.restore_member(room, uid),
        }
    }

    fn restore_channel(&self, channel: &str, newest: Position) {
        let (common, scope) = (&self.common, self.scope(Tick(0)));
        if common.settings.kind_of(channel) != ChannelKind::Stored {
            return;
        }
        if channel == EVERYONE {
            lock(&self.everyone).log.restore(newest, &common.totals);
        } else if let Some(uid) = channel.strip_prefix('@') {
            if check_uid("uid", uid).is_ok() {
                let channels = &mut self.inboxes.lock(uid).channels;
                channels.restore(scope, uid, newest);
            }
        } else if check_room("room", channel).is_ok() {
            let channels = &mut self.rooms.lock(channel).channels;
            channels.restore(scope, channel, newest);
        }
    }

    fn restore_opener(&self, channel: &str, uid: &str) {
        let (scope, opener) = (self.scope(Tick(0)), User::new(uid));
        if let Some(owner) = channel.strip_prefix('@') {
            let channels = &mut self.inboxes.lock(owner).channels;
            channels.restore_opener(scope, owner, &opener);
        } else {
            let channels = &mut self.rooms.lock(channel).channels;
            channels.restore_opener(scope, channel, &opener);
        }
    }

    fn restore_member(&self, room: &str, uid: &str) {
        if check_room("room", room).is_err() || check_uid("uid", uid).is_err() {
            return;
        }
        let scope = self.scope(Tick(0));
        let inboxes = &mut *self.inboxes.lock(uid);
        let user = inboxes.channels.key(uid);
        let mut rooms = self.rooms.lock(room);
        let (name, _) = rooms.channels.find_or_create(scope, room);
        let name = Arc::clone(name);
        rooms.set_lasting(scope, room, &user, true);
        self.common.totals.lasting.add(1);
        inboxes.lasting.entry(user).or_default().push(name);
    }

    /// Removes a channel that the disk has forgotten. A channel that has got an audience meanwhile
    /// is reset, and a gap tells that.
    pub fn forget_channel(&self, sink: &mut dyn Sink, now: Moment, channel: &str) {
        let (common, call) = (&self.common, &mut self.call(sink, now.tick));
        if channel == EVERYONE {
            let mut everyone = lock(&self.everyone);
            let epoch = common.epoch_of(channel);
            everyone.log.purge(epoch, &common.totals);
            common.forgets.fetch_add(1, Relaxed);
        } else if let Some(uid) = channel.strip_prefix('@') {
            let mut inboxes = self.inboxes.lock(uid);
            inboxes.channels.forget(call, uid);
            common.forgets.fetch_add(1, Relaxed);
        } else {
            let mut rooms = self.rooms.lock(channel);
            rooms.channels.forget(call, channel);
            common.forgets.fetch_add(1, Relaxed);
        }
    }
}
