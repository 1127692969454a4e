//! What all parts of the chat share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::error::ChatError;
use super::log::{Log, Resume, Start};
use super::message::{Frame, Message, Posted};
use super::name::User;
use super::position::{Position, Source};
use super::post::{Post, Welcome};
use super::recent::Hasher;
use super::settings::{ChatSettings, Kind};
use super::stats::Totals;
use crate::net::Fd;
use crate::proto::Tick;

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the server's start; what all bounds are measured with.
    pub tick: Tick,
    /// Unix milliseconds; only written into messages.
    pub unix_ms: u64,
}

#[derive(Debug)]
pub(super) struct Common {
    pub(super) settings: ChatSettings,
    pub(super) totals: Totals,
    pub(super) source: Source,
    pub(super) hasher: Hasher,
}

/// Whether a new channel asks for the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Bounded,
    /// It was promised; at most one login's channels a thread go over the bound.
    Promised,
}

impl Common {
    /// Counts a new channel and gives it a log.
    pub(super) fn new_log(&self, space: Space) -> Result<Log, ChatError> {
        let max = self.settings.channels_max;
        if space == Space::Promised {
            self.totals.channels.add(1);
        } else if !self.totals.channels.add_below(max) {
            self.totals.refused_full.add(1);
            return Err(ChatError::ChannelsFull(max));
        }
        Ok(Log::new(self.source.epoch()))
    }

    /// Where `user` begins to hear a channel, and how that is told.
    pub(super) fn start(
        &self,
        now: Tick,
        channel: &Arc<str>,
        log: &mut Log,
        user: &User,
        resume: Resume,
        members: Option<usize>,
    ) -> (Welcome, Start) {
        log.forget_old(now, &self.settings, &self.totals);
        let mut start = log.start(user, resume);
        let is_kept = self.settings.kind_of(channel) == Kind::Memory;
        start.recovered &= is_kept || resume == Resume::Now;
        let welcome = Welcome {
            channel: Arc::clone(channel),
            position: is_kept.then(|| log.position()),
            recovered: start.recovered,
            members,
        };
        match (resume, start.recovered) {
            (Resume::Now, _) => {}
            (_, true) => self.totals.recovered.add(1),
            (_, false) => self.totals.unrecovered.add(1),
        }
        (welcome, start)
    }

    /// Sends what is missing since `start`, then everything new.
    pub(super) fn subscribe(
        &self,
        now: Tick,
        post: &mut dyn Post,
        fd: Fd,
        channel: &Arc<str>,
        log: &mut Log,
        start: Start,
    ) {
        log.forget_old(now, &self.settings, &self.totals);
        post.subscribe(fd, channel, &log.rest(channel, start));
    }
}

/// A message that was let through, before it stands anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing<'a> {
    pub(super) id: &'a str,
    pub(super) from: Option<&'a User>,
    pub(super) to: Option<&'a User>,
    pub(super) ts: u64,
    pub(super) data: &'a str,
    pub(super) except: &'a [Fd],
}

impl Outgoing<'_> {
    pub(super) fn kept(&self) -> Arc<Message> {
        Arc::new(Message {
            id: self.id.into(),
            from: self.from.cloned(),
            to: self.to.cloned(),
            ts: self.ts,
            data: self.data.into(),
        })
    }

    fn frame<'a>(&'a self, channel: Option<&'a str>, position: Option<Position>) -> Frame<'a> {
        Frame::Message(Posted {
            channel,
            position,
            id: self.id,
            from: self.from.map(User::uid),
            to: self.to.map(User::uid),
            ts: self.ts,
            data: self.data,
        })
    }

    /// Sends to the `subscribed` connections of a channel, and says how many those are.
    pub(super) fn publish(
        &self,
        post: &mut dyn Post,
        channel: &Arc<str>,
        position: Option<Position>,
        subscribed: usize,
        fds: impl Iterator<Item = Fd>,
    ) -> usize {
        let frame = self.frame(Some(channel), position);
        if self.except.is_empty() {
            if subscribed > 0 {
                post.publish(channel, &frame);
            }
            return subscribed;
        }
        fds.filter(|fd| !self.except.contains(fd) && post.push(*fd, &frame))
            .count()
    }

    /// Sends to one connection; `false` when there is none of this name.
    pub(super) fn push(&self, post: &mut dyn Post, fd: Fd) -> bool {
        post.push(fd, &self.frame(None, None))
    }
}

/// When to look whether a channel has something too old, or is to go away: at most one plan each,
/// so that a busy channel costs no more than a quiet one.
#[derive(Debug)]
pub(super) struct Looks<K>(BinaryHeap<Reverse<(Tick, K)>>);

impl<K: Ord> Default for Looks<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K: Ord + Clone> Looks<K> {
    /// Plans a look, unless there is one.
    pub(super) fn plan(&mut self, at: Tick, name: &K, log: &mut Log) {
        if !log.look_planned {
            log.look_planned = true;
            self.0.push(Reverse((at, name.clone())));
        }
    }

    /// The next channel that is to be looked at.
    pub(super) fn next(&mut self, now: Tick) -> Option<K> {
        if self.0.peek()?.0.0 > now {
            return None;
        }
        let Reverse((_, name)) = self.0.pop()?;
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
        Some(name)
    }
}

/// What a look at a channel found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Gone,
    LookAgain(Tick),
    Stays,
}

impl Common {
    /// Lets go of what is too old in a channel that has had no members since `empty_since`.
    pub(super) fn look(&self, now: Tick, log: &mut Log, empty_since: Option<Tick>) -> Fate {
        log.look_planned = false;
        log.forget_old(now, &self.settings, &self.totals);
        let gone_at = empty_since.map(|since| since.after(self.settings.channel_ttl_ms));
        match (log.oldest_at(), gone_at) {
            (Some(oldest), _) => Fate::LookAgain(oldest.after(self.settings.kept_ms_max)),
            (None, Some(gone_at)) if gone_at <= now => {
                self.totals.channels.subtract(1);
                Fate::Gone
            }
            (None, Some(gone_at)) => Fate::LookAgain(gone_at),
            (None, None) => Fate::Stays,
        }
    }
}
