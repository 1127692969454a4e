//! The log of one channel: its newest messages, and the offset up to which each user has
//! acknowledged them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::call::Scope;
use super::error::ChatError;
use super::history::{HistoryPage, HistoryRange};
use super::message::KeptMessage;
use super::name::User;
use super::notice::Notice;
use super::resume::{Resume, SubscriptionStart};
use super::sink::Missing;
use super::stats::Totals;
use crate::base::{Epoch, Position, Tick};

/// The content of a log that has begun, in which `M` stands for a message and `U` for a user.
#[derive(Debug)]
pub(super) struct KeptLog<M, U> {
    /// The offset of the newest message.
    pub(super) newest: u64,
    /// The messages in memory, up to the newest, and when each was appended.
    pub(super) ring: Vec<(Tick, M)>,
    /// The offset up to which each user has acknowledged.
    pub(super) acks: Vec<(U, u64)>,
}

/// The log of one channel; 16 bytes as long as nothing was said.
#[derive(Debug)]
pub(super) struct MessageLog {
    epoch: Epoch,
    /// Whether the channel is in the queue of its shard's expiry.
    pub(super) sweep_is_scheduled: bool,
    /// Whether the channel counts for the user who opened it.
    pub(super) has_opener: bool,
    kept: Option<Box<NewestMessages>>,
}

#[derive(Debug, Default)]
struct NewestMessages {
    newest: u64,
    /// The newest offset that the log of a cluster doesn't keep any more, when it was attached.
    shared_floor: u64,
    /// The last messages, without holes, up to `newest`.
    ring: VecDeque<TimedMessage>,
    bytes: usize,
    acks: BTreeMap<User, u64>,
}

#[derive(Debug)]
struct TimedMessage {
    at: Tick,
    message: Arc<KeptMessage>,
}

impl MessageLog {
    /// Makes a log without messages.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            sweep_is_scheduled: false,
            has_opener: false,
            kept: None,
        }
    }

    /// Makes a log as it was, which isn't scheduled and has no opener yet; `None` if more messages are
    /// kept than there were, or the newest has no number behind it.
    pub(super) fn as_it_was(
        epoch: Epoch,
        kept: Option<KeptLog<Arc<KeptMessage>, User>>,
        totals: &Totals,
    ) -> Option<Self> {
        let mut log = Self::new(epoch);
        if let Some(KeptLog { newest, ring, acks }) = kept {
            if ring.len() as u64 > newest || newest == u64::MAX {
                return None;
            }
            let timed = ring.into_iter();
            let ring: VecDeque<_> = timed
                .map(|(at, message)| TimedMessage { at, message })
                .collect();
            let bytes = ring.iter().map(|entry| entry.message.size()).sum();
            totals.kept_bytes.add(bytes);
            log.kept = Some(Box::new(NewestMessages {
                newest,
                shared_floor: 0,
                ring,
                bytes,
                acks: acks.into_iter().collect(),
            }));
        }
        Some(log)
    }

    /// The content of the log; `None` if it hasn't begun.
    pub(super) fn kept(&self) -> Option<KeptLog<&Arc<KeptMessage>, &User>> {
        let kept = self.kept.as_ref()?;
        let (ring, acks) = (kept.ring.iter(), kept.acks.iter());
        Some(KeptLog {
            newest: kept.newest,
            ring: ring.map(|entry| (entry.at, &entry.message)).collect(),
            acks: acks.map(|(user, offset)| (user, *offset)).collect(),
        })
    }

    /// Returns the position of the newest message.
    pub(super) fn position(&self) -> Position {
        self.at(self.kept.as_ref().map_or(0, |kept| kept.newest))
    }

    /// Returns the time at which the oldest kept message was appended.
    pub(super) fn oldest_at(&self) -> Option<Tick> {
        Some(self.kept.as_ref()?.ring.front()?.at)
    }

    /// Adds a message and gives its position; the oldest go where a bound asks for it.
    pub(super) fn append(&mut self, scope: Scope<'_>, message: Arc<KeptMessage>) -> Position {
        let totals = &scope.common.totals;
        let kept = self.kept.get_or_insert_default();
        kept.newest += 1;
        let size = message.size();
        kept.bytes += size;
        totals.kept_bytes.add(size);
        kept.ring.push_back(TimedMessage {
            at: scope.now,
            message,
        });
        self.forget_excess(scope);
        self.forget_old(scope);
        self.position()
    }

    /// Drops the oldest messages until no bound is exceeded.
    pub(super) fn forget_excess(&mut self, scope: Scope<'_>) {
        let (settings, totals) = (&scope.common.settings, &scope.common.totals);
        let Some(kept) = &mut self.kept else {
            return;
        };
        while kept.ring.len() > settings.kept_messages_max()
            || kept.bytes > settings.kept_channel_bytes_max()
            || (totals.kept_bytes.now() > settings.kept_bytes_max() && !kept.ring.is_empty())
        {
            kept.drop_oldest(totals);
        }
    }

    /// Adds a message that is stored at `position`; only the newest ones are kept in memory, too.
    pub(super) fn append_stored(
        &mut self,
        scope: Scope<'_>,
        position: Position,
        message: Arc<KeptMessage>,
    ) {
        let follows = self.position()
            == Position {
                offset: position.offset - 1,
                ..position
            };
        if !follows {
            self.restore(position, &scope.common.totals);
            return;
        }
        self.append(scope, message);
    }

    /// Goes on behind `position`, with no message in memory.
    pub(super) fn restore(&mut self, position: Position, totals: &Totals) {
        if position.epoch != self.epoch {
            self.purge(position.epoch, totals);
        }
        let kept = self.kept.get_or_insert_default();
        while !kept.ring.is_empty() {
            kept.drop_oldest(totals);
        }
        kept.newest = position.offset;
    }

    /// Goes on behind `position` in the log of a cluster, which keeps what comes behind `floor`.
    pub(super) fn attach(&mut self, position: Position, floor: u64, totals: &Totals) {
        self.restore(position, totals);
        let kept = self.kept.get_or_insert_default();
        kept.shared_floor = floor.min(position.offset);
    }

    /// The newest offset that the log of a cluster doesn't keep any more, as far as is known.
    pub(super) fn shared_floor(&self) -> u64 {
        self.kept.as_ref().map_or(0, |kept| kept.shared_floor)
    }

    /// Drops what is too old.
    pub(super) fn forget_old(&mut self, scope: Scope<'_>) {
        let kept_ms_max = scope.common.settings.kept_ms_max();
        while self
            .oldest_at()
            .is_some_and(|at| at.after(kept_ms_max) <= scope.now)
        {
            if let Some(kept) = &mut self.kept {
                kept.drop_oldest(&scope.common.totals);
            }
        }
    }

    /// Drops everything and goes on under another epoch.
    pub(super) fn purge(&mut self, epoch: Epoch, totals: &Totals) {
        self.epoch = epoch;
        if let Some(kept) = self.kept.take() {
            totals.kept_bytes.subtract(kept.bytes);
        }
    }

    /// Decides where `user` begins to hear a channel that keeps what comes behind `floor`.
    ///
    /// `may_be_behind` says whether others may have heard more of it already than is here.
    pub(super) fn start(
        &self,
        user: &User,
        resume: Resume,
        floor: u64,
        may_be_behind: bool,
    ) -> SubscriptionStart {
        let newest = self.position().offset;
        let (epoch, after) = match resume {
            Resume::Now => return self.start_at(newest, true, false),
            Resume::After(at) if at.offset == 0 => {
                let missing = floor > 0 || (at.epoch != self.epoch && at.epoch != Epoch::NONE);
                return self.start_at(floor, !missing, floor > 0);
            }
            Resume::After(at) => (at.epoch, at.offset),
            Resume::Acked => {
                let acked = self.acked(user).unwrap_or(0);
                return self.start_at(acked.max(floor), acked >= floor, acked < floor);
            }
        };
        if epoch != self.epoch || (after > newest && !may_be_behind) || after < floor {
            return self.start_at(newest, false, false);
        }
        self.start_at(after, true, false)
    }

    /// Returns the place from which a client that begins at `start` has to catch up, if that is
    /// before the messages in memory, or behind all that is here.
    pub(super) fn missing(&self, start: SubscriptionStart) -> Option<Missing> {
        let begun_anew = start.epoch != self.epoch;
        let after = if begun_anew { 0 } else { start.after };
        let is_here = (self.floor()..=self.position().offset).contains(&after);
        (!is_here).then(|| Missing {
            after: self.at(after),
            gap: start.gap || begun_anew,
        })
    }

    /// The newest position that is known of: the one here, or that of a client who heard more elsewhere.
    pub(super) fn position_or(&self, start: SubscriptionStart) -> Position {
        let newest = self.position();
        match start.epoch == newest.epoch {
            true => self.at(newest.offset.max(start.after)),
            false => newest,
        }
    }

    /// A subscription that begins behind `missing`.
    pub(super) fn start_after(&self, missing: Missing) -> SubscriptionStart {
        SubscriptionStart {
            recovered: true,
            epoch: missing.after.epoch,
            after: missing.after.offset,
            gap: missing.gap,
        }
    }

    /// Lists the messages that a client which begins at `start` gets before anything new.
    pub(super) fn rest<'a>(
        &'a self,
        channel: &'a str,
        start: SubscriptionStart,
    ) -> Vec<Notice<'a>> {
        let floor = self.floor();
        let begun_anew = start.epoch != self.epoch;
        let after = if begun_anew { floor } else { start.after };
        let mut notices = Vec::new();
        if start.gap || begun_anew || after < floor {
            let position = self.at(after.max(floor));
            notices.push(Notice::Gap { channel, position });
        }
        notices.extend(self.after(after).map(|(offset, entry)| {
            Notice::Message(entry.message.delivered(channel, self.at(offset)))
        }));
        notices
    }

    /// A part of what is kept. To be called after [`MessageLog::forget_old`].
    pub(super) fn page(&self, range: HistoryRange, bytes_max: usize) -> HistoryPage {
        let after = range.after.unwrap_or(0);
        let before = range.before.unwrap_or(u64::MAX);
        let all = self.after(after).filter(|(offset, _)| *offset < before);
        let newest_first = range.before.is_some() && range.after.is_none();
        let (messages, more) = if newest_first {
            take(all.rev(), range.limit, bytes_max)
        } else {
            take(all, range.limit, bytes_max)
        };
        HistoryPage {
            position: Some(self.position()),
            messages,
            more,
        }
    }

    /// Records that `user` has everything up to `offset`; a smaller one than before changes nothing.
    pub(super) fn ack(&mut self, user: &User, offset: u64, max: usize) -> Result<(), ChatError> {
        let newest = self.position().offset;
        if offset > newest {
            return Err(ChatError::Beyond(newest));
        }
        let Some(kept) = &mut self.kept else {
            return Ok(());
        };
        if let Some(acked) = kept.acks.get_mut(user) {
            *acked = offset.max(*acked);
        } else if kept.acks.len() >= max {
            return Err(ChatError::AcksFull(max));
        } else {
            kept.acks.insert(user.clone(), offset);
        }
        Ok(())
    }

    /// The offset up to which `user` has acknowledged this log; `None` without an acknowledgement.
    pub(super) fn acked(&self, user: &User) -> Option<u64> {
        self.kept.as_ref()?.acks.get(user).copied()
    }

    /// Counts the messages in memory.
    pub(super) fn len(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.ring.len())
    }

    /// The newest offset that isn't in memory any more.
    pub(super) fn floor(&self) -> u64 {
        self.position().offset - self.len() as u64
    }

    fn at(&self, offset: u64) -> Position {
        Position {
            epoch: self.epoch,
            offset,
        }
    }

    fn start_at(&self, after: u64, recovered: bool, gap: bool) -> SubscriptionStart {
        SubscriptionStart {
            recovered,
            epoch: self.epoch,
            after,
            gap,
        }
    }

    fn after(&self, offset: u64) -> impl DoubleEndedIterator<Item = (u64, &TimedMessage)> {
        let floor = self.floor();
        let skipped = usize::try_from(offset.saturating_sub(floor)).unwrap_or(usize::MAX);
        self.kept.iter().flat_map(move |kept| {
            let numbered = kept.ring.iter().enumerate().skip(skipped);
            numbered.map(move |(place, entry)| (floor + 1 + place as u64, entry))
        })
    }
}

impl NewestMessages {
    fn drop_oldest(&mut self, totals: &Totals) {
        if let Some(entry) = self.ring.pop_front() {
            let size = entry.message.size();
            self.bytes -= size;
            totals.kept_bytes.subtract(size);
        }
    }
}

/// Takes messages until a bound is reached, but one at least; says whether there are more.
fn take<'a>(
    all: impl Iterator<Item = (u64, &'a TimedMessage)>,
    limit: usize,
    bytes_max: usize,
) -> (Vec<(u64, Arc<KeptMessage>)>, bool) {
    let mut messages = Vec::new();
    let mut bytes = 0;
    for (offset, TimedMessage { message, .. }) in all {
        bytes += message.size();
        if messages.len() >= limit || (bytes > bytes_max && !messages.is_empty()) {
            return (messages, true);
        }
        messages.push((offset, Arc::clone(message)));
    }
    (messages, false)
}
