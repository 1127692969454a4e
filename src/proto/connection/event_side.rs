//! The connection as a stream of events: it is sent messages as a WebSocket is, and says nothing itself.

mod handover;

use bytes::Bytes;

use super::{CloseReason, ConnectionEvent, Input, Output, Rules};
use crate::base::Tick;
use crate::proto::http::events::{HEARTBEAT, close_event};

#[derive(Debug)]
pub(super) struct EventSide {
    phase: StreamPhase,
    /// The moment of the next heartbeat.
    beats_at: Tick,
}

#[derive(Debug)]
enum StreamPhase {
    Open,
    /// The last event is out; only `ConnectionEvent::Closed` is left.
    Ended(Box<CloseReason>),
}

impl EventSide {
    pub(super) fn new(rules: &Rules<'_>, seed: u32) -> Self {
        let mut side = Self {
            phase: StreamPhase::Open,
            beats_at: Tick::NEVER,
        };
        side.spread_beats(rules, seed);
        side
    }

    /// Chooses when the first heartbeat comes: streams that were opened together mustn't beat together.
    pub(super) fn spread_beats(&mut self, rules: &Rules<'_>, seed: u32) {
        let every_ms = rules.limits.ping_ms;
        self.beats_at = match every_ms {
            0 => Tick::NEVER,
            _ => rules.now.after(every_ms - u64::from(seed) % every_ms),
        };
    }

    /// Passes over what the peer sends: a request behind this one would never be answered.
    pub(super) fn step(&mut self, input: &mut Input<'_>) -> Option<ConnectionEvent<'static>> {
        input.take_all();
        match &self.phase {
            StreamPhase::Open => None,
            StreamPhase::Ended(reason) => Some(ConnectionEvent::Closed(CloseReason::clone(reason))),
        }
    }

    /// Ends the stream with an event that says why; `None` if it has ended already.
    pub(super) fn close(&mut self, code: u16, why: &str) -> Option<Output> {
        if !self.is_open() {
            return None;
        }
        self.phase = StreamPhase::Ended(Box::new(CloseReason::Server(code)));
        Some(Output::Http(Bytes::from(close_event(code, why))))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, StreamPhase::Open)
    }

    /// Returns the reason to report if the connection ends here.
    pub(super) fn reason_at_end(&self) -> CloseReason {
        match &self.phase {
            StreamPhase::Open => CloseReason::Lost,
            StreamPhase::Ended(reason) => CloseReason::clone(reason),
        }
    }

    pub(super) fn deadline(&self, rules: &Rules<'_>) -> Tick {
        match &self.phase {
            StreamPhase::Open => self.beats_at,
            StreamPhase::Ended(_) => rules.now,
        }
    }

    /// Acts on a deadline: shows that the stream is alive, or ends it.
    pub(super) fn expire(&mut self, rules: &Rules<'_>) -> ConnectionEvent<'static> {
        match &self.phase {
            StreamPhase::Open => {
                self.beats_at = match rules.limits.ping_ms {
                    0 => Tick::NEVER,
                    every_ms => rules.now.after(every_ms),
                };
                ConnectionEvent::Output(Output::Http(Bytes::from_static(HEARTBEAT)))
            }
            StreamPhase::Ended(reason) => ConnectionEvent::Closed(CloseReason::clone(reason)),
        }
    }
}
