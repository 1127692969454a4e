//! The way to tell the relay something: a queue that never blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};

use super::settings::RelaySettings;
use crate::base::RolloutPart;
use crate::base::rest::{RestOrder, RestPoint};

/// Other settings for the relay and the push process.
#[derive(Debug)]
pub(in crate::gateway) struct RelayOrder {
    pub(in crate::gateway) settings: RelaySettings,
    /// Dropped once the push process goes by them.
    pub(in crate::gateway) part: RolloutPart,
}

/// One event that the relay has to know.
#[derive(Debug)]
pub(in crate::gateway) enum RelayEvent {
    /// The push process sent a message.
    PushMessage(Bytes),
    /// The outbox has more messages.
    OutboxGrown,
    /// The disk refused to write an upstream's offset, or to let go of messages.
    AckRefused,
    /// The disk has written a dead letter.
    DeadLetterStored {
        /// The upstream that refused the message.
        upstream: usize,
        /// The number of the message.
        n: u64,
    },
    /// The disk refused a dead letter.
    DeadLetterRefused {
        /// The upstream that refused the message.
        upstream: usize,
        /// The number of the message.
        n: u64,
    },
    /// Other settings are to be in force.
    Settings(Box<RelayOrder>),
    /// The relay rests for the freeze of this number.
    Rest { number: u64 },
    /// The gateway stops.
    Stop,
}

/// Tells the relay what has happened; cheap to clone, and never waits.
#[derive(Debug, Clone)]
pub(in crate::gateway) struct RelayHandle {
    sender: Sender<RelayEvent>,
    /// Whether the relay is going to look at the outbox anyway: one event is enough for all
    /// messages of a batch.
    has_grown: Arc<AtomicBool>,
    rest: Arc<RestPoint>,
}

impl RelayHandle {
    /// Makes a handle, and the queue that the relay reads.
    pub(in crate::gateway) fn new() -> (Self, Receiver<RelayEvent>) {
        let (sender, events) = unbounded();
        let handle = Self {
            sender,
            has_grown: Arc::default(),
            rest: Arc::default(),
        };
        (handle, events)
    }

    /// Queues an event; after the relay's end nobody needs to know it.
    pub(in crate::gateway) fn send(&self, event: RelayEvent) {
        self.sender.send(event).ok();
    }

    /// Has the relay rest behind what it was told so far.
    pub(in crate::gateway) fn rest(&self, order: RestOrder) {
        let number = order.number();
        self.rest.order(order);
        self.send(RelayEvent::Rest { number });
    }

    /// Has the relay go on.
    pub(in crate::gateway) fn thaw(&self) {
        self.rest.thaw();
    }

    /// Rests on the relay's thread, if the order of this number is still in force.
    pub(super) fn rest_here(&self, number: u64) {
        self.rest.rest(number);
    }

    /// Says that the outbox has more messages.
    pub(in crate::gateway) fn outbox_grown(&self) {
        if !self.has_grown.swap(true, Ordering::AcqRel) {
            self.send(RelayEvent::OutboxGrown);
        }
    }

    /// Says that the relay is about to look at the outbox: what comes now is news again.
    pub(super) fn clear_grown(&self) {
        self.has_grown.store(false, Ordering::Release);
    }
}
