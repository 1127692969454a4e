//! The committed state: every channel with the locations of its messages, and everything else.
//!
//! The state changes by [`LogRecord`]s only, in the order in which they stand in the segments: so a
//! start makes of the segments the state that was there before.

mod handover;
mod missing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use slab::Slab;

use super::bytes::Flaw;
use super::channel_log::ChannelLog;
use super::channel_names::ChannelNames;
use super::location::{Location, Relocation};
use super::log_record::{LogPlace, LogRecord, PlacedMessage};
use super::resolved::ResolvedMessage;
use super::settings::Retention;
use super::snapshot::Snapshot;
use super::usage::LogUsage;
use crate::base::{Epoch, Position};

/// The whole committed state, except for the messages themselves.
pub(super) struct StoreState {
    names: ChannelNames,
    channels: Slab<StoredChannel>,
    members: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    members_count: usize,
    marks: BTreeMap<Box<str>, u64>,
    serials_below: u64,
    forgotten: u64,
    pub(super) usage: LogUsage,
    pub(super) retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>,
    strictness: Strictness,
    /// Messages of a channel that a checkpoint may claim without their being there yet.
    missing_max: u64,
    /// The channels that the checkpoint has named which is being read.
    in_checkpoint: Option<BTreeSet<usize>>,
    /// The snapshot that is being written.
    pub(super) snapshot: Option<Snapshot>,
}

/// The rule by which records have to follow from those before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strictness {
    /// A hole is damage.
    Strict,
    /// A segment was cut: messages that are missing are lost.
    Lenient,
}

/// A channel, its messages, and the offset up to which each reader has acknowledged them.
#[derive(Debug)]
pub(super) struct StoredChannel {
    pub(super) name: Arc<str>,
    pub(super) log: ChannelLog,
    pub(super) acks: BTreeMap<Box<str>, u64>,
    /// The user for whom the channel counts.
    pub(super) opener: Option<Box<str>>,
}

impl StoredChannel {
    /// Makes the record by which a checkpoint names the channel.
    pub(super) fn record(&self) -> LogRecord<'_> {
        let known = self.log.state();
        LogRecord::Channel {
            channel: &self.name,
            epoch: known.epoch,
            floor: known.floor,
            newest: known.newest,
        }
    }
}

/// The largest offset, and the largest serial number, that a record may have: a number that
/// JavaScript reads without loss. A larger one was never given, and would wrap around.
const NUMBER_MAX: u64 = 1 << 53;

/// The largest mark of a producer: numbers of parts are 128 times as large as those of messages.
const MARK_MAX: u64 = NUMBER_MAX << 8;

/// Missing messages that a checkpoint may claim at least, however small the store is said to be now,
/// and at the most, however large: 160 MB and 4 GiB of places.
const MISSING_LEAST: u64 = 10_000_000;
const MISSING_MOST: u64 = 1 << 28;

/// Bytes of the smallest record of a message, roughly.
const MESSAGE_SIZE_MIN: u64 = 32;

/// Messages that a piece of work lets go of for each channel that it may visit: they cost as much.
const MESSAGES_A_CHANNEL: usize = 16;

/// Bytes of a channel in the index beside its name and its locations, roughly.
const CHANNEL_SIZE: usize = size_of::<StoredChannel>() + 64;

impl StoreState {
    /// Makes an empty state; `retention` says what each channel keeps.
    pub(super) fn new(retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>) -> Self {
        Self {
            names: ChannelNames::new(),
            channels: Slab::new(),
            members: BTreeMap::new(),
            members_count: 0,
            marks: BTreeMap::new(),
            serials_below: 0,
            forgotten: 0,
            usage: LogUsage::default(),
            retention,
            strictness: Strictness::Strict,
            missing_max: MISSING_MOST,
            in_checkpoint: None,
            snapshot: None,
        }
    }

    /// Sets how strictly the records that are applied are checked.
    pub(super) fn set_strictness(&mut self, strictness: Strictness) {
        self.strictness = strictness;
    }

    /// Bounds the messages that a checkpoint may claim by the size that the store may have.
    pub(super) fn bound_messages(&mut self, store_bytes_max: u64) {
        self.missing_max = (store_bytes_max / MESSAGE_SIZE_MIN).clamp(MISSING_LEAST, MISSING_MOST);
    }

    /// The channel of this name.
    pub(super) fn channel(&self, name: &str) -> Option<&StoredChannel> {
        Some(&self.channels[self.names.find(name)?])
    }

    /// Finds a channel and its index, which stays the same until the next record is applied.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &StoredChannel)> {
        let index = self.names.find(name)?;
        Some((index, &self.channels[index]))
    }

    /// Returns the channel of this index, if there is one.
    pub(super) fn channel_at(&self, index: usize) -> Option<&StoredChannel> {
        self.channels.get(index)
    }

    /// Returns the index behind that of every channel.
    pub(super) fn channels_end(&self) -> usize {
        self.channels.capacity()
    }

    /// Lists all channels, in no order.
    pub(super) fn channels(&self) -> impl Iterator<Item = &StoredChannel> {
        self.channels.iter().map(|(_, channel)| channel)
    }

    /// Counts the channels.
    pub(super) fn channels_count(&self) -> usize {
        self.channels.len()
    }

    /// Lists room and user of each lasting membership, in their order.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        members_of(self.members.range::<str, _>(..))
    }

    /// Lists the memberships behind this one.
    pub(super) fn members_after(
        &self,
        room: &str,
        user: &str,
    ) -> impl Iterator<Item = (&str, &str)> {
        let behind = (Bound::Excluded(user), Bound::Unbounded);
        let here = self.members.get_key_value(room).into_iter();
        let here = here.flat_map(move |(room, users)| {
            (users.range::<str, _>(behind)).map(move |user| (&**room, &**user))
        });
        let rooms = (Bound::Excluded(room), Bound::Unbounded);
        here.chain(members_of(self.members.range::<str, _>(rooms)))
    }

    /// Whether `user` is a lasting member of `room`.
    pub(super) fn is_member(&self, room: &str, user: &str) -> bool {
        (self.members.get(room)).is_some_and(|users| users.contains(user))
    }

    /// Counts the lasting memberships.
    pub(super) fn members_count(&self) -> usize {
        self.members_count
    }

    /// Lists the producers behind this one with their marks, or all of them.
    pub(super) fn marks_after(&self, producer: Option<&str>) -> impl Iterator<Item = (&str, u64)> {
        let begin = producer.map_or(Bound::Unbounded, Bound::Excluded);
        let marks = self.marks.range::<str, _>((begin, Bound::Unbounded));
        marks.map(|(producer, mark)| (&**producer, *mark))
    }

    /// Returns the mark of a producer.
    pub(super) fn mark(&self, producer: &str) -> Option<u64> {
        self.marks.get(producer).copied()
    }

    /// Counts the producers with a mark.
    pub(super) fn marks_count(&self) -> usize {
        self.marks.len()
    }

    /// Returns the serial number below which all are reserved for connections.
    pub(super) fn serials_below(&self) -> u64 {
        self.serials_below
    }

    /// Begins a new epoch of every channel, also of those that are made later under a name that a
    /// channel had before.
    pub(super) fn begin_epochs(&mut self, mask: u32) {
        for (_, channel) in &mut self.channels {
            channel.log.epoch = channel.log.epoch.masked(mask);
        }
        // The epoch of a new channel is made from this number.
        self.forgotten = self.forgotten.saturating_add(mask.into());
    }

    /// Counts the channels that were forgotten.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Applies the record that stands at `location`; fills in the location's time.
    ///
    /// # Errors
    ///
    /// The record doesn't follow from those before it.
    pub(super) fn apply(
        &mut self,
        log_record: &LogRecord<'_>,
        location: Location,
    ) -> Result<(), Flaw> {
        match *log_record {
            LogRecord::Message(ref message) => self.apply_message(message, location)?,
            LogRecord::Purge { channel, epoch } => self.purge(channel, epoch),
            LogRecord::Trim { channel, through } => {
                if let Some(index) = self.names.find(channel) {
                    let log = &mut self.channels[index].log;
                    log.trim(through, &mut self.usage);
                }
            }
            LogRecord::Forget { channel } => {
                if let Some(index) = self.names.find(channel) {
                    self.remove(index);
                    self.forgotten = self.forgotten.saturating_add(1);
                }
            }
            LogRecord::Ack {
                channel,
                reader,
                offset,
            } => self.ack(channel, reader, within(offset, NUMBER_MAX)?),
            LogRecord::Member {
                room,
                user,
                lasting,
            } => self.member(room, user, lasting),
            LogRecord::Opener { channel, user } => self.set_opener(channel, user),
            LogRecord::Mark { producer, number } => {
                self.raise_mark(producer, within(number, MARK_MAX)?);
            }
            LogRecord::Serials { below } => {
                self.serials_below = self.serials_below.max(within(below, NUMBER_MAX)?);
            }
            LogRecord::Checkpoint {
                forgotten,
                serials_below,
                ..
            } => self.begin_checkpoint(forgotten, within(serials_below, NUMBER_MAX)?),
            LogRecord::Channel {
                channel,
                epoch,
                floor,
                newest,
            } => self.apply_checkpoint(channel, epoch, floor, newest)?,
            LogRecord::CheckpointEnd => self.end_checkpoint(),
        }
        Ok(())
    }

    /// Applies a message by the indexes of its channels, as [`StoreState::apply`] does by their names.
    ///
    /// # Errors
    ///
    /// The record doesn't follow from those before it.
    pub(super) fn apply_resolved(
        &mut self,
        message: &ResolvedMessage,
        location: Location,
    ) -> Result<(), Flaw> {
        let location = location.with_time(message.ts);
        for (index, position) in message.places() {
            self.push_at(index, position, location)?;
        }
        Ok(())
    }

    /// Whether a resolved message is the one of this record.
    pub(super) fn is_same_message(
        &self,
        message: &ResolvedMessage,
        log_record: &LogRecord<'_>,
    ) -> bool {
        let LogRecord::Message(placed) = log_record else {
            return false;
        };
        let places = placed.places().map(|place| (place.channel, place.at));
        let resolved = (message.places()).map(|(index, at)| (&*self.channels[index].name, at));
        resolved.eq(places)
            && (message.ts, message.idempotency_key) == (placed.body.ts, placed.idempotency_key)
            && placed.mark.is_none()
    }

    fn apply_message(
        &mut self,
        message: &PlacedMessage<'_>,
        location: Location,
    ) -> Result<(), Flaw> {
        let location = location.with_time(message.body.ts);
        for place in message.places() {
            within(place.at.offset, NUMBER_MAX)?;
            if message.is_moved {
                self.move_to(place, location);
            } else {
                self.push(place, location)?;
            }
        }
        if message.opens && !message.is_moved {
            self.set_opener(message.first.channel, message.body.from.unwrap_or_default());
        }
        if let Some((producer, number)) = message.mark {
            self.raise_mark(producer, within(number, MARK_MAX)?);
        }
        Ok(())
    }

    fn set_opener(&mut self, channel: &str, user: &str) {
        if let Some(index) = self.names.find(channel) {
            self.channels[index].opener = (!user.is_empty()).then(|| user.into());
        }
    }

    fn push(&mut self, place: LogPlace<'_>, location: Location) -> Result<(), Flaw> {
        let index = self.ensure(place.channel, place.at.epoch);
        let channel = &mut self.channels[index];
        if self.strictness == Strictness::Lenient {
            channel.log.skip_lost(place.at, &mut self.usage);
        }
        self.push_at(index, place.at, location)
    }

    fn push_at(&mut self, index: usize, at: Position, location: Location) -> Result<(), Flaw> {
        self.note_change(index);
        let log = &mut self.channels[index].log;
        if log.epoch != at.epoch || log.newest() + 1 != at.offset {
            return Err("a message doesn't follow the one before it in its channel");
        }
        log.push(location, &mut self.usage);
        Ok(())
    }

    fn move_to(&mut self, place: LogPlace<'_>, location: Location) {
        if let Some(index) = self.names.find(place.channel) {
            let log = &mut self.channels[index].log;
            if log.epoch == place.at.epoch {
                log.replace(place.at.offset, location, &mut self.usage);
            }
        }
    }

    /// Notes that a message was copied to the segment `to`, if it stands in the tail `from` still.
    pub(super) fn relocate(&mut self, moved: &Relocation, from: (u32, u64), to: u32) {
        let Position { epoch, offset } = moved.position;
        if let Some(channel) = self.channels.get_mut(moved.channel)
            && channel.log.epoch == epoch
        {
            (channel.log).relocate(offset, from, (to, moved.at), &mut self.usage);
        }
    }

    fn purge(&mut self, name: &str, epoch: Epoch) {
        let index = self.ensure(name, epoch);
        self.note_change(index);
        let channel = &mut self.channels[index];
        channel.log.reset(epoch, &mut self.usage);
        channel.acks.clear();
    }

    /// Writes a channel to the snapshot as it is before its first change.
    fn note_change(&mut self, index: usize) {
        if let Some(snapshot) = &mut self.snapshot
            && snapshot.is_first_change(index)
        {
            (self.channels[index].record()).write(&mut snapshot.images);
        }
    }

    fn ack(&mut self, channel: &str, reader: &str, offset: u64) {
        if let Some(index) = self.names.find(channel) {
            let acks = &mut self.channels[index].acks;
            match acks.get_mut(reader) {
                Some(acked) => *acked = offset.max(*acked),
                None => _ = acks.insert(reader.into(), offset),
            }
        }
    }

    fn member(&mut self, room: &str, user: &str, lasting: bool) {
        if lasting {
            let users = match self.members.get_mut(room) {
                Some(users) => users,
                None => self.members.entry(room.into()).or_default(),
            };
            self.members_count += usize::from(users.insert(user.into()));
        } else if let Some(users) = self.members.get_mut(room) {
            self.members_count -= usize::from(users.remove(user));
            if users.is_empty() {
                self.members.remove(room);
            }
        }
    }

    fn raise_mark(&mut self, producer: &str, number: u64) {
        match self.marks.get_mut(producer) {
            Some(mark) => *mark = number.max(*mark),
            None => _ = self.marks.insert(producer.into(), number),
        }
    }

    /// Forgets everything but the messages: the checkpoint is going to say it again.
    fn begin_checkpoint(&mut self, forgotten: u64, serials_below: u64) {
        self.members.clear();
        self.members_count = 0;
        self.marks.clear();
        self.forgotten = forgotten;
        self.serials_below = serials_below;
        self.in_checkpoint = Some(BTreeSet::new());
    }

    fn apply_checkpoint(
        &mut self,
        name: &str,
        epoch: Epoch,
        floor: u64,
        newest: u64,
    ) -> Result<(), Flaw> {
        if floor > newest {
            return Err("a channel keeps more than it has");
        }
        within(newest, NUMBER_MAX)?;
        let index = self.ensure(name, epoch);
        let channel = &mut self.channels[index];
        channel.acks.clear();
        let floor = channel.log.floor_for(floor, newest);
        let missing = newest.saturating_sub(floor.max(channel.log.newest()));
        if missing > self.missing_max {
            return Err("a channel has more messages than a store of this size can hold");
        }
        channel.opener = None;
        channel
            .log
            .apply_checkpoint(epoch, floor, newest, &mut self.usage);
        if let Some(in_checkpoint) = &mut self.in_checkpoint {
            in_checkpoint.insert(index);
        }
        Ok(())
    }

    fn end_checkpoint(&mut self) {
        let Some(in_checkpoint) = self.in_checkpoint.take() else {
            return;
        };
        let gone: Vec<usize> = (self.channels.iter())
            .map(|(index, _)| index)
            .filter(|index| !in_checkpoint.contains(index))
            .collect();
        for index in gone {
            self.remove(index);
        }
    }

    fn ensure(&mut self, name: &str, epoch: Epoch) -> usize {
        if let Some(index) = self.names.find(name) {
            return index;
        }
        let shared: Arc<str> = name.into();
        self.usage.index_bytes += CHANNEL_SIZE + name.len();
        let index = self.channels.insert(StoredChannel {
            name: Arc::clone(&shared),
            log: ChannelLog::new(epoch, (self.retention)(name)),
            acks: BTreeMap::new(),
            opener: None,
        });
        self.names.insert(shared, index);
        index
    }

    fn remove(&mut self, index: usize) {
        self.note_change(index);
        let mut channel = self.channels.remove(index);
        self.names.remove(&channel.name);
        channel.log.clear(&mut self.usage);
        self.usage.index_bytes -= CHANNEL_SIZE + channel.name.len();
    }

    /// Lets go of messages that are too old, in up to `channels_max` channels from the index `from`
    /// on, and of up to 16 times as many messages; returns the index to go on at, or `None` after
    /// the last channel.
    pub(super) fn expire(
        &mut self,
        now_ms: u64,
        from: usize,
        channels_max: usize,
    ) -> Option<usize> {
        self.let_go(from, channels_max, |channel, usage, max| {
            channel.log.expire(now_ms, max, usage)
        })
    }

    /// Lets go of messages in segments up to this one, with the bounds of [`StoreState::expire`].
    pub(super) fn drop_through(
        &mut self,
        segment: u32,
        from: usize,
        channels_max: usize,
    ) -> Option<usize> {
        self.let_go(from, channels_max, |channel, usage, max| {
            channel.log.drop_through(segment, max, usage)
        })
    }

    /// Has some channels let go of messages; returns the one with which it goes on.
    pub(super) fn let_go(
        &mut self,
        from: usize,
        channels_max: usize,
        mut let_go: impl FnMut(&mut StoredChannel, &mut LogUsage, usize) -> usize,
    ) -> Option<usize> {
        let (mut visited, mut left) = (0, channels_max * MESSAGES_A_CHANNEL);
        // A slab's iterator can't begin in the middle, so the indexes are tried one by one.
        for index in from..self.channels.capacity() {
            if visited == channels_max {
                return Some(index);
            }
            visited += 1;
            if let Some(channel) = self.channels.get_mut(index) {
                left -= let_go(channel, &mut self.usage, left);
                if left == 0 {
                    // The channel may have more.
                    return Some(index);
                }
            }
        }
        None
    }
}

/// Lists the memberships in these rooms.
fn members_of<'a>(
    rooms: impl Iterator<Item = (&'a Box<str>, &'a BTreeSet<Box<str>>)>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    rooms.flat_map(|(room, users)| users.iter().map(move |user| (&**room, &**user)))
}

/// A number that is no larger than it can be.
fn within(number: u64, max: u64) -> Result<u64, Flaw> {
    match number <= max {
        true => Ok(number),
        false => Err("a number is larger than any that was given"),
    }
}

impl std::fmt::Debug for StoreState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreState")
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}
