//! The next segment, while it is made.

use std::io;

use crossbeam_channel::Receiver;

use super::location::Relocation;
use super::segment::SealedSegments;
use super::segment_draft::SegmentDraft;
use super::snapshot::Walk;
use super::tail::Tail;

/// How far a rollover has come.
#[derive(Debug)]
pub(super) enum Rollover {
    /// The oldest segments are let go first, up to this one; the next channel to visit.
    LettingGo { through: u32, next_channel: usize },
    /// The next segment is written.
    Writing(Box<NextSegment>),
}

/// The segment that is going to be the active one.
#[derive(Debug)]
pub(super) struct NextSegment {
    pub(super) draft: SegmentDraft,
    pub(super) walk: Walk,
    /// The segments that the next one can't do without, with the active one up to the tail.
    pub(super) needed: SealedSegments,
    pub(super) tail: Tail,
    pub(super) tail_syncs: u32,
    /// The sync of the next segment that is under way.
    pub(super) sync: Option<Receiver<io::Result<()>>>,
    /// The sync of the active one up to the tail, where that wasn't durable.
    pub(super) active_sync: Option<Receiver<io::Result<()>>>,
}

/// The outcome of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    More,
    /// There is nothing to do before a sync is over.
    Waits,
    Done,
}

/// The messages of a tail whose locations are those in the segment before still.
#[derive(Debug, Default)]
pub(super) struct Relocations {
    /// The segment that they are in, and the position at which its tail begins.
    pub(super) from: (u32, u64),
    pub(super) to: u32,
    pub(super) waiting: Vec<Relocation>,
}

impl Relocations {
    /// Whether each message is known to be where it is.
    pub(super) fn are_done(&self) -> bool {
        self.waiting.is_empty()
    }
}
