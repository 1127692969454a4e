//! The events of a sender, for the owner of its socket.

use std::fmt::{self, Write};

use crate::base::ForeignText;
use crate::link::wire::RefusalWords;

/// One event: something that happened, or that the owner has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SenderEvent {
    /// Make a socket, and say [`LinkSender::connected`] or [`LinkSender::lost`].
    ///
    /// [`LinkSender::connected`]: super::LinkSender::connected
    /// [`LinkSender::lost`]: super::LinkSender::lost
    Connect,
    /// Drop the socket.
    Cut,
    /// Close the socket with 1001, once all that was taken from the sender is written. The last
    /// event.
    Close,
    /// The link is open.
    Opened {
        /// The number that the receiver takes next.
        next: u64,
    },
    /// The link is dead; the next try comes after the pause.
    Lost {
        /// The reason of the loss.
        why: LinkLoss,
        /// The pause, in milliseconds.
        retry_ms: u64,
    },
    /// Read messages from the outbox, and give them to [`LinkSender::feed`].
    ///
    /// [`LinkSender::feed`]: super::LinkSender::feed
    Want {
        /// The number before the first of them.
        after: u64,
        /// The most messages that the link takes now.
        count: usize,
    },
    /// The receiver has acknowledged everything up to a number.
    Acked {
        /// The newest number that is acknowledged.
        n: u64,
    },
    /// The receiver has refused a message for good; comes before the [`SenderEvent::Acked`] that
    /// covers its number.
    Refused {
        /// The number of the message.
        n: u64,
        /// The reason.
        why: RefusalWords,
    },
    /// The receiver has lost its mark: it asked for numbers that it had acknowledged.
    Jumped {
        /// The number that it asked for.
        from: u64,
        /// The oldest number that is still in the outbox.
        to: u64,
    },
}

/// Characters of the system's words for a broken connection that are shown.
const SHOWN_MAX: usize = 200;

/// The reason why a link is dead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkLoss {
    /// No connection was made, or not in time, or it broke; in the system's words.
    Socket(String),
    /// The upstream closed the link in order, with this code.
    Closed(u16),
    /// The stream ended without a Close.
    End,
    /// Nothing was heard for too long.
    Silent,
    /// The upstream broke the protocol.
    Violation(String),
    /// The upstream doesn't want the link; `replaced` where another gateway has the same outbox.
    Kicked(String),
    /// The upstream's mark is beyond the outbox's newest number: this outbox is an old copy.
    OldOutbox {
        /// The number that the upstream asks for.
        next: u64,
        /// The newest number of this outbox.
        newest: u64,
    },
    /// The outbox has let go of the message that the upstream needs next.
    Trimmed,
}

impl fmt::Display for LinkLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The system's words, in which a library may have put what the peer sent.
            Self::Socket(what) => {
                let shown = what.chars().take(SHOWN_MAX);
                shown
                    .flat_map(char::escape_debug)
                    .try_for_each(|one| f.write_char(one))
            }
            Self::Closed(code) => write!(f, "the upstream closed it with {code}"),
            Self::End => f.write_str("the stream ended"),
            Self::Silent => f.write_str("nothing was heard for too long"),
            Self::Violation(what) => {
                write!(f, "the upstream broke the protocol: {}", ForeignText(what))
            }
            Self::Kicked(code) if code == "replaced" => f.write_str(
                "the upstream let another link of this outbox in: is there a copy of the outbox \
                 at another gateway?",
            ),
            Self::Kicked(code) => write!(f, "the upstream ended it: {}", ForeignText(code)),
            Self::OldOutbox { next, newest } => write!(
                f,
                "the upstream asks for number {next}, but the newest here is {newest}: this outbox \
                 is an old copy; take a new directory"
            ),
            Self::Trimmed => f.write_str("the outbox has let go of what comes next"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_broken_connection_stay_on_their_line() {
        let plain = "Connection refused (os error 111)";
        assert_eq!(LinkLoss::Socket(plain.into()).to_string(), plain);
        let forged = format!("x\n2026-01-01 ERROR\u{1b}[2J{}", "y".repeat(10_000));
        let shown = LinkLoss::Socket(forged).to_string();
        assert!(!shown.contains(char::is_control), "{shown}");
        assert!(shown.len() < 250, "{shown}");
    }
}
