//! Queries: history, presence, lists; and acknowledgements.

use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::Chat;
use super::channels::{Audience as _, LiveChannel};
use super::error::ChatError;
use super::history::{HistoryPage, HistoryRange};
use super::log::MessageLog;
use super::members::RoomMembers;
use super::moment::Moment;
use super::name::{EVERYONE, User, check_room, check_uid};
use super::rights::{Actor, Rights};
use super::settings::ChannelKind;
use crate::base::sync::lock;
use crate::base::{Fd, Position};

/// The place of the history that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HistorySource {
    /// The page was in memory.
    InMemory(History),
    /// The page is on disk, in this channel, which may be read up to this position: messages behind
    /// it are stored and not delivered yet.
    OnDisk(Arc<str>, Position),
}

/// A page of a channel's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The name of the channel.
    pub channel: Arc<str>,
    /// The messages that were found.
    pub page: HistoryPage,
}

/// The users in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The users in the order of their uids, `list_max` at the most; also those who left less than
    /// `left_ms` ago.
    pub users: Vec<User>,
    /// The number of users, also of those that `users` leaves out.
    pub users_total: usize,
    /// The number of connections in the room.
    pub connections: usize,
}

/// A description of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// The name of the room.
    pub name: Arc<str>,
    /// The newest message; `None` where nothing is kept.
    pub position: Option<Position>,
    /// Users with a connection in the room.
    pub users: usize,
    /// Connections in the room.
    pub connections: usize,
    /// Messages that are kept, in memory or on disk.
    pub messages: u64,
}

/// A member of a room, also a lasting one who is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    /// The user who is the member.
    pub user: User,
    /// Connections in this room; 0 is offline.
    pub connections: usize,
}

/// A description of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The user's id and inbox.
    pub user: User,
    /// The connections, the oldest first; none is offline.
    pub connections: Vec<Fd>,
    /// Rooms of all connections and lasting ones, by name.
    pub rooms: Vec<Arc<str>>,
}

/// A description of a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionView {
    /// The user of the connection; `None` before the login.
    pub user: Option<User>,
    /// The rooms that the connection is in.
    pub rooms: Vec<Arc<str>>,
}

impl Chat {
    /// Finds a part of what a channel keeps, or the place on disk where it is.
    ///
    /// # Errors
    ///
    /// [`ChatError`]: no right to this channel, no such channel, a limit out of bounds.
    pub fn history(
        &self,
        now: Moment,
        actor: Actor<'_>,
        channel: &str,
        range: HistoryRange,
    ) -> Result<HistorySource, ChatError> {
        let settings = &self.common.settings;
        if !(1..=settings.page_messages_max()).contains(&range.limit) {
            return Err(ChatError::Limit(settings.page_messages_max()));
        }
        self.may_read(actor, channel)?;
        let kind = settings.kind_of(channel);
        let is_kept = kind != ChannelKind::None;
        self.with_log(channel, |name, log| {
            if kind == ChannelKind::Stored {
                return Ok(HistorySource::OnDisk(Arc::clone(name), log.position()));
            }
            log.forget_old(self.scope(now.tick));
            let mut page = log.page(range, settings.page_bytes_max());
            page.position = page.position.filter(|_| is_kept);
            let channel = Arc::clone(name);
            Ok(HistorySource::InMemory(History { channel, page }))
        })
    }

    /// Records that a connection's user has everything up to `offset` of a channel; an older one
    /// changes nothing. Where the channel is stored, returns the user whose acknowledgement is to
    /// be stored.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn ack(&self, fd: Fd, channel: &str, offset: u64) -> Result<Option<User>, ChatError> {
        let user = self.may_read(Actor::Connection(fd), channel)?;
        let settings = &self.common.settings;
        let kind = settings.kind_of(channel);
        if kind == ChannelKind::None {
            return Err(ChatError::NotKept);
        }
        let user = user.ok_or(ChatError::NotLoggedIn)?;
        let acked = self.with_log(channel, |_, log| {
            log.ack(&user, offset, settings.acks_per_channel_max())
        });
        if matches!(acked, Err(ChatError::AcksFull(_))) {
            self.common.totals.refused_full.add(1);
        }
        acked.map(|()| (kind == ChannelKind::Stored).then_some(user))
    }

    /// Lists the users in a room; nobody if there is no such room.
    ///
    /// # Errors
    ///
    /// [`ChatError`]: a connection with a token has to be in the room.
    pub fn who(&self, actor: Actor<'_>, room: &str) -> Result<Who, ChatError> {
        check_room("room", room)?;
        match actor {
            Actor::Connection(fd) => {
                let mut shard = self.connections.lock_number(fd.0);
                let own = shard.login_of(fd)?;
                if matches!(*own.rights, Rights::Token { .. }) && !own.rooms.contains(room) {
                    return Err(ChatError::NotJoined(room.into()));
                }
            }
            Actor::Key(_) => {}
            Actor::User(_) => return Err(ChatError::NotLoggedIn),
        }
        let mut shard = self.rooms.lock(room);
        let Some((_, LiveChannel { audience, .. })) = shard.channels.find(room) else {
            return Ok(Who::default());
        };
        Ok(Who {
            users: audience.present_users(self.common.settings.list_max()),
            users_total: audience.present(),
            connections: audience.connections(),
        })
    }

    /// Lists the users who are present in a room on this node, up to `limit`, each with the connections
    /// there, and counts all of them.
    #[must_use]
    pub fn present_in(&self, room: &str, limit: usize) -> (Vec<(User, usize)>, usize) {
        let channels = &mut self.rooms.lock(room).channels;
        let Some((_, LiveChannel { audience, .. })) = channels.find(room) else {
            return (Vec::new(), 0);
        };
        let users = audience.users(None).filter(|(.., is_present)| *is_present);
        let users = users.map(|(user, connections, _)| (user.clone(), connections));
        (users.take(limit).collect(), audience.present())
    }

    /// Tells of each of these users, in their order, whether the user has a connection.
    ///
    /// # Errors
    ///
    /// [`ChatError`]: not logged in, a name that can't be one, more than `list_max` of them.
    pub fn online(&self, actor: Actor<'_>, uids: &[&str]) -> Result<Vec<bool>, ChatError> {
        match actor {
            Actor::Connection(fd) => {
                self.connections.lock_number(fd.0).login_of(fd)?;
            }
            Actor::Key(_) => {}
            Actor::User(_) => return Err(ChatError::NotLoggedIn),
        }
        if uids.len() > self.common.settings.list_max() {
            return Err(ChatError::Users(self.common.settings.list_max()));
        }
        let online = |uid: &&str| {
            check_uid("users", uid)?;
            let channels = &mut self.inboxes.lock(uid).channels;
            Ok(channels
                .find(uid)
                .is_some_and(|(_, inbox)| inbox.audience.connections() > 0))
        };
        uids.iter().map(online).collect()
    }

    /// Lists up to `limit` rooms whose names begin with `prefix`, in the order of their names, from
    /// the first behind `after`.
    #[must_use]
    pub fn rooms(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RoomView> {
        let limit = self.list_limit(limit);
        let from = match after {
            Some(after) if after >= prefix => Excluded(after),
            _ => Included(prefix),
        };
        let mut views: Vec<RoomView> = Vec::new();
        for part in 0..self.rooms.len() {
            // Once there are enough, only what comes before the last of them is wanted.
            let end = (limit.checked_sub(1))
                .and_then(|last| views.get(last))
                .map(|view| Arc::clone(&view.name));
            let shard = self.rooms.lock_part(part);
            let behind = shard.channels.by_name.listed(from);
            let found = behind.take_while(|(name, _)| {
                name.starts_with(prefix) && end.as_ref().is_none_or(|end| **name < *end)
            });
            views.extend(found.take(limit).map(|(name, room)| self.view(name, room)));
            drop(shard);
            views.sort_by(|a, b| a.name.cmp(&b.name));
            views.truncate(limit);
        }
        views
    }

    /// Describes a room; `None` when there is no such room.
    #[must_use]
    pub fn room(&self, name: &str) -> Option<RoomView> {
        let channels = &mut self.rooms.lock(name).channels;
        let (name, room) = channels.find(name)?;
        Some(self.view(name, room))
    }

    /// Lists up to `limit` members of a room in the order of their uids, from the first behind
    /// `after`; `None` when there is no such room.
    #[must_use]
    pub fn members(
        &self,
        room: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Option<Vec<MemberView>> {
        let channels = &mut self.rooms.lock(room).channels;
        let (_, room) = channels.find(room)?;
        let users = room.audience.users(after);
        let view = |(user, connections, _): (&User, usize, bool)| MemberView {
            user: user.clone(),
            connections,
        };
        let limit = self.list_limit(limit);
        Some(users.take(limit).map(view).collect())
    }

    /// Describes a user; `None` when nothing is known of the user.
    #[must_use]
    pub fn user(&self, uid: &str) -> Option<UserView> {
        let mut shard = self.inboxes.lock(uid);
        let lasting = shard.lasting.get_key_value(uid);
        let lasting = lasting.map(|(user, rooms)| (user.clone(), rooms.clone()));
        let found = shard
            .channels
            .find(uid)
            .map(|(user, inbox)| (user.clone(), inbox.audience.as_slice().to_vec()));
        drop(shard);
        let (user, connections) = match (found, &lasting) {
            (Some(found), _) => found,
            (None, Some((user, _))) => (user.clone(), Vec::new()),
            (None, None) => return None,
        };
        let mut rooms = lasting.map_or(Vec::new(), |(_, rooms)| rooms);
        for fd in &connections {
            rooms.extend(self.connection(*fd).unwrap_or_default().rooms);
        }
        rooms.sort_unstable();
        rooms.dedup();
        Some(UserView {
            user,
            connections,
            rooms,
        })
    }

    /// Whether a connection belongs to a user.
    #[must_use]
    pub fn is_logged_in(&self, fd: Fd) -> bool {
        self.connections.lock_number(fd.0).login_of(fd).is_ok()
    }

    /// The user of a connection; `None` before the login.
    #[must_use]
    pub fn user_of(&self, fd: Fd) -> Option<User> {
        let mut shard = self.connections.lock_number(fd.0);
        shard.login_of(fd).ok().map(|own| own.user.clone())
    }

    /// Describes a connection; `None` when there is no such connection.
    #[must_use]
    pub fn connection(&self, fd: Fd) -> Option<ConnectionView> {
        let mut shard = self.connections.lock_number(fd.0);
        let login = shard.find(fd).ok()?.login.as_ref();
        Some(
            login.map_or_else(ConnectionView::default, |own| ConnectionView {
                user: Some(own.user.clone()),
                rooms: own.rooms.as_slice().to_vec(),
            }),
        )
    }

    /// Bounds the length of a list: one entry beyond `list_max` shows that there are more.
    fn list_limit(&self, limit: usize) -> usize {
        limit.min(self.common.settings.list_max().saturating_add(1))
    }

    fn view(&self, name: &Arc<str>, room: &LiveChannel<RoomMembers>) -> RoomView {
        let LiveChannel { log, audience } = room;
        let kind = self.common.settings.kind_of(name);
        let newest = log.position().offset;
        RoomView {
            name: Arc::clone(name),
            position: (kind != ChannelKind::None).then(|| log.position()),
            users: audience.present(),
            connections: audience.connections(),
            messages: match kind {
                ChannelKind::Stored => {
                    let floor = self.common.stored.floor(name);
                    newest - floor.unwrap_or_else(|| log.shared_floor()).min(newest)
                }
                ChannelKind::Memory | ChannelKind::None => newest - log.floor(),
            },
        }
    }

    /// Judges whether a channel may be read; returns the user of the connection that asks, if one
    /// does.
    fn may_read(&self, actor: Actor<'_>, channel: &str) -> Result<Option<User>, ChatError> {
        match channel.strip_prefix('@') {
            Some(uid) => check_uid("channel", uid)?,
            None if channel == EVERYONE => {}
            None => check_room("channel", channel)?,
        }
        let fd = match actor {
            Actor::Connection(fd) => fd,
            Actor::Key(_) => return Ok(None),
            Actor::User(_) => return Err(ChatError::NotLoggedIn),
        };
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        let allowed = matches!(*own.rights, Rights::ApiKey { .. })
            || channel == EVERYONE
            || channel == &**own.user.inbox()
            || own.rooms.contains(channel);
        match (allowed, channel.starts_with('@')) {
            (true, _) => Ok(Some(own.user.clone())),
            (false, true) => Err(ChatError::NotYours),
            (false, false) => Err(ChatError::NotJoined(channel.into())),
        }
    }

    /// Says that there is no such channel, or not here.
    fn missing(&self, channel: &str) -> ChatError {
        match channel.strip_prefix('@') {
            _ if self.common.in_cluster() => self.common.not_attached(vec![channel.into()]),
            Some(uid) => ChatError::NoUser(uid.into()),
            None => ChatError::NoRoom(channel.into()),
        }
    }

    /// Calls `then` with the log of a channel, under the lock of the channel's shard.
    pub(super) fn with_log<T>(
        &self,
        channel: &str,
        then: impl FnOnce(&Arc<str>, &mut MessageLog) -> Result<T, ChatError>,
    ) -> Result<T, ChatError> {
        if channel == EVERYONE {
            return then(&self.everyone_name, &mut lock(&self.everyone).log);
        }
        if let Some(uid) = channel.strip_prefix('@') {
            let channels = &mut self.inboxes.lock(uid).channels;
            let found = channels.find(uid);
            let (user, inbox) = found.ok_or_else(|| self.missing(channel))?;
            return then(user.inbox(), &mut inbox.log);
        }
        let channels = &mut self.rooms.lock(channel).channels;
        let found = channels.find(channel);
        let (name, room) = found.ok_or_else(|| self.missing(channel))?;
        then(name, &mut room.log)
    }
}
