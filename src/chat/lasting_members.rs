//! Lasting memberships: the back end puts a user into a room, connected or not.

use std::sync::Arc;

use super::Chat;
use super::call::{Call, Scope};
use super::common::Capacity;
use super::error::ChatError;
use super::moment::Moment;
use super::name::{check_room, check_uid};
use super::sink::Sink;
use crate::base::Fd;

impl Chat {
    /// Judges whether a lasting membership may begin, or end, before the change is written to disk.
    ///
    /// # Errors
    ///
    /// [`ChatError`], as [`Chat::add_member`] and [`Chat::remove_member`] have them.
    pub fn check_member(&self, room: &str, uid: &str, lasting: bool) -> Result<(), ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let inboxes = self.inboxes.lock(uid);
        let own = inboxes.lasting.get(uid).map_or(&[][..], |own| own);
        let max = self.common.settings.lasting_max();
        if lasting && self.is_new_member(own, room)? && self.common.totals.lasting.now() >= max {
            return Err(ChatError::LastingFull(max));
        }
        Ok(())
    }

    /// Makes a user a lasting member of a room: all connections of the user join now, and later
    /// ones at login. Returns `false` if the user was a lasting member already.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn add_member(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        room: &str,
        uid: &str,
    ) -> Result<bool, ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let call = &mut self.call(sink, now.tick);
        let (added, fds) = self.record_member(call.scope, room, uid)?;
        for fd in fds {
            self.follow_lasting(call, fd, room, uid);
        }
        Ok(added)
    }

    /// Ends a lasting membership: all connections of the user leave. Returns `false` if there was
    /// no such membership.
    ///
    /// # Errors
    ///
    /// [`ChatError::Name`].
    pub fn remove_member(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        room: &str,
        uid: &str,
    ) -> Result<bool, ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let call = &mut self.call(sink, now.tick);
        let mut inboxes = self.inboxes.lock(uid);
        let Some((user, mut names)) = inboxes.lasting.remove_entry(uid) else {
            return Ok(false);
        };
        let before = names.len();
        names.retain(|own| **own != *room);
        let removed = names.len() < before;
        if removed {
            self.common.totals.lasting.subtract(1);
            let mut rooms = self.rooms.lock(room);
            rooms.set_lasting(call.scope, room, &user, false);
        }
        if !names.is_empty() {
            inboxes.lasting.insert(user, names);
        }
        let fds = inboxes.fds_of(uid);
        drop(inboxes);
        if removed {
            for fd in fds {
                self.follow_lasting(call, fd, room, uid);
            }
        }
        Ok(removed)
    }

    /// Records a lasting membership, at the user and in the room at once; gives whether it is new,
    /// and the user's connections.
    fn record_member(
        &self,
        scope: Scope<'_>,
        room: &str,
        uid: &str,
    ) -> Result<(bool, Vec<Fd>), ChatError> {
        let (common, settings) = (&self.common, &self.common.settings);
        let inboxes = &mut *self.inboxes.lock(uid);
        let (user, fds) = (inboxes.channels.key(uid), inboxes.fds_of(uid));
        let own = inboxes.lasting.get(&user).map_or(&[][..], |own| own);
        if !self.is_new_member(own, room)? {
            return Ok((false, fds));
        } else if !common.totals.lasting.add_below(settings.lasting_max()) {
            common.totals.refused_full.add(1);
            return Err(ChatError::LastingFull(settings.lasting_max()));
        }
        let mut rooms = self.rooms.lock(room);
        if let Err(error) = (rooms.channels).ensure(scope, room, Capacity::BackEnd) {
            common.totals.lasting.subtract(1);
            return Err(error);
        }
        rooms.set_lasting(scope, room, &user, true);
        let name = rooms.channels.key(room);
        inboxes.lasting.entry(user).or_default().push(name);
        Ok((true, fds))
    }

    /// Whether `room` isn't among a user's `own` lasting memberships yet; fails if there is no
    /// place for one more.
    fn is_new_member(&self, own: &[Arc<str>], room: &str) -> Result<bool, ChatError> {
        if own.iter().any(|own| **own == *room) {
            Ok(false)
        } else if own.len() >= self.common.settings.lasting_rooms_per_user_max() {
            Err(ChatError::RoomsOfUser(own.len()))
        } else {
            Ok(true)
        }
    }

    /// Brings one connection into a room or out of the room, as the user's lasting memberships are
    /// at this moment: another thread may have changed them again. `false` if it should enter, and the
    /// room isn't there.
    pub(super) fn follow_lasting(
        &self,
        call: &mut Call<'_>,
        fd: Fd,
        room: &str,
        uid: &str,
    ) -> bool {
        let mut shard = self.connections.lock_number(fd.0);
        let Ok(own) = shard.login_of(fd) else {
            return true;
        };
        if own.user.uid() != uid {
            return true;
        }
        if self
            .lasting_of(&own.user)
            .iter()
            .any(|lasting| **lasting == *room)
        {
            return self.enter_lasting(call, fd, own, room);
        }
        self.leave_room(call, fd, own, room);
        true
    }
}
