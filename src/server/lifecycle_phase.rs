//! The steps of a server's end.

use std::time::Instant;

/// The steps of a server's end, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LifecyclePhase {
    Running,
    /// A stop is told, and new work is still taken; the draining begins at the moment.
    Announcing(Instant),
    /// The reactors answer and close; at the deadline they are told to cut.
    Draining(Instant),
    /// The reactors cut; at the deadline they are left behind.
    Cutting(Instant),
    /// The processes finish their tasks; the supervisor has their deadline.
    Finishing,
    /// The workers run what is in their queues; at the deadline they are left behind.
    Joining(Instant),
    Done,
}

impl LifecyclePhase {
    /// Whether the reactors have their connections still.
    pub(super) fn has_reactors(self) -> bool {
        matches!(
            self,
            Self::Running | Self::Announcing(_) | Self::Draining(_) | Self::Cutting(_)
        )
    }

    /// The moment at which the step is over, whatever has been done by then.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Announcing(at) | Self::Draining(at) | Self::Cutting(at) | Self::Joining(at) => {
                Some(at)
            }
            Self::Running | Self::Finishing | Self::Done => None,
        }
    }
}
