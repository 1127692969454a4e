//! One part of the rooms.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use super::common::{Capacity, Common, Envelope, Expiry, ExpiryQueue, Placement};
use super::dedup::Recent;
use super::error::ChatError;
use super::log::{Log, Resume, Start};
use super::members::{Arrival, Departure, RoomMembers};
use super::message::Notice;
use super::name::User;
use super::sink::{Sink, Welcome};
use crate::base::Fd;
use crate::base::Tick;
use crate::base::{Epoch, Position};

#[derive(Debug, Default)]
pub(super) struct RoomShard {
    pub(super) rooms: BTreeMap<Arc<str>, Room>,
    pub(super) recent: Recent,
    looks: ExpiryQueue<Arc<str>>,
    /// Users whose last connection went then; in the order in which the rooms will be told.
    leaving: BTreeSet<(Tick, Arc<str>, User)>,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) log: Log,
    pub(super) audience: RoomMembers,
}

impl RoomShard {
    pub(super) fn find(&mut self, name: &str) -> Option<(&Arc<str>, &mut Room)> {
        find(&mut self.rooms, name)
    }

    /// Makes sure that there is a room, whose name is checked. A new one has to get a member or a
    /// message, or to be [`RoomShard::settle`]d: else nobody ever looks whether it is to go.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`].
    pub(super) fn ensure(
        &mut self,
        common: &Common,
        now: Tick,
        name: &str,
        space: Capacity,
    ) -> Result<(), ChatError> {
        if self.rooms.contains_key(name) {
            return Ok(());
        }
        let log = common.new_log(name, space)?;
        common.totals.rooms.add(1);
        let audience = RoomMembers::Nobody { since: now };
        self.rooms.insert(name.into(), Room { log, audience });
        Ok(())
    }

    /// Nothing came of what a room was made for: it goes in time, if it is empty.
    pub(super) fn settle(&mut self, common: &Common, now: Tick, name: &str) {
        if let Some((name, room)) = find(&mut self.rooms, name) {
            let gone_at = now.after(common.settings.channel_ttl_ms);
            self.looks.plan_if_empty(gone_at, name, room);
        }
    }

    /// Decides where `user` begins to hear a room, which exists from then on.
    pub(super) fn prepare(
        &mut self,
        common: &Common,
        now: Tick,
        name: &str,
        user: &User,
        resume: Resume,
    ) -> Result<(Welcome, Start), ChatError> {
        self.ensure(common, now, name, Capacity::Bounded)?;
        let (name, room) = self.find(name).expect("it was made sure of");
        let members = room.audience.present() + usize::from(!room.audience.is_present(user));
        Ok(common.start(now, name, &mut room.log, user, resume, Some(members)))
    }

    /// A connection comes in and gets what it missed since `start`.
    pub(super) fn enter(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        now: Tick,
        name: &str,
        (user, fd): (&User, Fd),
        start: Start,
    ) -> Arc<str> {
        self.ensure(common, now, name, Capacity::Promised)
            .expect("what was promised asks for no bound");
        let (name, room) = find(&mut self.rooms, name).expect("it was made sure of");
        let heard_by = room.audience.connections();
        match room.audience.add(user, fd) {
            Arrival::Further => {}
            Arrival::Returned { since } => {
                self.leaving.remove(&(since, name.clone(), user.clone()));
            }
            Arrival::First => {
                let few = room.audience.present() <= common.settings.presence_users_max;
                if few && heard_by > 0 {
                    let uid = user.uid();
                    common.totals.joined.add(1);
                    post.publish(name, &Notice::Joined { room: name, uid });
                }
            }
        }
        common.totals.memberships.add(1);
        common.subscribe(now, post, fd, name, &mut room.log, start);
        Arc::clone(name)
    }

    /// A connection goes out.
    pub(super) fn depart(&mut self, common: &Common, now: Tick, name: &str, user: &User, fd: Fd) {
        let Some((name, room)) = find(&mut self.rooms, name) else {
            debug_assert!(false, "{user:?} was in {name}, which is gone");
            return;
        };
        common.totals.memberships.subtract(1);
        if room.audience.remove(user, fd, now) == Departure::Leaving {
            self.leaving.insert((now, name.clone(), user.clone()));
        }
        let gone_at = now.after(common.settings.channel_ttl_ms);
        self.looks.plan_if_empty(gone_at, name, room);
    }

    /// Makes a user a lasting member of a room that exists, or no longer; whether it wasn't so.
    pub(super) fn set_lasting(
        &mut self,
        common: &Common,
        now: Tick,
        name: &str,
        user: &User,
        lasting: bool,
    ) -> bool {
        let Some((name, room)) = find(&mut self.rooms, name) else {
            return false;
        };
        let changed = room.audience.set_lasting(user, lasting, now);
        let gone_at = now.after(common.settings.channel_ttl_ms);
        self.looks.plan_if_empty(gone_at, name, room);
        changed
    }

    /// Puts a message into the log where it is to stand, and sends it; says where it stands and who
    /// was there.
    pub(super) fn say(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        now: Tick,
        name: &str,
        message: &Envelope<'_>,
        standing: Placement<'_>,
    ) -> (Option<Position>, usize) {
        let Some((name, room)) = find(&mut self.rooms, name) else {
            return (None, 0);
        };
        if let Placement::At(Position { epoch, offset }, _) = standing
            && epoch != room.log.position().epoch
            && room.audience.connections() > 0
        {
            // Stored in one batch with a purge behind it, whose epoch those who came meanwhile were
            // told already.
            let (channel, offset) = (name, offset - 1);
            let position = Position { epoch, offset };
            post.publish(name, &Notice::Gap { channel, position });
        }
        let position = common.place(now, &mut room.log, standing);
        if position.is_some() {
            let old_at = now.after(common.settings.kept_ms_max);
            self.looks.plan(old_at, name, &mut room.log);
        }
        let (audience, connections) = (&room.audience, room.audience.connections());
        let receivers = message.publish(post, name, position, connections, audience.fds());
        (position, receivers)
    }

    /// Begins a room's log anew, and tells those who hear it.
    pub(super) fn purge(
        &mut self,
        common: &Common,
        post: &mut dyn Sink,
        name: &str,
        epoch: Epoch,
    ) -> Option<Position> {
        let (name, room) = self.find(name)?;
        room.log.purge(epoch, &common.totals);
        let position = room.log.position();
        if room.audience.connections() > 0 {
            let channel = name;
            post.publish(name, &Notice::Gap { channel, position });
        }
        Some(position)
    }

    /// The disk has forgotten a room.
    pub(super) fn forget(&mut self, common: &Common, post: &mut dyn Sink, now: Tick, name: &str) {
        let Some((_, room)) = self.find(name) else {
            return;
        };
        if room.audience.empty_since().is_none() {
            self.purge(common, post, name, common.epoch_of(name));
            return;
        }
        debug_assert!(room.log.oldest_at().is_none_or(|at| at <= now));
        room.log.purge(common.epoch_of(name), &common.totals);
        self.rooms.remove(name);
        common.totals.rooms.subtract(1);
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
        for _ in 0..steps {
            if !self.tell_who_left(common, post, now) && !self.look(common, post, now) {
                return false;
            }
        }
        true
    }

    fn tell_who_left(&mut self, common: &Common, post: &mut dyn Sink, now: Tick) -> bool {
        let due = |(since, ..): &&(Tick, _, _)| since.after(common.settings.left_ms) <= now;
        if self.leaving.first().filter(due).is_none() {
            return false;
        }
        let (since, name, user) = self.leaving.pop_first().expect("there is a first");
        if let Some((name, room)) = find(&mut self.rooms, &name) {
            let few = room.audience.present() <= common.settings.presence_users_max;
            let left = room.audience.leave(&user, since, now);
            debug_assert!(left, "{user:?} came back, but was not taken off the list");
            if left && few && room.audience.connections() > 0 {
                let uid = user.uid();
                common.totals.left.add(1);
                post.publish(name, &Notice::Left { room: name, uid });
            }
            let gone_at = now.after(common.settings.channel_ttl_ms);
            self.looks.plan_if_empty(gone_at, name, room);
        }
        true
    }

    fn look(&mut self, common: &Common, post: &mut dyn Sink, now: Tick) -> bool {
        let Some(name) = self.looks.next(now) else {
            return false;
        };
        if let Some(room) = self.rooms.get_mut(&name) {
            match common.look(now, &name, &mut room.log, room.audience.empty_since()) {
                Expiry::Stays => {}
                Expiry::LookAgain(at) => self.looks.plan(at, &name, &mut room.log),
                Expiry::Forgettable(at) => {
                    post.forget(&name);
                    self.looks.plan(at, &name, &mut room.log);
                }
                Expiry::Gone => {
                    self.rooms.remove(&name);
                    common.totals.rooms.subtract(1);
                }
            }
        }
        true
    }
}

impl ExpiryQueue<Arc<str>> {
    fn plan_if_empty(&mut self, at: Tick, name: &Arc<str>, room: &mut Room) {
        if room.audience.empty_since().is_some() {
            self.plan(at, name, &mut room.log);
        }
    }
}

fn find<'a>(
    rooms: &'a mut BTreeMap<Arc<str>, Room>,
    name: &str,
) -> Option<(&'a Arc<str>, &'a mut Room)> {
    rooms
        .range_mut::<str, _>((Included(name), Unbounded))
        .next()
        .filter(|(found, _)| &***found == name)
}
