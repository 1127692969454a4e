//! The floor of a log: a file that is written at its end and synced, and truncated when it is long.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes after which the file is truncated, as a log begins its next file there.
const FILE_SIZE_MAX: u64 = 64 << 20;

/// The file; it has no name, so that nothing is left of it at the end.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    at: u64,
}

impl LogFile {
    /// Begins one in an existing directory on the disk in request.
    ///
    /// # Errors
    ///
    /// No file can be made there.
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let thread = rustix::thread::gettid().as_raw_nonzero();
        let path = directory.join(format!("raw-log-{thread}.tmp"));
        let file = File::options().write(true).create_new(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(Self { file, at: 0 })
    }

    /// Writes `bytes` at the end, and waits until they are on disk.
    ///
    /// # Errors
    ///
    /// They may not be.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at >= FILE_SIZE_MAX {
            self.file.set_len(0)?;
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
