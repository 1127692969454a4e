//! One upstream in the push process: its link, and the socket of the moment.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::{Registry, Token};

use super::names::Names;
use super::pipe::{FromPush, Report};
use super::socket::{Socket, Turn};
use super::target::Target;
use crate::base::Tick;
use crate::link::{
    LinkIdentity, LinkLoss, LinkSender, LinkSettings, LinkState, NumberedPosting, SenderEvent,
};

/// How often what a socket does after its Close is looked at, in milliseconds.
const CLOSING_MS: u64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Seat {
    index: usize,
    token: Token,
    target: Target,
    link: LinkSender,
    socket: Option<Socket>,
    /// Whether a name is being looked up for the socket to be.
    is_asking: bool,
    /// Whether the link waits for the answer; otherwise it gave up meanwhile.
    is_awaited: bool,
    tries: u64,
    report: Report,
    reported: Report,
    messages: VecDeque<FromPush>,
    now: Tick,
}

impl Seat {
    pub(super) fn new(
        now: Tick,
        (index, token): (usize, Token),
        target: Target,
        identity: LinkIdentity,
        settings: LinkSettings,
        kept: (u64, u64),
    ) -> Self {
        let report = Report {
            upstream: index,
            ..Report::default()
        };
        Self {
            index,
            token,
            target,
            link: LinkSender::new(now, identity, settings, super::random(), kept),
            socket: None,
            is_asking: false,
            is_awaited: false,
            tries: 0,
            report,
            reported: report,
            messages: VecDeque::new(),
            now,
        }
    }

    /// Does everything that can be done now.
    pub(super) fn turn(&mut self, now: Tick, may_read: bool, names: &Names) {
        self.now = now;
        if may_read {
            self.read();
        }
        self.link.expire(now);
        self.do_events(names);
        self.write();
        // What was sent makes room for more.
        self.do_events(names);
        self.note_report();
    }

    /// A host's address is known, or can't be.
    pub(super) fn named(
        &mut self,
        now: Tick,
        address: io::Result<SocketAddr>,
        registry: &Registry,
    ) {
        self.is_asking = false;
        if !std::mem::take(&mut self.is_awaited) {
            return;
        }
        let request = self.target.request().map_err(io::Error::other);
        let socket =
            address.and_then(|address| Socket::connect(address, request?, registry, self.token));
        match socket {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.link.lost(now, LinkLoss::Socket(error.to_string())),
        }
    }

    /// Takes messages of the outbox.
    pub(super) fn feed(&mut self, now: Tick, after: u64, messages: Vec<NumberedPosting>) {
        self.link.feed(now, after, messages);
    }

    pub(super) fn outbox_is(&mut self, (first, newest): (u64, u64)) {
        self.link.update_outbox(first, newest);
    }

    pub(super) fn stop(&mut self) {
        self.link.drain();
    }

    pub(super) fn end(&mut self) {
        self.link.end();
    }

    /// Something that the gateway has to know.
    pub(super) fn next_message(&mut self) -> Option<FromPush> {
        self.messages.pop_front()
    }

    pub(super) fn is_over(&self) -> bool {
        self.link.is_ended() && self.socket.is_none() && self.messages.is_empty()
    }

    pub(super) fn deadline(&self) -> Tick {
        if self.link.is_ended() && self.socket.is_some() {
            return self.now.after(CLOSING_MS);
        }
        self.link.deadline()
    }

    pub(super) fn url(&self) -> &str {
        self.target.url()
    }

    pub(super) fn held(&self) -> usize {
        self.link.held()
    }

    fn read(&mut self) {
        while let Some(socket) = &mut self.socket {
            match socket.turn() {
                Turn::Connected => self.link.connected(self.now),
                Turn::Text(text) => self.link.receive(self.now, &text),
                Turn::Idle => return,
                Turn::Lost(why) => {
                    self.socket = None;
                    self.link.lost(self.now, why);
                }
            }
        }
    }

    /// Gives the socket what it takes.
    fn write(&mut self) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        while socket.has_room()
            && let Some(frame) = self.link.next_frame(self.now)
        {
            socket.send(frame);
        }
        socket.flush();
    }

    fn do_events(&mut self, names: &Names) {
        while let Some(event) = self.link.next_event() {
            let upstream = self.index;
            match event {
                SenderEvent::Connect => self.connect(names),
                SenderEvent::Cut => {
                    self.socket = None;
                    self.is_awaited = false;
                }
                SenderEvent::Close => match &mut self.socket {
                    Some(socket) => socket.close(),
                    None => self.is_awaited = false,
                },
                SenderEvent::Opened { next } => {
                    tracing::info!(upstream = self.target.url(), next, "the link is open");
                    self.report.opened += 1;
                }
                SenderEvent::Lost { why, retry_ms } => self.lost(&why, retry_ms),
                SenderEvent::Want { after, count } => self.messages.push_back(FromPush::Want {
                    upstream,
                    after,
                    count,
                }),
                SenderEvent::Acked { n } => {
                    self.messages.push_back(FromPush::Settled { upstream, n });
                }
                SenderEvent::Refused { n, code } => {
                    self.messages
                        .push_back(FromPush::Refused { upstream, n, code });
                }
                SenderEvent::Jumped { from, to } => {
                    self.report.jumped += 1;
                    let url = self.target.url();
                    tracing::error!(
                        upstream = url,
                        from,
                        to,
                        "the upstream has lost what it had; it gets what is still here"
                    );
                }
            }
        }
    }

    fn connect(&mut self, names: &Names) {
        self.is_awaited = true;
        self.tries += 1;
        // Of the try before this one; its answer will do.
        if !std::mem::replace(&mut self.is_asking, true) {
            names.ask(self.index, self.target.host(), self.tries);
        }
    }

    fn lost(&mut self, why: &LinkLoss, retry_ms: u64) {
        self.is_awaited = false;
        self.report.lost += 1;
        let url = self.target.url();
        match why {
            LinkLoss::Violation(_) | LinkLoss::Kicked(_) | LinkLoss::OldOutbox { .. } => {
                tracing::error!(upstream = url, %why, retry_ms, "the link is dead");
            }
            // One line for the first, not one for each try.
            _ if self.reported.state == LinkState::Open || self.tries == 1 => {
                tracing::warn!(upstream = url, %why, retry_ms, "the link is dead");
            }
            _ => tracing::debug!(upstream = url, %why, retry_ms, "the link is dead"),
        }
    }

    fn note_report(&mut self) {
        self.report.state = self.link.state();
        self.report.resent = self.link.resent();
        if self.report != self.reported {
            self.reported = self.report;
            self.messages.push_back(FromPush::Report(self.report));
        }
    }
}
