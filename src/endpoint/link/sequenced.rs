//! A producer's numbers, and the attempt to send them that each belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers that were let in one behind the other, without a refusal in between.
///
/// Whoever refuses one of them for want of room breaks the attempt off, and takes nothing more of
/// it: else the mark would pass over a message that nobody has. When the refused number comes
/// again, a new attempt begins.
#[derive(Debug, Clone, Default)]
pub struct SendAttempt(Arc<AtomicBool>);

impl SendAttempt {
    /// Nothing more of it is to be taken.
    pub fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether nothing more of it is to be taken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A number of a producer.
#[derive(Debug, Clone)]
pub struct Sequenced {
    /// The producer whose number it is.
    pub producer: Arc<str>,
    /// The number.
    pub n: u64,
    /// The attempt in which it was sent.
    pub attempt: SendAttempt,
}
