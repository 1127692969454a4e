//! How connections come and go: login, joining, leaving, the end.

use std::sync::{Arc, MutexGuard};

use super::chat::{Chat, Everyone};
use super::common::Moment;
use super::connections::{LoggedInAs, RoomNames};
use super::error::ChatError;
use super::inboxes::InboxShard;
use super::log::{Resume, Start};
use super::name::{EVERYONE, User, check_room, check_uid};
use super::rights::Rights;
use super::rooms::RoomShard;
use super::shards::{ShardLocks, lock};
use super::sink::{Sink, Welcome};
use crate::base::Fd;

/// A connection that says who it is.
#[derive(Debug, Clone)]
pub struct Login<'a> {
    /// The connection.
    pub fd: Fd,
    /// Whom it belongs to from now on.
    pub uid: &'a str,
    /// What it may do.
    pub rights: Arc<Rights>,
    /// Rooms to join, beside the user's lasting ones.
    pub rooms: &'a [&'a str],
    /// What it wants to hear of what it missed, by channel: a room, `@uid`, `*`. Other channels are
    /// passed over.
    pub resume: &'a [(&'a str, Resume)],
}

/// A login that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedIn {
    /// The connection had been logged in as this user before; its rights are the new ones.
    pub renewed: bool,
    /// The user's oldest connection, which is one too many: to be closed with 4003.
    pub replaced: Option<Fd>,
}

impl Chat {
    /// A connection begins. Until then nothing is known of it, and nothing it asks for is done.
    pub fn opened(&self, fd: Fd) {
        if self.connections.lock_number(fd.0).open(fd) {
            self.common.totals.connections.add(1);
        }
    }

    /// A connection has ended: it is nobody's and nowhere any more. To be called last.
    pub fn closed(&self, now: Moment, fd: Fd) {
        let mut shard = self.connections.lock_number(fd.0);
        let Some(connection) = shard.close(fd) else {
            return;
        };
        self.common.totals.connections.subtract(1);
        if let Some(own) = connection.login {
            self.forget(now, fd, &own);
        }
    }

    /// Binds a connection to a user: it hears `@uid` and `*` from now on, and joins rooms. Again,
    /// it renews the rights, leaves rooms that they don't reach any more, and joins further ones.
    ///
    /// [`Sink::welcome`] answers, with `@uid` and `*` first; then the subscriptions follow.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then. [`ChatError::OtherUser`] when it belongs to
    /// another one.
    pub fn login(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        login: &Login<'_>,
    ) -> Result<LoggedIn, ChatError> {
        self.check_login(login)?;
        let fd = login.fd;
        let mut shard = self.connections.lock_number(fd.0);
        let connection = shard.find(fd)?;
        let before = connection.login.as_ref();
        if let Some(own) = before {
            self.check_renewal(own, login)?;
        }
        let mut held = self.hold(login);
        let plan = self.plan(now, &mut held, login, before)?;
        post.welcome(fd, &plan.welcomes);
        let is_new = connection.login.is_none();
        let own = connection.login.get_or_insert_with(|| LoggedInAs {
            user: plan.user,
            rights: Arc::clone(&login.rights),
            rooms: RoomNames::None,
        });
        let mut replaced = None;
        if is_new {
            replaced = self.bind(post, now, &mut held, (&own.user, fd), plan.starts);
        } else {
            // One that gave way to a newer connection is in its line no more.
            held.inboxes.settle(&self.common, now.tick, login.uid);
        }
        for (room, start) in plan.rooms {
            let (shard, who) = (held.rooms.of(&room), (&own.user, fd));
            let name = shard.enter(&self.common, post, now.tick, &room, who, start);
            own.rooms.insert(name);
        }
        drop(held);
        own.rights = Arc::clone(&login.rights);
        self.leave_forbidden(post, now, fd, own);
        Ok(LoggedIn {
            renewed: !is_new,
            replaced,
        })
    }

    /// Ends the binding of a connection, which stays open, and says to whom it was.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoConnection`], [`ChatError::NotLoggedIn`].
    pub fn logout(&self, post: &mut dyn Sink, now: Moment, fd: Fd) -> Result<User, ChatError> {
        let mut shard = self.connections.lock_number(fd.0);
        let login = shard.find(fd)?.login.take();
        let own = login.ok_or(ChatError::NotLoggedIn)?;
        for room in own.rooms.as_slice() {
            post.unsubscribe(fd, room);
        }
        post.unsubscribe(fd, own.user.line());
        post.unsubscribe(fd, &self.everyone_name);
        self.forget(now, fd, &own);
        Ok(own.user)
    }

    /// Has a connection join a room; [`Sink::welcome`] answers, then the subscription follows.
    ///
    /// A room that it is in already is answered and nothing more: it has missed nothing.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn join(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        room: &str,
        resume: Resume,
    ) -> Result<(), ChatError> {
        check_room("room", room)?;
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        let max = self.common.settings.rooms_per_connection_max;
        let is_in = own.rooms.contains(room);
        if !is_in && !own.rights.may_join(room) {
            return Err(ChatError::RoomNotAllowed(room.into()));
        } else if !is_in && own.rooms.as_slice().len() >= max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        let resume = if is_in { Resume::Now } else { resume };
        let (common, tick, user) = (&self.common, now.tick, &own.user);
        let mut rooms = self.rooms.lock(room);
        let (welcome, start) = rooms.prepare(common, tick, room, user, resume)?;
        post.welcome(fd, &[welcome]);
        if !is_in {
            let name = rooms.enter(common, post, tick, room, (user, fd), start);
            own.rooms.insert(name);
        }
        Ok(())
    }

    /// Has a connection leave a room; the user's other connections stay.
    ///
    /// # Errors
    ///
    /// [`ChatError::NotJoined`] among others; nothing has changed then.
    pub fn leave(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        room: &str,
    ) -> Result<(), ChatError> {
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        if !self.leave_room(post, now, fd, own, room) {
            return Err(ChatError::NotJoined(room.into()));
        }
        Ok(())
    }

    /// Takes a connection out of a room; `false` when it isn't in there.
    pub(super) fn leave_room(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        own: &mut LoggedInAs,
        room: &str,
    ) -> bool {
        if !own.rooms.remove(room) {
            return false;
        }
        let mut shard = self.rooms.lock(room);
        if let Some((name, _)) = shard.find(room) {
            post.unsubscribe(fd, name);
        }
        shard.depart(&self.common, now.tick, room, &own.user, fd);
        true
    }

    /// Has a connection hear a room from now on, without an answer, as a lasting member.
    pub(super) fn enter_lasting(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        own: &mut LoggedInAs,
        room: &str,
    ) {
        if own.rooms.contains(room) {
            return;
        }
        let (common, tick, user) = (&self.common, now.tick, &own.user);
        let mut rooms = self.rooms.lock(room);
        // A room with lasting members exists; if it were gone, there were none any more.
        if let Ok((_, start)) = rooms.prepare(common, tick, room, user, Resume::Now) {
            let name = rooms.enter(common, post, tick, room, (user, fd), start);
            own.rooms.insert(name);
        }
    }

    fn check_login(&self, login: &Login<'_>) -> Result<(), ChatError> {
        check_uid("uid", login.uid)?;
        let max = self.common.settings.rooms_per_connection_max;
        if login.rooms.len() > max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        for room in login.rooms {
            check_room("rooms", room)?;
            if !login.rights.may_join(room) {
                return Err(ChatError::RoomNotAllowed((*room).into()));
            }
        }
        Ok(())
    }

    /// Who renews again and again must not get into ever more rooms by it.
    fn check_renewal(&self, own: &LoggedInAs, login: &Login<'_>) -> Result<(), ChatError> {
        if own.user.uid() != login.uid {
            return Err(ChatError::OtherUser);
        }
        let max = self.common.settings.rooms_per_connection_max;
        let asked = login.rooms.iter().enumerate();
        let further = asked.filter(|(place, room)| {
            !own.rooms.contains(room) && !login.rooms[..*place].contains(room)
        });
        let further = further.count();
        let rooms = own.rooms.as_slice().iter();
        let stay = rooms.filter(|room| login.rights.may_join(room)).count();
        if further > 0 && stay + further > max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        Ok(())
    }

    /// Takes the locks of all channels that a login needs, until it is done: whoever is told that
    /// somebody has come finds them there.
    fn hold<'a>(&'a self, login: &Login<'a>) -> LoginLocks<'a> {
        let inboxes = self.inboxes.lock(login.uid);
        let lasting = inboxes.lasting.get(login.uid).cloned().unwrap_or_default();
        let names = login.rooms.iter().copied();
        let rooms = self
            .rooms
            .lock_all(names.chain(lasting.iter().map(|room| &**room)));
        LoginLocks {
            inboxes,
            rooms,
            everyone: lock(&self.everyone),
            lasting,
        }
    }

    /// Finds out what a login will be told, and makes the channels that it needs.
    fn plan(
        &self,
        now: Moment,
        held: &mut LoginLocks<'_>,
        login: &Login<'_>,
        before: Option<&LoggedInAs>,
    ) -> Result<Plan, ChatError> {
        let mut welcomes = Vec::new();
        match self.plan_into(&mut welcomes, now, held, login, before) {
            Ok((user, starts, rooms)) => Ok(Plan {
                user,
                starts,
                rooms,
                welcomes,
            }),
            Err(full) => {
                // What was made for it so far may go again.
                let (common, tick) = (&self.common, now.tick);
                held.inboxes.settle(common, tick, login.uid);
                // The first two are the line and everyone.
                for Welcome { channel, .. } in welcomes.iter().skip(2) {
                    held.rooms.of(channel).settle(common, tick, channel);
                }
                Err(full)
            }
        }
    }

    /// Plans with welcomes for all channels in order, as far as there is room for them. What it
    /// hears since a login `before`, it has missed nothing of.
    fn plan_into(
        &self,
        welcomes: &mut Vec<Welcome>,
        now: Moment,
        held: &mut LoginLocks<'_>,
        login: &Login<'_>,
        before: Option<&LoggedInAs>,
    ) -> Result<(User, [Start; 2], Vec<PlannedRoom>), ChatError> {
        let (common, tick) = (&self.common, now.tick);
        let joined = before.map_or(&[][..], |own| own.rooms.as_slice());
        let resume_of = |is_heard: bool, matches: &dyn Fn(&str) -> bool| {
            let mut wishes = login.resume.iter();
            let wish = wishes.find(|(name, _)| !is_heard && matches(name));
            wish.map_or(Resume::Now, |(_, resume)| *resume)
        };
        let renews = before.is_some();
        let resume = resume_of(renews, &|name| name.strip_prefix('@') == Some(login.uid));
        let (user, welcome, line) = held.inboxes.prepare(common, tick, login.uid, resume)?;
        welcomes.push(welcome);
        let (name, log) = (&self.everyone_name, &mut held.everyone.log);
        let resume = resume_of(renews, &|name| name == EVERYONE);
        let (welcome, all) = common.start(tick, name, log, &user, resume, None);
        welcomes.push(welcome);

        let mut rooms: Vec<PlannedRoom> = Vec::new();
        let lasting = held.lasting.iter().map(|room| &**room);
        for room in login.rooms.iter().copied().chain(lasting) {
            if welcomes.iter().any(|welcome| *welcome.channel == *room) {
                continue;
            }
            let is_in = joined.iter().any(|own| **own == *room);
            let resume = resume_of(is_in, &|name| name == room);
            let shard = held.rooms.of(room);
            let (welcome, start) = shard.prepare(common, tick, room, &user, resume)?;
            if !is_in {
                rooms.push((Arc::clone(&welcome.channel), start));
            }
            welcomes.push(welcome);
        }
        Ok((user, [line, all], rooms))
    }

    /// Has a connection hear what all of a user's hear; gives the one that has to go for it.
    fn bind(
        &self,
        post: &mut dyn Sink,
        now: Moment,
        held: &mut LoginLocks<'_>,
        (user, fd): (&User, Fd),
        [line, all]: [Start; 2],
    ) -> Option<Fd> {
        let (common, tick) = (&self.common, now.tick);
        common.totals.logged_in.add(1);
        let replaced = held.inboxes.enter(common, post, tick, (user, fd), line);
        let everyone = &mut *held.everyone;
        everyone.connections += 1;
        common.subscribe(tick, post, fd, &self.everyone_name, &mut everyone.log, all);
        replaced
    }

    fn leave_forbidden(&self, post: &mut dyn Sink, now: Moment, fd: Fd, own: &mut LoggedInAs) {
        let lasting = self.lasting_of(&own.user);
        let rooms = own.rooms.as_slice().iter();
        let forbidden: Vec<_> = rooms
            .filter(|room| !own.rights.may_join(room) && !lasting.contains(room))
            .cloned()
            .collect();
        for room in forbidden {
            self.leave_room(post, now, fd, own, &room);
        }
    }

    pub(super) fn lasting_of(&self, user: &User) -> Vec<Arc<str>> {
        let shard = self.inboxes.lock(user.uid());
        shard.lasting.get(user).cloned().unwrap_or_default()
    }

    /// Takes a connection out of everything.
    fn forget(&self, now: Moment, fd: Fd, own: &LoggedInAs) {
        let (common, tick) = (&self.common, now.tick);
        for room in own.rooms.as_slice() {
            let mut shard = self.rooms.lock(room);
            shard.depart(common, tick, room, &own.user, fd);
        }
        let mut inboxes = self.inboxes.lock(own.user.uid());
        inboxes.depart(common, tick, &own.user, fd);
        drop(inboxes);
        lock(&self.everyone).connections -= 1;
        common.totals.logged_in.subtract(1);
    }
}

/// The locks of all channels of a login.
struct LoginLocks<'a> {
    inboxes: MutexGuard<'a, InboxShard>,
    rooms: ShardLocks<'a, RoomShard>,
    everyone: MutexGuard<'a, Everyone>,
    /// The user's lasting memberships, which can't change meanwhile.
    lasting: Vec<Arc<str>>,
}

/// A room to be entered, and where it begins to be heard.
type PlannedRoom = (Arc<str>, Start);

/// What a login is told, and where it begins to hear each channel.
struct Plan {
    user: User,
    /// The own line, and everyone.
    starts: [Start; 2],
    rooms: Vec<PlannedRoom>,
    welcomes: Vec<Welcome>,
}
