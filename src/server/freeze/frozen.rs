//! The server while all of it stands still.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Instant;

use crate::base::{Fd, Tick};
use crate::handover::SectionWriter;
use crate::net::HandedListener;
use crate::net::frame_table::FrameTable;
use crate::server::process::Supervisor;

/// One reactor that stands still.
#[derive(Debug, Default)]
pub struct FrozenReactor {
    /// What it hands over to that of another image.
    pub section: SectionWriter,
    /// The oldest version of the format whose reader understands that.
    pub oldest_reader: u16,
    /// The moment at which its clock stands.
    pub tick: Tick,
    /// The serial number of the last connection that it has accepted.
    pub last_serial: u64,
    /// The sockets of its connections.
    pub sockets: Vec<RawFd>,
    /// Its listening sockets; only reactor 0 has some.
    pub listeners: Vec<HandedListener>,
    /// Without workers: the events that wait there for their connections' turns, as a section.
    pub waiting: SectionWriter,
}

/// A server that stands still, for a function that looks at it on the main thread.
#[derive(Debug)]
pub struct FrozenServer<'a> {
    /// The number of the freeze.
    pub number: u64,
    /// The moment from which nothing was read.
    pub began: Instant,
    /// Time in which the next image has to go on, in milliseconds.
    pub thaw_ms_max: u64,
    /// The signals that wait until all goes on.
    pub signals: Vec<i32>,
    /// The reactors, by their numbers.
    pub reactors: Vec<FrozenReactor>,
    /// The frames that they share.
    pub frames: Arc<FrameTable>,
    /// The events that wait on each worker for their connections' turns, as sections.
    pub waiting: Vec<SectionWriter>,
    /// The connections that the server's user has paused.
    pub paused: Vec<Fd>,
    /// The processes, whose pipes stand at any byte.
    pub supervisor: &'a mut Supervisor,
}
