//! The connection after the handshake: messages, heartbeat, close handshake.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};

use super::{CloseReason, Event, Input, Output, Rules};
use crate::proto::Tick;
use crate::proto::websocket::{ControlFrame, Decoder, FrameError, Item};

#[derive(Debug)]
pub(super) struct WebSocketSide {
    decoder: Decoder,
    phase: Phase,
    /// Frames that came in one segment with the handshake.
    carry: Option<Box<BytesMut>>,
    /// When the ping that waits for a sign of life was sent; `NEVER` when none does.
    pinged: Tick,
    /// From when the silence is counted, if nothing was heard since.
    quiet_since: Tick,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// Our Close went out; the peer's is awaited (RFC 6455 §7.1.2).
    CloseSent {
        code: u16,
        deadline: Tick,
    },
    /// All is said; only `Event::Closed` is left.
    Leaving(Box<CloseReason>),
}

impl WebSocketSide {
    pub(super) fn new(rules: &Rules<'_>, seed: u32, carry: BytesMut) -> Self {
        // The first silence is shorter by a random part, so that connections which were opened
        // together aren't pinged together. Ticks start high enough for the subtraction.
        let earlier = u64::from(seed) % rules.limits.ping_ms.max(1);
        Self {
            decoder: Decoder::new(),
            phase: Phase::Open,
            carry: (!carry.is_empty()).then(|| Box::new(carry)),
            pinged: Tick::NEVER,
            quiet_since: Tick(rules.now.0.saturating_sub(earlier)),
        }
    }

    pub(super) fn step<'a>(
        &mut self,
        rules: &Rules<'_>,
        input: &'a mut Input<'_>,
    ) -> Option<Event<'a>> {
        if let Phase::Leaving(reason) = &self.phase {
            let reason = CloseReason::clone(reason);
            input.take_all();
            return Some(Event::Closed(reason));
        }
        if let Some(event) = self.step_carry(rules) {
            return Some(event);
        }
        let Input { bytes, taken } = input;
        match self
            .decoder
            .decode(&mut bytes[*taken..], rules.limits.message_size_max)
        {
            Ok((used, item)) => {
                *taken += used;
                item.map(|item| self.receive(item))
            }
            Err(error) => Some(self.violation(error)),
        }
    }

    /// The same for the bytes that came with the handshake; its messages are copied.
    fn step_carry(&mut self, rules: &Rules<'_>) -> Option<Event<'static>> {
        let mut carry = self.carry.take()?;
        let decoded = self
            .decoder
            .decode(&mut carry, rules.limits.message_size_max);
        let (used, event) = match decoded {
            Ok((used, None)) => (used, None),
            Ok((used, Some(Item::Message { kind, payload }))) => {
                let payload = Cow::Owned(payload.into_owned());
                (used, Some(self.receive(Item::Message { kind, payload })))
            }
            Ok((used, Some(item))) => (used, Some(self.receive_control(&item))),
            Err(error) => return Some(self.violation(error)),
        };
        carry.advance(used);
        if !carry.is_empty() {
            self.carry = Some(carry);
        }
        event
    }

    fn receive<'a>(&mut self, item: Item<'a>) -> Event<'a> {
        match (item, &self.phase) {
            (Item::Message { kind, payload }, Phase::Open) => Event::Message { kind, payload },
            (Item::Message { .. }, _) => Event::Ignored,
            (item, _) => self.receive_control(&item),
        }
    }

    fn receive_control(&mut self, item: &Item<'_>) -> Event<'static> {
        match (item, &self.phase) {
            (Item::Ping(payload), Phase::Open) => {
                Event::Output(Output::Control(ControlFrame::pong(payload)))
            }
            (Item::Close { .. }, Phase::CloseSent { code, .. }) => {
                Event::Closed(CloseReason::Server(*code))
            }
            (Item::Close { code, reason }, _) => {
                let reply = match code {
                    Some(code) => ControlFrame::close(*code, ""),
                    None => ControlFrame::close_empty(),
                };
                let reason = Box::from(&**reason);
                self.phase = Phase::Leaving(Box::new(CloseReason::Peer {
                    code: *code,
                    reason,
                }));
                Event::Output(Output::Control(reply))
            }
            (Item::Message { .. } | Item::Ping(_) | Item::Pong(_), _) => Event::Ignored,
        }
    }

    fn violation(&mut self, error: FrameError) -> Event<'static> {
        if let Phase::CloseSent { code, .. } = self.phase {
            return Event::Closed(CloseReason::Server(code));
        }
        let frame = ControlFrame::close(error.close_code(), &error.to_string());
        self.phase = Phase::Leaving(Box::new(CloseReason::Violation(error)));
        Event::Output(Output::Control(frame))
    }

    /// Starts the close handshake; `None` when it is under way.
    pub(super) fn close(&mut self, rules: &Rules<'_>, code: u16, why: &str) -> Option<Output> {
        if !self.is_open() {
            return None;
        }
        let deadline = rules.now.after(rules.limits.close_ms_max);
        self.phase = Phase::CloseSent { code, deadline };
        Some(Output::Control(ControlFrame::close(code, why)))
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// What to report when the stream ends here.
    pub(super) fn reason_at_end(&self) -> CloseReason {
        match &self.phase {
            Phase::Open => CloseReason::Lost,
            Phase::CloseSent { code, .. } => CloseReason::Server(*code),
            Phase::Leaving(reason) => CloseReason::clone(reason),
        }
    }

    pub(super) fn deadline(&self, rules: &Rules<'_>, heard: Tick) -> Tick {
        match &self.phase {
            Phase::CloseSent { deadline, .. } => *deadline,
            Phase::Leaving(_) => rules.now,
            Phase::Open if rules.limits.ping_ms == 0 => Tick::NEVER,
            Phase::Open if self.awaits_pong(heard) => self.pinged.after(rules.limits.pong_ms_max),
            Phase::Open => self.quiet_since.max(heard).after(rules.limits.ping_ms),
        }
    }

    /// The deadline came: ping, give up waiting, or end the close handshake.
    pub(super) fn expire(&mut self, rules: &Rules<'_>, heard: Tick) -> Event<'static> {
        match &self.phase {
            Phase::CloseSent { code, .. } => Event::Closed(CloseReason::Server(*code)),
            Phase::Leaving(reason) => Event::Closed(CloseReason::clone(reason)),
            Phase::Open if self.awaits_pong(heard) => {
                self.phase = Phase::Leaving(Box::new(CloseReason::PingTimeout));
                let frame = ControlFrame::close(4010, "no answer to ping");
                Event::Output(Output::Control(frame))
            }
            Phase::Open => {
                self.pinged = rules.now;
                Event::Output(Output::Control(ControlFrame::ping(b"")))
            }
        }
    }

    fn awaits_pong(&self, heard: Tick) -> bool {
        self.pinged != Tick::NEVER && heard <= self.pinged
    }
}
