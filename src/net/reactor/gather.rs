//! Deliveries to a topic in a way of their own: those that wait for more of their topic, and what makes
//! them go out early; those of which a slow reader gets only the newest.

use std::sync::Arc;

use bytes::Bytes;

use super::{EventSink, Reactor, TimerPurpose};
use crate::net::command::{DeliveryWay, SlowWay};
use crate::net::gathering::{Gathered, GatheredStarts, GatheringId, WaitingFrames};
use crate::net::outbox::{Content, LatestPiece};
use crate::net::slots::KnownAs;

/// The frames that a slow reader gets, beside those that everybody gets.
enum SlowFrames {
    /// Everything waits for it.
    All,
    /// These are in the place of what waits of the topic.
    Latest(Bytes),
    /// Everything waits, also what came before.
    Fence,
}

impl<S: EventSink> Reactor<S> {
    /// Sends a frame to the members of a topic.
    pub(super) fn deliver(&mut self, topic: &Arc<str>, frames: Bytes, way: DeliveryWay) {
        let (frame, instead) = match way.slow {
            SlowWay::Waits => (frames, None),
            SlowWay::Latest { start } => (frames.slice(start as usize..), Some(frames)),
            SlowWay::Fence => {
                self.deliver_gathered_of(topic);
                let starts = GatheredStarts::default();
                return self.publish_to_slow(topic, &frames, &starts, &SlowFrames::Fence);
            }
        };
        if way.delay_ms > 0 {
            return self.gather(topic, frame, instead, way.delay_ms);
        }
        self.deliver_gathered_of(topic);
        match instead {
            None => self.publish(topic, &frame.into()),
            Some(instead) => {
                let (starts, slow) = (GatheredStarts::default(), SlowFrames::Latest(instead));
                self.publish_to_slow(topic, &frame, &starts, &slow);
            }
        }
    }

    /// Has a frame wait up to `delay_ms` for more of its topic.
    fn gather(&mut self, topic: &Arc<str>, frame: Bytes, instead: Option<Bytes>, delay_ms: u16) {
        if self.topics.members(topic).is_empty() {
            return;
        }
        if self.gathering.is_other_than(topic, instead.is_some()) {
            self.deliver_gathered_of(topic);
        }
        match self.gathering.add(topic, frame, instead) {
            Gathered::First(id) => {
                let timer = self.set_timer(delay_ms.into(), TimerPurpose::Gathered(id));
                self.gathering.set_timer(id, timer);
            }
            Gathered::Joined => {}
            Gathered::Full(id) => {
                self.shared.counters.gathered_full.add(1);
                self.deliver_gathered(id);
            }
        }
    }

    /// Sends what waits for the members of a topic.
    pub(super) fn deliver_gathered(&mut self, id: GatheringId) {
        let gathered = self.gathering.take(id);
        if let Some(timer) = gathered.timer {
            self.wheel.cancel(timer);
        }
        self.shared.counters.gathered.add(1);
        let frames = match gathered.frames {
            WaitingFrames::One(frame) => frame,
            WaitingFrames::Joined(frames) => self.shared.budget.shared(frames),
        };
        let slow = gathered.instead.map_or(SlowFrames::All, SlowFrames::Latest);
        self.publish_to_slow(&gathered.topic, &frames, &gathered.starts, &slow);
    }

    /// Sends each member of a topic the frames from its start on.
    fn publish_to_slow(
        &mut self,
        topic: &str,
        frames: &Bytes,
        starts: &GatheredStarts,
        slow: &SlowFrames,
    ) {
        let Some(number) = self.topics.id(topic) else {
            return;
        };
        let mut receivers = std::mem::take(&mut self.receivers);
        receivers.extend(self.topics.members(topic).iter().map(|member| member.slot));
        let turn = self.writes.turn_of(receivers.len());
        for index in receivers.drain(..) {
            let start = starts.of(self.slots.id_of(index));
            if !self.is_open(index) || start >= frames.len() {
                continue;
            }
            let frames = frames.slice(start..);
            if self.slots[index].known_as == KnownAs::EventStream {
                self.send_in(turn, index, frames, Content::Shared);
                continue;
            }
            let latest = |instead| LatestPiece {
                slot: index,
                topic: number,
                instead,
            };
            let latest = match slow {
                SlowFrames::All => {
                    self.send_in(turn, index, frames, Content::Shared);
                    continue;
                }
                SlowFrames::Latest(instead) => latest(Some(instead.clone())),
                SlowFrames::Fence => latest(None),
            };
            self.send_by(turn, index, |outbox, arena| {
                outbox.push_latest(arena, frames, latest);
            });
        }
        self.receivers = receivers;
    }

    /// Sends what waits for the members of a topic, so that something else may follow.
    pub(super) fn deliver_gathered_of(&mut self, topic: &str) {
        if !self.gathering.is_empty()
            && let Some(id) = self.gathering.find(topic)
        {
            self.deliver_gathered(id);
        }
    }

    /// Sends everything that waits for more.
    pub(super) fn deliver_all_gathered(&mut self) {
        for id in self.gathering.all() {
            self.deliver_gathered(id);
        }
    }

    /// Sends one member of a topic what waits for it, ahead of the other members: its membership
    /// begins anew, or ends. Sending may end the connection.
    pub(super) fn hand_out(&mut self, index: u32, topic: &str) {
        let Some(id) = self.gathering.find(topic) else {
            return;
        };
        if self.is_open(index) && self.topics.names(index).any(|name| name == topic) {
            let rest = self.gathering.hand_out(id, self.slots.id_of(index));
            if !rest.is_empty() {
                self.send(index, rest, Content::Whole);
            }
        }
    }

    /// Sends one connection all that waits for it, since it is about to be closed.
    pub(super) fn hand_out_all(&mut self, index: u32) {
        if self.gathering.is_empty() {
            return;
        }
        let waiting = self.topics.names(index);
        let waiting: Vec<Arc<str>> = waiting
            .filter(|name| self.gathering.find(name).is_some())
            .map(Arc::from)
            .collect();
        for topic in waiting {
            if self.slots.contains(index) {
                self.hand_out(index, &topic);
            }
        }
    }

    /// Has a new member of a topic get only what comes after its subscription.
    pub(super) fn skip_gathered(&mut self, index: u32, topic: &str) {
        if let Some(id) = self.gathering.find(topic) {
            self.gathering.skip(id, self.slots.id_of(index));
        }
    }

    /// Has what waits of a topic for a slow reader come as it is: its membership begins anew, or ends.
    pub(super) fn keep_latest(&mut self, index: u32, topic: &str) {
        if self.arena.has_latest()
            && self.slots.contains(index)
            && let Some(topic) = self.topics.id(topic)
        {
            self.slots[index].outbox.keep(&mut self.arena, topic);
        }
    }
}
