//! One shard of the rooms: how connections enter and leave, and whom a room tells of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bindings::BindingKey;
use super::call::{Call, Scope};
use super::channels::{Audience as _, ChannelKey, Channels, LiveChannel};
use super::members::{Arrival, Departure, PresenceNews, RoomMembers};
use super::name::User;
use super::notice::Notice;
use super::resume::SubscriptionStart;
use crate::base::{Fd, Tick};

/// One shard of the rooms, and of the users whose leaving hasn't been announced.
#[derive(Debug, Default)]
pub(super) struct RoomShard {
    pub(super) channels: Channels<Arc<str>, RoomMembers>,
    /// Users by the time at which their last connection left, in the order in which the rooms will
    /// be told.
    leaving: BTreeSet<(Tick, Arc<str>, User)>,
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
        if room.audience.remove(user, fd, scope.now) == Departure::Leaving {
            self.leaving.insert((scope.now, key.clone(), user.clone()));
        }
        (scope.common).note(|| BindingKey::Member(Arc::clone(key), user.clone()));
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
        (scope.common).note(|| BindingKey::Lasting(Arc::clone(key), user.clone()));
        self.channels.schedule_removal(scope, name);
        changed
    }

    /// Has all rooms swept soon that have anything which could become too old.
    pub(super) fn sweep_all(&mut self) {
        self.channels.sweep_all();
    }

    /// Does up to `steps` of what is due; how many it did.
    pub(super) fn expire(&mut self, call: &mut Call<'_>, steps: usize) -> usize {
        let mut step = || self.tell_who_left(call) || self.channels.sweep_next(call);
        (0..steps).take_while(|_| step()).count()
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
