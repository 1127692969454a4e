//! Whether the disk has room.

use std::path::Path;

use super::files::FileSystem;

/// How long an answer of the system counts.
const FRESH_MS: u64 = 100;

/// What is known of the free space.
#[derive(Debug, Default)]
pub(super) struct Space {
    asked_ms: Option<u64>,
    is_low: bool,
}

impl Space {
    /// Whether less than `free_bytes_min` are free; asks the system now and then.
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
            // Where it doesn't say, the write will.
            let free = files.free_bytes(directory).unwrap_or(u64::MAX);
            self.is_low = free < free_bytes_min;
        }
        self.is_low
    }

    /// A write has found that there is none.
    pub(super) fn is_out(&mut self) {
        self.is_low = true;
    }
}
