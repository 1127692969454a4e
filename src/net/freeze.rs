//! A freeze as a reactor knows it: the orders that it is given, and what it says of them.
//!
//! The orders of one freeze come in the order of [`FreezeOrder`], each with the number of the freeze,
//! through the mailbox like all commands; a thaw may follow any of them.

use crate::base::Fd;

/// An order of a freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeOrder {
    /// No connection is accepted or read, and no timer runs. Commands and writes go on, but the owner
    /// of the events is told nothing any more.
    Hush,
    /// No callback runs on the reactor's thread any more.
    Rest,
    /// What waits to be written is tried once; then the reactor stands still.
    Still,
    /// All goes on.
    Thaw,
}

/// How far a freeze has come on one reactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeProgress {
    /// The owner of the events is told nothing any more.
    Hushed {
        /// The oldest request that was handed on and isn't answered.
        unanswered: Option<UnansweredRequest>,
    },
    /// No callback runs any more.
    Rests,
}

/// A request that was handed on and isn't answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnansweredRequest {
    /// The connection that made the request.
    pub fd: Fd,
    /// Milliseconds since its connection was last at work, when the freeze began.
    pub age_ms: u64,
}
