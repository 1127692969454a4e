//! One upstream as the push process has it: its link, and the socket of the moment.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::Registry;

use super::pipe::{FromPush, LinkReport};
use super::resolver::Resolver;
use super::socket::{Socket, SocketStep};
use crate::base::Tick;
use crate::base::clock::random;
use crate::gateway::target::Target;
use crate::link::{
    LinkIdentity, LinkLoss, LinkSender, LinkSettings, LinkState, NumberedPosting, SenderEvent,
};
use crate::tls::{TlsDialer, TlsError};

/// Time between two looks at a socket that waits for the answer to its Close, in milliseconds: the
/// poll wakes for the answer, but not for the end of the wait.
const CLOSING_MS: u64 = 100;

/// What a link is made of.
#[derive(Debug, PartialEq)]
pub(super) struct UpstreamPlan {
    /// The number of the upstream, in the messages of the pipe.
    pub(super) number: usize,
    pub(super) target: Target,
    pub(super) identity: LinkIdentity,
    pub(super) settings: LinkSettings,
}

/// The link to one upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    /// The number of the link, which no other one of this process has.
    place: usize,
    plan: UpstreamPlan,
    link: LinkSender,
    socket: Option<Socket>,
    /// What begins TLS on a socket; made anew after a socket that was lost before it was open, since what
    /// the system trusts may have changed meanwhile.
    dialer: Option<TlsDialer>,
    /// Whether the host's name is being resolved.
    is_resolving: bool,
    /// Whether the link waits for the address; otherwise it gave up meanwhile.
    is_awaited: bool,
    /// Whether another link has taken its place, or none.
    is_leaving: bool,
    tries: u64,
    /// Messages that links before it had sent more than once.
    resent_before: u64,
    report: LinkReport,
    reported: LinkReport,
    messages: VecDeque<FromPush>,
    now: Tick,
    /// Whether the socket has more to read than one turn takes.
    has_more: bool,
}

impl Upstream {
    /// Makes a link by a plan. `kept` are the oldest and the newest number of the outbox; the counters go
    /// on behind those of the link before it.
    pub(super) fn new(
        now: Tick,
        place: usize,
        plan: UpstreamPlan,
        (kept, counted): ((u64, u64), LinkReport),
    ) -> Self {
        let report = LinkReport {
            upstream: plan.number,
            state: LinkState::default(),
            ..counted
        };
        let identity = plan.identity.clone();
        Self {
            place,
            link: LinkSender::new(now, identity, plan.settings, random(), kept),
            plan,
            socket: None,
            dialer: None,
            is_resolving: false,
            is_awaited: false,
            is_leaving: false,
            tries: 0,
            resent_before: counted.resent,
            report,
            reported: report,
            messages: VecDeque::new(),
            now,
            has_more: false,
        }
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn number(&self) -> usize {
        self.plan.number
    }

    pub(super) fn plan(&self) -> &UpstreamPlan {
        &self.plan
    }

    /// What was counted so far, for the link that follows this one.
    pub(super) fn counted(&self) -> LinkReport {
        self.report
    }

    /// Ends the link, since the settings don't have it any more. What it has heard is still told, but it
    /// asks for nothing, and the state of its socket is nobody's.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        self.link.end();
    }

    /// Does all that can be done now; reads nothing where what was read last still waits.
    pub(super) fn turn(&mut self, now: Tick, may_read: bool, resolver: &Resolver) {
        self.now = now;
        self.has_more = false;
        if may_read {
            self.read();
        }
        self.link.expire(now);
        self.do_events(resolver);
        self.write();
        // What was sent made room for more.
        self.do_events(resolver);
        self.send_report();
    }

    /// Takes the address of the host, and connects to it.
    pub(super) fn resolved(
        &mut self,
        now: Tick,
        address: io::Result<SocketAddr>,
        registry: &Registry,
    ) {
        self.is_resolving = false;
        if !std::mem::take(&mut self.is_awaited) {
            return;
        }
        match address.and_then(|address| self.socket_to(address, registry)) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.link.lost(now, LinkLoss::Socket(error.to_string())),
        }
    }

    fn socket_to(&mut self, address: SocketAddr, registry: &Registry) -> io::Result<Socket> {
        let request = self.plan.target.request().map_err(io::Error::other)?;
        let security = self.security().map_err(io::Error::other)?;
        Socket::connect(address, request, security, registry)
    }

    /// What is needed for TLS, if the link goes by it.
    fn security(&mut self) -> Result<Option<(TlsDialer, String)>, TlsError> {
        let Some(trust) = self.plan.target.trust() else {
            return Ok(None);
        };
        let dialer = match self.dialer.take() {
            Some(dialer) => dialer,
            None => TlsDialer::new(trust)?,
        };
        let (host, _) = self.plan.target.host();
        Ok(Some((self.dialer.insert(dialer).clone(), host.to_owned())))
    }

    /// Takes messages of the outbox.
    pub(super) fn feed(&mut self, now: Tick, after: u64, messages: Vec<NumberedPosting>) {
        self.link.feed(now, after, messages);
    }

    /// Takes the oldest and the newest number of the outbox.
    pub(super) fn update_outbox(&mut self, (first, newest): (u64, u64)) {
        self.link.update_outbox(first, newest);
    }

    /// Delivers only what is here already.
    pub(super) fn drain(&mut self) {
        self.link.drain();
    }

    /// Closes the link, whatever is left.
    pub(super) fn end(&mut self) {
        self.link.end();
    }

    /// Takes the next message for the gateway.
    pub(super) fn next_message(&mut self) -> Option<FromPush> {
        self.messages.pop_front()
    }

    /// Whether there is nothing left to be done.
    pub(super) fn is_over(&self) -> bool {
        self.link.is_ended() && self.socket.is_none() && self.messages.is_empty()
    }

    /// Returns the time at which [`Upstream::turn`] has something to do, if nothing else happens
    /// before.
    pub(super) fn deadline(&self) -> Tick {
        if self.has_more {
            return self.now;
        }
        if self.link.is_ended() && self.socket.is_some() {
            return self.now.after(CLOSING_MS);
        }
        self.link.deadline()
    }

    pub(super) fn url(&self) -> &str {
        self.plan.target.url()
    }

    /// Counts the messages that are here and not acknowledged.
    pub(super) fn held(&self) -> usize {
        self.link.held()
    }

    /// Reads what has come, as much as one turn takes: none waits for another.
    fn read(&mut self) {
        if let Some(socket) = &mut self.socket {
            socket.begin_turn();
        }
        while let Some(socket) = &mut self.socket {
            match socket.advance() {
                SocketStep::Connected => self.link.connected(self.now),
                SocketStep::Text(text) => self.link.receive(self.now, &text),
                SocketStep::Idle => return,
                SocketStep::Yielded => {
                    self.has_more = true;
                    return;
                }
                SocketStep::Lost(why) => {
                    if !socket.was_open() {
                        self.dialer = None;
                    }
                    self.socket = None;
                    self.link.lost(self.now, why);
                }
            }
        }
    }

    /// Gives the socket as many frames as it takes.
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

    fn do_events(&mut self, resolver: &Resolver) {
        while let Some(event) = self.link.next_event() {
            let upstream = self.plan.number;
            match event {
                SenderEvent::Connect => self.connect(resolver),
                SenderEvent::Cut => {
                    self.socket = None;
                    self.is_awaited = false;
                }
                SenderEvent::Close => match &mut self.socket {
                    Some(socket) => socket.close(),
                    None => self.is_awaited = false,
                },
                SenderEvent::Opened { next } => {
                    tracing::info!(upstream = self.plan.target.url(), next, "the link is open");
                    self.report.opened += 1;
                }
                SenderEvent::Lost { why, retry_ms } => self.lost(&why, retry_ms),
                SenderEvent::Want { .. } if self.is_leaving => {}
                SenderEvent::Want { after, count } => self.messages.push_back(FromPush::Want {
                    upstream,
                    after,
                    count,
                }),
                SenderEvent::Acked { n } => {
                    self.messages.push_back(FromPush::Acked { upstream, n });
                }
                SenderEvent::Refused { n, why } => {
                    self.messages
                        .push_back(FromPush::Refused { upstream, n, why });
                }
                SenderEvent::Jumped { from, to } => {
                    self.report.jumped += 1;
                    let url = self.plan.target.url();
                    tracing::error!(
                        upstream = url,
                        from,
                        to,
                        "the upstream has lost its data; it gets all messages that are still in the outbox"
                    );
                }
            }
        }
    }

    fn connect(&mut self, resolver: &Resolver) {
        self.is_awaited = true;
        self.tries += 1;
        // An answer to the try before this one will do.
        if !std::mem::replace(&mut self.is_resolving, true) {
            resolver.ask(self.place, self.plan.target.host(), self.tries);
        }
    }

    fn lost(&mut self, why: &LinkLoss, retry_ms: u64) {
        self.is_awaited = false;
        self.report.lost += 1;
        let url = self.plan.target.url();
        match why {
            LinkLoss::Violation(_) | LinkLoss::Kicked(_) | LinkLoss::OldOutbox { .. } => {
                tracing::error!(upstream = url, %why, retry_ms, "the link is dead");
            }
            // One line for the first try that fails, not one for each.
            _ if self.reported.state == LinkState::Open || self.tries == 1 => {
                tracing::warn!(upstream = url, %why, retry_ms, "the link is dead");
            }
            _ => tracing::debug!(upstream = url, %why, retry_ms, "the link is dead"),
        }
    }

    fn send_report(&mut self) {
        self.report.state = self.link.state();
        self.report.resent = self.resent_before + self.link.resent();
        if self.report != self.reported && !self.is_leaving {
            self.reported = self.report;
            self.messages.push_back(FromPush::Report(self.report));
        }
    }
}
