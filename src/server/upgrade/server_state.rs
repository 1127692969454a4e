//! The listening sockets of a server in a handover, and the signals that it hasn't heeded yet.

use std::os::fd::RawFd;
use std::time::Duration;

use crate::handover::{Handover, HandoverError, RecordReader, SectionFormat, SectionWriter};
use crate::net::HandedListener;
use crate::server::settings::THAW_MS_MAX;

/// The section of the server.
pub const SERVER: SectionFormat = SectionFormat {
    name: "server",
    version: 3,
    oldest_reader: 1,
};

/// What the main thread of a server hands over.
#[derive(Debug)]
pub(super) struct ServerState {
    pub(super) listeners: Vec<HandedListener>,
    pub(super) signals: Vec<i32>,
    /// Time in which the next image has to go on, in milliseconds.
    pub(super) thaw_ms_max: u64,
}

impl ServerState {
    pub(super) fn write(&self, section: &mut SectionWriter) {
        section.record(|record| {
            record.list(self.listeners.iter(), |record, listener| {
                record.u64(u64::from(listener.number.unsigned_abs()));
            });
            record.list(self.signals.iter(), |record, signal| {
                record.u64(u64::from(signal.unsigned_abs()));
            });
            record.u64(self.thaw_ms_max);
            // Of each listener, in their order.
            record.list(self.listeners.iter(), |record, listener| {
                record.optional(listener.identity, |record, (device, inode)| {
                    record.u64(device);
                    record.u64(inode);
                });
            });
        });
    }

    pub(super) fn read(handover: &Handover<'_>) -> Result<Self, HandoverError> {
        let section = handover.needed(SERVER.name)?;
        section.check(SERVER.version)?;
        let record = &mut section.records().needed()?;
        let listeners = record.list(|record| {
            let number = record.u32()?;
            let number = RawFd::try_from(number);
            let number = number.map_err(|_| record.refuse("no descriptor has that number"))?;
            let identity = None;
            Ok(HandedListener { number, identity })
        });
        let mut listeners = listeners?;
        let signals = record.list(|record| Ok(i32::from(record.u8()?)))?;
        // Since version 2.
        let thaw_ms_max = record.or(THAW_MS_MAX, RecordReader::u64)?;
        // Since version 3.
        let identities = record.or(Vec::new(), |record| {
            record.list(|record| record.optional(|record| Ok((record.u64()?, record.u64()?))))
        })?;
        for (listener, identity) in listeners.iter_mut().zip(identities) {
            listener.identity = identity;
        }
        Ok(Self {
            listeners,
            signals,
            thaw_ms_max,
        })
    }
}

/// The time in which the image that was handed this has to go on.
pub(super) fn thaw_max(handover: &Handover<'_>) -> Duration {
    // One that can't be read is refused in that time.
    let state = ServerState::read(handover);
    Duration::from_millis(state.map_or(THAW_MS_MAX, |state| state.thaw_ms_max))
}
