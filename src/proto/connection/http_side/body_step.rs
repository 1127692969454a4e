//! One step through the body of a request.

use crate::proto::connection::ConnectionEvent;

/// The result of one step through a body: an event, a wait for more bytes, or another step.
pub(super) enum BodyStep {
    Event(ConnectionEvent<'static>),
    Waits,
    Goes,
}

impl BodyStep {
    /// Makes the result after kept bytes were used: new input may follow them, unless none were
    /// taken.
    pub(super) fn after(taken: usize) -> Self {
        if taken > 0 { Self::Goes } else { Self::Waits }
    }
}
