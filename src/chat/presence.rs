//! Who comes and goes in the rooms of a cluster, as its nodes are told: a user comes with the first
//! connection on any node, and leaves with the last one.
//!
//! That is decided where the rows of all nodes stand, so the rooms here are told what is heard, and not
//! what happens here.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Chat;
use super::channels::Audience as _;
use super::name::User;
use super::notice::Notice;
use super::sink::{Sink, Welcome};

/// What was heard of the rooms of one shard.
#[derive(Debug, Default)]
pub(super) struct HeardPresence(HashMap<Arc<str>, HeardRoom, RandomState>);

/// A room, as far as its node has heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HeardRoom {
    /// Users in the room, on all nodes.
    users: usize,
    /// Whether the room was told that it isn't told any more who comes and goes.
    pub(super) is_quiet: bool,
}

/// Whether a room is to be told again who comes and goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuietRoom {
    /// It was told whatever there is to tell.
    Told,
    /// It is to be told who is there, by [`Chat::tell_who_is_there`].
    Ends,
}

impl HeardPresence {
    pub(super) fn note(&mut self, room: &Arc<str>, users: usize) -> &mut HeardRoom {
        let heard = self.0.entry(Arc::clone(room)).or_default();
        heard.users = users;
        heard
    }

    /// Forgets a room that isn't here any more.
    pub(super) fn forget(&mut self, room: &str) {
        self.0.remove(room);
    }

    /// Puts what was heard of a room into the answer to a user who joins it.
    pub(super) fn add_to(&self, welcome: &mut Welcome, is_present: bool, users_max: usize) {
        let Some(heard) = self.0.get(&*welcome.channel) else {
            return;
        };
        let users = heard.users + usize::from(!is_present);
        welcome.members = welcome.members.map(|own| own.max(users));
        welcome.is_quiet |= heard.is_quiet || users > users_max;
    }
}

impl Chat {
    /// Tells a room that the first connection of a user anywhere came into it, where so many users are
    /// now; nobody but the user's own connections is left out.
    pub fn hear_joined(&self, sink: &mut dyn Sink, room: &str, uid: &str, users: usize) {
        let mut rooms = self.rooms.lock(room);
        rooms.hear_joined((&self.common, sink), room, uid, users);
    }

    /// Tells a room that the last connection of a user left it, where so many users are left.
    pub fn hear_left(&self, sink: &mut dyn Sink, room: &str, uid: &str, users: usize) -> QuietRoom {
        let mut rooms = self.rooms.lock(room);
        rooms.hear_left((&self.common, sink), room, uid, users)
    }

    /// Tells a room that it is told again who comes and goes, and who is there.
    pub fn tell_who_is_there(
        &self,
        sink: &mut dyn Sink,
        room: &str,
        users: &[User],
        users_total: usize,
    ) {
        let mut rooms = self.rooms.lock(room);
        if let Some((name, found)) = rooms.channels.find(room)
            && found.audience.connections() > 0
        {
            let on = Notice::PresenceOn {
                room: name,
                users,
                users_total,
            };
            sink.publish(name, &on);
        }
    }
}
