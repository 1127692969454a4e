//! What is committed: every channel with the places of its messages, and everything else.
//!
//! It changes by [`Entry`]s only, in the order in which they stand in the files: what a start makes
//! of the files is what was there before, by construction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use slab::Slab;

use super::bytes::Flaw;
use super::channel::{Kept, Slot};
use super::entry::{Entry, Place, Placed};
use super::located::Located;
use super::record::Position;
use super::settings::Retention;

/// The committed state.
pub(super) struct State {
    names: HashMap<Arc<str>, usize>,
    channels: Slab<Channel>,
    members: HashMap<Box<str>, BTreeSet<Box<str>>>,
    members_count: usize,
    marks: HashMap<Box<str>, u64>,
    serials_below: u64,
    forgotten: u64,
    pub(super) usage: Usage,
    retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>,
    replay: Replay,
    /// The channels that the checkpoint that is being read has named.
    restated: Option<BTreeSet<usize>>,
}

/// How strictly the entries have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// A hole is damage.
    Strict,
    /// A file was cut: what isn't there is lost.
    Lenient,
}

/// A channel.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Arc<str>,
    pub(super) kept: Kept,
    pub(super) acks: BTreeMap<Box<str>, u64>,
}

/// What all messages together take.
#[derive(Debug, Default)]
pub(super) struct Usage {
    /// Bytes of live records, by the number of their file.
    pub(super) live: BTreeMap<u32, u64>,
    /// Messages; one in two channels counts twice.
    pub(super) messages: u64,
    /// Messages that retention let go.
    pub(super) trimmed: u64,
    /// Bytes of the index, nearly.
    pub(super) index_bytes: usize,
}

impl Usage {
    pub(super) fn take(&mut self, slot: Slot) {
        if !slot.is_missing() {
            *self.live.entry(slot.segment).or_default() += u64::from(slot.size);
        }
    }

    pub(super) fn release(&mut self, slot: Slot) {
        if let Some(live) = self.live.get_mut(&slot.segment) {
            *live -= u64::from(slot.size);
        }
    }
}

/// Bytes of a channel in the index beside its name and its slots, nearly.
const CHANNEL_SIZE: usize = size_of::<Channel>() + 64;

impl State {
    pub(super) fn new(retention: Arc<dyn Fn(&str) -> Retention + Send + Sync>) -> Self {
        Self {
            names: HashMap::new(),
            channels: Slab::new(),
            members: HashMap::new(),
            members_count: 0,
            marks: HashMap::new(),
            serials_below: 0,
            forgotten: 0,
            usage: Usage::default(),
            retention,
            replay: Replay::Strict,
            restated: None,
        }
    }

    pub(super) fn set_replay(&mut self, replay: Replay) {
        self.replay = replay;
    }

    pub(super) fn channel(&self, name: &str) -> Option<&Channel> {
        Some(&self.channels[*self.names.get(name)?])
    }

    /// A channel with its place, which it keeps as long as nothing is applied.
    pub(super) fn find(&self, name: &str) -> Option<(usize, &Channel)> {
        let index = *self.names.get(name)?;
        Some((index, &self.channels[index]))
    }

    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().map(|(_, channel)| channel)
    }

    pub(super) fn channels_count(&self) -> usize {
        self.channels.len()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let rooms = self.members.iter();
        rooms.flat_map(|(room, users)| users.iter().map(move |user| (&**room, &**user)))
    }

    pub(super) fn is_member(&self, room: &str, user: &str) -> bool {
        (self.members.get(room)).is_some_and(|users| users.contains(user))
    }

    pub(super) fn members_count(&self) -> usize {
        self.members_count
    }

    pub(super) fn marks(&self) -> impl Iterator<Item = (&str, u64)> {
        self.marks
            .iter()
            .map(|(producer, mark)| (&**producer, *mark))
    }

    pub(super) fn mark(&self, producer: &str) -> Option<u64> {
        self.marks.get(producer).copied()
    }

    pub(super) fn marks_count(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn serials_below(&self) -> u64 {
        self.serials_below
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes what stands in a file at `slot`, whose time is filled in here.
    ///
    /// # Errors
    ///
    /// It doesn't fit to what came before.
    pub(super) fn apply(&mut self, entry: &Entry<'_>, slot: Slot) -> Result<(), Flaw> {
        match *entry {
            Entry::Message(ref message) => self.apply_message(message, slot)?,
            Entry::Purge { channel, epoch } => self.purge(channel, epoch),
            Entry::Trim { channel, through } => {
                if let Some(&index) = self.names.get(channel) {
                    let kept = &mut self.channels[index].kept;
                    kept.trim(through, &mut self.usage);
                }
            }
            Entry::Forget { channel } => {
                if let Some(&index) = self.names.get(channel) {
                    self.remove(index);
                    self.forgotten += 1;
                }
            }
            Entry::Ack {
                channel,
                reader,
                offset,
            } => self.ack(channel, reader, offset),
            Entry::Member {
                room,
                user,
                lasting,
            } => self.member(room, user, lasting),
            Entry::Mark { producer, number } => self.settle(producer, number),
            Entry::Serials { below } => self.serials_below = self.serials_below.max(below),
            Entry::Checkpoint {
                forgotten,
                serials_below,
                ..
            } => self.begin_checkpoint(forgotten, serials_below),
            Entry::Channel {
                channel,
                epoch,
                floor,
                newest,
            } => self.restate(channel, epoch, floor, newest)?,
            Entry::CheckpointEnd => self.end_checkpoint(),
        }
        Ok(())
    }

    /// Takes a message by the places of its channels, as [`State::apply`] does by their names.
    ///
    /// # Errors
    ///
    /// It doesn't fit to what came before.
    pub(super) fn apply_located(&mut self, message: &Located, slot: Slot) -> Result<(), Flaw> {
        let slot = slot.with_time(message.ts);
        for (index, position) in message.places() {
            self.push_at(index, position, slot)?;
        }
        Ok(())
    }

    /// Whether it says of a message what its entry says.
    pub(super) fn is_located(&self, message: &Located, entry: &Entry<'_>) -> bool {
        let Entry::Message(placed) = entry else {
            return false;
        };
        let places = placed.places().map(|place| {
            let Place { epoch, offset, .. } = place;
            (place.channel, Position { epoch, offset })
        });
        let located = (message.places()).map(|(index, at)| (&*self.channels[index].name, at));
        located.eq(places)
            && (message.ts, message.sameness) == (placed.ts, placed.sameness)
            && placed.mark.is_none()
    }

    fn apply_message(&mut self, message: &Placed<'_>, slot: Slot) -> Result<(), Flaw> {
        let slot = slot.with_time(message.ts);
        for place in message.places() {
            if message.is_moved {
                self.move_to(place, slot);
            } else {
                self.push(place, slot)?;
            }
        }
        if let Some((producer, number)) = message.mark {
            self.settle(producer, number);
        }
        Ok(())
    }

    fn push(&mut self, place: Place<'_>, slot: Slot) -> Result<(), Flaw> {
        let index = self.ensure(place.channel, place.epoch);
        let channel = &mut self.channels[index];
        if self.replay == Replay::Lenient {
            channel
                .kept
                .bridge(place.epoch, place.offset, &mut self.usage);
        }
        let Place { epoch, offset, .. } = place;
        self.push_at(index, Position { epoch, offset }, slot)
    }

    fn push_at(&mut self, index: usize, at: Position, slot: Slot) -> Result<(), Flaw> {
        let kept = &mut self.channels[index].kept;
        if kept.epoch != at.epoch || kept.newest() + 1 != at.offset {
            return Err("a message doesn't follow the one before it in its channel");
        }
        kept.push(slot, &mut self.usage);
        Ok(())
    }

    fn move_to(&mut self, place: Place<'_>, slot: Slot) {
        if let Some(&index) = self.names.get(place.channel) {
            let kept = &mut self.channels[index].kept;
            if kept.epoch == place.epoch {
                kept.replace(place.offset, slot, &mut self.usage);
            }
        }
    }

    fn purge(&mut self, name: &str, epoch: u32) {
        let index = self.ensure(name, epoch);
        let channel = &mut self.channels[index];
        channel.kept.begin_anew(epoch, &mut self.usage);
        channel.acks.clear();
    }

    fn ack(&mut self, channel: &str, reader: &str, offset: u64) {
        if let Some(&index) = self.names.get(channel) {
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

    fn settle(&mut self, producer: &str, number: u64) {
        match self.marks.get_mut(producer) {
            Some(mark) => *mark = number.max(*mark),
            None => _ = self.marks.insert(producer.into(), number),
        }
    }

    /// Everything but messages is going to be said anew.
    fn begin_checkpoint(&mut self, forgotten: u64, serials_below: u64) {
        self.members.clear();
        self.members_count = 0;
        self.marks.clear();
        self.forgotten = forgotten;
        self.serials_below = serials_below;
        self.restated = Some(BTreeSet::new());
    }

    fn restate(&mut self, name: &str, epoch: u32, floor: u64, newest: u64) -> Result<(), Flaw> {
        if floor > newest {
            return Err("a channel keeps more than it has");
        }
        let index = self.ensure(name, epoch);
        let channel = &mut self.channels[index];
        channel.acks.clear();
        channel.kept.restate(epoch, floor, newest, &mut self.usage);
        if let Some(restated) = &mut self.restated {
            restated.insert(index);
        }
        Ok(())
    }

    fn end_checkpoint(&mut self) {
        let Some(restated) = self.restated.take() else {
            return;
        };
        let gone: Vec<usize> = (self.channels.iter())
            .map(|(index, _)| index)
            .filter(|index| !restated.contains(index))
            .collect();
        for index in gone {
            self.remove(index);
        }
    }

    fn ensure(&mut self, name: &str, epoch: u32) -> usize {
        if let Some(&index) = self.names.get(name) {
            return index;
        }
        let shared: Arc<str> = name.into();
        self.usage.index_bytes += CHANNEL_SIZE + name.len();
        let index = self.channels.insert(Channel {
            name: Arc::clone(&shared),
            kept: Kept::new(epoch, (self.retention)(name)),
            acks: BTreeMap::new(),
        });
        self.names.insert(shared, index);
        index
    }

    fn remove(&mut self, index: usize) {
        let mut channel = self.channels.remove(index);
        self.names.remove(&channel.name);
        channel.kept.begin_anew(0, &mut self.usage);
        self.usage.index_bytes -= CHANNEL_SIZE + channel.name.len();
    }

    /// Lets go what is too old in some channels, from the `from`th place on; says where to go on,
    /// or that it was round. Looks at so many channels and lets so many messages go, at the most.
    pub(super) fn expire(&mut self, now_ms: u64, from: usize, looks_max: usize) -> Option<usize> {
        let (mut looked, mut gone) = (0, 0);
        // A slab's iterator can't begin in the middle, so the places are asked one by one.
        for index in from..self.channels.capacity() {
            if looked == looks_max || gone >= looks_max * 16 {
                return Some(index);
            }
            looked += 1;
            if let Some(channel) = self.channels.get_mut(index) {
                gone += channel.kept.expire(now_ms, &mut self.usage);
            }
        }
        None
    }

    /// Lets go of all messages in files up to this one.
    pub(super) fn drop_through(&mut self, segment: u32) {
        for (_, channel) in &mut self.channels {
            channel.kept.drop_through(segment, &mut self.usage);
        }
    }

    /// Where a message is missing that should be kept.
    pub(super) fn find_missing(&self) -> Option<(&str, u64)> {
        self.channels()
            .find_map(|channel| Some((&*channel.name, channel.kept.find_missing()?)))
    }

    /// Lets go of everything up to the newest message that is missing, in every channel; says how
    /// much that was.
    pub(super) fn drop_missing(&mut self) -> Vec<(Arc<str>, u64)> {
        let mut lost = Vec::new();
        for (_, channel) in &mut self.channels {
            let count = channel.kept.drop_missing(&mut self.usage);
            if count > 0 {
                lost.push((Arc::clone(&channel.name), count));
            }
        }
        lost
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}
