//! The connection while it speaks HTTP/1.1: requests in, answers out in the same order.

use bytes::{Buf, Bytes, BytesMut};

use super::{Event, Input, Limits, Output, Request, Rules, Verdict};
use crate::proto::Tick;
use crate::proto::http::{
    self, AnswerTo, Answers, BodyDecoder, Framing, Head, HttpError, Response,
};
use crate::proto::websocket::handshake;

/// How long a kept connection may still bring a request that crossed our wish to stop, in
/// milliseconds.
const DRAIN_GRACE_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct HttpSide {
    reading: Reading,
    /// What was read and can't be used yet.
    rest: BytesMut,
    /// How much of `rest` holds no end of a head.
    searched: usize,
    answers: Answers,
    /// When the head under way began, or the connection was accepted.
    since: Tick,
    served_any: bool,
    ending: Ending,
}

#[derive(Debug)]
enum Reading {
    /// Between requests, or inside a head (RFC 9112 §2.1).
    Head,
    Body {
        head: Head,
        body: BodyDecoder,
        /// `100 Continue` is owed once all earlier answers are out (RFC 9110 §10.1.1).
        owes_continue: bool,
    },
    /// The handshake waits for the answers before it.
    Upgrading(Box<Head>),
    /// The 101 went out.
    Upgraded(Box<Head>),
    /// The last answer is on its way; nothing more is read.
    Last,
}

#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// Requests may follow.
    Open,
    /// The peer sent its last byte; answers still go out.
    HalfClosed,
    /// The answer that closes went out.
    Done,
}

/// What one step gives to the connection around it.
#[derive(Debug)]
pub(super) enum Step {
    Event(Event<'static>),
    /// The peer is a WebSocket now; its first frames may have come along.
    Upgraded(Box<Head>, BytesMut),
    Closed,
}

impl HttpSide {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            reading: Reading::Head,
            rest: BytesMut::new(),
            searched: 0,
            answers: Answers::default(),
            since: now,
            served_any: false,
            ending: Ending::Open,
        }
    }

    /// The next thing that is known, or `None` until more bytes or an answer come.
    pub(super) fn step(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> Option<Step> {
        loop {
            if let Some(step) = self.next_answer(rules, input) {
                return Some(step);
            }
            if self.ending == Ending::Done {
                input.take_all();
                return Some(Step::Closed);
            }
            let waits = match &self.reading {
                Reading::Head => self.receive_head(rules, input),
                Reading::Body { .. } => match self.receive_body(rules, input) {
                    Progress::Event(event) => return Some(Step::Event(event)),
                    Progress::Waits => true,
                    Progress::Goes => false,
                },
                Reading::Upgrading(_) if self.answers.waiting() > 0 => self.keep(input),
                Reading::Upgrading(_) => match self.accept() {
                    Some(event) => return Some(Step::Event(event)),
                    None => false,
                },
                Reading::Upgraded(_) => return Some(self.upgraded()),
                Reading::Last => {
                    input.take_all();
                    true
                }
            };
            if waits {
                return self.closed_by_peer().then_some(Step::Closed);
            }
        }
    }

    /// Takes the answer to request `serial`; [`HttpSide::step`] gives it out in its turn.
    pub(super) fn answer(&mut self, serial: u32, response: Response) {
        self.answers.fill(serial, response);
    }

    /// The peer will send nothing more; what it asked for is still answered (RFC 9112 §9.6).
    pub(super) fn half_close(&mut self) {
        if self.ending == Ending::Open {
            self.ending = Ending::HalfClosed;
        }
    }

    /// Whether reading more now would only pile it up.
    pub(super) fn is_blocked(&self, limits: &Limits) -> bool {
        match self.reading {
            Reading::Head => self.answers.waiting() >= limits.pipeline_requests_max,
            Reading::Upgrading(_) => true,
            Reading::Body { .. } | Reading::Upgraded(_) | Reading::Last => false,
        }
    }

    /// Requests begun or handed out, and not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        let begun = matches!(self.reading, Reading::Body { .. } | Reading::Upgrading(_))
            || !self.rest.is_empty();
        self.answers.waiting() + usize::from(begun)
    }

    pub(super) fn deadline(&self, rules: &Rules<'_>, heard: Tick) -> Tick {
        let limits = rules.limits;
        match &self.reading {
            Reading::Head if !self.rest.is_empty() => self.since.after(limits.head_ms_max),
            Reading::Head if self.answers.waiting() > 0 => Tick::NEVER,
            Reading::Head => {
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
            Reading::Body { .. } => heard.after(limits.body_ms_max),
            Reading::Upgrading(_) | Reading::Upgraded(_) | Reading::Last => Tick::NEVER,
        }
    }

    /// The deadline came: a request under way is refused with 408, an idle connection ends.
    pub(super) fn expire(&mut self) {
        let idle = matches!(self.reading, Reading::Head) && self.rest.is_empty();
        if idle {
            self.ending = Ending::Done;
        } else {
            self.refuse(AnswerTo::REFUSED, &HttpError::Timeout);
        }
    }

    fn next_answer(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> Option<Step> {
        let (mut to, response) = self.answers.next_answer()?;
        let last = self.answers.waiting() == 0;
        // What was read along with it is answered too, before the connection ends.
        let between = matches!(self.reading, Reading::Head)
            && self.rest.is_empty()
            && input.rest().is_empty();
        let done = (matches!(self.reading, Reading::Last) && last)
            || (rules.drain.is_some() && last && between);
        to.keep_alive &= !done;
        if !to.keep_alive {
            self.ending = Ending::Done;
        }
        Some(Step::Event(Event::Output(Output::Http(Bytes::from(
            response.encode(to, rules.date),
        )))))
    }

    fn closed_by_peer(&self) -> bool {
        self.ending == Ending::HalfClosed && self.answers.waiting() == 0
    }

    /// Keeps all of `input` for later; `true`, since nothing else can be done now.
    fn keep(&mut self, input: &mut Input<'_>) -> bool {
        self.rest.extend_from_slice(input.rest());
        input.take_all();
        true
    }

    /// Looks for one head; `true` when it has to wait.
    fn receive_head(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> bool {
        let fresh = self.rest.is_empty();
        if self.answers.waiting() >= rules.limits.pipeline_requests_max {
            return self.keep(input);
        }
        if !fresh {
            self.keep(input);
        }
        let source: &[u8] = if fresh { input.rest() } else { &self.rest };
        match http::parse(source, &mut self.searched, &rules.limits.http) {
            Ok(Some((head, size))) => {
                self.consume(size, fresh, input);
                self.searched = 0;
                self.since = rules.now;
                self.begin(head, rules);
                false
            }
            Ok(None) => {
                if fresh && !source.is_empty() {
                    self.since = rules.now;
                }
                self.keep(input)
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

    /// Decides what a whole head leads to.
    fn begin(&mut self, head: Head, rules: &Rules<'_>) {
        let to = head.answer_to();
        self.served_any = true;
        let framing = match head.framing() {
            Ok(framing) => framing,
            Err(error) => return self.refuse(to, &error),
        };
        if let Verdict::Answer(response) = (rules.gate)(&head) {
            return self.answer_at_once(to, response, framing);
        }
        if head.asks_for_websocket() && rules.drain.is_some() {
            let response = Response::text("the server is shutting down\n").with_status(503);
            return self.answer_at_once(to, response.field("Retry-After", "1"), framing);
        }
        if head.asks_for_websocket() {
            self.reading = Reading::Upgrading(Box::new(head));
            return;
        }
        let owes_continue = match head.expects_continue() {
            Ok(expects) => expects && framing != Framing::None,
            Err(error) => return self.refuse(to, &error),
        };
        match BodyDecoder::new(framing, &rules.limits.http) {
            Ok(body) => {
                self.reading = Reading::Body {
                    head,
                    body,
                    owes_continue,
                }
            }
            Err(error) => self.refuse(to, &error),
        }
    }

    /// Answers without a handler; a body that follows isn't read, so the connection ends then.
    fn answer_at_once(&mut self, to: AnswerTo, response: Response, framing: Framing) {
        let serial = self.answers.begin(to);
        self.answers.fill(serial, response);
        if framing != Framing::None {
            self.reading = Reading::Last;
        }
    }

    fn refuse(&mut self, to: AnswerTo, error: &HttpError) {
        let serial = self.answers.begin(to);
        self.answers.fill(serial, error.response());
        self.rest = BytesMut::new();
        self.reading = Reading::Last;
    }

    fn receive_body(&mut self, rules: &Rules<'_>, input: &mut Input<'_>) -> Progress {
        let Reading::Body {
            head,
            body,
            owes_continue,
        } = &mut self.reading
        else {
            return Progress::Goes;
        };
        let fresh = self.rest.is_empty();
        let source: &[u8] = if fresh { input.rest() } else { &self.rest };
        if *owes_continue && source.is_empty() {
            if self.answers.waiting() > 0 {
                return Progress::Waits;
            }
            *owes_continue = false;
            return Progress::Event(Event::Output(Output::Http(Bytes::from_static(
                http::CONTINUE,
            ))));
        }
        let to = head.answer_to();
        match body.decode(source) {
            Err(error) => {
                self.refuse(to, &error);
                Progress::Goes
            }
            Ok((taken, complete)) => {
                self.consume(taken, fresh, input);
                if complete {
                    self.since = rules.now;
                    Progress::Event(self.request(to))
                } else if fresh {
                    Progress::Waits
                } else {
                    Progress::after(taken)
                }
            }
        }
    }

    fn request(&mut self, to: AnswerTo) -> Event<'static> {
        let next = if to.keep_alive {
            Reading::Head
        } else {
            Reading::Last
        };
        let Reading::Body { head, body, .. } = std::mem::replace(&mut self.reading, next) else {
            unreachable!("only called from inside a body");
        };
        let serial = self.answers.begin(to);
        Event::Request(Box::new(Request {
            serial,
            head,
            body: body.into_body(),
        }))
    }

    fn accept(&mut self) -> Option<Event<'static>> {
        let Reading::Upgrading(head) = std::mem::replace(&mut self.reading, Reading::Last) else {
            return None;
        };
        match handshake::accept(&head) {
            Ok(switching) => {
                self.reading = Reading::Upgraded(head);
                Some(Event::Output(Output::Http(Bytes::from(switching))))
            }
            Err(error) => {
                self.refuse(head.answer_to(), &error);
                None
            }
        }
    }

    fn upgraded(&mut self) -> Step {
        let Reading::Upgraded(head) = std::mem::replace(&mut self.reading, Reading::Last) else {
            return Step::Closed;
        };
        Step::Upgraded(head, std::mem::take(&mut self.rest))
    }
}

/// How far a step through the body came.
enum Progress {
    Event(Event<'static>),
    Waits,
    Goes,
}

impl Progress {
    /// After the rest was used: new input may follow it, unless nothing moved.
    fn after(taken: usize) -> Self {
        if taken > 0 { Self::Goes } else { Self::Waits }
    }
}
