//! What a program of the library hands over of itself beside its server.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::handover::{Handover, HandoverError, SectionFormat, SectionWriter};

/// The section of the program.
pub(super) const PROGRAM: SectionFormat = SectionFormat {
    name: "program",
    version: 1,
    oldest_reader: 1,
};

/// A program of the library, as the next image goes on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::server) struct ProgramState {
    /// The path that the program was started by.
    pub(in crate::server) started_by: PathBuf,
    /// The moment from which nothing was read, by the monotonic clock, in microseconds.
    pub(in crate::server) stood_since_us: u64,
    /// The connections that are carried.
    pub(in crate::server) connections: u64,
    /// Whether another upgrade was asked for, and waits.
    pub(in crate::server) awaits_upgrade: bool,
    /// Whether a renewal was asked for, and waits.
    pub(in crate::server) awaits_renewal: bool,
}

impl ProgramState {
    pub(super) fn write(&self, section: &mut SectionWriter) {
        section.record(|record| {
            record.bytes(self.started_by.as_os_str().as_bytes());
            record.u64(self.stood_since_us);
            record.u64(self.connections);
            record.flag(self.awaits_upgrade);
            record.flag(self.awaits_renewal);
        });
    }

    pub(super) fn read(handover: &Handover<'_>) -> Result<Self, HandoverError> {
        let section = handover.needed(PROGRAM.name)?;
        section.check(PROGRAM.version)?;
        let record = &mut section.records().needed()?;
        Ok(Self {
            started_by: OsStr::from_bytes(record.bytes()?).into(),
            stood_since_us: record.u64()?,
            connections: record.u64()?,
            awaits_upgrade: record.flag()?,
            awaits_renewal: record.flag()?,
        })
    }
}
