//! The pieces of the long work of a store: what a caller learns of one, and its bounds.

/// Whether a store has long work to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// There is no such work.
    Nothing,
    /// A piece was done, and there may be another.
    More,
    /// The work goes on when the disk has done something, in some milliseconds.
    Waits,
}

/// The bounds of one piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Records that are written, channels that are visited.
    pub(super) records: usize,
    /// Bytes that are copied.
    pub(super) bytes: u64,
}

/// Records and bytes that were committed since the last piece.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Committed {
    pub(super) records: usize,
    pub(super) bytes: u64,
}
