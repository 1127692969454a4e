//! The chat of a node of a cluster: which channels this node hears, as the log that all nodes share has
//! them.
//!
//! Invariant: a channel is in the memory of the chat if and only if the node hears it, or its route is
//! written. So there is no channel that misses what others say: one that isn't here is
//! [`ChatError::NotAttached`], and whoever needs it has it attached first.

use std::sync::{Arc, MutexGuard};

use super::Chat;
use super::call::{Call, Scope};
use super::channels::{Audience, ChannelKey, Channels};
use super::cluster_state::{ClusterState, change_member};
use super::error::ChatError;
use super::hasher::Hasher;
use super::inboxes::InboxShard;
use super::login::Login;
use super::moment::Moment;
use super::name::{EVERYONE, check_room, check_uid};
use super::pending::PendingMessage;
use super::settings::ChannelKind;
use super::sink::Sink;
use crate::base::sync::lock;
use crate::base::{Epoch, HashKeys, Position, Tick};

/// What became of a channel that the node hears in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// The channel is here.
    Here,
    /// The channel is here, and messages behind its position were sent to this node already: they have to
    /// be read from the log.
    Behind,
    /// The channel left this node just now, and its route goes: it has to be attached once more.
    Leaving,
}

impl Chat {
    /// Whether the chat is that of a node of a cluster.
    #[must_use]
    pub fn is_in_cluster(&self) -> bool {
        self.common.in_cluster()
    }

    /// Has hashes made by these keys from now on: those of the cluster.
    pub fn hash_by(&mut self, keys: HashKeys) {
        self.common.hasher = Hasher::new(keys);
    }

    /// Returns what the shared log keeps of a message in a channel.
    #[must_use]
    pub fn kind_in_log(&self, pending: &PendingMessage, channel: &str) -> ChannelKind {
        match &self.common.cluster {
            None => ChannelKind::Stored,
            Some(_) if !pending.is_kept => ChannelKind::None,
            Some(cluster) => cluster.kind_of(channel),
        }
    }

    /// Returns what the shared log keeps of a channel.
    #[must_use]
    pub fn kind_of_shared(&self, channel: &str) -> ChannelKind {
        match &self.common.cluster {
            None => self.common.settings.kind_of(channel),
            Some(cluster) => cluster.kind_of(channel),
        }
    }

    /// Makes the epoch of a channel that begins with what is sent to the shared log now.
    #[must_use]
    pub fn new_epoch(&self) -> Epoch {
        self.common.ids.epoch()
    }

    /// Judges a login, and returns the channels that this node has to attach for it: the user's line,
    /// also if it is here, and the rooms that aren't. `None` where the connection belongs to the user
    /// already and everything is here.
    ///
    /// # Errors
    ///
    /// [`ChatError`], as [`Chat::login`].
    pub fn login_channels(&self, login: &Login<'_>) -> Result<Option<Vec<Box<str>>>, ChatError> {
        let renews = self.check_login_of(login)?;
        let mut missing: Vec<Box<str>> = Vec::new();
        for room in login.rooms {
            let is_here = self.rooms.lock(room).channels.find(room).is_some();
            if !is_here && !missing.iter().any(|known| **known == **room) {
                missing.push((*room).into());
            }
        }
        self.common.room_for(missing.len())?;
        if renews && missing.is_empty() {
            return Ok(None);
        }
        missing.push(format!("@{}", login.uid).into());
        Ok(Some(missing))
    }

    /// Takes a channel into memory that this node hears from now on, with the newest position that it had
    /// when that began, and the newest offset that isn't kept any more. One that is here stays as it is.
    pub fn attach(&self, now: Tick, channel: &str, newest: Position, floor: u64) -> Attached {
        let scope = self.scope(now);
        if channel == EVERYONE {
            let mut everyone = lock(&self.everyone);
            // Who hears it already is told of another epoch by a gap.
            if everyone.log.position().offset == 0 && everyone.connections == 0 {
                everyone.log.attach(newest, floor, &self.common.totals);
            }
            return Attached::Here;
        }
        match channel.strip_prefix('@') {
            Some(uid) if check_uid("uid", uid).is_ok() => {
                let inboxes = &mut self.inboxes.lock(uid).channels;
                inboxes.attach(scope, uid, newest, floor)
            }
            None if check_room("room", channel).is_ok() => {
                let rooms = &mut self.rooms.lock(channel).channels;
                rooms.attach(scope, channel, newest, floor)
            }
            _ => Attached::Here,
        }
    }

    /// Notes that the route of a channel which left memory is gone, or can't be waited for.
    pub fn detached(&self, channel: &str) {
        if let Some(cluster) = &self.common.cluster {
            cluster.detached(channel);
        }
    }

    /// Counts the changes of lasting memberships that came to this node so far: what a login that is asked
    /// for from now on says of them may be older than those that come from now on.
    #[must_use]
    pub fn members_heard(&self) -> u64 {
        let cluster = self.common.cluster.as_ref();
        cluster.map_or(0, ClusterState::members_heard)
    }

    /// Puts the lasting memberships of a user who is here into place, as the shared log had them at a login
    /// that was asked for when [`Chat::members_heard`] was `heard`: the user's connections enter and leave
    /// rooms by it.
    ///
    /// # Errors
    ///
    /// [`ChatError::NotAttached`]: a connection has to enter a room that isn't here.
    pub fn set_lasting_rooms(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        uid: &str,
        rooms: &[Box<str>],
        heard: u64,
    ) -> Result<(), ChatError> {
        let Some(cluster) = &self.common.cluster else {
            return Ok(());
        };
        let inboxes = self.inboxes.lock(uid);
        let mut rooms: Vec<Arc<str>> = rooms.iter().map(|room| Arc::from(&**room)).collect();
        cluster.follow_members(uid, heard, &mut rooms);
        self.put_lasting(&mut self.call(sink, now.tick), inboxes, uid, rooms)
    }

    /// Follows a lasting membership that began or ended: the connections of the user that are here enter
    /// the room, or leave it.
    ///
    /// # Errors
    ///
    /// [`ChatError::NotAttached`]: they have to enter a room that isn't here. To be called again.
    pub fn hear_member(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        (room, uid): (&str, &str),
        lasting: bool,
    ) -> Result<(), ChatError> {
        check_room("room", room)?;
        check_uid("uid", uid)?;
        let Some(cluster) = &self.common.cluster else {
            return Ok(());
        };
        let inboxes = self.inboxes.lock(uid);
        cluster.note_member(uid, room, lasting);
        let mut rooms = inboxes.lasting.get(uid).cloned().unwrap_or_default();
        change_member(&mut rooms, room, lasting);
        self.put_lasting(&mut self.call(sink, now.tick), inboxes, uid, rooms)
    }

    /// Replaces the lasting memberships of a user, and has the user's connections follow.
    fn put_lasting(
        &self,
        call: &mut Call<'_>,
        mut inboxes: MutexGuard<'_, InboxShard>,
        uid: &str,
        rooms: Vec<Arc<str>>,
    ) -> Result<(), ChatError> {
        let Some((user, _)) = inboxes.channels.find(uid) else {
            // Whoever logs in here gets them with the login.
            return Ok(());
        };
        let user = user.clone();
        let before = inboxes.lasting.remove(uid).unwrap_or_default();
        let totals = &self.common.totals;
        totals.lasting.add(rooms.len());
        totals.lasting.subtract(before.len());
        let ended = before.into_iter().filter(|room| !rooms.contains(room));
        // Those that were there before, too: a connection may not have been able to enter.
        let changed: Vec<Arc<str>> = ended.chain(rooms.iter().cloned()).collect();
        if !rooms.is_empty() {
            inboxes.lasting.insert(user, rooms);
        }
        let fds = inboxes.fds_of(uid);
        drop(inboxes);
        let mut missing = Vec::new();
        for room in changed {
            let mut fds = fds.iter();
            if !fds.all(|fd| self.follow_lasting(call, *fd, &room, uid)) {
                missing.push(Box::from(&*room));
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(self.common.not_attached(missing)),
        }
    }
}

impl<K: ChannelKey, A: Audience> Channels<K, A> {
    /// Takes a channel into memory that the node hears from now on; it goes again unless somebody comes.
    fn attach(&mut self, scope: Scope<'_>, name: &str, newest: Position, floor: u64) -> Attached {
        let Some(cluster) = &scope.common.cluster else {
            return Attached::Here;
        };
        if let Some((key, _)) = self.find(name) {
            // Its route was made anew, and its count begins at 0.
            scope.common.note_heard(key.channel());
            return Attached::Here;
        }
        let key = K::new(name);
        if cluster.is_detaching(key.channel()) {
            return Attached::Leaving;
        }
        let is_behind = cluster.is_behind(key.channel(), newest);
        self.insert_attached(scope, key, newest, floor);
        match is_behind {
            true => Attached::Behind,
            false => Attached::Here,
        }
    }

    /// Takes a channel out of memory that nobody hears, and has its route go.
    pub(super) fn detach(&mut self, call: &mut Call<'_>, name: &str) {
        let common = call.scope.common;
        let Some(cluster) = &common.cluster else {
            return;
        };
        if let Some((_, channel)) = self.find(name) {
            let epoch = channel.log.position().epoch;
            channel.log.purge(epoch, &common.totals);
        }
        if let Some(key) = self.by_name.remove(name) {
            A::gauge(&common.totals).subtract(1);
            common.uncount_channel(key.channel());
            cluster.detach(key.channel());
            // Under the lock: whoever attaches it again comes behind this.
            call.sink.forget(key.channel());
        }
    }
}
