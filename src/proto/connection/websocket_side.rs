//! The connection after the handshake: messages, heartbeat, close handshake.

mod handover;

use std::borrow::Cow;

use bytes::{Buf, BytesMut};

use super::{CloseReason, ConnectionEvent, Input, Output, Rules};
use crate::base::Tick;
use crate::proto::websocket::{
    ControlFrame, FrameError, Inflater, Item, MessageDecoder, MessageKind,
};

/// Close code of the registry of RFC 6455 §11.7 for a server without room.
const TRY_AGAIN_LATER: u16 = 1013;

#[derive(Debug)]
pub(super) struct WebSocketSide {
    decoder: MessageDecoder,
    phase: ClosePhase,
    /// Frames that came in one segment with the handshake.
    carry: Option<Box<BytesMut>>,
    /// The moment at which the last ping was sent; `NEVER` before the first one.
    pinged: Tick,
    /// The time by which the first ping comes earlier than `ping_ms` says, in milliseconds.
    early_ms: u32,
    /// The largest message that the peer may send, in bytes.
    message_size_max: usize,
    /// Whether that is the path's, and not the one of all.
    has_own_size: bool,
}

#[derive(Debug)]
enum ClosePhase {
    Open,
    /// Our Close went out; the peer's Close is awaited (RFC 6455 §7.1.2).
    CloseSent {
        code: u16,
        deadline: Tick,
    },
    /// All frames are out; only `ConnectionEvent::Closed` is left.
    Leaving(Box<CloseReason>),
}

impl WebSocketSide {
    pub(super) fn new(
        rules: &Rules<'_>,
        seed: u32,
        carry: BytesMut,
        (own_size_max, deflates): (Option<usize>, bool),
    ) -> Self {
        let mut side = Self {
            decoder: match deflates {
                false => MessageDecoder::new(),
                true => MessageDecoder::deflating(),
            },
            phase: ClosePhase::Open,
            carry: (!carry.is_empty()).then(|| Box::new(carry)),
            pinged: Tick::NEVER,
            early_ms: 0,
            message_size_max: own_size_max.unwrap_or(rules.limits.message_size_max),
            has_own_size: own_size_max.is_some(),
        };
        side.spread_pings(rules, seed);
        side
    }

    /// Chooses when the first ping comes: connections that were opened together mustn't be pinged
    /// together, also where each of them said something since.
    pub(super) fn spread_pings(&mut self, rules: &Rules<'_>, seed: u32) {
        let early_ms = u64::from(seed) % rules.limits.ping_ms.max(1);
        self.pinged = Tick::NEVER;
        self.early_ms = u32::try_from(early_ms).expect("not above the seed");
    }

    /// Takes the largest message of other limits, unless the path has one of its own.
    pub(super) fn follow(&mut self, rules: &Rules<'_>) {
        if !self.has_own_size {
            self.message_size_max = rules.limits.message_size_max;
        }
    }

    pub(super) fn step<'a>(&mut self, input: &'a mut Input<'_>) -> Option<ConnectionEvent<'a>> {
        if let ClosePhase::Leaving(reason) = &self.phase {
            let reason = CloseReason::clone(reason);
            input.take_all();
            return Some(ConnectionEvent::Closed(reason));
        }
        if let Some(event) = self.step_carry(input.inflater) {
            return Some(event);
        }
        let Input {
            bytes,
            taken,
            inflater,
        } = input;
        match self
            .decoder
            .decode(&mut bytes[*taken..], self.message_size_max)
        {
            Ok((used, item)) => {
                *taken += used;
                match item? {
                    Item::Deflated { kind, payload } => {
                        Some(self.receive_deflated(kind, &payload, inflater))
                    }
                    item => Some(self.receive(item)),
                }
            }
            Err(error) => Some(self.violation(error)),
        }
    }

    /// Takes a compressed message as if it had come plain.
    #[cold]
    fn receive_deflated<'a>(
        &mut self,
        kind: MessageKind,
        payload: &[u8],
        inflater: &'a mut Inflater,
    ) -> ConnectionEvent<'a> {
        if !self.is_open() {
            return ConnectionEvent::Ignored;
        }
        match inflater.inflate(payload, self.message_size_max) {
            Ok(bytes) if kind == MessageKind::Binary || std::str::from_utf8(bytes).is_ok() => {
                let payload = Cow::Borrowed(bytes);
                ConnectionEvent::Message { kind, payload }
            }
            Ok(_) => self.violation(FrameError::TextNotUtf8),
            Err(error) => self.violation(error),
        }
    }

    /// Takes the next step through the bytes that came with the handshake; messages in them are
    /// copied.
    fn step_carry(&mut self, inflater: &mut Inflater) -> Option<ConnectionEvent<'static>> {
        let mut carry = self.carry.take()?;
        let decoded = self.decoder.decode(&mut carry, self.message_size_max);
        let (used, event) = match decoded {
            Ok((used, None)) => (used, None),
            Ok((used, Some(Item::Message { kind, payload }))) => {
                let payload = Cow::Owned(payload.into_owned());
                (used, Some(self.receive(Item::Message { kind, payload })))
            }
            Ok((used, Some(Item::Deflated { kind, payload }))) => {
                let event = match self.receive_deflated(kind, &payload, inflater) {
                    ConnectionEvent::Message { kind, payload } => ConnectionEvent::Message {
                        kind,
                        payload: Cow::Owned(payload.into_owned()),
                    },
                    ConnectionEvent::Output(output) => ConnectionEvent::Output(output),
                    _ => ConnectionEvent::Ignored,
                };
                (used, Some(event))
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

    fn receive<'a>(&mut self, item: Item<'a>) -> ConnectionEvent<'a> {
        match (item, &self.phase) {
            (Item::Message { kind, payload }, ClosePhase::Open) => {
                ConnectionEvent::Message { kind, payload }
            }
            (Item::Message { .. }, _) => ConnectionEvent::Ignored,
            (item, _) => self.receive_control(&item),
        }
    }

    fn receive_control(&mut self, item: &Item<'_>) -> ConnectionEvent<'static> {
        match (item, &self.phase) {
            (Item::Ping(payload), ClosePhase::Open) => {
                ConnectionEvent::Output(Output::Control(ControlFrame::pong(payload)))
            }
            (Item::Close { .. }, ClosePhase::CloseSent { code, .. }) => {
                ConnectionEvent::Closed(CloseReason::Server(*code))
            }
            (Item::Close { code, reason }, _) => {
                let reply = match code {
                    Some(code) => ControlFrame::close(*code, ""),
                    None => ControlFrame::close_empty(),
                };
                let reason = Box::from(&**reason);
                self.phase = ClosePhase::Leaving(Box::new(CloseReason::Peer {
                    code: *code,
                    reason,
                }));
                ConnectionEvent::Output(Output::Control(reply))
            }
            (Item::Message { .. } | Item::Deflated { .. } | Item::Ping(_) | Item::Pong(_), _) => {
                ConnectionEvent::Ignored
            }
        }
    }

    fn violation(&mut self, error: FrameError) -> ConnectionEvent<'static> {
        if let ClosePhase::CloseSent { code, .. } = self.phase {
            return ConnectionEvent::Closed(CloseReason::Server(code));
        }
        let frame = ControlFrame::close(error.close_code(), &error.to_string());
        self.phase = ClosePhase::Leaving(Box::new(CloseReason::Violation(error)));
        ConnectionEvent::Output(Output::Control(frame))
    }

    /// Starts the close handshake; `None` if it has started already.
    pub(super) fn close(&mut self, rules: &Rules<'_>, code: u16, why: &str) -> Option<Output> {
        if !self.is_open() {
            return None;
        }
        let deadline = rules.now.after(rules.limits.close_ms_max);
        self.phase = ClosePhase::CloseSent { code, deadline };
        Some(Output::Control(ControlFrame::close(code, why)))
    }

    /// Lets go of the message under way, since the server keeps too many of them; returns the frame
    /// to send.
    pub(super) fn refuse_unfinished(&mut self) -> Option<Output> {
        if !self.is_open() {
            return None;
        }
        self.decoder = MessageDecoder::new();
        self.carry = None;
        self.phase = ClosePhase::Leaving(Box::new(CloseReason::Server(TRY_AGAIN_LATER)));
        let frame = ControlFrame::close(TRY_AGAIN_LATER, "too many messages are half sent");
        Some(Output::Control(frame))
    }

    pub(super) fn is_unfinished(&self) -> bool {
        self.decoder.buffered_bytes() > 0 || self.carry.is_some()
    }

    /// Counts the bytes of the message that isn't whole yet.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.decoder.buffered_bytes() + self.carry.as_ref().map_or(0, |carry| carry.len())
    }

    /// Whether the peer understands compressed messages.
    pub(super) fn deflates(&self) -> bool {
        self.decoder.may_deflate()
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, ClosePhase::Open)
    }

    /// Returns the reason to report if the stream ends here.
    pub(super) fn reason_at_end(&self) -> CloseReason {
        match &self.phase {
            ClosePhase::Open => CloseReason::Lost,
            ClosePhase::CloseSent { code, .. } => CloseReason::Server(*code),
            ClosePhase::Leaving(reason) => CloseReason::clone(reason),
        }
    }

    pub(super) fn deadline(&self, rules: &Rules<'_>, heard: Tick) -> Tick {
        match &self.phase {
            ClosePhase::CloseSent { deadline, .. } => *deadline,
            ClosePhase::Leaving(_) => rules.now,
            ClosePhase::Open if rules.limits.ping_ms == 0 => Tick::NEVER,
            ClosePhase::Open if self.awaits_pong(heard) => {
                self.pinged.after(rules.limits.pong_ms_max)
            }
            ClosePhase::Open => {
                let early_ms = u64::from(self.early_ms);
                heard.after(rules.limits.ping_ms.saturating_sub(early_ms).max(1))
            }
        }
    }

    /// Acts on a deadline: pings, gives up waiting for a pong, or ends the close handshake.
    pub(super) fn expire(&mut self, rules: &Rules<'_>, heard: Tick) -> ConnectionEvent<'static> {
        match &self.phase {
            ClosePhase::CloseSent { code, .. } => {
                ConnectionEvent::Closed(CloseReason::Server(*code))
            }
            ClosePhase::Leaving(reason) => ConnectionEvent::Closed(CloseReason::clone(reason)),
            ClosePhase::Open if self.awaits_pong(heard) => {
                self.phase = ClosePhase::Leaving(Box::new(CloseReason::PingTimeout));
                let frame = ControlFrame::close(4010, "no answer to ping");
                ConnectionEvent::Output(Output::Control(frame))
            }
            ClosePhase::Open => {
                self.pinged = rules.now;
                self.early_ms = 0;
                ConnectionEvent::Output(Output::Control(ControlFrame::ping(b"")))
            }
        }
    }

    /// Whether no bytes came since the ping. Bytes of the same millisecond came after it: a ping is
    /// sent at least one millisecond after the last bytes.
    fn awaits_pong(&self, heard: Tick) -> bool {
        self.pinged != Tick::NEVER && heard < self.pinged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connection::{Limits, Verdict};

    #[test]
    fn an_idle_websocket_owns_no_heap() {
        let rules = Rules {
            now: Tick(0),
            limits: &Limits::default(),
            gate: &|_| Verdict::Pass,
            date: "",
            drain: None,
            room: Some(usize::MAX),
            is_secure: false,
        };
        // "a" whole, then "b" and "c" in two frames with a ping between them, all with a mask of 0.
        let frames = b"\x81\x81\0\0\0\0a\x01\x81\0\0\0\0b\x89\x80\0\0\0\0\x80\x81\0\0\0\0c";
        for cut in 0..=frames.len() {
            let (carry, rest) = frames.split_at(cut);
            let facts = (Some(9), false);
            let mut side = WebSocketSide::new(&rules, 0, BytesMut::from(carry), facts);
            let (mut rest, mut events) = (rest.to_vec(), 0);
            let mut inflater = Inflater::new();
            let mut input = Input::new(&mut rest, &mut inflater);
            while side.step(&mut input).is_some() {
                events += 1;
            }
            assert_eq!(events, 3, "cut at {cut}");
            assert!(side.carry.is_none() && side.decoder.is_between_messages());
            assert_eq!(side.decoder.buffered_bytes(), 0);
        }
    }
}
