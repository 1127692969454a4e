//! One shard of the rooms: how connections enter and leave, and whom a room tells of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bindings::BindingKey;
use super::call::{Call, Scope};
use super::channels::{Audience as _, ChannelKey, Channels, LiveChannel, Swept};
use super::common::{Capacity, Common};
use super::error::ChatError;
use super::members::{
    Arrival, Departure, LastUser, PresenceNews, RoomMembers, users_until_quiet_ends,
};
use super::name::User;
use super::notice::Notice;
use super::presence::{HeardPresence, QuietRoom};
use super::resume::{Resume, SubscriptionStart};
use super::sink::{Sink, Welcome};
use crate::base::{Fd, Tick};

/// One shard of the rooms, and of the users whose leaving hasn't been announced.
#[derive(Debug, Default)]
pub(super) struct RoomShard {
    pub(super) channels: Channels<Arc<str>, RoomMembers>,
    /// Users by the time at which their last connection left, in the order in which the rooms will
    /// be told.
    leaving: BTreeSet<(Tick, Arc<str>, User)>,
    /// What a node of a cluster has heard of the rooms.
    pub(super) presence: HeardPresence,
}

impl ChannelKey for Arc<str> {
    fn new(name: &str) -> Self {
        name.into()
    }

    fn channel(&self) -> &Arc<str> {
        self
    }
}

impl RoomShard {
    /// Brings back a room as it was; `false` if there is one of this name.
    pub(super) fn bring_back(
        &mut self,
        name: Arc<str>,
        room: LiveChannel<RoomMembers>,
        sweep_at: Option<Tick>,
    ) -> bool {
        for member in room.audience.iter() {
            if let Some(since) = member.leaving_since {
                self.leaving
                    .insert((since, Arc::clone(&name), member.user.clone()));
            }
        }
        self.channels.bring_back(name, room, sweep_at)
    }

    /// Decides where a user begins to hear a room, and how that is answered.
    pub(super) fn begin(
        &mut self,
        scope: Scope<'_>,
        (name, capacity): (&str, Capacity<'_>),
        user: &User,
        resume: Resume,
    ) -> Result<(Welcome, SubscriptionStart), ChatError> {
        let named = (name, capacity);
        let (mut welcome, start) = self.channels.begin(scope, named, user, resume)?;
        if scope.common.in_cluster() {
            let found = self.channels.find(name);
            let is_present = found.is_some_and(|(_, found)| found.audience.is_present(user));
            let users_max = scope.common.settings.presence_users_max();
            self.presence.add_to(&mut welcome, is_present, users_max);
        }
        Ok((welcome, start))
    }

    /// Has a connection enter a room and get what it missed since `start`.
    pub(super) fn enter(
        &mut self,
        call: &mut Call<'_>,
        name: &str,
        (user, fd): (&User, Fd),
        start: SubscriptionStart,
    ) -> Arc<str> {
        let common = call.scope.common;
        let (name, room) = self.channels.find_or_create(call.scope, name);
        let heard_by = room.audience.connections();
        match room.audience.add(user, fd) {
            Arrival::Further => {}
            Arrival::Returned { since } => {
                self.leaving.remove(&(since, name.clone(), user.clone()));
            }
            // Whether that is news, the rows of all nodes show.
            Arrival::First if common.in_cluster() => {}
            Arrival::First => {
                let users_max = common.settings.presence_users_max();
                match room.audience.news_of_arrival(users_max) {
                    PresenceNews::User if heard_by > 0 => {
                        let uid = user.uid();
                        common.totals.joined.add(1);
                        (call.sink).publish(name, &Notice::Joined { room: name, uid });
                    }
                    PresenceNews::Off if heard_by > 0 => {
                        (call.sink).publish(name, &Notice::PresenceOff { room: name });
                    }
                    _ => {}
                }
            }
        }
        common.totals.memberships.add(1);
        common.note(|| BindingKey::Member(Arc::clone(name), user.clone()));
        common.note_heard(name);
        call.subscribe(fd, name, &mut room.log, start);
        Arc::clone(name)
    }

    /// Has a connection leave a room.
    pub(super) fn leave(&mut self, scope: Scope<'_>, name: &str, user: &User, fd: Fd) {
        let Some((key, room)) = self.channels.find(name) else {
            debug_assert!(false, "{user:?} was in {name}, which is gone");
            return;
        };
        scope.common.totals.memberships.subtract(1);
        let last_user = match scope.common.in_cluster() {
            true => LastUser::Leaves,
            false => LastUser::Gone,
        };
        if room.audience.remove(user, fd, scope.now, last_user) == Departure::Leaving {
            self.leaving.insert((scope.now, key.clone(), user.clone()));
        }
        (scope.common).note(|| BindingKey::Member(Arc::clone(key), user.clone()));
        scope.common.note_heard(key);
        self.channels.schedule_removal(scope, name);
    }

    /// Begins or ends a lasting membership in a room that exists; `false` if nothing changed.
    pub(super) fn set_lasting(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        user: &User,
        lasting: bool,
    ) -> bool {
        let Some((key, room)) = self.channels.find(name) else {
            return false;
        };
        let changed = room.audience.set_lasting(user, lasting, scope.now);
        if !scope.common.in_cluster() {
            (scope.common).note(|| BindingKey::Lasting(Arc::clone(key), user.clone()));
        }
        self.channels.schedule_removal(scope, name);
        changed
    }

    /// Has all rooms swept soon that have anything which could become too old.
    pub(super) fn sweep_all(&mut self) {
        self.channels.sweep_all();
    }

    /// Does up to `steps` of what is due; how many it did.
    pub(super) fn expire(&mut self, call: &mut Call<'_>, steps: usize) -> usize {
        let mut step = || self.tell_who_left(call) || self.sweep_next(call);
        (0..steps).take_while(|_| step()).count()
    }

    /// Tells a room that a user came, where so many users are now.
    pub(super) fn hear_joined(
        &mut self,
        (common, sink): (&Common, &mut dyn Sink),
        room: &str,
        uid: &str,
        users: usize,
    ) {
        let Some((name, found)) = self.channels.find(room) else {
            return;
        };
        let users_max = common.settings.presence_users_max();
        let heard = self.presence.note(name, users);
        if users_max == 0 || heard.is_quiet {
            return;
        }
        heard.is_quiet = users > users_max;
        if found.audience.connections() == 0 {
            return;
        }
        if heard.is_quiet {
            return sink.publish(name, &Notice::PresenceOff { room: name });
        }
        common.totals.joined.add(1);
        let notice = Notice::Joined { room: name, uid };
        let own = found.audience.fds_of(&User::of_uid(uid));
        if own.is_empty() {
            return sink.publish(name, &notice);
        }
        // Nobody is told of the own coming.
        let others = found.audience.fds().filter(|fd| !own.contains(fd));
        others.for_each(|fd| {
            sink.push(fd, &notice);
        });
    }

    /// Tells a room that a user left, where so many users are left.
    pub(super) fn hear_left(
        &mut self,
        (common, sink): (&Common, &mut dyn Sink),
        room: &str,
        uid: &str,
        users: usize,
    ) -> QuietRoom {
        let Some((name, found)) = self.channels.find(room) else {
            return QuietRoom::Told;
        };
        let users_max = common.settings.presence_users_max();
        let heard = self.presence.note(name, users);
        let is_heard = found.audience.connections() > 0;
        match (users_max, heard.is_quiet) {
            (0, _) => {}
            (_, false) if is_heard => {
                common.totals.left.add(1);
                sink.publish(name, &Notice::Left { room: name, uid });
            }
            (_, true) if users <= users_until_quiet_ends(users_max) => {
                heard.is_quiet = false;
                if is_heard {
                    return QuietRoom::Ends;
                }
            }
            _ => {}
        }
        QuietRoom::Told
    }

    fn sweep_next(&mut self, call: &mut Call<'_>) -> bool {
        match self.channels.sweep_next(call) {
            Swept::Nothing => false,
            Swept::One => true,
            Swept::Detached(room) => {
                self.presence.forget(&room);
                true
            }
        }
    }

    /// Tells a room of the next user who has left it; `false` when there is none.
    fn tell_who_left(&mut self, call: &mut Call<'_>) -> bool {
        let Scope { common, now } = call.scope;
        let due = |(since, ..): &&(Tick, _, _)| since.after(common.settings.left_ms()) <= now;
        if self.leaving.first().filter(due).is_none() {
            return false;
        }
        let (since, name, user) = self.leaving.pop_first().expect("there is a first");
        if let Some((topic, LiveChannel { audience, .. })) = self.channels.find(&name) {
            let left = audience.end_leaving(&user, since, now);
            debug_assert!(left, "{user:?} came back, but was not taken off the list");
            let settings = &common.settings;
            let news = match left {
                true if common.in_cluster() => {
                    // Whether that is news, the rows of all nodes show.
                    common.note(|| BindingKey::Member(Arc::clone(topic), user.clone()));
                    PresenceNews::Nothing
                }
                true => audience.news_of_departure(settings.presence_users_max()),
                false => PresenceNews::Nothing,
            };
            match news {
                PresenceNews::User if audience.connections() > 0 => {
                    let uid = user.uid();
                    common.totals.left.add(1);
                    (call.sink).publish(topic, &Notice::Left { room: topic, uid });
                }
                PresenceNews::On if audience.connections() > 0 => {
                    let on = Notice::PresenceOn {
                        room: topic,
                        users: &audience.present_users(settings.list_max()),
                        users_total: audience.present(),
                    };
                    (call.sink).publish(topic, &on);
                }
                _ => {}
            }
            self.channels.schedule_removal(call.scope, &name);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_of_one_connection_takes_48_bytes_beside_its_name() {
        assert_eq!(size_of::<LiveChannel<RoomMembers>>(), 48);
    }
}
