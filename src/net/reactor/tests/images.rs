//! A reactor that goes on with the sockets of another one, and with nothing else but what that one has
//! written down.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::super::{REACTOR, Reactor, ReactorHandover};
use super::bench::{Bench, parts};
use crate::handover::{Section, SectionWriter};
use crate::net::frame_table::{FRAMES, FrameTable, HandedFrames};

/// The sections of a reactor.
pub(super) struct Written {
    pub(super) reactor: SectionWriter,
    pub(super) frames: SectionWriter,
}

impl Written {
    /// All records but the first, which has the clock and the counters.
    fn connections(&self) -> Vec<&[u8]> {
        let records = self.section().records().skip(1);
        records.map(|record| record.unwrap().rest()).collect()
    }

    pub(super) fn section(&self) -> Section<'_> {
        Section::of("reactor.0", REACTOR.version, self.reactor.as_bytes())
    }

    pub(super) fn frames(&self) -> Section<'_> {
        Section::of("frames", FRAMES.version, self.frames.as_bytes())
    }
}

impl Bench {
    /// What another image gets to know of the reactor.
    pub(super) fn written(&self) -> Written {
        let frames = FrameTable::default();
        let (mut reactor, mut shared) = (SectionWriter::new(), SectionWriter::new());
        self.reactor.hand_over(&frames, &mut reactor);
        frames.hand_over(&mut shared);
        Written {
            reactor,
            frames: shared,
        }
    }

    /// Goes on with another reactor, which has nothing but the sockets and what this one has written.
    pub(super) fn hand_over(&mut self) {
        let written = self.written();
        let sockets = self.take_sockets();
        let sink = std::mem::take(&mut self.reactor.sink);
        self.adopt(written.section(), written.frames(), |_, _| sockets);
        self.reactor.sink = sink;
        let again = self.written();
        assert_eq!(again.connections(), written.connections());
        assert_eq!(again.frames.size(), written.frames.size());
    }

    /// Goes on with a reactor that was written down, on the sockets that are given for those numbers.
    pub(super) fn adopt(
        &mut self,
        reactor: Section<'_>,
        frames: Section<'_>,
        sockets: impl FnOnce(Vec<RawFd>, &Self) -> HashMap<RawFd, OwnedFd>,
    ) {
        let (parts, mailbox) = parts(&self.limits, self.strangers_max);
        let frames = HandedFrames::read(frames, &parts.shared.budget).unwrap();
        let handover = ReactorHandover::read(reactor, &frames).unwrap();
        drop(frames);
        let mut sockets = sockets(handover.sockets().collect(), self);
        self.reactor = Reactor::adopt(parts, handover, |socket| sockets.remove(&socket).unwrap());
        self.mailbox = mailbox;
        assert!(sockets.is_empty(), "each has an owner");
    }

    /// Takes the sockets away from the reactor, by their numbers.
    fn take_sockets(&mut self) -> HashMap<RawFd, OwnedFd> {
        let slots = &mut self.reactor.slots;
        let indices = slots.indices().into_iter();
        indices
            .map(|index| std::net::TcpStream::from(slots.remove(index).socket))
            .map(|socket| (socket.as_raw_fd(), OwnedFd::from(socket)))
            .collect()
    }
}
