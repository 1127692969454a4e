//! The log of somebody else that the floor of a log is compared with.

use std::path::Path;

/// A log whose records outlive the process.
pub trait DurableLog {
    /// Appends one record; it may be lost until [`Self::sync`].
    ///
    /// # Errors
    ///
    /// The log can't take it.
    fn append(&mut self) -> anyhow::Result<()>;

    /// Makes all appended records durable.
    ///
    /// # Errors
    ///
    /// They may not be.
    fn sync(&mut self) -> anyhow::Result<()>;

    /// Counts what the log has done so far.
    fn totals(&self) -> LogTotals;
}

/// What a log has done since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogTotals {
    /// Records that it keeps.
    pub records: u64,
    /// Bytes that they occupy.
    pub bytes: u64,
    /// How often the disk was asked to make bytes durable.
    pub syncs: u64,
    /// How long that took altogether, in microseconds.
    pub sync_us_sum: u64,
}

/// Opens an empty log in a directory, for records of this many bytes.
pub type OpenLog = fn(directory: &Path, record_size: usize) -> anyhow::Result<Box<dyn DurableLog>>;
