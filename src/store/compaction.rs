//! Compaction: moves the last live messages out of a nearly dead segment, so that its file can go.

use std::path::Path;

use super::batch::WriteBatch;
use super::error::StoreError;
use super::files::{FileSystem, OpenMode};
use super::location::Location;
use super::log_record::{LogPlace, LogRecord, PlacedMessage};
use super::names;
use super::read_view::ReadView;
use super::scan::{RecordStep, Scan};
use super::state::StoreState;

/// Bytes that one piece reads, and one record more: a fraction of a millisecond, also where each record
/// is small.
const READ_MAX: u64 = 64 << 10;
/// Bytes that are moved at once, and those of one piece more: the commit behind them waits for their
/// write.
pub(super) const MOVED_MAX: usize = 64 << 10;

/// A segment that is being compacted.
pub(super) struct Compaction {
    number: u32,
    scan: Scan,
    /// The live records that were found, and aren't moved yet.
    pub(super) found: WriteBatch,
    /// Bytes that were read by the last piece.
    pub(super) read: u64,
}

impl std::fmt::Debug for Compaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compaction")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Compaction {
    /// Opens a sealed segment of this size.
    pub(super) fn begin(
        files: &dyn FileSystem,
        directory: &Path,
        number: u32,
        size: u64,
    ) -> Result<Self, StoreError> {
        let path = directory.join(names::segment(number));
        let file = (files.open(&path, OpenMode::Read))
            .map_err(|source| StoreError::io("open", &path, source))?;
        let mut scan = Scan::begin(file, &path, number)?;
        scan.end_at(size);
        scan.read_at_once(READ_MAX as usize);
        // The checkpoint holds no messages.
        scan.skip_to(scan.head.checkpoint_end);
        Ok(Self {
            number,
            scan,
            found: WriteBatch::default(),
            read: 0,
        })
    }

    /// Returns the number of the segment.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Reads a piece of the segment, and gathers its live records; returns whether the segment has
    /// more.
    pub(super) fn next_piece(&mut self, view: &ReadView) -> Result<bool, StoreError> {
        self.read = 0;
        let mask = view.epoch_masks().of(self.number);
        let state = view.state();
        while self.read < READ_MAX {
            match self.scan.next_record()? {
                RecordStep::Record { at, raw } => {
                    if let Ok(LogRecord::Message(message)) = LogRecord::read(raw)
                        && let Some(message) = alive(&state, self.number, at, message.masked(mask))
                    {
                        LogRecord::Message(message).write(&mut self.found);
                    }
                    self.read += raw.size() as u64;
                }
                RecordStep::End => return Ok(false),
                RecordStep::Bad { at, flaw } => {
                    return Err(StoreError::damaged(self.scan.path(), at, flaw));
                }
            }
        }
        Ok(true)
    }
}

/// Reduces a message to the places at which it is still kept, if there are any.
fn alive<'a>(
    state: &StoreState,
    segment: u32,
    at: u64,
    message: PlacedMessage<'a>,
) -> Option<PlacedMessage<'a>> {
    let is_alive = |place: &LogPlace<'_>| {
        let channel = state.channel(place.channel);
        let log = channel.map(|channel| &channel.log);
        log.filter(|log| log.epoch == place.at.epoch)
            .and_then(|log| log.location(place.at.offset))
            .is_some_and(|location: Location| location.is_at(segment, at))
    };
    let mut places = message.places().filter(is_alive);
    Some(PlacedMessage {
        first: places.next()?,
        second: places.next(),
        is_moved: true,
        opens: false,
        idempotency_key: None,
        mark: None,
        ..message
    })
}
