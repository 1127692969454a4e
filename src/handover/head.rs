//! What a handover says about the image that wrote it.

use super::error::HandoverError;
use super::record_reader::RecordReader;
use super::record_writer::RecordWriter;
use crate::base::Tick;

/// The image that wrote a handover, and its clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandoverHead {
    /// The version of the program.
    pub program: String,
    /// The process, which is the reader's own unless the handover is only tried.
    pub pid: u32,
    /// The moment at which the clock of the server stood; the next image goes on from it.
    pub tick: Tick,
    /// The serial number behind which all connections of the next image have theirs.
    pub serials_from: u64,
}

impl HandoverHead {
    pub(super) fn write(&self, record: &mut RecordWriter<'_>) {
        record.text(&self.program);
        record.u64(self.pid.into());
        record.tick(self.tick);
        record.u64(self.serials_from);
    }

    pub(super) fn read(record: &mut RecordReader<'_>) -> Result<Self, HandoverError> {
        Ok(Self {
            program: record.text()?.to_owned(),
            pid: record.u32()?,
            tick: record.tick()?,
            serials_from: record.u64()?,
        })
    }
}
