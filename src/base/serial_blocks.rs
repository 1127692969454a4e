//! Blocks of serial numbers: of several servers that share a register, each takes connections' names out
//! of its own ones only.

use std::fmt;
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::sync::{read, write};

/// Serial numbers of a block. Four million a reactor last for minutes at any rate of accepting, and a
/// start may waste them: there are 2^47.
pub const SERIALS_A_BLOCK: u64 = 1 << 22;

/// The blocks of serial numbers that are one server's alone, for
/// [`Builder::serial_blocks`](crate::server::Builder::serial_blocks). Each reactor goes through all
/// numbers of a block, since an [`Fd`](super::Fd) names its reactor as well.
///
/// When the first reactor is half through the last block, `runs_short` is called, once, on that reactor's
/// thread: it must not wait, but have another thread reserve a block and [`SerialBlocks::add`] it. A
/// reactor that has no number left turns connections away with 503.
pub struct SerialBlocks {
    /// The first numbers of the blocks, in their order.
    starts: RwLock<Vec<u64>>,
    /// Whether another block was asked for.
    is_asked: AtomicBool,
    runs_short: Box<dyn Fn() + Send + Sync>,
}

impl SerialBlocks {
    /// Makes the blocks of a server; each holds [`SERIALS_A_BLOCK`] numbers, and these are their first
    /// ones.
    #[must_use]
    pub fn new(
        starts: impl IntoIterator<Item = u64>,
        runs_short: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let blocks = Self {
            starts: RwLock::default(),
            is_asked: AtomicBool::new(false),
            runs_short: Box::new(runs_short),
        };
        starts.into_iter().for_each(|start| blocks.add(start));
        blocks
    }

    /// Adds a block. One that doesn't begin behind the others is left out: its numbers may have been
    /// used.
    pub fn add(&self, start: u64) {
        let mut starts = write(&self.starts);
        let end = starts.last().map_or(1, |last| last + SERIALS_A_BLOCK);
        if start >= end {
            starts.push(start);
            self.is_asked.store(false, SeqCst);
        } else {
            tracing::error!(
                start,
                end,
                "a block of serial numbers that may have been used is left out"
            );
        }
    }

    /// The first numbers of the blocks, in their order.
    #[must_use]
    pub fn starts(&self) -> Vec<u64> {
        read(&self.starts).clone()
    }

    /// Whether another block is needed.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.is_asked.load(SeqCst)
    }

    /// The numbers to go on with behind `last`: the rest of its block, or the next one.
    pub(super) fn after(&self, last: u64) -> Option<SerialBlock> {
        let starts = read(&self.starts);
        let place = starts.partition_point(|start| start + SERIALS_A_BLOCK - 1 <= last);
        let start = *starts.get(place)?;
        Some(SerialBlock {
            last: last.max(start - 1),
            end: start + SERIALS_A_BLOCK - 1,
        })
    }

    /// Asks for another block if there is none behind the one that ends so.
    pub(super) fn look_behind(&self, end: u64) {
        let has_more = read(&self.starts).last().is_some_and(|start| *start > end);
        if !has_more && !self.is_asked.swap(true, SeqCst) {
            (self.runs_short)();
        }
    }
}

impl fmt::Debug for SerialBlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let starts = self.starts();
        f.debug_struct("SerialBlocks")
            .field("starts", &starts)
            .finish_non_exhaustive()
    }
}

/// Numbers in a row: those behind `last`, up to and with `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SerialBlock {
    pub(super) last: u64,
    pub(super) end: u64,
}
