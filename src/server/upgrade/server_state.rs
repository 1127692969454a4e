//! The listening sockets of a server in a handover, and the signals that it hasn't heeded yet.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::handover::{Handover, HandoverError, RecordReader, SectionFormat, SectionWriter};
use crate::server::settings::THAW_MS_MAX;

/// The section of the server.
pub const SERVER: SectionFormat = SectionFormat {
    name: "server",
    version: 2,
    oldest_reader: 1,
};

/// What the main thread of a server hands over.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) listeners: Vec<RawFd>,
    pub(super) signals: Vec<i32>,
    /// Time in which the next image has to go on, in milliseconds.
    pub(super) thaw_ms_max: u64,
}

impl ServerState {
    pub(super) fn write(&self, section: &mut SectionWriter) {
        section.record(|record| {
            record.list(self.listeners.iter(), |record, number| {
                record.u64(u64::from(number.unsigned_abs()));
            });
            record.list(self.signals.iter(), |record, signal| {
                record.u64(u64::from(signal.unsigned_abs()));
            });
            record.u64(self.thaw_ms_max);
        });
    }

    pub(super) fn read(handover: &Handover<'_>) -> Result<Self, HandoverError> {
        let section = handover.needed(SERVER.name)?;
        section.check(SERVER.version)?;
        let record = &mut section.records().needed()?;
        let listeners = record.list(|record| {
            let number = record.u32()?;
            RawFd::try_from(number).map_err(|_| record.refuse("no descriptor has that number"))
        });
        let listeners = listeners?;
        let signals = record.list(|record| Ok(i32::from(record.u8()?)))?;
        Ok(Self {
            listeners,
            signals,
            // Since version 2.
            thaw_ms_max: record.or(THAW_MS_MAX, RecordReader::u64)?,
        })
    }
}

/// The time in which the image that was handed this has to go on.
pub(super) fn thaw_max(handover: &Handover<'_>) -> Duration {
    // One that can't be read is refused in that time.
    let state = ServerState::read(handover);
    Duration::from_millis(state.map_or(THAW_MS_MAX, |state| state.thaw_ms_max))
}
