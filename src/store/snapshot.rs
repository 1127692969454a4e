//! A snapshot: the state of one moment, written down a piece at a time while the state goes on.
//!
//! A channel that changes before its piece was written is written first, as it was: only epoch and
//! offsets have to be those of the moment. Acknowledgements, openers, memberships and marks may be
//! newer: the records that changed them are read behind the snapshot, and lead to the same state
//! from there.

use std::collections::HashSet;

use super::batch::WriteBatch;

/// The part of a snapshot that is still to be written.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The index of the first channel that isn't written yet.
    pub(super) next_channel: usize,
    /// Channels from there on that have changed since the moment.
    changed: HashSet<usize, foldhash::fast::FixedState>,
    /// Their records, to be written before anything else.
    pub(super) images: WriteBatch,
}

impl Snapshot {
    /// Whether a channel is about to change that has to be written first; asked once, and noted. One
    /// that was made just now is written without messages.
    pub(super) fn is_first_change(&mut self, channel: usize) -> bool {
        channel >= self.next_channel && self.changed.insert(channel)
    }

    /// Whether the record of a channel was written before its turn.
    pub(super) fn has_written(&self, channel: usize) -> bool {
        self.changed.contains(&channel)
    }
}

/// The place at which the writing of a snapshot goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Walk {
    /// The channel of this index, or those of its acknowledgements behind this reader.
    Channels(usize, Option<Box<str>>),
    /// The memberships behind this one, of room and user.
    Members(Option<(Box<str>, Box<str>)>),
    /// The marks behind that of this producer.
    Marks(Option<Box<str>>),
    /// Everything is written.
    End,
}
