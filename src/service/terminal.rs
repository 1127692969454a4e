//! The terminal that a process was started from.

use std::fs::OpenOptions;

/// Whether this process has a terminal. One that is closed takes itself away from all its processes,
/// and sends them SIGHUP.
#[must_use]
pub fn has_terminal() -> bool {
    OpenOptions::new().write(true).open("/dev/tty").is_ok()
}
