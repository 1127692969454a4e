//! Frames of topics that wait for more, so that each member gets all of them in one write.
//!
//! A topic has an entry here from its first waiting frame until its frames are taken; frames that
//! wait are joined once, whatever the number of members. The reactor sets a timer with the entry and
//! takes the frames when that is due, or at once when a bound is reached.
//!
//! Invariant: no entry is empty, and `bytes` and `frames` are those of all entries.

mod handover;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use slab::Slab;

use super::slots::SlotId;
use super::wheel::WheelTimer;
pub(super) use handover::HandedGathering;

/// Bounds of what waits for more in one reactor; what reaches one goes out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatherBounds {
    /// Messages of one topic that wait. Default 1,000: with the shortest frames they are about as
    /// many bytes as `bytes_max`.
    pub messages_max: usize,
    /// Bytes of one topic that wait. Default 64 KiB: as many as are written to one peer at once.
    pub bytes_max: usize,
    /// Bytes of all topics that wait. Default 16 MiB: 256 topics with as much as each may have.
    pub bytes_total_max: usize,
}

impl Default for GatherBounds {
    fn default() -> Self {
        Self {
            messages_max: 1_000,
            bytes_max: 64 * 1024,
            bytes_total_max: 16 * 1024 * 1024,
        }
    }
}

/// Places for topics that are kept when nothing waits. A round number: a crowd of topics that all
/// gathered once gives its memory back.
const TOPICS_KEPT_MAX: usize = 1_024;

/// The place of a topic's entry, until its frames are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GatheringId(u32);

/// What became of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// The frame is the first one of its topic, and a timer has to be set.
    First(GatheringId),
    /// The frame joined those that wait.
    Joined,
    /// The frame is kept too, but a bound is reached: the topic's frames have to be taken now.
    Full(GatheringId),
}

/// What waits for the members of one topic.
#[derive(Debug)]
pub(super) struct GatheredFrames {
    pub(super) topic: Arc<str>,
    pub(super) frames: WaitingFrames,
    pub(super) timer: Option<WheelTimer>,
    /// What a slow reader gets in the place of what waits of the topic; `None` where all waits.
    pub(super) instead: Option<Bytes>,
    pub(super) starts: GatheredStarts,
    messages: usize,
}

/// The first byte for each connection that isn't to get all frames of an entry: it has had what is
/// before, or has subscribed later.
#[derive(Debug, Default)]
pub(super) struct GatheredStarts(HashMap<SlotId, usize>);

/// Whole frames, one behind the other.
#[derive(Debug)]
pub(super) enum WaitingFrames {
    /// One frame, as it came.
    One(Bytes),
    /// A copy of several.
    Joined(Vec<u8>),
}

impl WaitingFrames {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(frame) => frame,
            Self::Joined(frames) => frames,
        }
    }

    fn push(&mut self, frame: &Bytes) {
        match self {
            Self::One(first) => *self = Self::Joined([&first[..], &frame[..]].concat()),
            Self::Joined(frames) => frames.extend_from_slice(frame),
        }
    }
}

impl GatheredStarts {
    /// The first byte that a connection has still to get.
    pub(super) fn of(&self, id: SlotId) -> usize {
        self.0.get(&id).copied().unwrap_or(0)
    }
}

/// All that waits for more in one reactor.
#[derive(Debug)]
pub(super) struct Gathering {
    bounds: GatherBounds,
    ids: HashMap<Arc<str>, u32>,
    entries: Slab<GatheredFrames>,
    bytes: usize,
    messages: usize,
}

impl Gathering {
    pub(super) fn new(bounds: GatherBounds) -> Self {
        Self {
            bounds,
            ids: HashMap::new(),
            entries: Slab::new(),
            bytes: 0,
            messages: 0,
        }
    }

    /// Changes the bounds, for what is gathered from now on.
    pub(super) fn set_bounds(&mut self, bounds: GatherBounds) {
        self.bounds = bounds;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Counts the bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts the messages that wait.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Whether something waits for the members of a topic.
    pub(super) fn find(&self, topic: &str) -> Option<GatheringId> {
        self.ids.get(topic).copied().map(GatheringId)
    }

    /// Lists all that waits.
    pub(super) fn all(&self) -> Vec<GatheringId> {
        let ids = self.entries.iter().map(|(id, _)| GatheringId(id as u32));
        ids.collect()
    }

    /// Whether frames of a topic wait that go another way, so that these have to be taken first.
    pub(super) fn is_other_than(&self, topic: &str, is_latest: bool) -> bool {
        let entry = self.find(topic).map(|id| &self.entries[id.0 as usize]);
        entry.is_some_and(|entry| entry.instead.is_some() != is_latest)
    }

    /// Adds a frame to what waits for the members of a topic, of which a slow reader gets `instead`.
    pub(super) fn add(
        &mut self,
        topic: &Arc<str>,
        frame: Bytes,
        instead: Option<Bytes>,
    ) -> Gathered {
        self.bytes += frame.len();
        self.messages += 1;
        let (id, is_first) = match self.find(topic) {
            Some(id) => {
                let entry = &mut self.entries[id.0 as usize];
                entry.frames.push(&frame);
                entry.messages += 1;
                entry.instead = instead;
                (id, false)
            }
            None => (self.begin(topic, frame, instead), true),
        };
        let (bounds, entry) = (&self.bounds, &self.entries[id.0 as usize]);
        let is_full = entry.messages >= bounds.messages_max
            || entry.frames.as_slice().len() >= bounds.bytes_max
            || self.bytes > bounds.bytes_total_max;
        match (is_full, is_first) {
            (true, _) => Gathered::Full(id),
            (false, true) => Gathered::First(id),
            (false, false) => Gathered::Joined,
        }
    }

    fn begin(&mut self, topic: &Arc<str>, frame: Bytes, instead: Option<Bytes>) -> GatheringId {
        let id = self.entries.insert(GatheredFrames {
            topic: Arc::clone(topic),
            frames: WaitingFrames::One(frame),
            timer: None,
            instead,
            starts: GatheredStarts::default(),
            messages: 1,
        }) as u32;
        self.ids.insert(Arc::clone(topic), id);
        GatheringId(id)
    }

    /// Notes the timer that was set for an entry.
    pub(super) fn set_timer(&mut self, GatheringId(id): GatheringId, timer: WheelTimer) {
        self.entries[id as usize].timer = Some(timer);
    }

    /// Takes what waits for the members of a topic.
    pub(super) fn take(&mut self, GatheringId(id): GatheringId) -> GatheredFrames {
        let taken = self.entries.remove(id as usize);
        self.ids.remove(&taken.topic);
        self.bytes -= taken.frames.as_slice().len();
        self.messages -= taken.messages;
        if self.entries.is_empty() && self.entries.capacity() > TOPICS_KEPT_MAX {
            (self.entries, self.ids) = (Slab::new(), HashMap::new());
        }
        taken
    }

    /// Copies what one connection has still to get, which it has from then on.
    pub(super) fn hand_out(&mut self, GatheringId(id): GatheringId, slot: SlotId) -> Bytes {
        let entry = &mut self.entries[id as usize];
        let start = entry.starts.of(slot);
        let rest = Bytes::copy_from_slice(&entry.frames.as_slice()[start..]);
        self.skip(GatheringId(id), slot);
        rest
    }

    /// Has one connection get only what comes from now on.
    pub(super) fn skip(&mut self, GatheringId(id): GatheringId, slot: SlotId) {
        let entry = &mut self.entries[id as usize];
        let end = entry.frames.as_slice().len();
        entry.starts.0.insert(slot, end);
    }
}
