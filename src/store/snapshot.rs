//! A snapshot: the state of one moment, written down a piece at a time while the state goes on.
//!
//! A channel that changes before its piece was written is written first, as it was: only epoch and
//! offsets have to be those of the moment. Acknowledgements, openers, memberships and marks may be
//! newer: the records that changed them are read behind the snapshot, and lead to the same state
//! from there.

use std::collections::HashMap;

use super::batch::WriteBatch;

/// The part of a snapshot that is still to be written.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// The index of the first channel that isn't written yet.
    pub(super) next_channel: usize,
    /// Channels from there on that have changed since the moment.
    seen: HashMap<usize, Seen, foldhash::fast::FixedState>,
    /// The records of those that were there at the moment, to be written before anything else.
    pub(super) images: WriteBatch,
}

/// What a snapshot knows of a channel that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Its epoch and its offsets are among the images.
    Written,
    /// It was made after the moment.
    New,
}

impl Snapshot {
    /// Whether a channel is about to change that has to be written first; asked once, and noted.
    pub(super) fn is_first_change(&mut self, channel: usize) -> bool {
        if channel < self.next_channel || self.seen.contains_key(&channel) {
            return false;
        }
        self.seen.insert(channel, Seen::Written);
        true
    }

    /// Notes a channel that is made now.
    pub(super) fn note_new(&mut self, channel: usize) {
        if channel >= self.next_channel {
            self.seen.insert(channel, Seen::New);
        }
    }

    /// Returns what is known of a channel that has changed.
    pub(super) fn seen(&self, channel: usize) -> Option<Seen> {
        self.seen.get(&channel).copied()
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
