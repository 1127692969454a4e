//! One client connection as a pure state machine: bytes and time in, events and bytes out.
//!
//! A connection starts as HTTP (`http_side`) and may become a WebSocket (`websocket_side`). Nothing
//! here opens a socket, reads a clock or takes a lock. The reactor hands the bytes of each read to
//! [`Connection::next_event`] until it returns `None`, brings answers with [`Connection::answer`],
//! and calls [`Connection::expire`] when [`Connection::deadline`] has come.
//!
//! Invariant: [`ConnectionEvent::Closed`] is the last event, and it comes exactly once.

mod event;
mod event_side;
mod handover;
mod http_side;
mod limits;
mod websocket_side;

pub use event::{CloseReason, ConnectionEvent, HttpRequest, Output};
pub use limits::Limits;

use std::sync::Arc;

use crate::base::Tick;
use crate::proto::http::{AnswerFields, Head, HttpError, Response};
use crate::proto::websocket::Inflater;
use event_side::EventSide;
use http_side::{Handshake, HttpSide, HttpStep, UpgradeTo};
use websocket_side::WebSocketSide;

/// The facts from the reactor that a connection needs to judge its input.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The time of this turn.
    pub now: Tick,
    /// Bounds and deadlines, which all connections share.
    pub limits: &'a Limits,
    /// The function that judges every head first; must not block.
    pub gate: &'a dyn Fn(&Head) -> Verdict,
    /// The present moment as the `Date` field shows it (RFC 9110 §5.6.7).
    pub date: &'a str,
    /// The moment at which the server began to stop, if it did: answers say `Connection: close`
    /// then.
    pub drain: Option<Tick>,
    /// Bytes of HTTP answers that may still be queued for this peer; `None`: more than its share
    /// waits for it already, so no answer leaves and no request begins.
    pub room: Option<usize>,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
}

/// The gate's decision about a request head.
#[derive(Debug)]
pub enum Verdict {
    /// The request goes on to the handler, or to the WebSocket handshake.
    Pass,
    /// The request goes on, on a path where a WebSocket may send messages of another size than
    /// [`Limits::message_size_max`].
    PassWith {
        /// The largest message of this WebSocket, in bytes.
        message_size_max: usize,
    },
    /// The request goes on to the handler; whatever answers it, these fields are added.
    PassAdding(Arc<AnswerFields>),
    /// The request is answered with a stream of events, to which messages are sent as to a WebSocket.
    Events {
        /// Fields that are added to those of every stream.
        fields: Option<Arc<AnswerFields>>,
    },
    /// The request gets this answer at once, without a handler.
    Answer(Response),
}

impl Verdict {
    /// Adds fields to the answer, whoever makes it. What becomes a WebSocket has no answer.
    #[must_use]
    pub fn with_fields(self, fields: &Arc<AnswerFields>) -> Self {
        match self {
            Self::Answer(response) => Self::Answer(response.with_fields(fields)),
            Self::Pass => Self::PassAdding(Arc::clone(fields)),
            Self::Events { .. } => Self::Events {
                fields: Some(Arc::clone(fields)),
            },
            other => other,
        }
    }
}

/// The bytes read from the socket, and the number of those that are used up.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
    taken: usize,
    inflater: &'b mut Inflater,
}

impl<'b> Input<'b> {
    /// Starts with all of `bytes`, which will be unmasked in place; `inflater` takes those messages
    /// apart that come compressed.
    pub fn new(bytes: &'b mut [u8], inflater: &'b mut Inflater) -> Self {
        Self {
            bytes,
            taken: 0,
            inflater,
        }
    }

    /// Returns all bytes, also those that are used up.
    #[must_use]
    pub fn all(&self) -> &[u8] {
        self.bytes
    }

    /// Returns the bytes that aren't used up.
    fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.taken..]
    }

    fn take_all(&mut self) {
        self.taken = self.bytes.len();
    }
}

/// One client connection, from its first byte to [`ConnectionEvent::Closed`].
#[derive(Debug)]
pub struct Connection {
    state: ConnectionState,
    /// The moment at which the last bytes came.
    heard: Tick,
    /// Any number, which spreads the first pings.
    seed: u32,
}

#[derive(Debug)]
enum ConnectionState {
    Http(Box<HttpSide>),
    WebSocket(WebSocketSide),
    Events(EventSide),
    /// `ConnectionEvent::Closed` was returned; further bytes are dropped.
    Closed,
}

impl Connection {
    /// Makes a connection that has just been accepted; `seed` is any number, best a random one.
    #[must_use]
    pub fn new(now: Tick, seed: u32) -> Self {
        Self {
            state: ConnectionState::Http(Box::new(HttpSide::new(now))),
            heard: now,
            seed,
        }
    }

    /// Notes that bytes came, before they are handed to [`Connection::next_event`].
    pub fn heard(&mut self, now: Tick) {
        self.heard = now;
    }

    /// Returns the next event of `input` or of bytes kept from earlier; `None`: all are used.
    ///
    /// Bytes that can't be parsed yet (a request behind [`Limits::pipeline_requests_max`] others)
    /// are kept; [`Connection::is_blocked`] says so.
    pub fn next_event<'a>(
        &'a mut self,
        rules: &Rules<'_>,
        input: &'a mut Input<'_>,
    ) -> Option<ConnectionEvent<'a>> {
        // In two steps, since the borrow of a message reaches beyond the state's change.
        if let ConnectionState::Http(side) = &mut self.state {
            match side.step(rules, input)? {
                HttpStep::Event(event) => return Some(event),
                HttpStep::Upgraded(handshake, carry) => {
                    let Handshake {
                        head,
                        own_size_max,
                        to,
                    } = handshake;
                    self.state = match to {
                        UpgradeTo::Events { .. } => {
                            ConnectionState::Events(EventSide::new(rules, self.seed))
                        }
                        UpgradeTo::WebSocket { deflates } => {
                            let facts = (own_size_max, deflates);
                            let side = WebSocketSide::new(rules, self.seed, carry, facts);
                            ConnectionState::WebSocket(side)
                        }
                    };
                    return Some(ConnectionEvent::Opened(head));
                }
                HttpStep::Closed => return Some(self.closed(CloseReason::Lost)),
            }
        }
        match &mut self.state {
            ConnectionState::WebSocket(side) => {
                let step = side.step(input);
                if let Some(ConnectionEvent::Closed(_)) = step {
                    self.state = ConnectionState::Closed;
                }
                step
            }
            ConnectionState::Events(side) => {
                let step = side.step(input);
                if step.is_some() {
                    self.state = ConnectionState::Closed;
                }
                step
            }
            ConnectionState::Http(_) | ConnectionState::Closed => {
                input.take_all();
                None
            }
        }
    }

    /// Notes that the server didn't read: nothing of that time counts as the peer's delay.
    pub fn unread(&mut self, now: Tick) {
        self.heard = now;
        if let ConnectionState::Http(side) = &mut self.state {
            side.unread(now);
        }
    }

    /// Goes by other limits than before, those of `rules`, from the next frame or deadline on.
    ///
    /// Where WebSockets are pinged at other times, the time until the next ping begins anew, and the
    /// pings of all are spread again.
    pub fn follow(&mut self, rules: &Rules<'_>, has_other_pings: bool) {
        match &mut self.state {
            ConnectionState::WebSocket(side) => {
                side.follow(rules);
                if has_other_pings && side.is_open() {
                    self.heard = rules.now;
                    side.spread_pings(rules, self.seed);
                }
            }
            ConnectionState::Events(side) if has_other_pings => {
                side.spread_beats(rules, self.seed);
            }
            ConnectionState::Http(_) | ConnectionState::Events(_) | ConnectionState::Closed => {}
        }
    }

    /// Whether bytes of a request or a message that isn't whole yet may be kept: cheaper to ask than
    /// [`Connection::unfinished_bytes`].
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        match &self.state {
            ConnectionState::Http(_) => true,
            ConnectionState::WebSocket(side) => side.is_unfinished(),
            ConnectionState::Events(_) | ConnectionState::Closed => false,
        }
    }

    /// Counts the bytes kept of a request or a message that isn't whole yet.
    #[must_use]
    pub fn unfinished_bytes(&self) -> usize {
        match &self.state {
            ConnectionState::Http(side) => side.unfinished_bytes(),
            ConnectionState::WebSocket(side) => side.unfinished_bytes(),
            ConnectionState::Events(_) | ConnectionState::Closed => 0,
        }
    }

    /// Bytes of the bodies of answers that were filled in and haven't left.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        match &self.state {
            ConnectionState::Http(side) => side.waiting_bytes(),
            _ => 0,
        }
    }

    /// Lets go of what isn't whole yet, since the server keeps too much of that: a request is
    /// answered with 503, a WebSocket is closed with 1013.
    ///
    /// [`Connection::next_event`] gives the rest, after the frame that this may return.
    pub fn refuse_unfinished(&mut self) -> Option<Output> {
        match &mut self.state {
            ConnectionState::Http(side) => {
                side.refuse_unfinished();
                None
            }
            ConnectionState::WebSocket(side) => side.refuse_unfinished(),
            ConnectionState::Events(_) | ConnectionState::Closed => None,
        }
    }

    /// Takes the answer to a request; [`Connection::next_event`] gives it out in its turn.
    ///
    /// `serial` is the request's; an answer to a connection that ended is dropped.
    pub fn answer(&mut self, serial: u32, response: Response) {
        if let ConnectionState::Http(side) = &mut self.state {
            side.answer(serial, response);
        }
    }

    /// Starts the close handshake of a WebSocket; returns the frame to send.
    ///
    /// `None` if the connection is no WebSocket or is closing already. The code must pass
    /// [`close_code_may_be_sent`](crate::proto::websocket::close_code_may_be_sent).
    pub fn close(&mut self, rules: &Rules<'_>, code: u16, reason: &str) -> Option<Output> {
        match &mut self.state {
            ConnectionState::WebSocket(side) => side.close(rules, code, reason),
            ConnectionState::Events(side) => side.close(code, reason),
            ConnectionState::Http(_) | ConnectionState::Closed => None,
        }
    }

    /// Gives the next answer out if it may leave, and does nothing else: what the peer has sent behind
    /// its request stays unread. For a time in which no other event may come up;
    /// [`Connection::next_event`] goes on afterwards.
    pub fn next_output(&mut self, rules: &Rules<'_>) -> Option<Output> {
        match &mut self.state {
            ConnectionState::Http(side) => side.next_output(rules),
            _ => None,
        }
    }

    /// Notes that the peer sent its last byte. A WebSocket ends with it; HTTP still answers.
    pub fn half_close(&mut self) -> Option<ConnectionEvent<'static>> {
        match &mut self.state {
            ConnectionState::Http(side) => {
                side.half_close();
                None
            }
            ConnectionState::WebSocket(side) => {
                let reason = side.reason_at_end();
                Some(self.closed(reason))
            }
            ConnectionState::Events(side) => {
                let reason = side.reason_at_end();
                Some(self.closed(reason))
            }
            ConnectionState::Closed => None,
        }
    }

    /// Ends the connection for `reason`, such as a failed socket; `None` if it has ended before.
    pub fn abort(&mut self, reason: CloseReason) -> Option<ConnectionEvent<'static>> {
        match &self.state {
            ConnectionState::Http(_) => Some(self.closed(reason)),
            ConnectionState::WebSocket(side) => {
                let reason = if side.is_open() {
                    reason
                } else {
                    side.reason_at_end()
                };
                Some(self.closed(reason))
            }
            ConnectionState::Events(side) => {
                let reason = match side.is_open() {
                    true => reason,
                    false => side.reason_at_end(),
                };
                Some(self.closed(reason))
            }
            ConnectionState::Closed => None,
        }
    }

    /// Returns the moment at which [`Connection::expire`] is due. The moment moves later as bytes
    /// come, so ask again when it is reached.
    #[must_use]
    pub fn deadline(&self, rules: &Rules<'_>) -> Tick {
        match &self.state {
            ConnectionState::Http(side) => side.deadline(rules, self.heard),
            ConnectionState::WebSocket(side) => side.deadline(rules, self.heard),
            ConnectionState::Events(side) => side.deadline(rules),
            ConnectionState::Closed => Tick::NEVER,
        }
    }

    /// Acts on a deadline that has come; [`Connection::next_event`] may have further events then.
    pub fn expire(&mut self, rules: &Rules<'_>) -> Option<ConnectionEvent<'static>> {
        if rules.now < self.deadline(rules) {
            return None;
        }
        match &mut self.state {
            ConnectionState::Http(side) => {
                side.expire();
                None
            }
            ConnectionState::WebSocket(side) => {
                let event = side.expire(rules, self.heard);
                if let ConnectionEvent::Closed(_) = event {
                    self.state = ConnectionState::Closed;
                }
                Some(event)
            }
            ConnectionState::Events(side) => {
                let event = side.expire(rules);
                if let ConnectionEvent::Closed(_) = event {
                    self.state = ConnectionState::Closed;
                }
                Some(event)
            }
            ConnectionState::Closed => None,
        }
    }

    /// Whether this is a WebSocket, or a stream of events, that takes messages.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match &self.state {
            ConnectionState::WebSocket(side) => side.is_open(),
            ConnectionState::Events(side) => side.is_open(),
            ConnectionState::Http(_) | ConnectionState::Closed => false,
        }
    }

    /// Whether this is a stream of events in any phase before its end.
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        matches!(self.state, ConnectionState::Events(_))
    }

    /// Whether this is a WebSocket whose peer understands compressed messages.
    #[must_use]
    pub fn deflates(&self) -> bool {
        matches!(&self.state, ConnectionState::WebSocket(side) if side.deflates())
    }

    /// Whether this is a WebSocket, or a stream of events, in any phase before its end.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::WebSocket(_) | ConnectionState::Events(_)
        )
    }

    /// Whether the last event was told.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, ConnectionState::Closed)
    }

    /// Whether answers or requests wait until the peer has taken earlier bytes; then
    /// [`Connection::next_event`] has further events once [`Rules::room`] is there again.
    #[must_use]
    pub fn awaits_room(&self) -> bool {
        matches!(&self.state, ConnectionState::Http(side) if side.awaits_room())
    }

    /// Takes what the last answer refuses for breaking HTTP or a bound; gives it once, for the trace of
    /// it.
    pub fn take_refused(&mut self) -> Option<HttpError> {
        match &mut self.state {
            ConnectionState::Http(side) => side.take_refused(),
            _ => None,
        }
    }

    /// Whether bytes that are read now could only be kept; an answer, or room for one, ends this
    /// state.
    #[must_use]
    pub fn is_blocked(&self, limits: &Limits) -> bool {
        matches!(&self.state, ConnectionState::Http(side) if side.is_blocked(limits))
    }

    /// Counts the requests that were given out and aren't answered yet.
    #[must_use]
    pub fn open_requests(&self) -> usize {
        match &self.state {
            ConnectionState::Http(side) => side.open_requests(),
            _ => 0,
        }
    }

    /// The moment since which the peer isn't waited for, such as the end of its request.
    #[must_use]
    pub fn at_work_since(&self) -> Option<Tick> {
        match &self.state {
            ConnectionState::Http(side) => Some(side.since()),
            _ => None,
        }
    }

    /// Counts the requests that have begun and aren't answered yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        match &self.state {
            ConnectionState::Http(side) => side.unanswered(),
            _ => 0,
        }
    }

    fn closed(&mut self, reason: CloseReason) -> ConnectionEvent<'static> {
        self.state = ConnectionState::Closed;
        ConnectionEvent::Closed(reason)
    }
}
