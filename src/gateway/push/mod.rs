//! The push process: a child of the gateway that brings messages to the upstreams.
//!
//! One thread with one poll: over the pipe to the gateway, and over a socket to each upstream. The
//! process keeps nothing that would have to outlive it: the outbox belongs to the gateway, and an
//! upstream knows what it has acknowledged.
//!
//! ```text
//! gateway ═ pipe ═ PushProcess ▶ Upstream: LinkSender ▶ Socket ▶ /link of a server
//! ```

pub(super) mod pipe;
mod resolver;
mod socket;
mod upstream;

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use crate::base::Tick;
use crate::base::clock::random;
use crate::link::LinkIdentity;
use crate::server::process::{Incoming, Process, ProcessPipe};
use pipe::{Assignment, FromPush, PUSH_VERSION, ToPush};
use resolver::Resolver;
use upstream::{Upstream, UpstreamPlan};

/// The name of the push process.
pub const PUSH_PROCESS: &str = "push";

const PIPE: Token = Token(0);
const RESOLVER: Token = Token(1);

/// Bytes that may wait for the gateway; above that nothing is read from the upstreams. As much as
/// thousands of acknowledgements, so only a gateway that hangs is behind it.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Runs the push process, until the gateway says stop and all that is here is acknowledged, or the
/// time for the stop is over.
///
/// # Errors
///
/// The pipe to the gateway failed.
pub fn push(process: Process) -> io::Result<()> {
    push_with(process, |_| {})
}

/// Does the same, and tells `set_log_level` which level the log is to have from then on, as
/// [`GatewaySettings::push_log_level`](super::GatewaySettings::push_log_level) says it.
///
/// # Errors
///
/// The pipe to the gateway failed.
pub fn push_with(process: Process, set_log_level: impl Fn(&str) + 'static) -> io::Result<()> {
    let mut push = PushProcess::new(process.into_pipe(), Box::new(set_log_level))?;
    let hello = FromPush::Hello {
        incarnation: push.incarnation,
        version: PUSH_VERSION,
    };
    push.pipe.send(&hello.encode())?;
    while push.turn()? {}
    push.farewell()
}

struct PushProcess {
    pipe: ProcessPipe,
    poll: Poll,
    events: Events,
    resolver: Resolver,
    upstreams: Vec<Upstream>,
    /// Upstreams that have left the settings, or whose link is made anew, until their links are over.
    leaving: Vec<Upstream>,
    /// The place of the next link, for its socket and its questions to the resolver.
    next_place: usize,
    set_log_level: Box<dyn Fn(&str)>,
    incarnation: u64,
    started: Instant,
    drain_ms_max: u64,
    /// The time at which a stop is over.
    stop_at: Option<Tick>,
}

impl PushProcess {
    fn new(pipe: ProcessPipe, set_log_level: Box<dyn Fn(&str)>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let fd = pipe.as_fd().as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&fd), PIPE, both)?;
        let waker = Arc::new(Waker::new(poll.registry(), RESOLVER)?);
        Ok(Self {
            pipe,
            resolver: Resolver::new(waker),
            poll,
            events: Events::with_capacity(64),
            upstreams: Vec::new(),
            leaving: Vec::new(),
            next_place: 0,
            set_log_level,
            incarnation: random(),
            started: Instant::now(),
            drain_ms_max: 0,
            stop_at: None,
        })
    }

    /// Waits for events, and acts on all of them; `false` once the process may end.
    fn turn(&mut self) -> io::Result<bool> {
        let timeout = Duration::from_millis(self.deadline().since(self.now()));
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        while let Some(incoming) = self.next_incoming()? {
            match incoming {
                Incoming::Message(message) => self.receive(&message)?,
                // Nobody gives this process tasks.
                Incoming::Task { .. } => {}
                Incoming::Stop => self.stop(),
                Incoming::Gone => return Ok(false),
            }
        }
        self.pipe.flush()?;
        let now = self.now();
        if self.stop_at.is_some_and(|at| at <= now) {
            self.upstreams.iter_mut().for_each(Upstream::end);
        }
        for (answered, address) in self.resolver.answers() {
            let mut all = self.upstreams.iter_mut().chain(&mut self.leaving);
            if let Some(upstream) = all.find(|one| one.place() == answered) {
                upstream.resolved(now, address, self.poll.registry());
            }
        }
        let may_read = self.pipe.unsent_bytes() < UNSENT_BYTES_MAX;
        for upstream in self.upstreams.iter_mut().chain(&mut self.leaving) {
            upstream.turn(now, may_read, &self.resolver);
            while let Some(message) = upstream.next_message() {
                self.pipe.send(&message.encode())?;
            }
        }
        self.leaving.retain(|upstream| !upstream.is_over());
        let is_over = self.upstreams.iter().all(Upstream::is_over) && self.leaving.is_empty();
        Ok(self.stop_at.is_none() || !is_over)
    }

    /// Takes the next message of the gateway; a Stop, which comes again and again, only once.
    fn next_incoming(&mut self) -> io::Result<Option<Incoming>> {
        let incoming = self.pipe.try_receive()?;
        let is_known = incoming == Some(Incoming::Stop) && self.stop_at.is_some();
        Ok(incoming.filter(|_| !is_known))
    }

    fn receive(&mut self, message: &[u8]) -> io::Result<()> {
        let now = self.now();
        match ToPush::decode(message) {
            Some(ToPush::Begin(assignment)) if assignment.incarnation == self.incarnation => {
                let begun = FromPush::Begun {
                    number: assignment.number,
                };
                self.begin(now, assignment);
                self.pipe.send(&begun.encode())?;
            }
            Some(ToPush::Page(page)) if page.incarnation == self.incarnation => {
                for upstream in &mut self.upstreams {
                    upstream.update_outbox(page.kept);
                }
                let mut upstreams = self.upstreams.iter_mut();
                if let Some(upstream) = upstreams.find(|one| one.number() == page.upstream) {
                    upstream.feed(now, page.after, page.messages);
                }
            }
            // The message is for an incarnation that died.
            Some(_) => {}
            None => tracing::error!("the gateway sent something that is no message"),
        }
        Ok(())
    }

    /// Takes an assignment. An upstream of the one before whose address, key and settings are equal stays
    /// as it is, link and all.
    fn begin(&mut self, now: Tick, assignment: Assignment) {
        if !assignment.log_level.is_empty() {
            (self.set_log_level)(&assignment.log_level);
        }
        let identity = LinkIdentity {
            producer: assignment.producer.into(),
            name: assignment.name.into(),
        };
        self.drain_ms_max = assignment.drain_ms_max;
        let mut before = std::mem::take(&mut self.upstreams);
        for (number, target) in assignment.targets {
            let goes_by = UpstreamPlan {
                number,
                target,
                identity: identity.clone(),
                settings: assignment.settings,
            };
            let stays = before.iter().position(|one| *one.plan() == goes_by);
            self.upstreams.push(match stays {
                Some(at) => before.swap_remove(at),
                None => {
                    let place = self.next_place;
                    self.next_place += 1;
                    let same = before.iter().find(|one| one.number() == number);
                    let counted = same.map(Upstream::counted).unwrap_or_default();
                    Upstream::new(now, place, goes_by, (assignment.kept, counted))
                }
            });
        }
        for mut upstream in before {
            tracing::info!(
                upstream = upstream.url(),
                "the link ends, by other settings"
            );
            upstream.leave();
            self.leaving.push(upstream);
        }
        for upstream in &mut self.upstreams {
            upstream.update_outbox(assignment.kept);
            if self.stop_at.is_some() {
                upstream.drain();
            }
        }
    }

    fn stop(&mut self) {
        tracing::info!("the push process stops once everything that it has is acknowledged");
        self.stop_at = Some(self.now().after(self.drain_ms_max));
        self.upstreams.iter_mut().for_each(Upstream::drain);
    }

    /// Writes the last messages to the gateway before this process ends.
    fn farewell(mut self) -> io::Result<()> {
        for upstream in &self.upstreams {
            tracing::info!(
                upstream = upstream.url(),
                held = upstream.held(),
                "the push process ends; the messages that it held are still in the outbox"
            );
        }
        while self.pipe.unsent_bytes() > 0 {
            self.poll.poll(&mut self.events, None)?;
            self.pipe.flush()?;
        }
        Ok(())
    }

    fn deadline(&self) -> Tick {
        let all = self.upstreams.iter().chain(&self.leaving);
        let upstreams = all.map(Upstream::deadline);
        // A minute instead of never: a poll counts in whole milliseconds of an `i32`.
        let latest = self.now().after(60_000);
        upstreams.chain(self.stop_at).fold(latest, Tick::min)
    }

    fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }
}
