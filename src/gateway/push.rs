//! The push process: a child of the gateway that brings messages to the upstreams.
//!
//! One thread, one poll: the pipe to the gateway, and a socket to each upstream. It keeps nothing
//! that would have to outlive it; the outbox belongs to the gateway, and what is settled is known
//! to the upstream.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::names::Names;
use super::pipe::{Begin, FromPush, ToPush};
use super::seat::Seat;
use crate::base::Tick;
use crate::link::LinkIdentity;
use crate::server::process::{Incoming, Process, ProcessPipe};

const PIPE: Token = Token(0);
const NAMES: Token = Token(1);
const SEATS_FIRST: usize = 2;

/// What may wait for the gateway, in bytes; above it nothing is read from the upstreams.
const UNSENT_BYTES_MAX: usize = 256 * 1024;

/// Is the push process: runs until the gateway says stop, and all is settled or the time is over.
///
/// # Errors
///
/// The pipe to the gateway failed.
pub fn push(process: Process) -> io::Result<()> {
    let mut push = Push::new(process.into_pipe())?;
    let hello = FromPush::Hello { life: push.life };
    push.pipe.send(&hello.encode())?;
    while push.turn()? {}
    push.farewell()
}

struct Push {
    pipe: ProcessPipe,
    poll: Poll,
    events: Events,
    names: Names,
    seats: Vec<Seat>,
    life: u64,
    started: Instant,
    drain_ms_max: u64,
    /// When a stop is over.
    stop_at: Option<Tick>,
}

impl Push {
    fn new(pipe: ProcessPipe) -> io::Result<Self> {
        let poll = Poll::new()?;
        let fd = pipe.as_fd().as_raw_fd();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&fd), PIPE, both)?;
        let waker = Arc::new(Waker::new(poll.registry(), NAMES)?);
        Ok(Self {
            pipe,
            names: Names::new(waker),
            poll,
            events: Events::with_capacity(64),
            seats: Vec::new(),
            life: super::random(),
            started: Instant::now(),
            drain_ms_max: 0,
            stop_at: None,
        })
    }

    /// Waits, and does what there is to do; `false` once there is nothing any more.
    fn turn(&mut self) -> io::Result<bool> {
        let timeout = Duration::from_millis(self.deadline().since(self.now()));
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        while let Some(incoming) = self.next_incoming()? {
            match incoming {
                Incoming::Message(message) => self.take(&message),
                // Nobody gives this process tasks.
                Incoming::Task { .. } => {}
                Incoming::Stop => self.stop(),
                Incoming::Gone => return Ok(false),
            }
        }
        self.pipe.flush()?;
        let now = self.now();
        if self.stop_at.is_some_and(|at| at <= now) {
            self.seats.iter_mut().for_each(Seat::end);
        }
        for (answered, address) in self.names.answers() {
            if let Some(seat) = self.seats.get_mut(answered) {
                seat.named(now, address, self.poll.registry());
            }
        }
        let may_read = self.pipe.unsent_bytes() < UNSENT_BYTES_MAX;
        for seat in &mut self.seats {
            seat.turn(now, may_read, &self.names);
            while let Some(message) = seat.next_message() {
                self.pipe.send(&message.encode())?;
            }
        }
        Ok(self.stop_at.is_none() || !self.seats.iter().all(Seat::is_over))
    }

    /// What the gateway gives; a Stop, which comes again and again, only once.
    fn next_incoming(&mut self) -> io::Result<Option<Incoming>> {
        let incoming = self.pipe.try_receive()?;
        let is_known = incoming == Some(Incoming::Stop) && self.stop_at.is_some();
        Ok(incoming.filter(|_| !is_known))
    }

    fn take(&mut self, message: &[u8]) {
        let now = self.now();
        match ToPush::decode(message) {
            Some(ToPush::Begin(begin)) if begin.life == self.life => self.begin(now, begin),
            Some(ToPush::Page(page)) if page.life == self.life => {
                for seat in &mut self.seats {
                    seat.outbox_is(page.kept);
                }
                if let Some(seat) = self.seats.get_mut(page.upstream) {
                    seat.feed(now, page.after, page.messages);
                }
            }
            // Meant for one that died.
            Some(_) => {}
            None => tracing::error!("the gateway sent something that is no message"),
        }
    }

    fn begin(&mut self, now: Tick, begin: Begin) {
        let identity = LinkIdentity {
            producer: begin.producer.into(),
            name: begin.name.into(),
        };
        self.drain_ms_max = begin.drain_ms_max;
        let targets = begin.targets.into_iter().enumerate();
        let seats = targets.map(|(index, target)| {
            let token = Token(SEATS_FIRST + index);
            let identity = identity.clone();
            Seat::new(
                now,
                (index, token),
                target,
                identity,
                begin.settings,
                begin.kept,
            )
        });
        self.seats = seats.collect();
    }

    fn stop(&mut self) {
        tracing::info!("the push process stops once everything that it has is settled");
        self.stop_at = Some(self.now().after(self.drain_ms_max));
        self.seats.iter_mut().for_each(Seat::stop);
    }

    /// Has the gateway know everything before this process ends.
    fn farewell(mut self) -> io::Result<()> {
        for seat in &self.seats {
            tracing::info!(
                upstream = seat.url(),
                held = seat.held(),
                "the push process leaves; what it held is in the outbox"
            );
        }
        while self.pipe.unsent_bytes() > 0 {
            self.poll.poll(&mut self.events, None)?;
            self.pipe.flush()?;
        }
        Ok(())
    }

    fn deadline(&self) -> Tick {
        let seats = self.seats.iter().map(Seat::deadline);
        // Some minutes instead of never: a poll counts in whole milliseconds of an `i32`.
        let latest = self.now().after(60_000);
        seats.chain(self.stop_at).fold(latest, Tick::min)
    }

    fn now(&self) -> Tick {
        Tick(self.started.elapsed().as_millis() as u64)
    }
}
