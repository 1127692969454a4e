//! What all parts of the chat share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::dedup::Hasher;
use super::error::ChatError;
use super::id_source::IdSource;
use super::log::{Log, Resume, Start};
use super::message::{Delivered, KeptMessage, Notice};
use super::name::User;
use super::settings::{ChannelKind, ChatSettings};
use super::sink::{Sink, Welcome};
use super::stats::Totals;
use super::stored_index::StoredIndex;
use crate::base::Fd;
use crate::base::Tick;
use crate::base::{Epoch, Position};

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the server's start; what all bounds are measured with.
    pub tick: Tick,
    /// Unix milliseconds; only written into messages.
    pub unix_ms: u64,
}

pub(super) struct Common {
    pub(super) settings: ChatSettings,
    pub(super) totals: Totals,
    pub(super) source: IdSource,
    pub(super) hasher: Hasher,
    pub(super) stored: Arc<dyn StoredIndex>,
    /// Calls of [`Chat::forget_channel`](super::Chat::forget_channel), each counted under the lock
    /// of the channel's shard: who reads it there with the channel's epoch sees both or neither.
    pub(super) forgets: AtomicU64,
}

/// Whether a new channel asks for the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Capacity {
    Bounded,
    /// It was promised; at most one login's channels a thread go over the bound.
    Promised,
}

impl Common {
    /// Counts a new channel and gives it a log.
    pub(super) fn new_log(&self, channel: &str, space: Capacity) -> Result<Log, ChatError> {
        let max = self.settings.channels_max;
        if space == Capacity::Promised {
            self.totals.channels.add(1);
        } else if !self.totals.channels.add_below(max) {
            self.totals.refused_full.add(1);
            return Err(ChatError::ChannelsFull(max));
        }
        Ok(Log::new(self.epoch_of(channel)))
    }

    /// The epoch of a channel that begins. A stored one has the same after a restart as long as
    /// nothing was said in it; one that was forgotten never gets that of its earlier life again.
    pub(super) fn epoch_of(&self, channel: &str) -> Epoch {
        match self.settings.kind_of(channel) {
            // What is stored there may be about to be posted.
            ChannelKind::Stored => (self.stored.epoch(channel))
                .unwrap_or_else(|| self.hasher.epoch(channel, self.stored.forgotten())),
            ChannelKind::Memory | ChannelKind::None => self.source.epoch(),
        }
    }

    /// Puts a message where it stands, if anywhere.
    pub(super) fn place(
        &self,
        now: Tick,
        log: &mut Log,
        standing: Placement<'_>,
    ) -> Option<Position> {
        let (settings, totals) = (&self.settings, &self.totals);
        match standing {
            Placement::Nowhere => None,
            Placement::Next(message) => {
                Some(log.append(now, Arc::clone(message), settings, totals))
            }
            Placement::At(position, message) => {
                log.append_stored(now, position, Arc::clone(message), settings, totals);
                Some(position)
            }
        }
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
        let kind = self.settings.kind_of(channel);
        let floor = match kind {
            // Nothing of a channel that the disk doesn't know was ever said.
            // What was stored and let go of before it was posted is still to come.
            ChannelKind::Stored => {
                (self.stored.floor(channel).unwrap_or(0)).min(log.position().offset)
            }
            ChannelKind::Memory | ChannelKind::None => log.floor(),
        };
        let mut start = log.start(user, resume, floor);
        let is_kept = kind != ChannelKind::None;
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
        post: &mut dyn Sink,
        fd: Fd,
        channel: &Arc<str>,
        log: &mut Log,
        start: Start,
    ) {
        log.forget_old(now, &self.settings, &self.totals);
        let missing = log.missing(start);
        match missing.filter(|_| self.settings.kind_of(channel) == ChannelKind::Stored) {
            Some(missing) => post.replay(fd, channel, missing),
            None => post.subscribe(fd, channel, &log.rest(channel, start)),
        }
    }
}

/// Where a message is to stand.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placement<'a> {
    /// Nowhere: it is delivered and forgotten.
    Nowhere,
    /// Behind the newest one, in memory.
    Next(&'a Arc<KeptMessage>),
    /// Where the disk put it.
    At(Position, &'a Arc<KeptMessage>),
}

impl<'a> Placement<'a> {
    /// Where the disk put it; where it didn't, behind the newest one if it is kept in memory.
    pub(super) fn of(
        place: Option<Position>,
        message: &'a Arc<KeptMessage>,
        in_memory: bool,
    ) -> Self {
        match (place, in_memory) {
            (Some(place), _) => Self::At(place, message),
            (None, true) => Self::Next(message),
            (None, false) => Self::Nowhere,
        }
    }
}

/// A message that was let through, before it stands anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) id: &'a str,
    pub(super) from: Option<&'a User>,
    pub(super) to: Option<&'a User>,
    pub(super) ts: u64,
    pub(super) data: &'a str,
    pub(super) except: &'a [Fd],
}

impl<'a> Envelope<'a> {
    pub(super) fn of(message: &'a KeptMessage) -> Self {
        Self {
            id: &message.id,
            from: message.from.as_ref(),
            to: message.to.as_ref(),
            ts: message.ts,
            data: &message.data,
            except: &[],
        }
    }

    pub(super) fn kept(&self) -> Arc<KeptMessage> {
        Arc::new(KeptMessage {
            id: self.id.into(),
            from: self.from.cloned(),
            to: self.to.cloned(),
            ts: self.ts,
            data: self.data.into(),
        })
    }

    fn frame<'b>(&'b self, channel: Option<&'b str>, position: Option<Position>) -> Notice<'b> {
        Notice::Message(Delivered {
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
        post: &mut dyn Sink,
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
    pub(super) fn push(&self, post: &mut dyn Sink, fd: Fd) -> bool {
        post.push(fd, &self.frame(None, None))
    }
}

/// When to look whether a channel has something too old, or is to go away: at most one plan each,
/// so that a busy channel costs no more than a quiet one.
#[derive(Debug)]
pub(super) struct ExpiryQueue<K>(BinaryHeap<Reverse<(Tick, K)>>);

impl<K: Ord> Default for ExpiryQueue<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K: Ord + Clone> ExpiryQueue<K> {
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

/// The least time between two looks at a stored channel without members.
const LOOK_AGAIN_MS: u64 = 1_000;

/// What a look at a channel found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Gone,
    /// It would be, if the disk forgot it too.
    Forgettable(Tick),
    LookAgain(Tick),
    Stays,
}

impl Common {
    /// Lets go of what is too old in a channel that has had no members since `empty_since`.
    pub(super) fn look(
        &self,
        now: Tick,
        channel: &str,
        log: &mut Log,
        empty_since: Option<Tick>,
    ) -> Expiry {
        log.look_planned = false;
        log.forget_old(now, &self.settings, &self.totals);
        let ttl_ms = self.settings.channel_ttl_ms;
        let gone_at = empty_since.map(|since| since.after(ttl_ms));
        let newest = log.position().offset;
        let is_due = gone_at.is_some_and(|gone_at| gone_at <= now) && log.oldest_at().is_none();
        if is_due && newest > 0 && self.settings.kind_of(channel) == ChannelKind::Stored {
            let again = now.after(ttl_ms.max(LOOK_AGAIN_MS));
            return match self.stored.floor(channel) {
                Some(floor) if floor < newest => Expiry::LookAgain(again),
                _ => Expiry::Forgettable(again),
            };
        }
        match (log.oldest_at(), gone_at) {
            (Some(oldest), _) => Expiry::LookAgain(oldest.after(self.settings.kept_ms_max)),
            (None, Some(gone_at)) if gone_at <= now => {
                self.totals.channels.subtract(1);
                Expiry::Gone
            }
            (None, Some(gone_at)) => Expiry::LookAgain(gone_at),
            (None, None) => Expiry::Stays,
        }
    }
}
