//! An edge-triggered epoll: each change of a socket is reported once, reading and writing alike.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// Events that one wait gives at most; what is ready beyond that comes with the next wait.
const EVENTS_MAX: usize = 1024;

/// An epoll that reports each change once (edge-triggered), reading and writing alike.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// An event of one socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    /// What the socket was registered with.
    pub(crate) key: usize,
    /// The peer closed its side: its last bytes and the end of the stream are found by reading on.
    pub(crate) hung_up: bool,
}

impl Poll {
    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// No descriptor is free.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Registers a socket; what is ready already is reported too.
    ///
    /// # Errors
    ///
    /// The socket is registered already.
    pub(crate) fn add(&self, socket: impl AsFd, key: usize) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(
            &self.epoll,
            socket,
            EventData::new_u64(key as u64),
            flags,
        )?)
    }

    /// Waits until a socket is ready or the time is over; gives the number of events.
    ///
    /// # Errors
    ///
    /// Only those of a broken epoll; an interruption counts as no event.
    pub(crate) fn wait(&mut self, timeout: Duration) -> io::Result<usize> {
        self.events.clear();
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(count) => Ok(count),
            Err(rustix::io::Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// The event with this index, below the number that [`Self::wait`] gave.
    pub(crate) fn ready(&self, index: usize) -> Ready {
        let event = self.events[index];
        let flags = event.flags;
        let gone = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        Ready {
            key: event.data.u64() as usize,
            hung_up: flags.intersects(gone),
        }
    }
}
