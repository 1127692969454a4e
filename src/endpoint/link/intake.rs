//! One link of a gateway, seen from the server, as a pure state machine: which numbers are taken,
//! and what is answered.
//!
//! Nothing here opens a socket, publishes or takes a lock. A number that [`Intake::judge`] lets in
//! is given to be published, and [`Intake::done`] is told what became of it, in the same order.
//!
//! Invariants:
//! - Numbers are let in one behind the other: a hole is the gateway's mistake, never a loss.
//! - `pub_ack` is said of nothing that isn't durable, nor of anything before which something isn't.

use std::sync::Arc;

use super::LinkRefusal;
use super::frame::{self, Violation};
use super::sequenced::{SendAttempt, Sequenced};

/// The fate of a message that a gateway sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkJudgement {
    /// It is to be published.
    Take,
    /// It was settled before; the gateway doesn't know it yet.
    Settled {
        /// Everything up to here is.
        mark: u64,
    },
    /// It is on its way already, or stands behind one that there was no room for.
    Drop,
}

/// A link that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opened {
    /// The number that is taken next.
    pub(super) next: u64,
    /// The gateway has let go of what the mark asks for.
    pub(super) has_jumped: bool,
}

/// One link of a gateway.
#[derive(Debug, Default)]
pub(super) enum Intake {
    /// Not a word yet.
    #[default]
    New,
    /// Messages may come.
    Open(Open),
    /// The gateway has another link.
    Ended,
}

#[derive(Debug)]
pub(super) struct Open {
    producer: Arc<str>,
    /// Everything up to here is durable, and told.
    settled: u64,
    /// Everything up to here was let in.
    given: u64,
    flow: Flow,
    attempt: SendAttempt,
}

/// Whether there is room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// As far as is known.
    Free,
    /// There was none for the next number, and the gateway is to be told once all before it are
    /// settled: one of those may yet turn out to be the first that there is no room for.
    Refused { after_ms: u64 },
    /// The gateway is told. Until the next number comes again, what comes is what was on its way
    /// behind it.
    Told,
}

impl Intake {
    /// Whether the gateway may say who it is.
    pub(super) fn may_open(&self) -> Result<(), Violation> {
        match self {
            Self::New => Ok(()),
            Self::Open(_) => Err(Violation("open comes once".into())),
            Self::Ended => Err(ended()),
        }
    }

    /// The gateway says who it is, and the oldest number that it has; `mark` is what we have.
    pub(super) fn open(
        &mut self,
        producer: Arc<str>,
        first: u64,
        mark: u64,
    ) -> Result<Opened, Violation> {
        self.may_open()?;
        let settled = mark.max(first - 1);
        *self = Self::Open(Open {
            producer,
            settled,
            given: settled,
            flow: Flow::Free,
            attempt: SendAttempt::default(),
        });
        Ok(Opened {
            next: settled + 1,
            has_jumped: mark < first - 1,
        })
    }

    /// Another link of the same producer is there.
    pub(super) fn end(&mut self) {
        *self = Self::Ended;
    }

    /// Decides about a message, and gives its number with the attempt that it belongs to.
    pub(super) fn judge(&mut self, n: u64) -> Result<(LinkJudgement, Sequenced), Violation> {
        let open = match self {
            Self::Open(open) => open,
            Self::New => return Err(Violation("open has to come before pub".into())),
            Self::Ended => return Err(ended()),
        };
        let next = open.given + 1;
        let is_expected = n == next && !matches!(open.flow, Flow::Refused { .. });
        let judged = if is_expected {
            open.given = n;
            if open.flow == Flow::Told {
                open.flow = Flow::Free;
                open.attempt = SendAttempt::default();
            }
            LinkJudgement::Take
        } else if n <= open.settled {
            let mark = open.settled;
            LinkJudgement::Settled { mark }
        } else if n < next || open.flow != Flow::Free {
            LinkJudgement::Drop
        } else {
            let message = format!("n is {n}, but {next} has to come next");
            return Err(Violation(message));
        };
        let sequenced = Sequenced {
            producer: Arc::clone(&open.producer),
            n,
            attempt: open.attempt.clone(),
        };
        Ok((judged, sequenced))
    }

    /// What the gateway is told now that this became of a number that was let in.
    pub(super) fn done(&mut self, n: u64, outcome: Result<(), LinkRefusal>) -> Vec<String> {
        let mut told = Vec::new();
        let Self::Open(open) = self else {
            return told;
        };
        // Given before a refusal, and so given back with it.
        if n > open.given || n <= open.settled {
            return told;
        }
        match outcome {
            Ok(()) => {
                debug_assert_eq!(n, open.settled + 1, "in order");
                open.settled = n;
                told.push(frame::pub_ack(n));
            }
            Err(LinkRefusal::Final(code)) => {
                debug_assert_eq!(n, open.settled + 1, "in order");
                open.settled = n;
                told.push(frame::pub_err(n, code));
            }
            Err(LinkRefusal::Busy { after_ms }) => {
                open.given = n - 1;
                open.flow = Flow::Refused { after_ms };
            }
        }
        if let Flow::Refused { after_ms } = open.flow
            && open.settled == open.given
        {
            open.flow = Flow::Told;
            told.push(frame::pub_busy(after_ms));
        }
        told
    }
}

fn ended() -> Violation {
    Violation("another link of this outbox is open".into())
}
