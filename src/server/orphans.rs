//! The orphans of a container, whose first process has to reap them.
//!
//! The kernel makes them children of the first process's main thread. So that thread alone reaps what it
//! finds among its own children, and what other threads have started is left to those. The status of
//! a supervised process is handed to whoever supervises it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{WaitOptions, wait};

/// `__WNOTHREAD` of `waitpid(2)`: children of other threads are left alone.
const NO_OTHER_THREADS: u32 = 0x2000_0000;

/// Whether this process is the first one of its container, or of the machine.
pub(super) fn is_first_process() -> bool {
    std::process::id() == 1
}

/// Reaps the dead children of this thread; `supervised` takes the status of those that it knows.
pub(super) fn reap_orphans(mut supervised: impl FnMut(u32, ExitStatus) -> bool) {
    let options = WaitOptions::NOHANG | WaitOptions::from_bits_retain(NO_OTHER_THREADS);
    // Without children it says so by an error.
    while let Ok(Some((pid, status))) = wait(options) {
        let pid = pid.as_raw_nonzero().get().unsigned_abs();
        let status = ExitStatus::from_raw(status.as_raw());
        if !supervised(pid, status) {
            tracing::debug!(pid, %status, "reaped an orphan");
        }
    }
}
