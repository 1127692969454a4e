//! How an upgrade ended.

use std::fmt;
use std::time::Duration;

/// The end of an upgrade, which [`Handle::last_upgrade`](crate::server::Handle::last_upgrade) gives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeOutcome {
    /// This image has taken over.
    Upgraded {
        /// The version of the image before.
        from: String,
        /// The connections that were carried.
        connections: u64,
        /// The time for which nothing was read.
        pause: Duration,
    },
    /// The upgrade was refused, and everything stayed as it was.
    Refused {
        /// The reason.
        reason: String,
    },
    /// The next image could not go on, so this one does, with everything that it had.
    TakenBack {
        /// The reason.
        reason: String,
        /// The connections that were carried there and back.
        connections: u64,
        /// The time for which nothing was read.
        pause: Duration,
    },
}

impl UpgradeOutcome {
    /// Whether this image is the one that was asked for.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        matches!(self, Self::Upgraded { .. })
    }
}

impl fmt::Display for UpgradeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Upgraded {
                from,
                connections,
                pause,
            } => write!(
                f,
                "upgraded from {from}: {connections} connections, a pause of {} ms",
                pause.as_millis()
            ),
            Self::Refused { reason } => write!(f, "the program stays what it is: {reason}"),
            Self::TakenBack {
                reason,
                connections,
                pause,
            } => write!(
                f,
                "the next image could not go on, so this one does: {reason}; {connections} connections, a \
                 pause of {} ms",
                pause.as_millis()
            ),
        }
    }
}
