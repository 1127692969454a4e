//! The ways in which connections come and go: login, joining, leaving, the end.

use std::sync::{Arc, MutexGuard};

use super::Chat;
use super::bindings::{BindingKey, ConnectionRecord};
use super::call::{Call, Scope};
use super::common::Capacity;
use super::connections::{ChatConnection, ConnectionShard, LoginState, RoomNames};
use super::error::ChatError;
use super::everyone::Everyone;
use super::inboxes::InboxShard;
use super::moment::Moment;
use super::name::{EVERYONE, User, check_room, check_uid};
use super::resume::{Resume, SubscriptionStart};
use super::rights::Rights;
use super::rooms::RoomShard;
use super::shards::ShardLocks;
use super::sink::{Sink, Welcome};
use crate::base::Fd;
use crate::base::sync::lock;

/// The login of a connection.
#[derive(Debug, Clone)]
pub struct Login<'a> {
    /// The connection that logs in.
    pub fd: Fd,
    /// The user to whom the connection belongs from now on.
    pub uid: &'a str,
    /// The rights that the connection has from now on.
    pub rights: Arc<Rights>,
    /// Rooms to join, beside the user's lasting ones.
    pub rooms: &'a [&'a str],
    /// The place from which the connection wants to hear each channel: a room, `@uid`, `*`. Other
    /// channels are passed over.
    pub resume: &'a [(&'a str, Resume)],
}

/// A login that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedIn {
    /// Whether the connection had been logged in as this user before; its rights are the new ones.
    pub renewed: bool,
    /// The user's oldest connection, which is one too many: to be closed with 4003.
    pub replaced: Option<Fd>,
}

impl Chat {
    /// Notes a connection that begins; whatever a connection asks for before this call is refused.
    pub fn opened(&self, fd: Fd) {
        if self.connections.lock_number(fd.0).open(fd) {
            self.common.totals.connections.add(1);
        }
    }

    /// Takes a connection that has ended from its user and out of its rooms. To be called last.
    pub fn closed(&self, now: Moment, fd: Fd) {
        let mut shard = self.connections.lock_number(fd.0);
        let Some(connection) = shard.close(fd) else {
            return;
        };
        self.common.totals.connections.subtract(1);
        if let Some(own) = connection.login {
            self.end_record(&mut shard, fd, &own.user);
            self.unbind(self.scope(now.tick), fd, &own);
        }
    }

    /// Binds a connection to a user: the connection hears `@uid` and `*` from now on, and joins
    /// rooms. A second login as the same user renews the rights, leaves rooms that they don't reach
    /// any more, and joins further ones.
    ///
    /// [`Sink::welcome`] answers, with `@uid` and `*` first; then the subscriptions follow.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then. [`ChatError::OtherUser`] when the connection
    /// belongs to another user.
    pub fn login(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        login: &Login<'_>,
    ) -> Result<LoggedIn, ChatError> {
        self.check_login(login)?;
        let mut shard = self.connections.lock_number(login.fd.0);
        let logged_in = self.login_of(sink, now, login, shard.find(login.fd)?)?;
        if !logged_in.renewed {
            self.begin_record(&mut shard, now, login.fd);
        }
        Ok(logged_in)
    }

    /// Logs a connection in, unless the connection belongs to this user already: then rights, rooms
    /// and subscriptions stay as they are, and `None` is returned.
    ///
    /// # Errors
    ///
    /// [`ChatError`], as [`Self::login`]; nothing has changed then.
    pub fn login_once(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        login: &Login<'_>,
    ) -> Result<Option<LoggedIn>, ChatError> {
        self.check_login(login)?;
        let mut shard = self.connections.lock_number(login.fd.0);
        let connection = shard.find(login.fd)?;
        let owner = connection.login.as_ref().map(|own| own.user.uid());
        if owner == Some(login.uid) {
            return Ok(None);
        }
        let logged_in = self.login_of(sink, now, login, connection)?;
        self.begin_record(&mut shard, now, login.fd);
        Ok(Some(logged_in))
    }

    /// Begins to write down a connection that has logged in, where that is written to a store.
    fn begin_record(&self, shard: &mut ConnectionShard, now: Moment, fd: Fd) {
        if self.common.bindings.is_empty() {
            return;
        }
        shard.set_record(
            fd,
            ConnectionRecord {
                since_unix_ms: now.unix_ms,
                session: None,
            },
        );
        if let Ok(own) = shard.login_of(fd) {
            let user = own.user.clone();
            self.common.note(|| BindingKey::Connection(fd, user));
        }
    }

    /// Forgets what was written down of a connection whose login is over.
    fn end_record(&self, shard: &mut ConnectionShard, fd: Fd, user: &User) {
        let bytes = shard.forget_record(fd);
        self.common.totals.session_bytes.subtract(bytes);
        (self.common).note(|| BindingKey::Connection(fd, user.clone()));
    }

    /// Logs a connection in whose lock the caller holds.
    fn login_of(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        login: &Login<'_>,
        connection: &mut ChatConnection,
    ) -> Result<LoggedIn, ChatError> {
        let fd = login.fd;
        let before = connection.login.as_ref();
        if let Some(own) = before {
            self.check_renewal(own, login)?;
        }
        let call = &mut self.call(sink, now.tick);
        let mut locks = self.lock_channels(login);
        self.check_attached(&mut locks, login)?;
        let plan = self.plan(call.scope, &mut locks, login, before)?;
        locks.inboxes.claim(call, login.uid);
        call.sink.welcome(fd, &plan.welcomes);
        let is_new = connection.login.is_none();
        let own = connection.login.get_or_insert_with(|| LoginState {
            user: plan.user,
            rights: Arc::clone(&login.rights),
            rooms: RoomNames::None,
        });
        let mut replaced = None;
        if is_new {
            replaced = self.bind(call, &mut locks, (&own.user, fd), plan.starts);
        } else {
            // A connection that gave way to a newer one isn't in the inbox any more.
            (locks.inboxes.channels).schedule_removal(call.scope, login.uid);
        }
        for (room, start) in plan.rooms {
            let shard = locks.rooms.of(&room);
            let name = shard.enter(call, &room, (&own.user, fd), start);
            own.rooms.insert(name);
        }
        drop(locks);
        own.rights = Arc::clone(&login.rights);
        self.leave_forbidden(call, fd, own);
        Ok(LoggedIn {
            renewed: !is_new,
            replaced,
        })
    }

    /// Ends the binding of a connection, which stays open, and returns its user.
    ///
    /// # Errors
    ///
    /// [`ChatError::NoConnection`], [`ChatError::NotLoggedIn`].
    pub fn logout(&self, sink: &mut dyn Sink, now: Moment, fd: Fd) -> Result<User, ChatError> {
        let mut shard = self.connections.lock_number(fd.0);
        let login = shard.find(fd)?.login.take();
        let own = login.ok_or(ChatError::NotLoggedIn)?;
        self.end_record(&mut shard, fd, &own.user);
        for room in own.rooms.as_slice() {
            sink.unsubscribe(fd, room);
        }
        sink.unsubscribe(fd, own.user.inbox());
        sink.unsubscribe(fd, &self.everyone_name);
        self.unbind(self.scope(now.tick), fd, &own);
        Ok(own.user)
    }

    /// Has a connection join a room; [`Sink::welcome`] answers, then the subscription follows.
    ///
    /// For a room that the connection is in already, only the answer is sent: the connection has
    /// missed nothing.
    ///
    /// # Errors
    ///
    /// [`ChatError`]; nothing has changed then.
    pub fn join(
        &self,
        sink: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        room: &str,
        resume: Resume,
    ) -> Result<(), ChatError> {
        check_room("room", room)?;
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        let max = self.common.settings.rooms_per_connection_max();
        let is_in = own.rooms.contains(room);
        if !is_in && !own.rights.may_join(room) {
            return Err(ChatError::RoomNotAllowed(room.into()));
        } else if !is_in && own.rooms.as_slice().len() >= max {
            return Err(ChatError::RoomsOfConnection(max));
        }
        let resume = if is_in { Resume::Now } else { resume };
        let (call, user) = (&mut self.call(sink, now.tick), &own.user);
        let mut rooms = self.rooms.lock(room);
        let named = (room, own.rights.capacity(user));
        let (welcome, start) = rooms.begin(call.scope, named, user, resume)?;
        call.sink.welcome(fd, &[welcome]);
        if !is_in {
            let name = rooms.enter(call, room, (user, fd), start);
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
        sink: &mut dyn Sink,
        now: Moment,
        fd: Fd,
        room: &str,
    ) -> Result<(), ChatError> {
        let mut shard = self.connections.lock_number(fd.0);
        let own = shard.login_of(fd)?;
        if !self.leave_room(&mut self.call(sink, now.tick), fd, own, room) {
            return Err(ChatError::NotJoined(room.into()));
        }
        Ok(())
    }

    /// Takes a connection out of a room; `false` when it isn't in there.
    pub(super) fn leave_room(
        &self,
        call: &mut Call<'_>,
        fd: Fd,
        own: &mut LoginState,
        room: &str,
    ) -> bool {
        if !own.rooms.remove(room) {
            return false;
        }
        let mut rooms = self.rooms.lock(room);
        if let Some((name, _)) = rooms.channels.find(room) {
            call.sink.unsubscribe(fd, name);
        }
        rooms.leave(call.scope, room, &own.user, fd);
        true
    }

    /// Has a connection hear a room from now on, without an answer, as a lasting member; `false` if the
    /// room isn't there.
    pub(super) fn enter_lasting(
        &self,
        call: &mut Call<'_>,
        fd: Fd,
        own: &mut LoginState,
        room: &str,
    ) -> bool {
        if own.rooms.contains(room) {
            return true;
        }
        let user = &own.user;
        let mut rooms = self.rooms.lock(room);
        // A room with lasting members exists, so it is not refused. If it has gone since, it has
        // no lasting members any more.
        let named = (room, Capacity::BackEnd);
        let Ok((_, start)) = (rooms.channels).begin(call.scope, named, user, Resume::Now) else {
            return false;
        };
        let name = rooms.enter(call, room, (user, fd), start);
        own.rooms.insert(name);
        true
    }

    /// Judges a login before its channels are attached; whether the connection has this user already.
    pub(super) fn check_login_of(&self, login: &Login<'_>) -> Result<bool, ChatError> {
        self.check_login(login)?;
        let mut shard = self.connections.lock_number(login.fd.0);
        match &shard.find(login.fd)?.login {
            Some(own) => self.check_renewal(own, login).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes sure that this node of a cluster hears the channels of a login.
    fn check_attached(
        &self,
        locks: &mut LoginLocks<'_>,
        login: &Login<'_>,
    ) -> Result<(), ChatError> {
        if !self.common.in_cluster() {
            return Ok(());
        }
        let mut missing: Vec<Box<str>> = Vec::new();
        if locks.inboxes.channels.find(login.uid).is_none() {
            missing.push(format!("@{}", login.uid).into());
        }
        let lasting = locks.lasting.iter().map(|room| &**room);
        for room in login.rooms.iter().copied().chain(lasting) {
            let is_here = locks.rooms.of(room).channels.find(room).is_some();
            if !is_here && !missing.iter().any(|known| **known == *room) {
                missing.push(room.into());
            }
        }
        match missing.is_empty() {
            true => Ok(()),
            false => Err(self.common.not_attached(missing)),
        }
    }

    fn check_login(&self, login: &Login<'_>) -> Result<(), ChatError> {
        check_uid("uid", login.uid)?;
        let max = self.common.settings.rooms_per_connection_max();
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

    /// Keeps a connection that logs in again and again from joining ever more rooms by it.
    fn check_renewal(&self, own: &LoginState, login: &Login<'_>) -> Result<(), ChatError> {
        if own.user.uid() != login.uid {
            return Err(ChatError::OtherUser);
        }
        let max = self.common.settings.rooms_per_connection_max();
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

    /// Takes the locks of all channels that a login needs, until it is done: a client that is told
    /// of a user who joined finds that user in each of those rooms.
    fn lock_channels<'a>(&'a self, login: &Login<'a>) -> LoginLocks<'a> {
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

    /// Finds out how a login will be answered, and creates the channels that it needs.
    fn plan(
        &self,
        scope: Scope<'_>,
        locks: &mut LoginLocks<'_>,
        login: &Login<'_>,
        before: Option<&LoginState>,
    ) -> Result<LoginPlan, ChatError> {
        let mut welcomes = Vec::new();
        match self.plan_into(&mut welcomes, scope, locks, login, before) {
            Ok((user, starts, rooms)) => Ok(LoginPlan {
                user,
                starts,
                rooms,
                welcomes,
            }),
            Err(full) => {
                // The channels that were created for it so far may go again.
                locks.inboxes.channels.schedule_removal(scope, login.uid);
                // The first two are the inbox and everyone.
                for Welcome { channel, .. } in welcomes.iter().skip(2) {
                    let rooms = &mut locks.rooms.of(channel).channels;
                    rooms.schedule_removal(scope, channel);
                }
                Err(full)
            }
        }
    }

    /// Plans a login, with welcomes for all channels in order, as far as there is room for them. A
    /// connection has missed nothing of the channels that it hears since a login `before`.
    fn plan_into(
        &self,
        welcomes: &mut Vec<Welcome>,
        scope: Scope<'_>,
        locks: &mut LoginLocks<'_>,
        login: &Login<'_>,
        before: Option<&LoginState>,
    ) -> Result<(User, [SubscriptionStart; 2], Vec<PlannedRoom>), ChatError> {
        let joined = before.map_or(&[][..], |own| own.rooms.as_slice());
        let resume_of = |is_heard: bool, matches: &dyn Fn(&str) -> bool| {
            let mut wishes = login.resume.iter();
            let wish = wishes.find(|(name, _)| !is_heard && matches(name));
            wish.map_or(Resume::Now, |(_, resume)| *resume)
        };
        let renews = before.is_some();
        let resume = resume_of(renews, &|name| name.strip_prefix('@') == Some(login.uid));
        let (user, welcome, inbox) = locks.inboxes.begin(scope, login.uid, resume)?;
        welcomes.push(welcome);
        let (name, log) = (&self.everyone_name, &mut locks.everyone.log);
        let resume = resume_of(renews, &|name| name == EVERYONE);
        let (welcome, all) = scope.begin(name, log, &user, resume, None);
        welcomes.push(welcome);

        let mut rooms: Vec<PlannedRoom> = Vec::new();
        let lasting = locks.lasting.iter().map(|room| &**room);
        for room in login.rooms.iter().copied().chain(lasting) {
            if welcomes.iter().any(|welcome| *welcome.channel == *room) {
                continue;
            }
            let is_in = joined.iter().any(|own| **own == *room);
            let resume = resume_of(is_in, &|name| name == room);
            let rooms_of_shard = locks.rooms.of(room);
            let named = (room, login.rights.capacity(&user));
            let (welcome, start) = rooms_of_shard.begin(scope, named, &user, resume)?;
            if !is_in {
                rooms.push((Arc::clone(&welcome.channel), start));
            }
            welcomes.push(welcome);
        }
        Ok((user, [inbox, all], rooms))
    }

    /// Has a connection hear what all connections of its user hear; gives the oldest one of them, if
    /// it is one too many.
    fn bind(
        &self,
        call: &mut Call<'_>,
        locks: &mut LoginLocks<'_>,
        (user, fd): (&User, Fd),
        [inbox, all]: [SubscriptionStart; 2],
    ) -> Option<Fd> {
        self.common.totals.logged_in.add(1);
        let replaced = locks.inboxes.enter(call, (user, fd), inbox);
        self.common.note_heard(user.inbox());
        let everyone = &mut *locks.everyone;
        everyone.connections += 1;
        self.common.note_heard(&self.everyone_name);
        call.subscribe(fd, &self.everyone_name, &mut everyone.log, all);
        replaced
    }

    fn leave_forbidden(&self, call: &mut Call<'_>, fd: Fd, own: &mut LoginState) {
        let lasting = self.lasting_of(&own.user);
        let rooms = own.rooms.as_slice().iter();
        let forbidden: Vec<_> = rooms
            .filter(|room| !own.rights.may_join(room) && !lasting.contains(room))
            .cloned()
            .collect();
        for room in forbidden {
            self.leave_room(call, fd, own, &room);
        }
    }

    /// The rooms of which `user` is a lasting member.
    pub(super) fn lasting_of(&self, user: &User) -> Vec<Arc<str>> {
        let shard = self.inboxes.lock(user.uid());
        shard.lasting.get(user).cloned().unwrap_or_default()
    }

    /// Takes a connection out of all its channels.
    fn unbind(&self, scope: Scope<'_>, fd: Fd, own: &LoginState) {
        for room in own.rooms.as_slice() {
            let mut rooms = self.rooms.lock(room);
            rooms.leave(scope, room, &own.user, fd);
        }
        let mut inboxes = self.inboxes.lock(own.user.uid());
        inboxes.leave(scope, &own.user, fd);
        self.common.note_heard(own.user.inbox());
        drop(inboxes);
        let mut everyone = lock(&self.everyone);
        everyone.connections -= 1;
        self.common.note_heard(&self.everyone_name);
        drop(everyone);
        self.common.totals.logged_in.subtract(1);
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

/// A room to be entered, and the place from which it is heard.
type PlannedRoom = (Arc<str>, SubscriptionStart);

/// The answer to a login, and the place from which the connection hears each channel.
struct LoginPlan {
    user: User,
    /// The starts in the user's inbox and in the channel of everyone.
    starts: [SubscriptionStart; 2],
    rooms: Vec<PlannedRoom>,
    welcomes: Vec<Welcome>,
}
