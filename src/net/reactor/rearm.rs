//! Other bounds and times: they are in force for whatever comes next, and then each connection is armed
//! anew, some in each turn.

use std::sync::Arc;

use super::{EventSink, Reactor};
use crate::base::RolloutPart;
use crate::net::command::ReactorOrder;
use crate::net::slots::SlotPhase;

/// Connections that are armed anew in one turn: they take about a tenth of a millisecond.
const REARMED_A_TURN_MAX: u32 = 1_024;

/// How far a reactor has come with arming its connections anew.
#[derive(Debug)]
pub(super) struct Rearming {
    /// The slot that is next.
    next: u32,
    /// Whether WebSockets are pinged at other times than before.
    has_other_pings: bool,
    /// Dropped at the end: then all go by the new bounds and times.
    _part: RolloutPart,
}

impl<S: EventSink> Reactor<S> {
    /// Puts other bounds and times into force. If connections are being armed for earlier ones, that
    /// begins again.
    pub(super) fn take_settings(&mut self, order: ReactorOrder) {
        let ReactorOrder { limits, part } = order;
        self.topics.set_bounds(limits.topics);
        self.gathering.set_bounds(limits.gather);
        if self.read_buffer.len() != limits.read_bytes_max {
            self.read_buffer = vec![0; limits.read_bytes_max];
        }
        let before = std::mem::replace(&mut self.context.limits, Arc::clone(&limits));
        let earlier = self.rearming.take();
        let has_other_pings = before.connection.ping_ms != limits.connection.ping_ms
            || earlier.is_some_and(|earlier| earlier.has_other_pings);
        self.rearming = Some(Rearming {
            next: 0,
            has_other_pings,
            _part: part,
        });
    }

    /// Arms some of the connections for new bounds and times.
    pub(super) fn rearm_some(&mut self) {
        let Some(mut rearming) = self.rearming.take() else {
            return;
        };
        let end = self.slots.end();
        let until = end.min(rearming.next.saturating_add(REARMED_A_TURN_MAX));
        for index in rearming.next..until {
            self.rearm(index, rearming.has_other_pings);
        }
        rearming.next = until;
        if until < end {
            self.rearming = Some(rearming);
        }
    }

    fn rearm(&mut self, index: u32, has_other_pings: bool) {
        let rules = self.context.rules();
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        if slot.phase != SlotPhase::Live {
            return;
        }
        slot.connection.follow(&rules, has_other_pings);
        self.resume_reading(index);
        if self.slots.contains(index) {
            self.arm(index);
        }
    }
}
