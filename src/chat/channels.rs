//! One shard of channels of one kind: rooms or inboxes.
//!
//! Holds what both have in common: logs, repeats, expiry, what is said and forgotten. Who hears a
//! channel is its [`Audience`], and [`RoomShard`](super::rooms::RoomShard) and
//! [`InboxShard`](super::inboxes::InboxShard) say how connections enter and leave.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::call::{Call, Scope};
use super::channel_table::{ChannelTable, Listing};
use super::common::{Capacity, Common};
use super::error::ChatError;
use super::expiry::{Expiry, ExpiryQueue};
use super::log::MessageLog;
use super::name::User;
use super::notice::Notice;
use super::placement::Placement;
use super::resume::{Resume, SubscriptionStart};
use super::sink::{Sink, Welcome};
use super::stats::{Gauge, Totals};
use crate::base::{Epoch, Fd, Position, Tick};

/// The key by which channels of one kind are found.
pub(super) trait ChannelKey: Borrow<str> + Ord + Clone + fmt::Debug {
    /// Makes the key of a checked name.
    fn new(name: &str) -> Self;

    /// The name of the channel, which is also its topic.
    fn channel(&self) -> &Arc<str>;
}

/// The connections and members of a channel.
pub(super) trait Audience {
    /// Whether channels of this kind are listed.
    const LISTING: Listing;

    /// Makes the audience of a channel that begins now.
    fn nobody(now: Tick) -> Self;

    /// The time since when there are neither connections nor members; `None` when there are.
    fn empty_since(&self) -> Option<Tick>;

    /// Counts the connections that hear the channel.
    fn connections(&self) -> usize;

    /// Lists the connections that hear the channel.
    fn fds(&self) -> impl Iterator<Item = Fd>;

    /// Counts the users of a room once `user` is in there; `None` for an inbox, which has one user.
    fn members_with(&self, user: &User) -> Option<usize>;

    /// Whether a room isn't told who comes and goes once this user is in there.
    fn is_quiet_with(&self, user: &User, users_max: usize) -> bool;

    /// The count of all channels of this kind.
    fn gauge(totals: &Totals) -> &Gauge;
}

/// What a sweep did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Swept<K> {
    /// No channel was due.
    Nothing,
    /// A channel was looked at.
    One,
    /// This channel left a node of a cluster.
    Detached(K),
}

/// A channel in memory.
#[derive(Debug)]
pub(super) struct LiveChannel<A> {
    pub(super) log: MessageLog,
    pub(super) audience: A,
}

/// The channels of one shard.
#[derive(Debug)]
pub(super) struct Channels<K, A> {
    pub(super) by_name: ChannelTable<K, LiveChannel<A>>,
    pub(super) expiry: ExpiryQueue<K>,
}

impl<K: ChannelKey, A: Audience> Default for Channels<K, A> {
    fn default() -> Self {
        Self {
            by_name: ChannelTable::new(A::LISTING),
            expiry: ExpiryQueue::default(),
        }
    }
}

impl<K: ChannelKey, A: Audience> Channels<K, A> {
    /// Finds the channel of this name, with its key.
    pub(super) fn find(&mut self, name: &str) -> Option<(&K, &mut LiveChannel<A>)> {
        self.by_name.find(name)
    }

    /// The shared key of a name, whether or not there is such a channel.
    pub(super) fn key(&mut self, name: &str) -> K {
        self.find(name)
            .map_or_else(|| K::new(name), |(key, _)| key.clone())
    }

    /// Makes sure that there is a channel, whose name is checked; returns its place. A new one has to
    /// get a connection or a message, or needs [`Channels::schedule_removal`]: otherwise nothing ever
    /// removes it.
    ///
    /// # Errors
    ///
    /// [`ChatError::ChannelsFull`] and others, as [`Common::count_channel`] has them.
    pub(super) fn ensure(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        capacity: Capacity<'_>,
    ) -> Result<usize, ChatError> {
        match self.by_name.place_of(name) {
            Some(place) => Ok(place),
            None => self.create(scope, name, capacity),
        }
    }

    fn create(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        capacity: Capacity<'_>,
    ) -> Result<usize, ChatError> {
        let (common, key) = (scope.common, K::new(name));
        if common.in_cluster() {
            return Err(common.not_attached(vec![Box::from(&**key.channel())]));
        }
        common.count_channel(key.channel(), capacity)?;
        A::gauge(&common.totals).add(1);
        let mut channel = LiveChannel {
            log: MessageLog::new(common.epoch_of(key.channel())),
            audience: A::nobody(scope.now),
        };
        channel.log.has_opener = matches!(capacity, Capacity::User(_));
        Ok(self.by_name.insert(key, channel))
    }

    /// Makes sure of a channel that must not be refused.
    fn ensure_reserved(&mut self, scope: Scope<'_>, name: &str) -> usize {
        self.ensure(scope, name, Capacity::Reserved)
            .expect("a reserved channel asks for no bound")
    }

    /// Finds a channel that is not to be refused, or creates it.
    pub(super) fn find_or_create(
        &mut self,
        scope: Scope<'_>,
        name: &str,
    ) -> (&K, &mut LiveChannel<A>) {
        let place = self.ensure_reserved(scope, name);
        self.by_name.at(place)
    }

    /// Brings back who opened a channel.
    pub(super) fn restore_opener(&mut self, scope: Scope<'_>, name: &str, opener: &User) {
        if let Some((key, channel)) = self.find(name) {
            let is_known = std::mem::replace(&mut channel.log.has_opener, true);
            if !is_known {
                scope.common.restore_opener(opener, key.channel());
            }
        }
    }

    /// Has all channels swept soon that have anything which could become too old.
    pub(super) fn sweep_all(&mut self) {
        self.expiry.hasten();
    }

    /// Schedules the removal of a channel that was created and may never be used.
    pub(super) fn schedule_removal(&mut self, scope: Scope<'_>, name: &str) {
        if let Some(place) = self.by_name.place_of(name) {
            self.schedule_removal_at(scope, place);
        }
    }

    /// Schedules the removal of the channel at this place, if nobody is in there.
    fn schedule_removal_at(&mut self, scope: Scope<'_>, place: usize) -> (&K, &mut LiveChannel<A>) {
        let (key, channel) = self.by_name.at(place);
        if channel.audience.empty_since().is_some() {
            let gone_at = scope.now.after(scope.common.settings.channel_ttl_ms());
            self.expiry.schedule(gone_at, key, &mut channel.log);
        }
        (key, channel)
    }

    /// Makes sure of a channel whose message comes only once it is stored.
    ///
    /// # Errors
    ///
    /// As [`Channels::ensure`].
    pub(super) fn ensure_for_later(
        &mut self,
        scope: Scope<'_>,
        name: &str,
        capacity: Capacity<'_>,
    ) -> Result<(&K, &mut LiveChannel<A>), ChatError> {
        let place = self.ensure(scope, name, capacity)?;
        Ok(self.schedule_removal_at(scope, place))
    }

    /// Brings back a channel as it was, to be swept at this time; `false` if there is one of this name.
    pub(super) fn bring_back(
        &mut self,
        key: K,
        mut channel: LiveChannel<A>,
        sweep_at: Option<Tick>,
    ) -> bool {
        if self.by_name.place_of(key.borrow()).is_some() {
            return false;
        }
        if let Some(at) = sweep_at {
            self.expiry.schedule(at, &key, &mut channel.log);
        }
        self.by_name.insert(key, channel);
        true
    }

    /// Lists the channels in the order of their names, with the time at which each is swept.
    pub(super) fn in_order(&self) -> Vec<(&K, &LiveChannel<A>, Option<Tick>)> {
        let mut sweeps: HashMap<&str, Tick, RandomState> = HashMap::default();
        for (at, key) in self.expiry.iter() {
            let known = sweeps.entry(key.borrow()).or_insert(at);
            *known = at.min(*known);
        }
        let channels = self.by_name.in_order().map(|(key, channel)| {
            let is_swept = channel.log.sweep_is_scheduled;
            let sweep_at = sweeps.get(key.borrow()).copied().filter(|_| is_swept);
            (key, channel, sweep_at)
        });
        channels.collect()
    }

    /// Brings back a channel that is on disk, to go on behind `newest`.
    pub(super) fn restore(&mut self, scope: Scope<'_>, name: &str, newest: Position) {
        let place = self.ensure_reserved(scope, name);
        let (_, channel) = self.by_name.at(place);
        channel.log.restore(newest, &scope.common.totals);
        self.schedule_removal_at(scope, place);
    }

    /// Takes a channel into memory as the log of a cluster has it, to be removed unless somebody comes.
    pub(super) fn insert_attached(
        &mut self,
        scope: Scope<'_>,
        key: K,
        newest: Position,
        floor: u64,
    ) {
        let common = scope.common;
        common.count_again(key.channel(), false);
        A::gauge(&common.totals).add(1);
        let mut channel = LiveChannel {
            log: MessageLog::new(newest.epoch),
            audience: A::nobody(scope.now),
        };
        channel.log.attach(newest, floor, &common.totals);
        let place = self.by_name.insert(key, channel);
        self.schedule_removal_at(scope, place);
    }

    /// Decides where `user` begins to hear a channel, which exists from then on.
    pub(super) fn begin(
        &mut self,
        scope: Scope<'_>,
        (name, capacity): (&str, Capacity<'_>),
        user: &User,
        resume: Resume,
    ) -> Result<(Welcome, SubscriptionStart), ChatError> {
        let place = self.ensure(scope, name, capacity)?;
        let (key, LiveChannel { log, audience }) = self.by_name.at(place);
        let members = audience.members_with(user);
        let users_max = scope.common.settings.presence_users_max();
        let is_quiet = audience.is_quiet_with(user, users_max);
        let (mut welcome, start) = scope.begin(key.channel(), log, user, resume, members);
        welcome.is_quiet = is_quiet;
        Ok((welcome, start))
    }

    /// Places a message in a channel and sends it; gives the channel's key, the message's position
    /// and the number of receivers, or `None` if there is no such channel.
    pub(super) fn say(
        &mut self,
        call: &mut Call<'_>,
        name: &str,
        placement: &Placement<'_>,
    ) -> Option<(&K, Option<Position>, usize)> {
        let place = self.by_name.place_of(name)?;
        Some(self.say_at(call, place, placement))
    }

    /// Does the same as [`Channels::say`] in the channel at this place.
    pub(super) fn say_at(
        &mut self,
        call: &mut Call<'_>,
        place: usize,
        placement: &Placement<'_>,
    ) -> (&K, Option<Position>, usize) {
        let (key, channel) = self.by_name.at(place);
        let (topic, LiveChannel { log, audience }) = (key.channel(), channel);
        let connections = audience.connections();
        if let Placement::Stored(Position { epoch, offset }, _) = *placement
            && epoch != log.position().epoch
            && connections > 0
        {
            // The connections were told another epoch: that of a purge which was stored in one batch
            // with this message before it, or that of a channel which had left memory and was
            // created again.
            let offset = offset - 1;
            let position = Position { epoch, offset };
            let channel = topic;
            (call.sink).publish(topic, &Notice::Gap { channel, position });
        }
        let position = placement.append_to(log, call.scope);
        if position.is_some() {
            let old_at = (call.scope.now).after(call.scope.common.settings.kept_ms_max());
            self.expiry.schedule(old_at, key, log);
        }
        let positions = (position, log.position());
        let receivers = placement.deliver(call, topic, positions, connections, audience.fds());
        (key, position, receivers)
    }

    /// Does the same as [`Channels::say`] in a channel that must not be refused, and creates it if
    /// need be.
    pub(super) fn say_reserved(
        &mut self,
        call: &mut Call<'_>,
        name: &str,
        placement: &Placement<'_>,
    ) -> (Option<Position>, usize) {
        let place = self.ensure_reserved(call.scope, name);
        let (_, position, receivers) = self.say_at(call, place, placement);
        (position, receivers)
    }

    /// Resets a channel's log, and tells those who hear it; `None` if there is no such channel.
    pub(super) fn purge(
        &mut self,
        (common, sink): (&Common, &mut dyn Sink),
        name: &str,
        epoch: Epoch,
    ) -> Option<Position> {
        let (key, LiveChannel { log, audience }) = self.find(name)?;
        log.purge(epoch, &common.totals);
        let (channel, position) = (key.channel(), log.position());
        if audience.connections() > 0 {
            sink.publish(channel, &Notice::Gap { channel, position });
        }
        Some(position)
    }

    /// Removes a channel that the disk has forgotten, or resets it if it has an audience.
    pub(super) fn forget(&mut self, call: &mut Call<'_>, name: &str) {
        let Some((key, channel)) = self.find(name) else {
            return;
        };
        let is_empty = channel.audience.empty_since().is_some();
        let Scope { common, now } = call.scope;
        debug_assert!(!is_empty || channel.log.oldest_at().is_none_or(|at| at <= now));
        let epoch = common.epoch_of(key.channel());
        self.purge((common, call.sink), name, epoch);
        if is_empty && let Some(key) = self.by_name.remove(name) {
            A::gauge(&common.totals).subtract(1);
            common.uncount_channel(key.channel());
        }
    }

    /// Sweeps the next channel that is due.
    pub(super) fn sweep_next(&mut self, call: &mut Call<'_>) -> Swept<K> {
        let scope = call.scope;
        let Some(key) = self.expiry.next(scope.now) else {
            return Swept::Nothing;
        };
        if let Some((_, LiveChannel { log, audience })) = self.by_name.find(key.borrow()) {
            match Expiry::sweep(scope, key.channel(), log, audience.empty_since()) {
                Expiry::Stays => {}
                Expiry::SweepAgain(at) => self.expiry.schedule(at, &key, log),
                Expiry::Forgettable(at) => {
                    call.sink.forget(key.channel());
                    self.expiry.schedule(at, &key, log);
                }
                Expiry::Gone => {
                    self.by_name.remove(key.borrow());
                    A::gauge(&scope.common.totals).subtract(1);
                }
                Expiry::Unheard => {
                    self.detach(call, key.borrow());
                    return Swept::Detached(key);
                }
            }
        }
        Swept::One
    }
}
