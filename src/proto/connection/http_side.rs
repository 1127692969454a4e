//! The connection while it speaks HTTP/1.1: requests in, answers out in the same order.

mod body_step;
mod handover;
mod upgrade;

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::{ConnectionEvent, HttpRequest, Input, Limits, Output, Rules, Verdict};
use crate::base::Tick;
use crate::proto::http::events::stream_head;
use crate::proto::http::{
    self, AnswerContext, AnswerFields, AnswerTo, Answers, BodyDecoder, Framing, Head, HttpError,
    Response,
};
use crate::proto::websocket::{Inflater, extension, handshake};
use body_step::BodyStep;
pub(super) use upgrade::{Handshake, UpgradeTo};

/// Time from the start of a drain in which an idle connection may still bring a request, in
/// milliseconds. A round number, above the round-trip time of a request that is on its way.
const DRAIN_GRACE_MS: u64 = 1_000;

/// The body of a 503 for a request that was too large a part of what the server keeps half read.
const TOO_MUCH_UNFINISHED: &str = "{\"error\":{\"code\":\"unavailable\",\"message\":\"too much is half sent \
    to this server just now\"}}";

#[derive(Debug)]
pub(super) struct HttpSide {
    reading: HttpStage,
    /// Bytes that were read and can't be used yet.
    rest: BytesMut,
    /// The number of bytes of `rest` that are known not to end a head.
    searched: usize,
    answers: Answers,
    /// The moment from which the wait for the peer is counted, unless bytes came later: the start
    /// of an unfinished head, the end of a request, an answer or a 100, or the accept.
    since: Tick,
    served_any: bool,
    /// Whether the last step stopped because too many bytes wait for the peer.
    awaits_room: bool,
    ending: Ending,
}

/// The end of an exchange that nothing was wrong with.
const LAST: HttpStage = HttpStage::Last { refused: None };

#[derive(Debug)]
enum HttpStage {
    /// Between requests, or inside a head (RFC 9112 §2.1).
    Head,
    Body {
        head: Head,
        body: BodyDecoder,
        /// Whether `100 Continue` has to be sent once all earlier answers are out (RFC 9110
        /// §10.1.1).
        owes_continue: bool,
        /// Fields that the answer gets, whoever makes it.
        fields: Option<Arc<AnswerFields>>,
    },
    /// The handshake waits for the answers before it.
    Upgrading(Handshake),
    /// The connection is a WebSocket, since the 101 went out.
    Upgraded(Handshake),
    /// The last answer is on its way; nothing more is read.
    Last {
        /// The refusal in the answer, until the connection's owner has taken it.
        refused: Option<HttpError>,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// The peer may send further requests.
    Open,
    /// The peer sent its last byte; answers still go out.
    HalfClosed,
    /// The answer that closes went out.
    Done,
}

/// The result of one step, for the connection around it.
#[derive(Debug)]
pub(super) enum HttpStep {
    Event(ConnectionEvent<'static>),
    /// The connection is a WebSocket now; the bytes may hold its first frames.
    Upgraded(Handshake, BytesMut),
    Closed,
}

impl HttpSide {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            reading: HttpStage::Head,
            rest: BytesMut::new(),
            searched: 0,
            answers: Answers::default(),
            since: now,
            served_any: false,
            awaits_room: false,
            ending: Ending::Open,
        }
    }

    /// Takes the next step; `None` until more bytes or an answer come.
    pub(super) fn step(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> Option<HttpStep> {
        self.awaits_room = false;
        loop {
            if let Some(step) = self.next_answer(rules, input) {
                return Some(step);
            }
            if self.ending == Ending::Done {
                input.take_all();
                return Some(HttpStep::Closed);
            }
            let waits = match &self.reading {
                HttpStage::Head => self.receive_head(rules, input),
                HttpStage::Body { .. } => match self.receive_body(rules, input) {
                    BodyStep::Event(event) => {
                        return Some(HttpStep::Event(event));
                    }
                    BodyStep::Waits => true,
                    BodyStep::Goes => false,
                },
                HttpStage::Upgrading(_) if self.answers.waiting() > 0 => self.keep(input),
                // No close handshake is possible with a peer that sends nothing more.
                HttpStage::Upgrading(_) if self.ending == Ending::HalfClosed => true,
                HttpStage::Upgrading(_) => match self.accept(rules) {
                    Some(event) => return Some(HttpStep::Event(event)),
                    None => false,
                },
                HttpStage::Upgraded(_) => return Some(self.upgraded()),
                HttpStage::Last { .. } => {
                    input.take_all();
                    true
                }
            };
            if waits {
                return self.closed_by_peer().then_some(HttpStep::Closed);
            }
        }
    }

    /// Gives the next answer out if it may leave, and does nothing else.
    pub(super) fn next_output(&mut self, rules: &Rules<'_>) -> Option<Output> {
        if self.ending == Ending::Done {
            return None;
        }
        match self.next_answer(rules, &mut Input::new(&mut [], &mut Inflater::new())) {
            Some(HttpStep::Event(ConnectionEvent::Output(output))) => Some(output),
            _ => None,
        }
    }

    /// Takes the answer to request `serial`; [`HttpSide::step`] returns it when it may leave.
    pub(super) fn answer(&mut self, serial: u32, response: Response) {
        self.answers.fill(serial, response);
    }

    /// Notes that the peer sent its last byte; its requests are still answered (RFC 9112 §9.6).
    pub(super) fn half_close(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::HalfClosed;
        }
    }

    /// Whether bytes that are read now could only be kept.
    pub(super) fn is_blocked(&self, limits: &Limits) -> bool {
        match self.reading {
            HttpStage::Head => {
                self.awaits_room || self.answers.waiting() >= limits.pipeline_requests_max
            }
            HttpStage::Upgrading(_) => true,
            HttpStage::Body { .. } | HttpStage::Upgraded(_) | HttpStage::Last { .. } => false,
        }
    }

    /// Takes what was refused for breaking HTTP or a bound; gives it once.
    pub(super) fn take_refused(&mut self) -> Option<HttpError> {
        match &mut self.reading {
            HttpStage::Last { refused } => refused.take(),
            _ => None,
        }
    }

    /// Whether the next answer waits until the peer has taken earlier bytes.
    pub(super) fn awaits_room(&self) -> bool {
        self.awaits_room
    }

    /// Counts the requests that were given out and aren't answered yet.
    pub(super) fn open_requests(&self) -> usize {
        self.answers.open()
    }

    pub(super) fn since(&self) -> Tick {
        self.since
    }

    /// Counts the requests that have begun and aren't answered yet.
    pub(super) fn unanswered(&self) -> usize {
        let begun = matches!(
            self.reading,
            HttpStage::Body { .. } | HttpStage::Upgrading(_)
        ) || !self.rest.is_empty();
        self.answers.waiting() + usize::from(begun)
    }

    pub(super) fn unread(&mut self, now: Tick) {
        if matches!(self.reading, HttpStage::Body { .. }) {
            self.since = now;
        }
    }

    /// Counts the bytes of the request that isn't whole yet.
    pub(super) fn unfinished_bytes(&self) -> usize {
        let body = match &self.reading {
            HttpStage::Body { body, .. } => body.kept_bytes(),
            _ => 0,
        };
        self.rest.len() + body
    }

    /// Bytes of the answers that haven't left.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.answers.bytes()
    }

    /// Answers a request that isn't whole with 503, since the server keeps too much of such
    /// requests.
    pub(super) fn refuse_unfinished(&mut self) {
        if matches!(self.reading, HttpStage::Head | HttpStage::Body { .. }) {
            let response = Response::json(TOO_MUCH_UNFINISHED).with_status(503);
            let response = response.field("Retry-After", "5");
            let fields = self.take_fields();
            self.answer_last(AnswerTo::REFUSED, fields, response);
        }
    }

    pub(super) fn deadline(&self, rules: &Rules<'_>, heard: Tick) -> Tick {
        let limits = rules.limits;
        match &self.reading {
            // The kept bytes may be whole requests: an answer has to leave before they are parsed.
            HttpStage::Head if self.is_blocked(limits) => Tick::NEVER,
            HttpStage::Head if !self.rest.is_empty() => self.since.after(limits.head_ms_max),
            HttpStage::Head if self.answers.waiting() > 0 => Tick::NEVER,
            HttpStage::Head => {
                let idle_ms = if self.served_any {
                    limits.idle_ms_max
                } else {
                    limits.head_ms_max
                };
                let grace = rules
                    .drain
                    .map_or(Tick::NEVER, |began| began.after(DRAIN_GRACE_MS));
                heard.max(self.since).after(idle_ms).min(grace)
            }
            HttpStage::Body {
                owes_continue: true,
                ..
            } if self.answers.waiting() > 0 => Tick::NEVER,
            HttpStage::Body { .. } => self.since.after(limits.body_ms_max),
            HttpStage::Upgrading(_) | HttpStage::Upgraded(_) | HttpStage::Last { .. } => {
                Tick::NEVER
            }
        }
    }

    /// Acts on a deadline: an unfinished request is refused with 408, an idle connection ends.
    pub(super) fn expire(&mut self) {
        let idle = matches!(self.reading, HttpStage::Head) && self.rest.is_empty();
        if idle {
            self.ending = Ending::Done;
        } else {
            self.refuse(AnswerTo::REFUSED, &HttpError::Timeout);
        }
    }

    fn next_answer(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> Option<HttpStep> {
        if rules.room.is_none() {
            // The answer stays unencoded until there is room: a shared body costs little.
            self.awaits_room |= self.answers.has_next();
            return None;
        }
        let (mut to, response) = self.answers.next_answer()?;
        let last = self.answers.waiting() == 0;
        // Requests that were read together with this one are answered too, before the end.
        let between = matches!(self.reading, HttpStage::Head)
            && self.rest.is_empty()
            && input.rest().is_empty();
        let done = (matches!(self.reading, HttpStage::Last { .. }) && last)
            || (rules.drain.is_some() && last && between);
        to.keep_alive &= !done;
        if !to.keep_alive {
            self.ending = Ending::Done;
        }
        if between {
            // The peer's silence begins now: the time that the handler took doesn't count.
            self.since = rules.now;
        }
        let context = AnswerContext {
            date: rules.date,
            idle_s: rules.limits.idle_ms_max / 1_000,
        };
        Some(HttpStep::Event(ConnectionEvent::Output(Output::Http(
            Bytes::from(response.encode(to, context)),
        ))))
    }

    fn closed_by_peer(&self) -> bool {
        self.ending == Ending::HalfClosed && self.answers.waiting() == 0 && !self.awaits_room
    }

    /// Keeps all of `input` for later; `true`, since nothing else can be done now.
    fn keep(&mut self, input: &mut Input<'_>) -> bool {
        self.rest.extend_from_slice(input.rest());
        input.take_all();
        true
    }

    /// Looks for one head; `true` when it has to wait for more bytes or for an answer.
    fn receive_head(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> bool {
        let fresh = self.rest.is_empty();
        if self.answers.waiting() >= rules.limits.pipeline_requests_max {
            return self.keep(input);
        }
        let is_peer_full = rules.room.is_none_or(|room| self.answers.bytes() > room);
        if is_peer_full && !(fresh && input.rest().is_empty()) {
            self.awaits_room = true;
            return self.keep(input);
        }
        if !fresh {
            self.keep(input);
        }
        let source: &[u8] = if fresh { input.rest() } else { &self.rest };
        let is_new = self.searched == 0;
        match http::parse(source, &mut self.searched, &rules.limits.http) {
            Ok(Some((mut head, size))) => {
                head.is_secure = rules.is_secure;
                self.consume(size, fresh, input);
                self.searched = 0;
                self.since = rules.now;
                self.begin(head, rules);
                false
            }
            Ok(None) => {
                // No byte was searched before, so the head begins now.
                if is_new && !source.is_empty() {
                    self.since = rules.now;
                }
                if fresh {
                    self.keep(input);
                }
                true
            }
            Err(error) => {
                self.refuse(AnswerTo::REFUSED, &error);
                false
            }
        }
    }

    fn consume(&mut self, size: usize, fresh: bool, input: &mut Input<'_>) {
        if fresh {
            input.taken += size;
        } else {
            self.rest.advance(size);
            if self.rest.is_empty() {
                self.rest = BytesMut::new();
            }
        }
    }

    /// Decides what follows a whole head: an answer, a handshake, or a body.
    fn begin(&mut self, head: Head, rules: &Rules<'_>) {
        let to = head.answer_to();
        self.served_any = true;
        let framing = match head.framing() {
            Ok(framing) => framing,
            Err(error) => return self.refuse(to, &error),
        };
        let (own_size_max, fields) = match (rules.gate)(&head) {
            Verdict::Answer(response) => return self.answer_at_once(to, response, framing),
            Verdict::Events { fields } if matches!(framing, Framing::None | Framing::Length(0)) => {
                self.reading = HttpStage::Upgrading(Handshake {
                    head: Box::new(head),
                    own_size_max: None,
                    to: UpgradeTo::events(fields.as_deref()),
                });
                return;
            }
            Verdict::Pass | Verdict::Events { .. } => (None, None),
            Verdict::PassWith { message_size_max } => (Some(message_size_max), None),
            Verdict::PassAdding(fields) => (None, Some(fields)),
        };
        if head.asks_for_websocket() {
            self.reading = HttpStage::Upgrading(Handshake {
                head: Box::new(head),
                own_size_max,
                to: UpgradeTo::WEBSOCKET,
            });
            return;
        }
        let owes_continue = match head.expects_continue() {
            Ok(expects) => expects,
            Err(error) => return self.refuse_with(to, fields, &error),
        };
        match BodyDecoder::new(framing, &rules.limits.http) {
            Ok(body) => {
                self.reading = HttpStage::Body {
                    head,
                    body,
                    owes_continue,
                    fields,
                }
            }
            Err(error) => self.refuse_with(to, fields, &error),
        }
    }

    /// Answers without a handler. If a body follows, the connection ends, since nobody reads the
    /// body.
    fn answer_at_once(&mut self, to: AnswerTo, response: Response, framing: Framing) {
        let is_all_read = matches!(framing, Framing::None | Framing::Length(0));
        if to.keep_alive && is_all_read {
            let serial = self.answers.begin(to);
            self.answers.fill(serial, response);
        } else {
            self.answer_last(to, None, response);
        }
    }

    /// Refuses what is being read.
    fn refuse(&mut self, to: AnswerTo, error: &HttpError) {
        let fields = self.take_fields();
        self.refuse_with(to, fields, error);
    }

    fn refuse_with(&mut self, to: AnswerTo, fields: Option<Arc<AnswerFields>>, error: &HttpError) {
        self.answer_last(to, fields, error.response());
        self.reading = HttpStage::Last {
            refused: Some(*error),
        };
    }

    /// Answers and ends the connection; bytes after this request are ignored (RFC 9112 §9.6).
    fn answer_last(&mut self, to: AnswerTo, fields: Option<Arc<AnswerFields>>, response: Response) {
        let serial = self.answers.begin_with(to, fields);
        self.answers.fill(serial, response);
        self.read_no_more();
    }

    /// Takes the fields that the answer to the request in hand gets.
    fn take_fields(&mut self) -> Option<Arc<AnswerFields>> {
        match &mut self.reading {
            HttpStage::Body { fields, .. } => fields.take(),
            _ => None,
        }
    }

    fn read_no_more(&mut self) {
        self.rest = BytesMut::new();
        self.reading = LAST;
    }

    fn receive_body(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> BodyStep {
        let HttpStage::Body {
            head,
            body,
            owes_continue,
            ..
        } = &mut self.reading
        else {
            return BodyStep::Goes;
        };
        let fresh = self.rest.is_empty();
        let source: &[u8] = if fresh { input.rest() } else { &self.rest };
        if *owes_continue && source.is_empty() {
            if self.answers.waiting() > 0 {
                return BodyStep::Waits;
            }
            *owes_continue = false;
            self.since = rules.now;
            return BodyStep::Event(ConnectionEvent::Output(Output::Http(Bytes::from_static(
                http::CONTINUE,
            ))));
        }
        // A client that sends the body unasked isn't waiting for a 100 (RFC 9110 §10.1.1).
        *owes_continue &= source.is_empty();
        let to = head.answer_to();
        match body.decode(source) {
            Err(error) => {
                self.refuse(to, &error);
                BodyStep::Goes
            }
            Ok((taken, complete)) => {
                self.consume(taken, fresh, input);
                if complete {
                    self.since = rules.now;
                    BodyStep::Event(self.request(to))
                } else if fresh {
                    BodyStep::Waits
                } else {
                    BodyStep::after(taken)
                }
            }
        }
    }

    fn request(&mut self, to: AnswerTo) -> ConnectionEvent<'static> {
        let reading = std::mem::replace(&mut self.reading, HttpStage::Head);
        let HttpStage::Body {
            head, body, fields, ..
        } = reading
        else {
            unreachable!("only called from inside a body");
        };
        if !to.keep_alive {
            self.read_no_more();
        }
        let serial = self.answers.begin_with(to, fields);
        ConnectionEvent::Request(Box::new(HttpRequest {
            serial,
            head,
            body: body.into_body(),
        }))
    }

    /// Answers the handshake; with 503 while the server is stopping, even if the handshake came
    /// earlier and had to wait: a drain lists all WebSockets once, at its start.
    fn accept(&mut self, rules: &Rules<'_>) -> Option<ConnectionEvent<'static>> {
        let HttpStage::Upgrading(asked) = std::mem::replace(&mut self.reading, LAST) else {
            return None;
        };
        if rules.drain.is_some() {
            let response = Response::text("the server is shutting down\n")
                .with_status(503)
                .field("Retry-After", "1");
            self.answer_last(asked.head.answer_to(), None, response);
            return None;
        }
        if let UpgradeTo::Events { fields } = &asked.to {
            let head = Bytes::from(stream_head(fields, rules.date));
            self.reading = HttpStage::Upgraded(asked);
            return Some(ConnectionEvent::Output(Output::Http(head)));
        }
        let deflate = match rules.limits.takes_deflate() {
            false => None,
            true => extension::choose(&asked.head),
        };
        match handshake::accept(&asked.head, deflate) {
            Ok(switching) => {
                self.reading = HttpStage::Upgraded(Handshake {
                    to: UpgradeTo::WebSocket {
                        deflates: deflate.is_some(),
                    },
                    ..asked
                });
                Some(ConnectionEvent::Output(Output::Http(Bytes::from(
                    switching,
                ))))
            }
            Err(error) => {
                self.refuse(asked.head.answer_to(), &error);
                None
            }
        }
    }

    fn upgraded(&mut self) -> HttpStep {
        let HttpStage::Upgraded(done) = std::mem::replace(&mut self.reading, LAST) else {
            return HttpStep::Closed;
        };
        HttpStep::Upgraded(done, std::mem::take(&mut self.rest))
    }
}

#[cfg(test)]
mod tests;
