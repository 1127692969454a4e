//! How connections come and go: login, joining, leaving, the end.

use std::sync::Arc;

use super::chat::Chat;
use super::common::Moment;
use super::connections::{LoggedInAs, RoomNames};
use super::error::ChatError;
use super::log::{Resume, Start};
use super::name::{EVERYONE, User, check_room, check_uid};
use super::post::{Post, Welcome};
use super::rights::Rights;
use super::shards::lock;
use crate::net::Fd;

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
    /// [`Post::welcome`] answers, with `@uid` and `*` first; then the subscriptions follow.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then. [`ChatError::OtherUser`] when it belongs to
    /// another one.
    pub fn login(
        &self,
        post: &mut dyn Post,
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
        let plan = self.plan(now, login, before)?;
        post.welcome(fd, &plan.welcomes);
        let Some(own) = &mut connection.login else {
            let mut own = LoggedInAs {
                user: plan.user,
                rights: Arc::clone(&login.rights),
                rooms: RoomNames::None,
            };
            let replaced = self.bind(post, now, fd, &own.user, [plan.line, plan.everyone]);
            self.enter_planned(post, now, fd, &mut own, plan.rooms, login.rooms);
            connection.login = Some(own);
            return Ok(LoggedIn {
                renewed: false,
                replaced,
            });
        };
        own.rights = Arc::clone(&login.rights);
        self.leave_forbidden(post, now, fd, own);
        self.enter_planned(post, now, fd, own, plan.rooms, login.rooms);
        Ok(LoggedIn {
            renewed: true,
            replaced: None,
        })
    }

    /// Ends the binding of a connection, which stays open, and says to whom it was.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoConnection`], [`ChatError::NotLoggedIn`].
    pub fn logout(&self, post: &mut dyn Post, now: Moment, fd: Fd) -> Result<User, ChatError> {
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

    /// Has a connection join a room; [`Post::welcome`] answers, then the subscription follows.
    ///
    /// A room that it is in already is answered and nothing more: it has missed nothing.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn join(
        &self,
        post: &mut dyn Post,
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
        post: &mut dyn Post,
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
        post: &mut dyn Post,
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
        post: &mut dyn Post,
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

    /// Finds out what a login will be told, and makes the channels that it needs. What it hears
    /// since a login `before`, it has missed nothing of.
    fn plan(
        &self,
        now: Moment,
        login: &Login<'_>,
        before: Option<&LoggedInAs>,
    ) -> Result<Plan, ChatError> {
        let (common, tick) = (&self.common, now.tick);
        let joined = before.map_or(&[][..], |own| own.rooms.as_slice());
        let resume_of = |is_heard: bool, matches: &dyn Fn(&str) -> bool| {
            let mut wishes = login.resume.iter();
            let wish = wishes.find(|(name, _)| !is_heard && matches(name));
            wish.map_or(Resume::Now, |(_, resume)| *resume)
        };
        let renews = before.is_some();
        let mut lines = self.lines.lock(login.uid);
        let resume = resume_of(renews, &|name| name.strip_prefix('@') == Some(login.uid));
        let (user, welcome, line) = lines.prepare(common, tick, login.uid, resume)?;
        let lasting = lines.lasting.get(&user).cloned().unwrap_or_default();
        drop(lines);

        let mut welcomes = vec![welcome];
        let mut everyone = lock(&self.everyone);
        let (name, log) = (&self.everyone_name, &mut everyone.log);
        let resume = resume_of(renews, &|name| name == EVERYONE);
        let (welcome, all) = common.start(tick, name, log, &user, resume, None);
        drop(everyone);
        welcomes.push(welcome);

        let mut rooms: Vec<(Arc<str>, Start)> = Vec::new();
        let lasting = lasting.iter().map(|room| &**room);
        for room in login.rooms.iter().copied().chain(lasting) {
            if welcomes.iter().any(|welcome| *welcome.channel == *room) {
                continue;
            }
            let is_in = joined.iter().any(|own| **own == *room);
            let resume = resume_of(is_in, &|name| name == room);
            let mut shard = self.rooms.lock(room);
            let (welcome, start) = shard.prepare(common, tick, room, &user, resume)?;
            if !is_in {
                rooms.push((Arc::clone(&welcome.channel), start));
            }
            welcomes.push(welcome);
        }
        Ok(Plan {
            user,
            line,
            everyone: all,
            rooms,
            welcomes,
        })
    }

    /// Has a connection hear what all of a user's hear; gives the one that has to go for it.
    fn bind(
        &self,
        post: &mut dyn Post,
        now: Moment,
        fd: Fd,
        user: &User,
        [line, all]: [Start; 2],
    ) -> Option<Fd> {
        let (common, tick) = (&self.common, now.tick);
        common.totals.logged_in.add(1);
        let mut lines = self.lines.lock(user.uid());
        let replaced = lines.enter(common, post, tick, (user, fd), line);
        drop(lines);
        let mut everyone = lock(&self.everyone);
        everyone.connections += 1;
        common.subscribe(tick, post, fd, &self.everyone_name, &mut everyone.log, all);
        replaced
    }

    /// Enters the rooms that were planned, as far as they were asked for or are lasting still, and
    /// those that have become lasting since.
    fn enter_planned(
        &self,
        post: &mut dyn Post,
        now: Moment,
        fd: Fd,
        own: &mut LoggedInAs,
        planned: Vec<(Arc<str>, Start)>,
        asked: &[&str],
    ) {
        // From here on whoever changes the lasting memberships finds this connection.
        let lasting = self.lasting_of(&own.user);
        for (room, start) in planned {
            if !asked.contains(&&*room) && !lasting.contains(&room) {
                continue;
            }
            let mut shard = self.rooms.lock(&room);
            let who = (&own.user, fd);
            let name = shard.enter(&self.common, post, now.tick, &room, who, start);
            own.rooms.insert(name);
        }
        for room in lasting {
            self.enter_lasting(post, now, fd, own, &room);
        }
    }

    fn leave_forbidden(&self, post: &mut dyn Post, now: Moment, fd: Fd, own: &mut LoggedInAs) {
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
        let shard = self.lines.lock(user.uid());
        shard.lasting.get(user).cloned().unwrap_or_default()
    }

    /// Takes a connection out of everything.
    fn forget(&self, now: Moment, fd: Fd, own: &LoggedInAs) {
        let (common, tick) = (&self.common, now.tick);
        for room in own.rooms.as_slice() {
            let mut shard = self.rooms.lock(room);
            shard.depart(common, tick, room, &own.user, fd);
        }
        let mut lines = self.lines.lock(own.user.uid());
        lines.depart(common, tick, &own.user, fd);
        drop(lines);
        lock(&self.everyone).connections -= 1;
        common.totals.logged_in.subtract(1);
    }
}

/// What a login is told, and where it begins to hear each channel.
struct Plan {
    user: User,
    line: Start,
    everyone: Start,
    rooms: Vec<(Arc<str>, Start)>,
    welcomes: Vec<Welcome>,
}
