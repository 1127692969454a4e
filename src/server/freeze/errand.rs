//! The errand of a freeze: what is done while all stands still, and who is told how it went.

use std::fmt;
use std::time::Duration;

use super::frozen::FrozenServer;
use crate::net::freeze::UnansweredRequest;

/// A step of a freeze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreezeStep {
    /// The reactors take nothing in any more, and tell nothing.
    Hush,
    /// Requests that were handed on are answered.
    Settle,
    /// The processes aren't looked at, and the callbacks rest.
    Rest,
    /// The part of this number rests.
    Part(usize),
    /// Calls of foreign threads wait, and the reactors stand still.
    Still,
}

impl FreezeStep {
    /// The point of the program at which a test may have the step wait.
    pub(super) fn point(self) -> &'static str {
        match self {
            Self::Hush => "freeze.hush",
            Self::Settle => "freeze.settle",
            Self::Rest => "freeze.rest",
            Self::Part(_) => "freeze.part",
            Self::Still => "freeze.still",
        }
    }
}

/// The lengths of a freeze's steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreezeTimes {
    /// The time that each step took.
    pub steps: Vec<(FreezeStep, Duration)>,
    /// The time for which nothing was written: from the beginning of the last step to the thaw.
    pub stood: Duration,
    /// The whole time, in which nothing was read.
    pub whole: Duration,
}

/// The one that a freeze was taken back for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FreezeHolder {
    /// A reactor that doesn't come to its commands.
    Reactor(usize),
    /// A request that isn't answered.
    Request(UnansweredRequest),
    /// A worker whose callback doesn't return.
    Worker(usize),
    /// A part that isn't at rest.
    Part(&'static str),
}

impl fmt::Display for FreezeHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reactor(number) => write!(f, "reactor {number}, whose turn doesn't end"),
            Self::Request(UnansweredRequest { fd, age_ms }) => write!(
                f,
                "a request of connection {fd}, which was unanswered for {age_ms} ms when this began"
            ),
            Self::Worker(number) => write!(f, "worker {number}, whose callback doesn't return"),
            Self::Part(name) => f.write_str(name),
        }
    }
}

/// The reason why a freeze was taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreezeError {
    /// Another one is under way.
    #[error("another freeze is under way")]
    Busy,
    /// The server stops, or has ended.
    #[error("the server stops")]
    Stops,
    /// It took longer than it may.
    #[error("not everything came to rest within {ms} ms: it waited for {holder}")]
    Late {
        /// The time that it may take, in milliseconds.
        ms: u64,
        /// The first of those that were waited for.
        holder: FreezeHolder,
    },
    /// What was to be done has panicked.
    #[error("what was to be done while all stands still has panicked")]
    Panicked,
}

type AtStep = Box<dyn FnMut(FreezeStep) + Send>;
type WhileStill = Box<dyn FnOnce(&mut FrozenServer<'_>) + Send>;
type Ended = Box<dyn FnOnce(Result<FreezeTimes, FreezeError>) + Send>;

/// What a freeze is for.
pub struct FreezeErrand {
    /// Called before each step, for tests.
    pub(super) at_step: AtStep,
    pub(super) while_still: WhileStill,
    pub(super) ended: Ended,
}

impl fmt::Debug for FreezeErrand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreezeErrand").finish_non_exhaustive()
    }
}

impl FreezeErrand {
    /// Makes an errand: `while_still` is called while all stands still, and `ended` after the thaw; both
    /// on the main thread.
    #[must_use]
    pub fn new(
        while_still: impl FnOnce(&mut FrozenServer<'_>) + Send + 'static,
        ended: impl FnOnce(Result<FreezeTimes, FreezeError>) + Send + 'static,
    ) -> Self {
        Self {
            at_step: Box::new(|_| {}),
            while_still: Box::new(while_still),
            ended: Box::new(ended),
        }
    }

    /// Has a function called on the main thread before each step.
    #[must_use]
    pub fn at_each_step(mut self, at_step: impl FnMut(FreezeStep) + Send + 'static) -> Self {
        self.at_step = Box::new(at_step);
        self
    }

    /// Ends the errand of a freeze that never begins.
    pub(in crate::server) fn refuse(self, error: FreezeError) {
        (self.ended)(Err(error));
    }
}
