//! The time of one call.

use crate::base::Tick;

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Time since the server's start, which all bounds are measured with.
    pub tick: Tick,
    /// Unix milliseconds, which are only written into messages.
    pub unix_ms: u64,
}
