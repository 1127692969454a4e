//! The tail of a segment: the records that came after the snapshot for the next one was begun. They
//! are copied behind it, so that a start finds them in their order.

use std::sync::Arc;

use super::batch::BATCH_SIZE;
use super::checkpoint::CheckpointWriter;
use super::error::StoreError;
use super::location::Relocation;
use super::log_record::LogRecord;
use super::raw_record::raw_records;
use super::scan::{Scan, ScanStep};
use super::segment::ActiveSegment;
use super::state::StoreState;

/// The tail of the active segment, as far as it was copied.
pub(super) struct Tail {
    /// Begins with the first record of the tail; most states are written before one comes.
    scan: Option<Scan>,
    /// The position at which the tail begins.
    pub(super) from: u64,
    /// The position up to which it was copied.
    pub(super) copied: u64,
    /// The time of the last copied message with an idempotency key, in Unix milliseconds.
    pub(super) repeatable_ms: Option<u64>,
    /// The messages that were copied.
    pub(super) relocations: Vec<Relocation>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail")
            .field("from", &self.from)
            .field("copied", &self.copied)
            .finish_non_exhaustive()
    }
}

impl Tail {
    /// Begins a tail at this position of the active segment.
    pub(super) fn new(from: u64) -> Self {
        Self {
            scan: None,
            from,
            copied: from,
            repeatable_ms: None,
            relocations: Vec::new(),
        }
    }

    /// Copies batches up to the active segment's present end, but not many more than `bytes_max`
    /// bytes.
    ///
    /// # Errors
    ///
    /// What was written isn't there, or the copy can't be written.
    pub(super) fn copy_piece(
        &mut self,
        active: &ActiveSegment,
        bytes_max: u64,
        state: &StoreState,
        writer: &mut CheckpointWriter,
    ) -> Result<(), CopyError> {
        let scan = match &mut self.scan {
            Some(scan) => scan,
            none => {
                let file = Arc::clone(&active.file);
                let scan = Scan::begin(file, &active.path, active.head.number);
                let scan = none.insert(scan.map_err(CopyError::Read)?);
                scan.skip_to(self.from);
                scan
            }
        };
        scan.end = active.end;
        let until = self.copied.saturating_add(bytes_max);
        while self.copied < until {
            let (at, head, body) = match scan.step().map_err(CopyError::Read)? {
                ScanStep::Batch { at, head, body } => (at, head, body),
                ScanStep::End => break,
                ScanStep::Bad { at, flaw, .. } => {
                    let damaged = StoreError::damaged(&active.path, at, flaw);
                    return Err(CopyError::Read(damaged));
                }
            };
            self.copied = at + (BATCH_SIZE + body.len()) as u64;
            if head.records == 0 {
                continue;
            }
            let batch = &mut writer.batch;
            batch.set_time(head.at_ms);
            let begin = writer.at;
            for (_, raw) in raw_records(body) {
                let at = begin + batch.size() as u64;
                batch.push_raw(raw);
                if let Ok(LogRecord::Message(message)) = LogRecord::read(raw) {
                    if message.idempotency_key.is_some() && !message.is_moved {
                        self.repeatable_ms = Some(head.at_ms);
                    }
                    self.relocations
                        .extend(message.places().filter_map(|place| {
                            let (channel, _) = state.find(place.channel)?;
                            let position = place.at;
                            Some(Relocation {
                                channel,
                                position,
                                at,
                            })
                        }));
                }
            }
            writer.flush().map_err(CopyError::Write)?;
        }
        Ok(())
    }
}

/// The reason why a tail can't be copied.
#[derive(Debug)]
pub(super) enum CopyError {
    Read(StoreError),
    Write(std::io::Error),
}
