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
use upstream::Upstream;

/// The name of the push process.
pub const PUSH_PROCESS: &str = "push";

const PIPE: Token = Token(0);
const RESOLVER: Token = Token(1);
const UPSTREAMS_FIRST: usize = 2;

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
    let mut push = PushProcess::new(process.into_pipe())?;
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
    incarnation: u64,
    started: Instant,
    drain_ms_max: u64,
    /// The time at which a stop is over.
    stop_at: Option<Tick>,
}

impl PushProcess {
    fn new(pipe: ProcessPipe) -> io::Result<Self> {
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
                Incoming::Message(message) => self.receive(&message),
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
            if let Some(upstream) = self.upstreams.get_mut(answered) {
                upstream.resolved(now, address, self.poll.registry());
            }
        }
        let may_read = self.pipe.unsent_bytes() < UNSENT_BYTES_MAX;
        for upstream in &mut self.upstreams {
            upstream.turn(now, may_read, &self.resolver);
            while let Some(message) = upstream.next_message() {
                self.pipe.send(&message.encode())?;
            }
        }
        Ok(self.stop_at.is_none() || !self.upstreams.iter().all(Upstream::is_over))
    }

    /// Takes the next message of the gateway; a Stop, which comes again and again, only once.
    fn next_incoming(&mut self) -> io::Result<Option<Incoming>> {
        let incoming = self.pipe.try_receive()?;
        let is_known = incoming == Some(Incoming::Stop) && self.stop_at.is_some();
        Ok(incoming.filter(|_| !is_known))
    }

    fn receive(&mut self, message: &[u8]) {
        let now = self.now();
        match ToPush::decode(message) {
            Some(ToPush::Begin(assignment)) if assignment.incarnation == self.incarnation => {
                self.begin(now, assignment)
            }
            Some(ToPush::Page(page)) if page.incarnation == self.incarnation => {
                for upstream in &mut self.upstreams {
                    upstream.update_outbox(page.kept);
                }
                if let Some(upstream) = self.upstreams.get_mut(page.upstream) {
                    upstream.feed(now, page.after, page.messages);
                }
            }
            // The message is for an incarnation that died.
            Some(_) => {}
            None => tracing::error!("the gateway sent something that is no message"),
        }
    }

    fn begin(&mut self, now: Tick, assignment: Assignment) {
        let identity = LinkIdentity {
            producer: assignment.producer.into(),
            name: assignment.name.into(),
        };
        self.drain_ms_max = assignment.drain_ms_max;
        let targets = assignment.targets.into_iter().enumerate();
        let upstreams = targets.map(|(index, target)| {
            let token = Token(UPSTREAMS_FIRST + index);
            let identity = identity.clone();
            Upstream::new(
                now,
                (index, token),
                target,
                identity,
                assignment.settings,
                assignment.kept,
            )
        });
        self.upstreams = upstreams.collect();
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
        let upstreams = self.upstreams.iter().map(Upstream::deadline);
        // A minute instead of never: a poll counts in whole milliseconds of an `i32`.
        let latest = self.now().after(60_000);
        upstreams.chain(self.stop_at).fold(latest, Tick::min)
    }

    fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }
}
