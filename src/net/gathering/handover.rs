//! Frames that wait for more of their topic, in a handover.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{GatheredFrames, GatheredStarts, Gathering, GatheringId, WaitingFrames};
use crate::base::Tick;
use crate::handover::{HandoverError, RecordReader, RecordWriter};
use crate::net::frame_table::{FrameTable, HandedFrames};
use crate::net::slots::SlotId;
use crate::net::wheel::WheelTimer;

/// What waits for the members of one topic, where no slot is there yet.
#[derive(Debug)]
pub(in crate::net) struct HandedGathering {
    topic: Arc<str>,
    frames: WaitingFrames,
    instead: Option<Bytes>,
    /// The first byte for the connections in these places.
    starts: Vec<(u32, usize)>,
    messages: usize,
    /// When all of it is sent.
    pub(in crate::net) due: Tick,
}

impl Gathering {
    /// All that waits.
    pub(in crate::net) fn entries(&self) -> impl ExactSizeIterator<Item = &GatheredFrames> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    /// Goes on with what waited in another image; `id_of` gives the slot of each place.
    pub(in crate::net) fn adopt(
        &mut self,
        handed: HandedGathering,
        id_of: impl Fn(u32) -> SlotId,
    ) -> GatheringId {
        let starts = handed.starts.into_iter();
        let starts: HashMap<SlotId, usize> =
            starts.map(|(place, start)| (id_of(place), start)).collect();
        let entry = GatheredFrames {
            topic: handed.topic,
            frames: handed.frames,
            timer: None,
            instead: handed.instead,
            starts: GatheredStarts(starts),
            messages: handed.messages,
        };
        self.bytes += entry.frames.as_slice().len();
        self.messages += entry.messages;
        let topic = Arc::clone(&entry.topic);
        let id = self.entries.insert(entry) as u32;
        self.ids.insert(topic, id);
        GatheringId(id)
    }
}

impl GatheredFrames {
    /// Writes down what waits; `place_of` gives the place of a connection that is still there, and
    /// `due_of` the moment of a timer.
    pub(in crate::net) fn hand_over(
        &self,
        frames: &FrameTable,
        place_of: impl Fn(SlotId) -> Option<u32>,
        due_of: impl Fn(WheelTimer) -> Tick,
        record: &mut RecordWriter<'_>,
    ) {
        let Self {
            topic,
            frames: waiting,
            timer,
            instead,
            starts,
            messages,
        } = self;
        record.text(topic);
        record.tick(timer.map_or(Tick(0), due_of));
        record.size(*messages);
        match waiting {
            WaitingFrames::One(frame) => {
                record.flag(false);
                record.u64(frames.number_of(frame).into());
            }
            WaitingFrames::Joined(frames) => {
                record.flag(true);
                record.bytes(frames);
            }
        }
        record.optional(instead.as_ref(), |record, instead| {
            record.u64(frames.number_of(instead).into());
        });
        let starts = starts.0.iter();
        let starts = starts.filter_map(|(id, start)| Some((place_of(*id)?, *start)));
        let mut starts: Vec<_> = starts.collect();
        starts.sort_unstable();
        record.list(starts, |record, (place, start)| {
            record.u64(place.into());
            record.size(start);
        });
    }
}

impl HandedGathering {
    /// Reads what waits; there are so many connections.
    pub(in crate::net) fn read(
        record: &mut RecordReader<'_>,
        frames: &HandedFrames,
        connections: usize,
    ) -> Result<Self, HandoverError> {
        let (topic, due, messages) = (record.text()?.into(), record.tick()?, record.size()?);
        let waiting = match record.flag()? {
            false => WaitingFrames::One(frames.take(record)?),
            true => WaitingFrames::Joined(record.bytes()?.to_vec()),
        };
        let instead = record.optional(|record| frames.take(record))?;
        let size = waiting.as_slice().len();
        let starts = record.list(|record| {
            let (place, start) = (record.u32()?, record.size()?);
            match (place as usize) < connections && start <= size {
                true => Ok((place, start)),
                false => Err(record.refuse("what waits of a topic begins nowhere")),
            }
        })?;
        if size == 0 || messages == 0 {
            return Err(record.refuse("nothing waits of a topic"));
        }
        Ok(Self {
            topic,
            frames: waiting,
            instead,
            starts,
            messages,
            due,
        })
    }

    /// The topic's name.
    pub(in crate::net) fn topic(&self) -> &str {
        &self.topic
    }
}
