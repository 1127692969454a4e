//! What a link tells whoever owns its socket.

use std::fmt;

/// What happened, or is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum Event {
    /// Connect; then [`Link::connected`] or [`Link::lost`].
    Connect,
    /// The socket is to be dropped.
    Cut,
    /// The socket is to be closed with 1001, once what was taken is written. The last event.
    Close,
    /// It is open, and begins with this number.
    Opened {
        /// The number.
        next: u64,
    },
    /// It is dead; the next try comes after the pause.
    Lost {
        /// Why.
        why: Lost,
        /// In milliseconds.
        retry_ms: u64,
    },
    /// [`Link::feed`] is to be given messages behind `after`.
    Want {
        /// The number before the first one.
        after: u64,
        /// How many at the most.
        count: usize,
    },
    /// The upstream has everything up to here.
    Settled {
        /// The number.
        n: u64,
    },
    /// The upstream refused this one for good.
    Refused {
        /// The number.
        n: u64,
        /// Why.
        code: String,
    },
    /// The upstream lost its mark: it had more once than it has now.
    Jumped {
        /// What it asked for.
        from: u64,
        /// The oldest number that is still here.
        to: u64,
    },
}

/// Why a link is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::gateway) enum Lost {
    /// No connection, or not in time, or it broke; the system's words.
    Socket(String),
    /// The upstream closed it in order, with this code.
    Closed(u16),
    /// The stream ended without a Close.
    End,
    /// Nothing was heard for too long.
    Silent,
    /// The upstream broke the protocol.
    Violation(String),
    /// The upstream doesn't want it; `replaced` when another gateway has the same outbox.
    Kicked(String),
    /// The upstream's mark is beyond the outbox's newest number: this outbox is an old copy.
    OldOutbox {
        /// What the upstream asks for.
        next: u64,
        /// The newest number here.
        newest: u64,
    },
    /// The outbox has let go of what the upstream needs next.
    Trimmed,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(what) => f.write_str(what),
            Self::Closed(code) => write!(f, "the upstream closed it with {code}"),
            Self::End => f.write_str("the stream ended"),
            Self::Silent => f.write_str("nothing was heard for too long"),
            Self::Violation(what) => write!(f, "the upstream broke the protocol: {what}"),
            Self::Kicked(code) if code == "replaced" => f.write_str(
                "the upstream let another link of this outbox in: is there a copy of the outbox \
                 at another gateway?",
            ),
            Self::Kicked(code) => write!(f, "the upstream ended it: {code}"),
            Self::OldOutbox { next, newest } => write!(
                f,
                "the upstream asks for number {next}, but the newest here is {newest}: this outbox \
                 is an old copy; take a new directory"
            ),
            Self::Trimmed => f.write_str("the outbox has let go of what comes next"),
        }
    }
}
