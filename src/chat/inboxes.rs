//! One shard of the users: their connections and inboxes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::call::{Call, Scope};
use super::channel_table::Listing;
use super::channels::{Audience, ChannelKey, Channels, LiveChannel, Swept};
use super::common::Capacity;
use super::error::ChatError;
use super::fds::Fds;
use super::name::User;
use super::resume::{Resume, SubscriptionStart};
use super::settings::ChannelKind;
use super::sink::Welcome;
use super::stats::{Gauge, Totals};
use crate::base::{Fd, Tick};

/// One shard of the users' inboxes, and of the rooms of which users are lasting members.
#[derive(Debug, Default)]
pub(super) struct InboxShard {
    pub(super) channels: Channels<User, UserPresence>,
    /// Rooms of which users are lasting members. A user needs no inbox for it.
    pub(super) lasting: BTreeMap<User, Vec<Arc<str>>>,
}

/// The connections of a user.
#[derive(Debug)]
pub(super) enum UserPresence {
    Away { since: Tick },
    Here(Fds),
}

impl UserPresence {
    /// The connections, in the order in which they came.
    pub(super) fn as_slice(&self) -> &[Fd] {
        match self {
            Self::Away { .. } => &[],
            Self::Here(fds) => fds.as_slice(),
        }
    }
}

impl Audience for UserPresence {
    const LISTING: Listing = Listing::Never;

    fn nobody(now: Tick) -> Self {
        Self::Away { since: now }
    }

    fn empty_since(&self) -> Option<Tick> {
        match self {
            Self::Away { since } => Some(*since),
            Self::Here(_) => None,
        }
    }

    fn connections(&self) -> usize {
        self.as_slice().len()
    }

    fn fds(&self) -> impl Iterator<Item = Fd> {
        self.as_slice().iter().copied()
    }

    fn is_quiet_with(&self, _: &User, _: usize) -> bool {
        false
    }

    fn members_with(&self, _: &User) -> Option<usize> {
        None
    }

    fn gauge(totals: &Totals) -> &Gauge {
        &totals.inboxes
    }
}

impl ChannelKey for User {
    fn new(uid: &str) -> Self {
        Self::new(uid)
    }

    fn channel(&self) -> &Arc<str> {
        self.inbox()
    }
}

impl InboxShard {
    /// The connections of a user.
    pub(super) fn fds_of(&mut self, uid: &str) -> Vec<Fd> {
        let found = self.channels.find(uid);
        found.map_or(Vec::new(), |(_, inbox)| inbox.audience.as_slice().to_vec())
    }

    /// Decides where a user begins to hear the own inbox, which exists from then on, however many
    /// channels there are, and counts as the user's own.
    pub(super) fn begin(
        &mut self,
        scope: Scope<'_>,
        uid: &str,
        resume: Resume,
    ) -> Result<(User, Welcome, SubscriptionStart), ChatError> {
        // The inbox comes first: its key is the name that all share.
        let (user, _) = self.channels.find_or_create(scope, uid);
        let user = user.clone();
        let line = (uid, Capacity::Reserved);
        let (welcome, start) = self.channels.begin(scope, line, &user, resume)?;
        Ok((user, welcome, start))
    }

    /// Counts a line as its own user's, who has come, or to whom a back end speaks. Until then it
    /// counts for the one who opened it.
    pub(super) fn claim(&mut self, call: &mut Call<'_>, uid: &str) {
        let Some((user, inbox)) = self.channels.find(uid) else {
            return;
        };
        if std::mem::take(&mut inbox.log.has_opener) {
            let (common, line) = (call.scope.common, user.inbox());
            common.claim_line(line);
            if common.settings.kind_of(line) == ChannelKind::Stored {
                call.sink.claim(line);
            }
        }
    }

    /// The line of a user who never came and isn't here either, which is to go to make room; whether
    /// the disk has to let go of it first. A line that is its user's by now stays.
    pub(super) fn drop_unclaimed(&mut self, call: &mut Call<'_>, uid: &str) {
        let Some((user, inbox)) = self.channels.find(uid) else {
            return;
        };
        let common = call.scope.common;
        if !inbox.log.has_opener || inbox.audience.empty_since().is_none() {
            return;
        }
        common.totals.unclaimed_dropped.add(1);
        if common.settings.kind_of(user.inbox()) == ChannelKind::Stored {
            // It counts as nobody's until it is gone.
            inbox.log.has_opener = false;
            common.claim_line(user.inbox());
            let (line, epoch) = (Arc::clone(user.inbox()), common.ids.epoch());
            return call.sink.drop_channel(&line, epoch);
        }
        self.channels.forget(call, uid);
    }

    /// Gives a connection to a user. If the user has too many then, takes the oldest one away and
    /// returns it.
    pub(super) fn enter(
        &mut self,
        call: &mut Call<'_>,
        (user, fd): (&User, Fd),
        start: SubscriptionStart,
    ) -> Option<Fd> {
        let common = call.scope.common;
        let (_, inbox) = self.channels.find_or_create(call.scope, user.uid());
        let LiveChannel { log, audience } = inbox;
        match audience {
            UserPresence::Here(fds) => fds.push(fd),
            UserPresence::Away { .. } => {
                common.totals.users.add(1);
                *audience = UserPresence::Here(Fds::One(fd));
            }
        }
        call.subscribe(fd, user.inbox(), log, start);
        let fds = audience.as_slice();
        let oldest = (fds.len() > common.settings.connections_per_user_max()).then(|| fds[0]);
        if let Some(oldest) = oldest {
            common.totals.replaced.add(1);
            // The oldest connection counts no more from here on; until it is closed, it must not
            // hear one message and miss the one before.
            call.sink.unsubscribe(oldest, user.inbox());
            self.leave(call.scope, user, oldest);
        }
        oldest
    }

    /// Takes a connection from a user.
    pub(super) fn leave(&mut self, scope: Scope<'_>, user: &User, fd: Fd) {
        let Some((_, inbox)) = self.channels.find(user.uid()) else {
            return;
        };
        let away = UserPresence::Away { since: scope.now };
        match std::mem::replace(&mut inbox.audience, away) {
            UserPresence::Here(fds) => match fds.without(fd) {
                Some(fds) => inbox.audience = UserPresence::Here(fds),
                None => {
                    scope.common.totals.users.subtract(1);
                    self.channels.schedule_removal(scope, user.uid());
                }
            },
            away => inbox.audience = away,
        }
    }

    /// Has all inboxes swept soon that have anything which could become too old.
    pub(super) fn sweep_all(&mut self) {
        self.channels.sweep_all();
    }

    /// Does up to `steps` of what is due; how many it did.
    pub(super) fn expire(&mut self, call: &mut Call<'_>, steps: usize) -> usize {
        let mut step = || match self.channels.sweep_next(call) {
            Swept::Nothing => false,
            Swept::One => true,
            Swept::Detached(user) => {
                let rooms = self.lasting.remove(&user).unwrap_or_default();
                call.scope.common.totals.lasting.subtract(rooms.len());
                true
            }
        };
        (0..steps).take_while(|_| step()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inbox_of_one_connection_takes_32_bytes_beside_its_name() {
        assert_eq!(size_of::<LiveChannel<UserPresence>>(), 32);
    }
}
