//! Lasting memberships: the back end puts a user into a room, connected or not.

use std::sync::Arc;

use super::chat::Chat;
use super::common::{Capacity, Moment};
use super::error::ChatError;
use super::name::{User, check_room, check_uid};
use super::sink::Sink;
use crate::base::Fd;

impl Chat {
    /// Judges whether a lasting membership may begin, or end, before it is written anywhere.
    ///
    /// # Errors
    ///
    /// [`ChatError`], as [`Chat::add_member`] and [`Chat::remove_member`] have them.
    pub fn check_member(&self, room: &str, uid: &str, lasting: bool) -> Result<(), ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let settings = &self.common.settings;
        let inboxes = self.inboxes.lock(uid);
        let own = inboxes.lasting.get(uid).map_or(&[][..], |own| own);
        if !lasting || own.iter().any(|own| **own == *room) {
            return Ok(());
        }
        if own.len() >= settings.lasting_rooms_per_user_max {
            return Err(ChatError::RoomsOfUser(own.len()));
        } else if self.common.totals.lasting.now() >= settings.lasting_max {
            return Err(ChatError::LastingFull(settings.lasting_max));
        }
        Ok(())
    }

    /// Makes a user a lasting member of a room: all connections of the user join now, and later
    /// ones at login. `false`: it was so already.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn add_member(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        room: &str,
        uid: &str,
    ) -> Result<bool, ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let (added, fds) = self.note_member(now, room, uid)?;
        for fd in fds {
            self.follow_lasting(post, now, fd, room, uid);
        }
        Ok(added)
    }

    /// Ends a lasting membership: all connections of the user leave. `false`: there was none.
    ///
    /// # Errors
    ///
    /// [`ChatError::Name`].
    pub fn remove_member(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        room: &str,
        uid: &str,
    ) -> Result<bool, ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let (common, tick) = (&self.common, now.tick);
        let mut inboxes = self.inboxes.lock(uid);
        let Some((user, mut rooms)) = inboxes.lasting.remove_entry(uid) else {
            return Ok(false);
        };
        let before = rooms.len();
        rooms.retain(|own| **own != *room);
        let removed = rooms.len() < before;
        if removed {
            common.totals.lasting.subtract(1);
            let mut shard = self.rooms.lock(room);
            shard.set_lasting(common, tick, room, &user, false);
        }
        if !rooms.is_empty() {
            inboxes.lasting.insert(user, rooms);
        }
        let fds = inboxes
            .find(uid)
            .map_or(Vec::new(), |(_, line)| line.fds().to_vec());
        drop(inboxes);
        if removed {
            for fd in fds {
                self.follow_lasting(post, now, fd, room, uid);
            }
        }
        Ok(removed)
    }

    /// Writes down a lasting membership, in the user and in the room at once.
    fn note_member(
        &self,
        now: Moment,
        room: &str,
        uid: &str,
    ) -> Result<(bool, Vec<Fd>), ChatError> {
        let (common, settings) = (&self.common, &self.common.settings);
        let inboxes = &mut *self.inboxes.lock(uid);
        let (user, fds) = match inboxes.find(uid) {
            Some((user, line)) => (user.clone(), line.fds().to_vec()),
            None => (User::new(uid), Vec::new()),
        };
        let own = inboxes.lasting.get(&user).map_or(&[][..], |own| own);
        if own.iter().any(|own| **own == *room) {
            return Ok((false, fds));
        } else if own.len() >= settings.lasting_rooms_per_user_max {
            return Err(ChatError::RoomsOfUser(own.len()));
        } else if !common.totals.lasting.add_below(settings.lasting_max) {
            common.totals.refused_full.add(1);
            return Err(ChatError::LastingFull(settings.lasting_max));
        }
        let mut shard = self.rooms.lock(room);
        if let Err(error) = shard.ensure(common, now.tick, room, Capacity::Bounded) {
            common.totals.lasting.subtract(1);
            return Err(error);
        }
        shard.set_lasting(common, now.tick, room, &user, true);
        let name = shard
            .find(room)
            .map_or_else(|| room.into(), |(name, _)| Arc::clone(name));
        inboxes.lasting.entry(user).or_default().push(name);
        Ok((true, fds))
    }

    /// Brings one connection into a room or out of it, as the user's lasting membership is at this
    /// moment; another thread may have changed it again.
    fn follow_lasting(&self, post: &mut dyn Sink, now: Moment, fd: Fd, room: &str, uid: &str) {
        let mut shard = self.connections.lock_number(fd.0);
        let Ok(own) = shard.login_of(fd) else {
            return;
        };
        if own.user.uid() != uid {
            return;
        }
        if self
            .lasting_of(&own.user)
            .iter()
            .any(|lasting| **lasting == *room)
        {
            self.enter_lasting(post, now, fd, own, room);
        } else {
            self.leave_room(post, now, fd, own, room);
        }
    }
}
