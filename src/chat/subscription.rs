//! The two steps in which a connection begins to hear a channel: the answer, then the subscription.

use std::sync::Arc;

use super::call::{Call, Scope};
use super::log::MessageLog;
use super::name::User;
use super::resume::{Resume, SubscriptionStart};
use super::settings::ChannelKind;
use super::sink::Welcome;
use crate::base::Fd;

impl Scope<'_> {
    /// Decides from where `user` hears a channel, and how that is answered. `members` are the users
    /// of a room.
    pub(super) fn begin(
        self,
        channel: &Arc<str>,
        log: &mut MessageLog,
        user: &User,
        resume: Resume,
        members: Option<usize>,
    ) -> (Welcome, SubscriptionStart) {
        log.forget_old(self);
        let (kind, totals) = (self.common.settings.kind_of(channel), &self.common.totals);
        let floor = match kind {
            // A channel that the disk doesn't know has had no message. A floor beyond the log's
            // newest message belongs to messages that were let go of before they were delivered:
            // those are still to come here.
            ChannelKind::Stored => {
                let floor = self.common.stored.floor(channel);
                (floor.unwrap_or_else(|| log.shared_floor())).min(log.position().offset)
            }
            ChannelKind::Memory | ChannelKind::None => log.floor(),
        };
        let mut start = log.start(user, resume, floor, self.common.in_cluster());
        let is_kept = kind != ChannelKind::None;
        start.recovered &= is_kept || resume == Resume::Now;
        let welcome = Welcome {
            channel: Arc::clone(channel),
            position: is_kept.then(|| log.position_or(start)),
            recovered: start.recovered,
            members,
            is_quiet: false,
        };
        match (resume, start.recovered) {
            (Resume::Now, _) => {}
            (_, true) => totals.recovered.add(1),
            (_, false) => totals.unrecovered.add(1),
        }
        (welcome, start)
    }
}

impl Call<'_> {
    /// Sends what is missing since `start`, then everything new.
    pub(super) fn subscribe(
        &mut self,
        fd: Fd,
        channel: &Arc<str>,
        log: &mut MessageLog,
        start: SubscriptionStart,
    ) {
        log.forget_old(self.scope);
        let is_stored = || self.scope.common.settings.kind_of(channel) == ChannelKind::Stored;
        match log.missing(start).filter(|_| is_stored()) {
            Some(missing) => self.sink.replay(fd, channel, missing),
            None => self.sink.subscribe(fd, channel, &log.rest(channel, start)),
        }
    }
}
