//! Deliveries that wait for more of their topic, and what makes them go out early.

use std::sync::Arc;

use bytes::Bytes;

use super::{EventSink, Reactor, TimerPurpose};
use crate::net::gathering::{Gathered, GatheringId, WaitingFrames};
use crate::net::outbox::Content;

impl<S: EventSink> Reactor<S> {
    /// Has a frame wait up to `delay_ms` for more of its topic.
    pub(super) fn gather(&mut self, topic: &Arc<str>, frame: Bytes, delay_ms: u16) {
        if self.topics.members(topic).is_empty() {
            return;
        }
        match self.gathering.add(topic, frame) {
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
        let (topic, starts) = (gathered.topic, gathered.starts);
        if starts.is_empty() {
            self.publish(&topic, &frames);
            return;
        }
        let mut receivers = std::mem::take(&mut self.receivers);
        let members = self.topics.members(&topic);
        receivers.extend(members.iter().map(|member| member.slot));
        let turn = self.writes.turn_of(receivers.len());
        for index in receivers.drain(..) {
            let start = starts.of(self.slots.id_of(index));
            if self.is_open(index) && start < frames.len() {
                self.send_in(turn, index, frames.slice(start..), Content::Shared);
            }
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
}
