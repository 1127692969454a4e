//! The free space of the disk.

use std::path::Path;

use super::files::FileSystem;

/// Time for which an answer of the system counts, in milliseconds: at 1 GB/s, 100 MB may be written
/// meanwhile, less than the default reserve.
const FRESH_MS: u64 = 100;

/// The last answer of the system.
#[derive(Debug, Default)]
pub(super) struct FreeSpace {
    asked_ms: Option<u64>,
    is_low: bool,
}

impl FreeSpace {
    /// Whether less than `free_bytes_min` are free; asks the system when its last answer is
    /// too old.
    pub(super) fn is_low(
        &mut self,
        files: &dyn FileSystem,
        directory: &Path,
        now_ms: u64,
        free_bytes_min: u64,
    ) -> bool {
        let is_fresh = (self.asked_ms).is_some_and(|asked| now_ms.abs_diff(asked) < FRESH_MS);
        if !is_fresh {
            self.asked_ms = Some(now_ms);
            // Where the system doesn't say, the write will.
            let free = files.free_bytes(directory).unwrap_or(u64::MAX);
            self.is_low = free < free_bytes_min;
        }
        self.is_low
    }

    /// Notes that a write found the disk full.
    pub(super) fn note_full(&mut self) {
        self.is_low = true;
    }
}
