//! One part of the users: their connections and private lines.

use std::collections::BTreeMap;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use super::common::{Capacity, Common, Envelope, Expiry, ExpiryQueue, Placement};
use super::dedup::Recent;
use super::error::ChatError;
use super::fds::Fds;
use super::log::{Log, Resume, Start};
use super::message::Notice;
use super::name::User;
use super::sink::{Sink, Welcome};
use crate::base::Fd;
use crate::base::Position;
use crate::base::Tick;

#[derive(Debug, Default)]
pub(super) struct InboxShard {
    pub(super) inboxes: BTreeMap<User, Inbox>,
    pub(super) recent: Recent,
    looks: ExpiryQueue<User>,
    /// Rooms in which users are lasting members; they need no line for it.
    pub(super) lasting: BTreeMap<User, Vec<Arc<str>>>,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) log: Log,
    presence: UserPresence,
}

#[derive(Debug)]
enum UserPresence {
    Away { since: Tick },
    Here(Fds),
}

impl Inbox {
    /// The user's connections, in the order in which they came.
    pub(super) fn fds(&self) -> &[Fd] {
        match &self.presence {
            UserPresence::Away { .. } => &[],
            UserPresence::Here(fds) => fds.as_slice(),
        }
    }
}

impl InboxShard {
    pub(super) fn find(&mut self, uid: &str) -> Option<(&User, &mut Inbox)> {
        find(&mut self.inboxes, uid)
    }

    /// Makes sure that there is a line of a user, whose uid is checked; gives the shared name. A
    /// new one has to get a connection or a message, or to be [`InboxShard::settle`]d: else nobody
    /// ever looks whether it is to go.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`].
    pub(super) fn ensure(
        &mut self,
        common: &Common,
        now: Tick,
        uid: &str,
        space: Capacity,
    ) -> Result<User, ChatError> {
        if let Some((user, _)) = find(&mut self.inboxes, uid) {
            return Ok(user.clone());
        }
        let user = User::new(uid);
        let log = common.new_log(user.line(), space)?;
        common.totals.inboxes.add(1);
        let presence = UserPresence::Away { since: now };
        self.inboxes.insert(user.clone(), Inbox { log, presence });
        Ok(user)
    }

    /// Nothing came of what a line was made for: it goes in time, if nobody is there.
    pub(super) fn settle(&mut self, common: &Common, now: Tick, uid: &str) {
        if let Some((user, line)) = find(&mut self.inboxes, uid)
            && line.fds().is_empty()
        {
            let gone_at = now.after(common.settings.channel_ttl_ms);
            self.looks.plan(gone_at, user, &mut line.log);
        }
    }

    /// Decides where a user begins to hear their line, which exists from then on.
    pub(super) fn prepare(
        &mut self,
        common: &Common,
        now: Tick,
        uid: &str,
        resume: Resume,
    ) -> Result<(User, Welcome, Start), ChatError> {
        let user = self.ensure(common, now, uid, Capacity::Bounded)?;
        let line = self.inboxes.get_mut(&user).expect("it was made sure of");
        let (welcome, start) = common.start(now, user.line(), &mut line.log, &user, resume, None);
        Ok((user, welcome, start))
    }

    /// A connection belongs to a user from now on; gives the one that has to go for it.
    pub(super) fn enter(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        now: Tick,
        (user, fd): (&User, Fd),
        start: Start,
    ) -> Option<Fd> {
        self.ensure(common, now, user.uid(), Capacity::Promised)
            .expect("what was promised asks for no bound");
        let line = self.inboxes.get_mut(user).expect("it was made sure of");
        match &mut line.presence {
            UserPresence::Here(fds) => fds.push(fd),
            UserPresence::Away { .. } => {
                common.totals.users.add(1);
                line.presence = UserPresence::Here(Fds::One(fd));
            }
        }
        common.subscribe(now, post, fd, user.line(), &mut line.log, start);
        let fds = line.fds();
        let oldest = (fds.len() > common.settings.connections_per_user_max).then(|| fds[0]);
        if let Some(oldest) = oldest {
            common.totals.replaced.add(1);
            // It counts no more from here on; until it is closed it must not hear one message and
            // miss the one before.
            post.unsubscribe(oldest, user.line());
            self.depart(common, now, user, oldest);
        }
        oldest
    }

    /// A connection belongs to the user no more.
    pub(super) fn depart(&mut self, common: &Common, now: Tick, user: &User, fd: Fd) {
        let Some(line) = self.inboxes.get_mut(user) else {
            return;
        };
        let away = UserPresence::Away { since: now };
        match std::mem::replace(&mut line.presence, away) {
            UserPresence::Here(fds) => match fds.without(fd) {
                Some(fds) => line.presence = UserPresence::Here(fds),
                None => {
                    common.totals.users.subtract(1);
                    let gone_at = now.after(common.settings.channel_ttl_ms);
                    self.looks.plan(gone_at, user, &mut line.log);
                }
            },
            away => line.presence = away,
        }
    }

    /// Puts a message into the log of a line that exists, where it is to stand, and sends it; says
    /// where it stands and who was there.
    pub(super) fn say(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        now: Tick,
        uid: &str,
        message: &Envelope<'_>,
        standing: Placement<'_>,
    ) -> (Option<Position>, usize) {
        let Some((user, line)) = find(&mut self.inboxes, uid) else {
            return (None, 0);
        };
        let position = common.place(now, &mut line.log, standing);
        if position.is_some() {
            let old_at = now.after(common.settings.kept_ms_max);
            self.looks.plan(old_at, user, &mut line.log);
        }
        let fds = line.fds();
        let receivers =
            message.publish(post, user.line(), position, fds.len(), fds.iter().copied());
        (position, receivers)
    }

    /// The disk has forgotten the line of a user.
    pub(super) fn forget(&mut self, common: &Common, post: &mut dyn Sink, now: Tick, uid: &str) {
        let Some((user, line)) = find(&mut self.inboxes, uid) else {
            return;
        };
        debug_assert!(line.log.oldest_at().is_none_or(|at| at <= now));
        line.log.purge(common.epoch_of(user.line()), &common.totals);
        if let UserPresence::Here(_) = &line.presence {
            let (channel, position) = (user.line(), line.log.position());
            post.publish(channel, &Notice::Gap { channel, position });
            return;
        }
        let user = user.clone();
        self.inboxes.remove(&user);
        common.totals.inboxes.subtract(1);
        common.totals.channels.subtract(1);
    }

    /// Does up to `steps` of what is due; whether there may be more.
    pub(super) fn expire(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        now: Tick,
        steps: usize,
    ) -> bool {
        let (settings, totals) = (&common.settings, &common.totals);
        self.recent.forget_old(now, settings, totals);
        (0..steps).all(|_| self.look(common, post, now))
    }

    fn look(&mut self, common: &Common, post: &mut dyn Sink, now: Tick) -> bool {
        let Some(user) = self.looks.next(now) else {
            return false;
        };
        if let Some(line) = self.inboxes.get_mut(&user) {
            let empty_since = match &line.presence {
                UserPresence::Away { since } => Some(*since),
                UserPresence::Here(_) => None,
            };
            match common.look(now, user.line(), &mut line.log, empty_since) {
                Expiry::Stays => {}
                Expiry::LookAgain(at) => self.looks.plan(at, &user, &mut line.log),
                Expiry::Forgettable(at) => {
                    post.forget(user.line());
                    self.looks.plan(at, &user, &mut line.log);
                }
                Expiry::Gone => {
                    self.inboxes.remove(&user);
                    common.totals.inboxes.subtract(1);
                }
            }
        }
        true
    }
}

fn find<'a>(
    inboxes: &'a mut BTreeMap<User, Inbox>,
    uid: &str,
) -> Option<(&'a User, &'a mut Inbox)> {
    inboxes
        .range_mut::<str, _>((Included(uid), Unbounded))
        .next()
        .filter(|(user, _)| user.uid() == uid)
}
