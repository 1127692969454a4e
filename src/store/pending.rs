//! The pending batch: the changes that its records will make to the committed state.
//!
//! A pending batch knows nothing of files: it decides what each record does, and which
//! [`LogRecord`] is written for that record. A failed commit drops the batch as a whole.

use std::collections::HashMap;

use super::dedup::Dedup;
use super::dedup_shares::SenderTag;
use super::error::StoreError;
use super::log_record::{LogPlace, LogRecord, PlacedMessage};
use super::record::{Appended, Channel, MessageRecord, Record};
use super::resolved::ResolvedMessage;
use super::settings::StoreSettings;
use super::state::StoreState;
use crate::base::{Epoch, Position};

/// Entries of one table up to which its memory is kept for the next batch: a normal batch has some
/// thousands.
const CAPACITY_KEPT: usize = 1 << 16;

/// The changes of a batch that isn't committed yet.
#[derive(Debug, Default)]
pub(super) struct PendingBatch {
    /// Committed channels that change, by their indexes; `None`: the channel is forgotten.
    changed: HashMap<usize, Option<ChannelChange>, foldhash::fast::FixedState>,
    /// Channels that the batch creates.
    created: HashMap<Box<str>, ChannelChange>,
    acks: HashMap<Box<str>, HashMap<Box<str>, u64>>,
    members: HashMap<Box<str>, HashMap<Box<str>, bool>>,
    members_new: usize,
    marks: HashMap<Box<str>, u64>,
    marks_new: usize,
    serials_below: Option<u64>,
    /// The keys of the batch's messages. The hasher is cheap, since they are keyed hashes already.
    idempotency_keys: HashMap<u128, Position, foldhash::fast::FixedState>,
    pub(super) repeats: u64,
    /// An item for each record of the batch: the short way to apply it, if there is one.
    resolved: Vec<Option<ResolvedMessage>>,
    /// Whether a channel is forgotten in this batch: then indexes may soon be those of other
    /// channels.
    has_forgotten: bool,
}

/// A channel as it will be after the batch.
#[derive(Debug, Clone, Copy)]
struct ChannelChange {
    epoch: Epoch,
    newest: u64,
    kept: u64,
    /// Whether acknowledgements from before this batch don't count any more.
    is_reset: bool,
}

/// A channel that was looked up: its index among the committed ones, and its newest state.
#[derive(Debug, Clone, Copy)]
struct Lookup {
    index: Option<usize>,
    change: Option<ChannelChange>,
}

/// The committed state that the batch builds on.
#[derive(Clone, Copy)]
pub(super) struct CommittedBase<'a> {
    pub(super) state: &'a StoreState,
    pub(super) dedup: &'a Dedup,
    pub(super) settings: &'a StoreSettings,
}

/// The outcome of a record, and the record that is written for it; for a record that changes
/// nothing, the outcome is [`Appended::Noted`], and nothing is written.
pub(super) type Decision<'a> = (Appended, Option<LogRecord<'a>>);

impl PendingBatch {
    /// Forgets the decisions of a batch; gives the memory back where a large batch made it grow.
    pub(super) fn clear(&mut self) {
        if self
            .changed
            .capacity()
            .max(self.idempotency_keys.capacity())
            > CAPACITY_KEPT
        {
            *self = Self::default();
            return;
        }
        self.changed.clear();
        self.created.clear();
        self.acks.clear();
        self.members.clear();
        self.members_new = 0;
        self.marks.clear();
        self.marks_new = 0;
        self.serials_below = None;
        self.idempotency_keys.clear();
        self.repeats = 0;
        self.resolved.clear();
        self.has_forgotten = false;
    }

    /// Returns an item for each record of the batch.
    pub(super) fn resolved(&self) -> &[Option<ResolvedMessage>] {
        &self.resolved
    }

    /// Decides what a record does, and notes its changes.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooMany`]: nothing was noted.
    pub(super) fn decide<'a>(
        &mut self,
        base: CommittedBase<'_>,
        record: &Record<'a>,
    ) -> Result<Decision<'a>, StoreError> {
        let (decision, resolved) = match *record {
            Record::Message(ref message) => self.message(base, message)?,
            Record::Purge { channel, epoch } => noted(self.purge(base, channel, epoch)?),
            Record::Trim { channel, through } => noted(self.trim(base, channel, through)),
            Record::Forget { channel } => noted(self.forget(base, channel)),
            Record::Ack {
                channel,
                reader,
                offset,
            } => noted(self.ack(base, channel, reader, offset)?),
            Record::Member {
                room,
                user,
                lasting,
            } => noted(self.member(base, room, user, lasting)?),
            Record::Claim { channel } => {
                let is_known = self.look_up(base, channel).change.is_some();
                noted(is_known.then_some(LogRecord::Opener { channel, user: "" }))
            }
            Record::Mark { producer, number } => noted(self.raise_mark(base, producer, number)?),
            Record::Serials { below } => {
                let known = self.serials_below.unwrap_or(base.state.serials_below());
                noted((below > known).then(|| {
                    self.serials_below = Some(below);
                    LogRecord::Serials { below }
                }))
            }
            // A store of one node needs none of them.
            Record::Login(_) | Record::Attach { .. } | Record::Detach { .. } => noted(None),
        };
        if decision.1.is_some() {
            self.resolved.push(resolved);
        }
        Ok(decision)
    }

    fn message<'a>(
        &mut self,
        base: CommittedBase<'_>,
        message: &MessageRecord<'a>,
    ) -> Result<(Decision<'a>, Option<ResolvedMessage>), StoreError> {
        if let Some((producer, number)) = message.mark {
            let mark = self.mark(base, producer);
            if mark.is_some_and(|mark| number <= mark) {
                return Ok(((Appended::Settled, None), None));
            }
            if mark.is_none() {
                self.room_for_producer(base)?;
            }
        }
        let same = message.idempotency_key.and_then(|idempotency_key| {
            let pending = self.idempotency_keys.get(&idempotency_key).copied();
            pending.or_else(|| base.dedup.find(idempotency_key))
        });
        if let Some(position) = same {
            let log_record = match message.mark {
                Some((producer, number)) => self.raise_mark(base, producer, number)?,
                None => None,
            };
            self.repeats += 1;
            return Ok(((Appended::Repeat(position), log_record), None));
        }
        let second = (message.second).filter(|second| second.name != message.channel.name);
        let first = self.look_up(base, message.channel.name);
        let second_lookup = second.map(|second| (second, self.look_up(base, second.name)));
        let is_new = |change: &Lookup| change.change.is_none();
        let new = usize::from(is_new(&first))
            + usize::from(
                second_lookup
                    .as_ref()
                    .is_some_and(|(_, change)| is_new(change)),
            );
        self.room_for_channels(base, new)?;
        let opens = message.opens && is_new(&first) && message.body.from.is_some();
        let found = (first, second_lookup.map(|(_, change)| change));
        let first = self.place(first, message.channel);
        let second = second_lookup.map(|(second, change)| self.place(change, second));
        if let Some((producer, number)) = message.mark {
            self.raise_mark(base, producer, number)?;
        }
        if let Some(idempotency_key) = message.idempotency_key {
            self.idempotency_keys.insert(idempotency_key, first.at);
        }
        let placed = PlacedMessage {
            first,
            second,
            is_moved: false,
            opens,
            body: message.body,
            idempotency_key: message.idempotency_key,
            mark: message.mark,
        };
        let resolved = self.resolve(base, found, &placed);
        let appended = Appended::Message(first.at, second.map(|second| second.at));
        Ok(((appended, Some(LogRecord::Message(placed))), resolved))
    }

    /// Finds the short way to apply a message, if there is one: a channel that is new has no index
    /// yet, and a mark has to be looked up by name anyway.
    fn resolve(
        &self,
        base: CommittedBase<'_>,
        (first, second): (Lookup, Option<Lookup>),
        placed: &PlacedMessage<'_>,
    ) -> Option<ResolvedMessage> {
        if self.has_forgotten || placed.mark.is_some() {
            return None;
        }
        let second = match second.zip(placed.second) {
            Some((found, place)) => Some((found.index?, place.at)),
            None => None,
        };
        Some(ResolvedMessage {
            first: (first.index?, placed.first.at),
            second,
            ts: placed.body.ts,
            idempotency_key: placed.idempotency_key,
            sender: match placed.idempotency_key {
                Some(_) => base.dedup.tag(placed.body.from),
                None => SenderTag::default(),
            },
        })
    }

    /// Gives a message the next place in the log of a channel.
    fn place<'a>(&mut self, found: Lookup, channel: Channel<'a>) -> LogPlace<'a> {
        let mut change = found.change.unwrap_or(ChannelChange {
            epoch: channel.epoch,
            newest: 0,
            kept: 0,
            is_reset: true,
        });
        change.newest += 1;
        change.kept += 1;
        self.set(found.index, channel.name, change);
        LogPlace {
            channel: channel.name,
            at: Position {
                epoch: change.epoch,
                offset: change.newest,
            },
        }
    }

    fn purge<'a>(
        &mut self,
        base: CommittedBase<'_>,
        channel: &'a str,
        epoch: Epoch,
    ) -> Result<Option<LogRecord<'a>>, StoreError> {
        let found = self.look_up(base, channel);
        if found.change.is_none() {
            self.room_for_channels(base, 1)?;
        }
        let change = ChannelChange {
            epoch,
            newest: 0,
            kept: 0,
            is_reset: true,
        };
        self.set(found.index, channel, change);
        self.acks.remove(channel);
        Ok(Some(LogRecord::Purge { channel, epoch }))
    }

    fn trim<'a>(
        &mut self,
        base: CommittedBase<'_>,
        channel: &'a str,
        through: u64,
    ) -> Option<LogRecord<'a>> {
        let found = self.look_up(base, channel);
        let change = found.change?;
        let floor = change.newest - change.kept;
        let through = through.min(change.newest);
        if through <= floor {
            return None;
        }
        let kept = change.newest - through;
        self.set(found.index, channel, ChannelChange { kept, ..change });
        Some(LogRecord::Trim { channel, through })
    }

    fn forget<'a>(&mut self, base: CommittedBase<'_>, channel: &'a str) -> Option<LogRecord<'a>> {
        let found = self.look_up(base, channel);
        if found.change?.kept > 0 {
            return None;
        }
        match found.index {
            Some(index) => _ = self.changed.insert(index, None),
            None => _ = self.created.remove(channel),
        }
        self.acks.remove(channel);
        self.has_forgotten = true;
        Some(LogRecord::Forget { channel })
    }

    fn ack<'a>(
        &mut self,
        base: CommittedBase<'_>,
        channel: &'a str,
        reader: &'a str,
        offset: u64,
    ) -> Result<Option<LogRecord<'a>>, StoreError> {
        let Some(change) = self.look_up(base, channel).change else {
            return Ok(None);
        };
        let committed = (base.state.channel(channel)).filter(|_| !change.is_reset);
        let committed = committed.map(|channel| &channel.acks);
        let pending = self.acks.get(channel);
        let acked = (pending.and_then(|acks| acks.get(reader)))
            .or_else(|| committed.and_then(|acks| acks.get(reader)));
        match acked {
            Some(acked) if offset <= *acked => return Ok(None),
            Some(_) => {}
            None => {
                // A reader may be counted twice here, as committed and as pending: then the bound is a bit
                // lower.
                let count =
                    pending.map_or(0, HashMap::len) + committed.map_or(0, |acks| acks.len());
                let max = base.settings.acks_per_channel_max;
                room(count, max, "readers of one channel")?;
            }
        }
        if let Some(acks) = self.acks.get_mut(channel) {
            acks.insert(reader.into(), offset);
        } else {
            let acks = HashMap::from([(reader.into(), offset)]);
            self.acks.insert(channel.into(), acks);
        }
        Ok(Some(LogRecord::Ack {
            channel,
            reader,
            offset,
        }))
    }

    fn member<'a>(
        &mut self,
        base: CommittedBase<'_>,
        room_name: &'a str,
        user: &'a str,
        lasting: bool,
    ) -> Result<Option<LogRecord<'a>>, StoreError> {
        let pending = self.members.get(room_name);
        let is_member = (pending.and_then(|users| users.get(user)).copied())
            .unwrap_or_else(|| base.state.is_member(room_name, user));
        if is_member == lasting {
            return Ok(None);
        }
        if lasting {
            let count = base.state.members_count() + self.members_new;
            room(count, base.settings.members_max, "lasting members")?;
            self.members_new += 1;
        }
        let users = self.members.entry(room_name.into()).or_default();
        users.insert(user.into(), lasting);
        Ok(Some(LogRecord::Member {
            room: room_name,
            user,
            lasting,
        }))
    }

    fn raise_mark<'a>(
        &mut self,
        base: CommittedBase<'_>,
        producer: &'a str,
        number: u64,
    ) -> Result<Option<LogRecord<'a>>, StoreError> {
        match self.mark(base, producer) {
            Some(mark) if number <= mark => return Ok(None),
            Some(_) => {}
            None => {
                self.room_for_producer(base)?;
                self.marks_new += 1;
            }
        }
        match self.marks.get_mut(producer) {
            Some(mark) => *mark = number,
            None => _ = self.marks.insert(producer.into(), number),
        }
        Ok(Some(LogRecord::Mark { producer, number }))
    }

    fn mark(&self, base: CommittedBase<'_>, producer: &str) -> Option<u64> {
        (self.marks.get(producer).copied()).or_else(|| base.state.mark(producer))
    }

    fn look_up(&self, base: CommittedBase<'_>, channel: &str) -> Lookup {
        let Some((index, committed)) = base.state.find(channel) else {
            return Lookup {
                index: None,
                change: self.created.get(channel).copied(),
            };
        };
        let change = self.changed.get(&index).copied().unwrap_or_else(|| {
            Some(ChannelChange {
                epoch: committed.log.epoch,
                newest: committed.log.newest(),
                kept: committed.log.count(),
                is_reset: false,
            })
        });
        Lookup {
            index: Some(index),
            change,
        }
    }

    fn set(&mut self, known: Option<usize>, name: &str, change: ChannelChange) {
        if let Some(index) = known {
            self.changed.insert(index, Some(change));
        } else if let Some(created) = self.created.get_mut(name) {
            *created = change;
        } else {
            self.created.insert(name.into(), change);
        }
    }

    fn room_for_channels(&self, base: CommittedBase<'_>, new: usize) -> Result<(), StoreError> {
        if new == 0 {
            return Ok(());
        }
        let count = base.state.channels_count() + self.created.len() + new - 1;
        room(count, base.settings.channels_max, "channels")
    }

    fn room_for_producer(&self, base: CommittedBase<'_>) -> Result<(), StoreError> {
        let count = base.state.marks_count() + self.marks_new;
        room(count, base.settings.producers_max, "producers")
    }
}

/// The decision on any record but a message.
fn noted(log_record: Option<LogRecord<'_>>) -> (Decision<'_>, Option<ResolvedMessage>) {
    ((Appended::Noted, log_record), None)
}

fn room(count: usize, max: usize, what: &'static str) -> Result<(), StoreError> {
    match count < max {
        true => Ok(()),
        false => Err(StoreError::TooMany { what, max }),
    }
}
