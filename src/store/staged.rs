//! What the batch will have changed, on top of the committed state.
//!
//! Knows nothing of files. Decides what becomes of a record, and says which [`Entry`] is to be
//! written for it; a failed commit drops it as a whole.

use std::collections::HashMap;

use super::dedup::Dedup;
use super::entry::{Entry, Place, Placed};
use super::error::StoreError;
use super::located::Located;
use super::record::{Appended, Channel, MessageRecord, Position, Record};
use super::settings::StoreSettings;
use super::state::State;

/// Things of one kind in a batch, up to which the memory for them is kept for the next.
const CAPACITY_KEPT: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Staged {
    /// Channels that are committed, by their places there; `None`: forgotten.
    known: HashMap<usize, Option<Life>, foldhash::fast::FixedState>,
    /// Others.
    fresh: HashMap<Box<str>, Life>,
    acks: HashMap<Box<str>, HashMap<Box<str>, u64>>,
    members: HashMap<Box<str>, HashMap<Box<str>, bool>>,
    members_new: usize,
    marks: HashMap<Box<str>, u64>,
    marks_new: usize,
    serials_below: Option<u64>,
    /// By what is a keyed hash already.
    sames: HashMap<u128, Position, foldhash::fast::FixedState>,
    pub(super) repeats: u64,
    /// Of each entry of the batch, where it is one that can be applied so.
    located: Vec<Option<Located>>,
    /// A place among the committed channels may be another one's soon.
    has_forgotten: bool,
}

/// A channel, as it will be.
#[derive(Debug, Clone, Copy)]
struct Life {
    epoch: u32,
    newest: u64,
    kept: u64,
    /// Its acknowledgements from before this batch don't count.
    is_begun_anew: bool,
}

/// A channel, and its place among the committed ones.
#[derive(Debug, Clone, Copy)]
struct Found {
    known: Option<usize>,
    life: Option<Life>,
}

/// What there is before the batch.
#[derive(Clone, Copy)]
pub(super) struct Base<'a> {
    pub(super) state: &'a State,
    pub(super) dedup: &'a Dedup,
    pub(super) settings: &'a StoreSettings,
}

/// What is to be written for a record; [`Appended::Noted`] without an entry changes nothing.
pub(super) type Judged<'a> = (Appended, Option<Entry<'a>>);

impl Staged {
    pub(super) fn clear(&mut self) {
        if self.known.capacity().max(self.sames.capacity()) > CAPACITY_KEPT {
            *self = Self::default();
            return;
        }
        self.known.clear();
        self.fresh.clear();
        self.acks.clear();
        self.members.clear();
        self.members_new = 0;
        self.marks.clear();
        self.marks_new = 0;
        self.serials_below = None;
        self.sames.clear();
        self.repeats = 0;
        self.located.clear();
        self.has_forgotten = false;
    }

    /// One for each entry of the batch.
    pub(super) fn located(&self) -> &[Option<Located>] {
        &self.located
    }

    /// Decides what becomes of a record, and notes it.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooMany`]: nothing was noted.
    pub(super) fn judge<'a>(
        &mut self,
        base: Base<'_>,
        record: &Record<'a>,
    ) -> Result<Judged<'a>, StoreError> {
        let (judged, located) = match *record {
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
            Record::Mark { producer, number } => noted(self.settle(base, producer, number)?),
            Record::Serials { below } => {
                let known = self.serials_below.unwrap_or(base.state.serials_below());
                noted((below > known).then(|| {
                    self.serials_below = Some(below);
                    Entry::Serials { below }
                }))
            }
        };
        if judged.1.is_some() {
            self.located.push(located);
        }
        Ok(judged)
    }

    fn message<'a>(
        &mut self,
        base: Base<'_>,
        message: &MessageRecord<'a>,
    ) -> Result<(Judged<'a>, Option<Located>), StoreError> {
        if let Some((producer, number)) = message.mark {
            let mark = self.mark(base, producer);
            if mark.is_some_and(|mark| number <= mark) {
                return Ok(((Appended::Settled, None), None));
            }
            if mark.is_none() {
                self.room_for_producer(base)?;
            }
        }
        let same = message.sameness.and_then(|sameness| {
            let staged = self.sames.get(&sameness).copied();
            staged.or_else(|| base.dedup.find(sameness))
        });
        if let Some(position) = same {
            let entry = match message.mark {
                Some((producer, number)) => self.settle(base, producer, number)?,
                None => None,
            };
            self.repeats += 1;
            return Ok(((Appended::Repeat(position), entry), None));
        }
        let second = (message.second).filter(|second| second.name != message.channel.name);
        let first = self.life(base, message.channel.name);
        let second_life = second.map(|second| (second, self.life(base, second.name)));
        let is_new = |life: &Found| life.life.is_none();
        let new = usize::from(is_new(&first))
            + usize::from(second_life.as_ref().is_some_and(|(_, life)| is_new(life)));
        self.room_for_channels(base, new)?;
        let found = (first, second_life.map(|(_, life)| life));
        let first = self.place(first, message.channel);
        let second = second_life.map(|(second, life)| self.place(life, second));
        if let Some((producer, number)) = message.mark {
            self.settle(base, producer, number)?;
        }
        if let Some(sameness) = message.sameness {
            self.sames.insert(sameness, position(first));
        }
        let placed = Placed {
            first,
            second,
            is_moved: false,
            id: message.id,
            from: message.from,
            to: message.to,
            ts: message.ts,
            data: message.data,
            sameness: message.sameness,
            mark: message.mark,
        };
        let located = self.locate(found, &placed);
        let appended = Appended::Message(position(first), second.map(position));
        Ok(((appended, Some(Entry::Message(placed))), located))
    }

    /// Where it is to be applied, if that needs no look at what was written. A channel that is new
    /// has no place yet, and a mark is looked up anyway.
    fn locate(
        &self,
        (first, second): (Found, Option<Found>),
        placed: &Placed<'_>,
    ) -> Option<Located> {
        if self.has_forgotten || placed.mark.is_some() {
            return None;
        }
        let second = match second.zip(placed.second) {
            Some((found, place)) => Some((found.known?, position(place))),
            None => None,
        };
        Some(Located {
            first: (first.known?, position(placed.first)),
            second,
            ts: placed.ts,
            sameness: placed.sameness,
        })
    }

    /// Gives a message the next place in a channel.
    fn place<'a>(&mut self, found: Found, channel: Channel<'a>) -> Place<'a> {
        let mut life = found.life.unwrap_or(Life {
            epoch: channel.epoch,
            newest: 0,
            kept: 0,
            is_begun_anew: true,
        });
        life.newest += 1;
        life.kept += 1;
        self.set(found.known, channel.name, life);
        Place {
            channel: channel.name,
            epoch: life.epoch,
            offset: life.newest,
        }
    }

    fn purge<'a>(
        &mut self,
        base: Base<'_>,
        channel: &'a str,
        epoch: u32,
    ) -> Result<Option<Entry<'a>>, StoreError> {
        let found = self.life(base, channel);
        if found.life.is_none() {
            self.room_for_channels(base, 1)?;
        }
        let life = Life {
            epoch,
            newest: 0,
            kept: 0,
            is_begun_anew: true,
        };
        self.set(found.known, channel, life);
        self.acks.remove(channel);
        Ok(Some(Entry::Purge { channel, epoch }))
    }

    fn trim<'a>(&mut self, base: Base<'_>, channel: &'a str, through: u64) -> Option<Entry<'a>> {
        let found = self.life(base, channel);
        let life = found.life?;
        let floor = life.newest - life.kept;
        let through = through.min(life.newest);
        if through <= floor {
            return None;
        }
        let kept = life.newest - through;
        self.set(found.known, channel, Life { kept, ..life });
        Some(Entry::Trim { channel, through })
    }

    fn forget<'a>(&mut self, base: Base<'_>, channel: &'a str) -> Option<Entry<'a>> {
        let found = self.life(base, channel);
        if found.life?.kept > 0 {
            return None;
        }
        match found.known {
            Some(index) => _ = self.known.insert(index, None),
            None => _ = self.fresh.remove(channel),
        }
        self.acks.remove(channel);
        self.has_forgotten = true;
        Some(Entry::Forget { channel })
    }

    fn ack<'a>(
        &mut self,
        base: Base<'_>,
        channel: &'a str,
        reader: &'a str,
        offset: u64,
    ) -> Result<Option<Entry<'a>>, StoreError> {
        let Some(life) = self.life(base, channel).life else {
            return Ok(None);
        };
        let committed = (base.state.channel(channel)).filter(|_| !life.is_begun_anew);
        let committed = committed.map(|channel| &channel.acks);
        let staged = self.acks.get(channel);
        let acked = (staged.and_then(|acks| acks.get(reader)))
            .or_else(|| committed.and_then(|acks| acks.get(reader)));
        match acked {
            Some(acked) if offset <= *acked => return Ok(None),
            Some(_) => {}
            None => {
                // Those of this batch may be committed already: then the bound is a bit lower.
                let count = staged.map_or(0, HashMap::len) + committed.map_or(0, |acks| acks.len());
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
        Ok(Some(Entry::Ack {
            channel,
            reader,
            offset,
        }))
    }

    fn member<'a>(
        &mut self,
        base: Base<'_>,
        room_name: &'a str,
        user: &'a str,
        lasting: bool,
    ) -> Result<Option<Entry<'a>>, StoreError> {
        let staged = self.members.get(room_name);
        let is_member = (staged.and_then(|users| users.get(user)).copied())
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
        Ok(Some(Entry::Member {
            room: room_name,
            user,
            lasting,
        }))
    }

    fn settle<'a>(
        &mut self,
        base: Base<'_>,
        producer: &'a str,
        number: u64,
    ) -> Result<Option<Entry<'a>>, StoreError> {
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
        Ok(Some(Entry::Mark { producer, number }))
    }

    fn mark(&self, base: Base<'_>, producer: &str) -> Option<u64> {
        (self.marks.get(producer).copied()).or_else(|| base.state.mark(producer))
    }

    fn life(&self, base: Base<'_>, channel: &str) -> Found {
        let Some((index, committed)) = base.state.find(channel) else {
            return Found {
                known: None,
                life: self.fresh.get(channel).copied(),
            };
        };
        let life = self.known.get(&index).copied().unwrap_or_else(|| {
            Some(Life {
                epoch: committed.kept.epoch,
                newest: committed.kept.newest(),
                kept: committed.kept.count(),
                is_begun_anew: false,
            })
        });
        Found {
            known: Some(index),
            life,
        }
    }

    fn set(&mut self, known: Option<usize>, name: &str, life: Life) {
        if let Some(index) = known {
            self.known.insert(index, Some(life));
        } else if let Some(fresh) = self.fresh.get_mut(name) {
            *fresh = life;
        } else {
            self.fresh.insert(name.into(), life);
        }
    }

    fn room_for_channels(&self, base: Base<'_>, new: usize) -> Result<(), StoreError> {
        if new == 0 {
            return Ok(());
        }
        let count = base.state.channels_count() + self.fresh.len() + new - 1;
        room(count, base.settings.channels_max, "channels")
    }

    fn room_for_producer(&self, base: Base<'_>) -> Result<(), StoreError> {
        let count = base.state.marks_count() + self.marks_new;
        room(count, base.settings.producers_max, "producers")
    }
}

/// What becomes of anything but a message.
fn noted(entry: Option<Entry<'_>>) -> (Judged<'_>, Option<Located>) {
    ((Appended::Noted, entry), None)
}

fn position(place: Place<'_>) -> Position {
    Position {
        epoch: place.epoch,
        offset: place.offset,
    }
}

fn room(count: usize, max: usize, what: &'static str) -> Result<(), StoreError> {
    match count < max {
        true => Ok(()),
        false => Err(StoreError::TooMany { what, max }),
    }
}
