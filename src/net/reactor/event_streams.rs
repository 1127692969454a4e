//! What is sent to a stream of events: the texts of the frames that a WebSocket would get, one event each.

use bytes::Bytes;

use super::{EventSink, Reactor, ReactorContext};
use crate::net::outbox::Content;
use crate::net::slots::WriteTurn;
use crate::proto::http::events::put_event;
use crate::proto::websocket::texts;

/// Gives the name of an event by its text, if that has one. Its reader shows the last one when it comes
/// back; must not block.
pub type EventName = dyn Fn(&str) -> Option<String> + Send + Sync;

impl ReactorContext {
    /// Makes an event of each text among some frames. Others than texts have no form as an event, so they
    /// are left out.
    fn events_of(&self, frames: &[u8]) -> Vec<u8> {
        let mut events = Vec::with_capacity(frames.len() + 64);
        for text in texts(frames) {
            put_event(&mut events, (self.event_name)(text).as_deref(), text);
        }
        events
    }
}

/// The events of a frame for many, made when the first stream on this reactor gets them.
#[derive(Default)]
pub(super) struct SharedEvents(Option<Bytes>);

impl<S: EventSink> Reactor<S> {
    /// Puts frames into the outbox of a stream, as events.
    pub(super) fn send_events(&mut self, turn: WriteTurn, index: u32, frames: &[u8]) {
        let events = Bytes::from(self.context.events_of(frames));
        self.send_by(turn, index, |outbox, arena| {
            outbox.push(arena, events, Content::Whole);
        });
    }

    /// Makes the events of a frame for many, once for all streams of this reactor.
    pub(super) fn shared_events(&self, frame: &[u8], made: &mut SharedEvents) -> Bytes {
        let events = made.0.get_or_insert_with(|| {
            let events = self.context.events_of(frame);
            self.shared.budget.shared(events)
        });
        events.clone()
    }
}
