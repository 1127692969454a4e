//! Bringing back what the disk knows, and forgetting what it forgot.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::chat::Chat;
use super::common::{Capacity, Moment};
use super::name::{EVERYONE, User, check_room, check_uid};
use super::settings::ChannelKind;
use super::shards::lock;
use super::sink::Sink;
use crate::base::Position;
use crate::base::Tick;

/// One thing that the disk knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restored<'a> {
    /// A channel, with its newest message.
    Channel(&'a str, Position),
    /// A user has everything of a channel up to an offset.
    Ack {
        /// The channel, which was restored before.
        channel: &'a str,
        /// The user.
        uid: &'a str,
        /// Up to where.
        offset: u64,
    },
    /// A lasting membership.
    Member {
        /// The room.
        room: &'a str,
        /// The user.
        uid: &'a str,
    },
}

impl Chat {
    /// Brings back one thing, before anybody comes. What isn't stored by the settings of now is
    /// passed over, and so are names that can't be any. The bounds of tables aren't asked: it had
    /// been let in.
    pub fn restore(&self, known: Restored<'_>) {
        match known {
            Restored::Channel(channel, newest) => self.restore_channel(channel, newest),
            Restored::Ack {
                channel,
                uid,
                offset,
            } => {
                let user = User::new(uid);
                let _ = self.with_log(channel, |_, log| log.ack(&user, offset, usize::MAX));
            }
            Restored::Member { room, uid } => self.restore_member(room, uid),
        }
    }

    fn restore_channel(&self, channel: &str, newest: Position) {
        let (common, now) = (&self.common, Tick(0));
        if common.settings.kind_of(channel) != ChannelKind::Stored {
            return;
        }
        if channel == EVERYONE {
            lock(&self.everyone).log.restore(newest, &common.totals);
        } else if let Some(uid) = channel.strip_prefix('@') {
            let mut inboxes = self.inboxes.lock(uid);
            if check_uid("uid", uid).is_ok()
                && inboxes.ensure(common, now, uid, Capacity::Promised).is_ok()
                && let Some((_, line)) = inboxes.find(uid)
            {
                line.log.restore(newest, &common.totals);
                inboxes.settle(common, now, uid);
            }
        } else {
            let mut rooms = self.rooms.lock(channel);
            if check_room("room", channel).is_ok()
                && rooms
                    .ensure(common, now, channel, Capacity::Promised)
                    .is_ok()
                && let Some((_, room)) = rooms.find(channel)
            {
                room.log.restore(newest, &common.totals);
                rooms.settle(common, now, channel);
            }
        }
    }

    fn restore_member(&self, room: &str, uid: &str) {
        if check_room("room", room).is_err() || check_uid("uid", uid).is_err() {
            return;
        }
        let (common, now) = (&self.common, Tick(0));
        let inboxes = &mut *self.inboxes.lock(uid);
        let user = match inboxes.find(uid) {
            Some((user, _)) => user.clone(),
            None => User::new(uid),
        };
        let mut rooms = self.rooms.lock(room);
        rooms
            .ensure(common, now, room, Capacity::Promised)
            .expect("what was promised asks for no bound");
        rooms.set_lasting(common, now, room, &user, true);
        let name = rooms
            .find(room)
            .map_or_else(|| room.into(), |(name, _)| Arc::clone(name));
        common.totals.lasting.add(1);
        inboxes.lasting.entry(user).or_default().push(name);
    }

    /// The disk has forgotten a channel: it goes away, or begins anew for those who came meanwhile,
    /// who are told by a gap.
    pub fn forget_channel(&self, post: &mut dyn Sink, now: Moment, channel: &str) {
        let (common, tick) = (&self.common, now.tick);
        if channel == EVERYONE {
            let epoch = common.epoch_of(channel);
            let mut everyone = lock(&self.everyone);
            everyone.log.purge(epoch, &common.totals);
            common.forgets.fetch_add(1, Relaxed);
        } else if let Some(uid) = channel.strip_prefix('@') {
            let mut inboxes = self.inboxes.lock(uid);
            inboxes.forget(common, post, tick, uid);
            common.forgets.fetch_add(1, Relaxed);
        } else {
            let mut rooms = self.rooms.lock(channel);
            rooms.forget(common, post, tick, channel);
            common.forgets.fetch_add(1, Relaxed);
        }
    }
}
