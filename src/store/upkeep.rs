//! Upkeep: the long work of a store, in pieces that are done between two batches.
//!
//! A piece is bounded by what it visits, so that nobody who stores a message waits long for it; after
//! a large batch it is larger, so that the work keeps up with those who write.

use std::time::Instant;

use super::journal::{Health, Journal};
use super::next_segment::Progress;
use super::piece::{Committed, Piece, Upkeep};

/// Records that a piece visits for each one in the batch before it: a checkpoint of a million
/// channels is written while 125,000 records come at the most.
const RECORDS_A_RECORD: usize = 8;
/// Bytes of a tail that a piece copies: a fraction of a millisecond.
const COPIED_MAX: u64 = 256 << 10;
/// Bytes that it copies for each one in the batch before it, so that a tail gets shorter.
const COPIED_A_BYTE: u64 = 4;

impl Journal {
    /// Returns the bounds of the next piece.
    pub(super) fn piece(&self) -> Piece {
        let Committed { records, bytes } = self.maintenance.committed;
        Piece {
            records: self.settings.upkeep_records_max.max(1) + RECORDS_A_RECORD * records,
            bytes: COPIED_MAX + COPIED_A_BYTE * bytes,
        }
    }

    /// Does one piece of the long work that was begun.
    pub(super) fn run_piece(&mut self) -> Upkeep {
        if let Health::Failed { .. } = self.health {
            return Upkeep::Nothing;
        }
        let begun = Instant::now();
        let done = self.next_piece();
        if done == Upkeep::More {
            self.view.counters.note_upkeep(begun.elapsed());
        }
        self.maintenance.committed = Committed::default();
        done
    }

    fn next_piece(&mut self) -> Upkeep {
        let mut idle = Upkeep::Nothing;
        if self.rollover.is_some() {
            match self.roll_piece() {
                Ok(Progress::More | Progress::Done) => return Upkeep::More,
                Ok(Progress::Waits) => idle = Upkeep::Waits,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a new segment can't be made; the present one goes on"
                    );
                    return Upkeep::Nothing;
                }
            }
        }
        let records = self.piece().records;
        if self.relocate(records) || self.expire_piece() || self.retain_piece() || self.compact_on()
        {
            return Upkeep::More;
        }
        idle
    }
}
