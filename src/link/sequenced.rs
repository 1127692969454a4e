//! A number of a producer, and the attempt to send it that it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers that came one behind the other, without a refusal for want of room in between.
///
/// The code that has no room for one of them breaks the attempt off, and takes nothing more of it:
/// otherwise the producer's mark would pass over a message that nobody has. When the refused number
/// comes again, a new attempt begins. Shared between the threads that a message passes, so that a
/// refusal on one of them stops the numbers that are still before another.
#[derive(Debug, Clone, Default)]
pub struct SendAttempt(Arc<AtomicBool>);

impl SendAttempt {
    /// Makes everyone who has a number of this attempt pass it over.
    pub fn break_off(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether `other` is this attempt, and not one that began after it.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether nothing more of this attempt may be taken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A number of a producer.
#[derive(Debug, Clone)]
pub struct Sequenced {
    /// The producer that counts.
    pub producer: Arc<str>,
    /// The number, from 1.
    pub n: u64,
    /// The attempt in which the number came.
    pub attempt: SendAttempt,
}
