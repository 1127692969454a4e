//! What a reactor hands over to the one of another image.
//!
//! The first record is the reactor; behind it each connection has one, and then each topic of which
//! something waits for more. A connection is named by its place among these records, which is also the
//! slot that it gets.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::Arc;

use super::{Awaited, EventSink, Reactor};
use crate::base::Tick;
use crate::handover::{HandoverError, RecordReader, Section, SectionFormat, SectionWriter};
use crate::net::counters::CounterValues;
use crate::net::directory::HandedUsers;
use crate::net::frame_table::{FrameTable, HandedFrames};
use crate::net::gathering::HandedGathering;
use crate::net::handed_slot::{AroundSlot, HandedSlot, HandedWait};
use crate::net::slots::{Slot, SlotId};
use crate::net::topics::Topics;

/// The section of one reactor; its number stands behind a dot. Version 2 knows which connections have
/// agreed on compression, and which are streams of events.
pub const REACTOR: SectionFormat = SectionFormat {
    name: "reactor",
    version: 2,
    oldest_reader: 1,
};

/// The oldest version whose reader goes on with connections that have agreed on compression, and with
/// streams of events.
const OLDEST_READER_OF_OTHERS: u16 = 2;

/// Where each slot's connection stands in the handover.
struct Places(Vec<Option<u32>>);

impl<S: EventSink> Reactor<S> {
    /// Writes down the reactor and its connections; what they share with others of the server gets a
    /// number in `frames`.
    ///
    /// Everything has to stand still: no command waits, no request is without its answer, and no drain
    /// has begun. Timers of the server's user are left out, since closures are.
    pub fn hand_over(&self, frames: &FrameTable, section: &mut SectionWriter) {
        debug_assert!(self.drain.is_none(), "a drain has no other image");
        let mut places = Places(Vec::new());
        for (place, (index, _)) in self.carried().enumerate() {
            places.0.resize(index as usize, None);
            places.0.push(Some(place as u32));
        }
        let mut numbers = None;
        section.record(|record| {
            record.size(self.id);
            record.tick(self.context.clock.now());
            record.u64(self.fds.last_serial());
            record.size(self.next_peer);
            let mut counters = CounterValues::default();
            self.shared.counters.add_to(&mut counters);
            record.list(counters.named(), |record, (name, value)| {
                record.text(name);
                record.u64(value);
            });
            let is_carried =
                |slot: u32| self.slots.contains(slot) && self.slots[slot].tls.is_none();
            numbers = Some(self.topics.hand_over(is_carried, record));
            record.size(self.carried().count());
            record.size(self.gathering.entries().len());
        });
        let numbers = numbers.expect("the record was written");
        for (index, slot) in self.carried() {
            let entry = self.shared.directory.find(slot.fd);
            let waits = self.waits_of(self.slots.id_of(index));
            let around = AroundSlot {
                arena: &self.arena,
                frames,
                topics: &self.topics,
                numbers: &numbers,
                entry: entry.as_ref(),
                is_stranger: self.shared.strangers.counts(slot.fd),
                waits: &waits,
            };
            section.record(|record| slot.hand_over(index, &around, record));
        }
        for entry in self.gathering.entries() {
            let due_of = |timer| self.wheel.due(timer).unwrap_or(Tick(0));
            let place_of = |id| self.place_of(&places, id);
            section.record(|record| entry.hand_over(frames, place_of, due_of, record));
        }
    }

    /// The oldest version whose reader understands what [`Reactor::hand_over`] has written.
    pub fn oldest_reader(&self) -> u16 {
        let mut connections = self.carried().map(|(_, slot)| &slot.connection);
        match connections.any(|one| one.deflates() || one.is_event_stream()) {
            false => REACTOR.oldest_reader,
            true => OLDEST_READER_OF_OTHERS,
        }
    }

    /// The connections that can be carried: no encrypted ones, which are closed before an upgrade.
    pub(super) fn carried(&self) -> impl Iterator<Item = (u32, &Slot)> {
        self.slots.iter().filter(|(_, slot)| slot.tls.is_none())
    }

    /// The moment at which the clock stands.
    pub fn tick(&self) -> Tick {
        self.context.clock.now()
    }

    /// The serial number of the last connection that was accepted.
    pub fn last_serial(&self) -> u64 {
        self.fds.last_serial()
    }

    fn place_of(&self, places: &Places, id: SlotId) -> Option<u32> {
        let place = places.0.get(id.index as usize).copied().flatten();
        place.filter(|_| self.slots.id_of(id.index) == id)
    }

    /// What handlers wait for of one connection.
    fn waits_of(&self, id: SlotId) -> Vec<HandedWait> {
        let noted = self.awaited.get(&id.index).into_iter().flatten();
        let own = noted.chain(&self.awaited_news).filter(|wait| wait.id == id);
        own.map(|Awaited { bytes_max, by, .. }| (*bytes_max, *by))
            .collect()
    }
}

/// A reactor of another image, checked, and without a descriptor of its own: sockets are numbers.
#[derive(Debug)]
pub struct ReactorHandover {
    pub(super) id: usize,
    pub(super) tick: Tick,
    pub(super) last_serial: u64,
    pub(super) next_peer: usize,
    pub(super) counters: Vec<(String, u64)>,
    pub(super) topics: Topics,
    pub(super) slots: Vec<HandedSlot>,
    pub(super) gathered: Vec<HandedGathering>,
}

impl ReactorHandover {
    /// Reads a reactor; `frames` are those of the same handover.
    ///
    /// # Errors
    ///
    /// No reactor can have written this.
    pub fn read(section: Section<'_>, frames: &HandedFrames) -> Result<Self, HandoverError> {
        section.check(REACTOR.version)?;
        let mut records = section.records();
        let mut first = records.needed()?;
        let (id, tick) = (first.size()?, first.tick()?);
        let (last_serial, next_peer) = (first.u64()?, first.size()?);
        let counters = first.list(|record| Ok((record.text()?.to_owned(), record.u64()?)))?;
        let names: Vec<Arc<str>> = first.list(|record| Ok(record.text()?.into()))?;
        let (connections, gathered) = (first.size()?, first.size()?);
        let (mut slots, mut users) = (Vec::new(), HandedUsers::default());
        for _ in 0..connections {
            let mut record = records.needed()?;
            slots.push(HandedSlot::read(&mut record, frames, &mut users)?);
        }
        check_names(&first, id, last_serial, &slots)?;
        let heard: Vec<Vec<u32>> = slots.iter_mut().map(|slot| take(&mut slot.heard)).collect();
        let topics = Topics::take_over(names, &heard);
        let topics = topics.ok_or_else(|| first.refuse("nobody hears a topic, or twice"))?;
        let mut waiting = Vec::new();
        for _ in 0..gathered {
            let mut record = records.needed()?;
            waiting.push(HandedGathering::read(&mut record, frames, slots.len())?);
        }
        let mut known = HashSet::new();
        if !waiting.iter().all(|entry| known.insert(entry.topic())) {
            return Err(first.refuse("what waits of a topic waits twice"));
        }
        Ok(Self {
            id,
            tick,
            last_serial,
            next_peer,
            counters,
            topics,
            slots,
            gathered: waiting,
        })
    }

    /// The number of the reactor.
    #[must_use]
    pub fn id(&self) -> usize {
        self.id
    }

    /// The moment at which its clock stood.
    #[must_use]
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The serial number of the last connection that it has accepted.
    #[must_use]
    pub fn last_serial(&self) -> u64 {
        self.last_serial
    }

    /// The numbers of all sockets.
    pub fn sockets(&self) -> impl ExactSizeIterator<Item = RawFd> {
        self.slots.iter().map(|slot| slot.socket)
    }
}

fn take(heard: &mut Vec<u32>) -> Vec<u32> {
    std::mem::take(heard)
}

/// Checks that each connection and each socket is there once.
fn check_names(
    first: &RecordReader<'_>,
    id: usize,
    last_serial: u64,
    slots: &[HandedSlot],
) -> Result<(), HandoverError> {
    let (mut fds, mut sockets) = (HashSet::new(), HashSet::new());
    for slot in slots {
        if slot.fd.reactor() != id || slot.fd.serial() > last_serial || !fds.insert(slot.fd) {
            return Err(first.refuse("a connection has the name of another one"));
        }
        if !sockets.insert(slot.socket) {
            return Err(first.refuse("two connections have one socket"));
        }
    }
    Ok(())
}
