//! The receiving end of a link as a pure state machine: it decides which numbers are let in, and
//! what the sender is told.
//!
//! Nothing here opens a socket, publishes or takes a lock. The owner reads each text as a
//! [`SenderFrame`] and gives it to [`LinkReceiver::receive`]; a message that comes out is to be
//! published, and [`LinkReceiver::complete`] is told the outcome, in the order of the numbers. An
//! [`Received::Open`] asks for [`LinkReceiver::open`] with the durable mark of that producer.
//!
//! Invariants:
//! - Numbers are let in one behind the other: a hole is the sender's mistake, never a loss.
//! - `pub_ack` is said of nothing that isn't durable, nor of anything before which something isn't.

mod handover;

use std::borrow::Cow;
use std::sync::Arc;

use super::sequenced::{SendAttempt, Sequenced};
use super::wire::{SenderFrame, Violation, pub_ack, pub_busy, pub_err};
use crate::api::Posting;
use crate::api::refusal::Refusal;

/// Largest number that a link may begin with: all programs can read it, and counting on from there,
/// in parts too, never comes to an end.
const FIRST_MAX: u64 = 1 << 53;

/// Why a message of a gateway isn't taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkRefusal {
    /// For good. Its number is acknowledged by the refusal, as durably as that of a message that
    /// was taken.
    Final(Refusal),
    /// There is no room just now, neither for this message nor for any behind it.
    Busy {
        /// Time after which there may be room, in milliseconds.
        after_ms: u64,
    },
}

/// The thing that the owner of a link has to do about a frame.
#[derive(Debug)]
pub enum Received<'a> {
    /// Answer [`super::wire::PONG`].
    Ping,
    /// Look up the producer's mark, and call [`LinkReceiver::open`].
    Open {
        /// The producer whose numbers follow.
        producer: Cow<'a, str>,
        /// The gateway's name, for people.
        name: Cow<'a, str>,
        /// The oldest number that the sender still has.
        first: u64,
    },
    /// Publish the message, and call [`LinkReceiver::complete`] with the outcome.
    Publish {
        /// The number of the message, and the attempt in which it came.
        sequenced: Sequenced,
        /// The message as it was posted.
        posting: Posting<'a>,
    },
    /// Move the producer's mark to this number without a message, and call
    /// [`LinkReceiver::complete`] with the refusal: the message can't be read.
    Refuse {
        /// The number of the message, and the attempt in which it came.
        sequenced: Sequenced,
        /// The reason.
        refusal: Refusal,
    },
    /// Say this acknowledgement again, if there is one: the number was let in before.
    Repeat {
        /// The acknowledgement; `None` while the number is on its way, or stands behind one that
        /// there was no room for.
        ack: Option<String>,
    },
}

/// The place from which a link begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkOpened {
    /// The number that is taken next.
    pub next: u64,
    /// Whether the sender no longer has the number that comes behind the mark.
    pub has_jumped: bool,
}

/// The receiving end of one link.
#[derive(Debug, Default)]
pub enum LinkReceiver {
    /// The sender hasn't opened the link yet.
    #[default]
    New,
    /// Messages may come.
    Open(OpenReceiver),
    /// The producer has another link.
    Replaced,
}

/// The state of a link that was opened.
#[derive(Debug)]
pub struct OpenReceiver {
    producer: Arc<str>,
    /// The number up to which everything is durable, as the sender was told.
    acked: u64,
    /// The number up to which everything was let in.
    admitted: u64,
    room: LinkRoom,
    attempt: SendAttempt,
}

/// Whether there is room for the next number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkRoom {
    /// There is room, as far as is known.
    Free,
    /// There was no room for the next number. The sender is told once all numbers before it are
    /// acknowledged: one of those may yet turn out to be the first without room.
    Refused { after_ms: u64 },
    /// The sender was told. Until the next number comes again, all that comes was on its way behind
    /// that number.
    Told,
}

impl LinkReceiver {
    /// Takes a frame of the sender.
    ///
    /// # Errors
    ///
    /// The frame may not come now; the sender is told so, and its link ends.
    pub fn receive<'a>(&mut self, frame: SenderFrame<'a>) -> Result<Received<'a>, Violation> {
        match frame {
            SenderFrame::Ping => Ok(Received::Ping),
            SenderFrame::Open {
                producer,
                name,
                first,
            } => {
                self.check_unopened()?;
                Ok(Received::Open {
                    producer,
                    name,
                    first,
                })
            }
            SenderFrame::Publish { n, posting } => {
                let Some(sequenced) = self.admit(n)? else {
                    return Ok(Received::Repeat {
                        ack: self.ack_of(n),
                    });
                };
                Ok(match posting {
                    Ok(posting) => Received::Publish { sequenced, posting },
                    Err(refusal) => Received::Refuse { sequenced, refusal },
                })
            }
        }
    }

    /// Opens the link behind the producer's durable `mark`, or at `first` if that is beyond it.
    ///
    /// # Errors
    ///
    /// The link was opened or replaced before.
    pub fn open(
        &mut self,
        producer: Arc<str>,
        first: u64,
        mark: u64,
    ) -> Result<LinkOpened, Violation> {
        self.check_unopened()?;
        if !(1..=FIRST_MAX).contains(&first) {
            return Err(Violation(format!("first has to be from 1 to {FIRST_MAX}")));
        }
        let acked = mark.max(first - 1);
        *self = Self::Open(OpenReceiver {
            producer,
            acked,
            admitted: acked,
            room: LinkRoom::Free,
            attempt: SendAttempt::default(),
        });
        Ok(LinkOpened {
            next: acked + 1,
            has_jumped: mark < first - 1,
        })
    }

    /// Ends the link, since its producer has opened another one.
    pub fn replace(&mut self) {
        *self = Self::Replaced;
    }

    /// Takes the outcome of a number that was let in, and gives the frames that the sender is told.
    pub fn complete(
        &mut self,
        sequenced: &Sequenced,
        outcome: Result<(), LinkRefusal>,
    ) -> Vec<String> {
        match self {
            Self::Open(open) => open.complete(sequenced, outcome),
            Self::New | Self::Replaced => Vec::new(),
        }
    }

    fn check_unopened(&self) -> Result<(), Violation> {
        match self {
            Self::New => Ok(()),
            Self::Open(_) => Err(Violation("open comes once".into())),
            Self::Replaced => Err(replaced()),
        }
    }

    /// Lets a number in; `None` if the number is to be dropped.
    fn admit(&mut self, n: u64) -> Result<Option<Sequenced>, Violation> {
        match self {
            Self::Open(open) => open.admit(n),
            Self::New => Err(Violation("open has to come before pub".into())),
            Self::Replaced => Err(replaced()),
        }
    }

    /// Writes the acknowledgement that covers `n`, if there is one.
    fn ack_of(&self, n: u64) -> Option<String> {
        match self {
            Self::Open(open) if n <= open.acked => Some(pub_ack(open.acked)),
            _ => None,
        }
    }
}

impl OpenReceiver {
    fn admit(&mut self, n: u64) -> Result<Option<Sequenced>, Violation> {
        let next = self.admitted + 1;
        if n == next && !matches!(self.room, LinkRoom::Refused { .. }) {
            self.admitted = n;
            if self.room == LinkRoom::Told {
                self.room = LinkRoom::Free;
                self.attempt = SendAttempt::default();
            }
            return Ok(Some(Sequenced {
                producer: Arc::clone(&self.producer),
                n,
                attempt: self.attempt.clone(),
            }));
        }
        if n < next || self.room != LinkRoom::Free {
            return Ok(None);
        }
        let message = format!("n is {n}, but {next} has to come next");
        Err(Violation(message))
    }

    fn complete(&mut self, sequenced: &Sequenced, outcome: Result<(), LinkRefusal>) -> Vec<String> {
        let (n, mut frames) = (sequenced.n, Vec::new());
        // Let in behind a number without room, and so taken back together with that one. It may
        // have come again since: then only the outcome of the new attempt counts.
        let is_current = self.attempt.is(&sequenced.attempt);
        if !is_current || n > self.admitted || n <= self.acked {
            return frames;
        }
        match outcome {
            Ok(()) => {
                debug_assert_eq!(n, self.acked + 1, "in order");
                self.acked = n;
                frames.push(pub_ack(n));
            }
            Err(LinkRefusal::Final(refusal)) => {
                debug_assert_eq!(n, self.acked + 1, "in order");
                self.acked = n;
                frames.push(pub_err(n, &refusal));
            }
            Err(LinkRefusal::Busy { after_ms }) => {
                self.admitted = n - 1;
                self.room = LinkRoom::Refused { after_ms };
            }
        }
        if let LinkRoom::Refused { after_ms } = self.room
            && self.acked == self.admitted
        {
            self.room = LinkRoom::Told;
            frames.push(pub_busy(after_ms));
        }
        frames
    }
}

fn replaced() -> Violation {
    Violation("another link of this outbox is open".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Result<(), LinkRefusal> = Err(LinkRefusal::Busy { after_ms: 500 });

    fn opened(first: u64, mark: u64) -> LinkReceiver {
        let mut receiver = LinkReceiver::default();
        receiver.open("p".into(), first, mark).unwrap();
        receiver
    }

    fn publish(receiver: &mut LinkReceiver, n: u64) -> Result<Received<'static>, Violation> {
        let posting =
            SenderFrame::read(r#"{"type":"pub","n":1,"to":{"all":true},"data":1,"id":"i"}"#);
        let Ok(SenderFrame::Publish { posting, .. }) = posting else {
            panic!("{posting:?}")
        };
        receiver.receive(SenderFrame::Publish { n, posting })
    }

    /// The number is let in.
    fn admitted(receiver: &mut LinkReceiver, n: u64) -> Sequenced {
        match publish(receiver, n) {
            Ok(Received::Publish { sequenced, .. }) => {
                assert_eq!((&*sequenced.producer, sequenced.n), ("p", n));
                sequenced
            }
            other => panic!("{n}: {other:?}"),
        }
    }

    /// The outcome of a number in the attempt that is under way.
    fn complete(
        receiver: &mut LinkReceiver,
        n: u64,
        outcome: Result<(), LinkRefusal>,
    ) -> Vec<String> {
        let LinkReceiver::Open(open) = &*receiver else {
            panic!("{receiver:?}")
        };
        let sequenced = Sequenced {
            producer: Arc::clone(&open.producer),
            n,
            attempt: open.attempt.clone(),
        };
        receiver.complete(&sequenced, outcome)
    }

    /// The number is dropped, with this acknowledgement.
    fn dropped(receiver: &mut LinkReceiver, n: u64) -> Option<String> {
        match publish(receiver, n) {
            Ok(Received::Repeat { ack }) => ack,
            other => panic!("{n}: {other:?}"),
        }
    }

    #[test]
    fn a_link_goes_on_where_the_mark_is() {
        for (first, mark, next, has_jumped) in [
            (1, 0, 1, false),
            (5, 7, 8, false),
            (8, 7, 8, false),
            (9, 7, 9, true),
            (9, 0, 9, true),
        ] {
            let opened = LinkReceiver::default().open("p".into(), first, mark);
            assert_eq!(
                opened,
                Ok(LinkOpened { next, has_jumped }),
                "{first} {mark}"
            );
        }
    }

    #[test]
    fn numbers_are_let_in_one_behind_the_other_and_acknowledged_once_durable() {
        let mut receiver = opened(1, 4);
        admitted(&mut receiver, 5);
        admitted(&mut receiver, 6);
        assert_eq!(dropped(&mut receiver, 5), None, "it is on its way");
        assert_eq!(dropped(&mut receiver, 3), Some(pub_ack(4)));
        assert_eq!(complete(&mut receiver, 5, Ok(())), [pub_ack(5)]);
        let refusal = Refusal::bad_request("to: nobody");
        let outcome = Err(LinkRefusal::Final(refusal.clone()));
        let refused = complete(&mut receiver, 6, outcome);
        assert_eq!(refused, [pub_err(6, &refusal)]);
        assert_eq!(dropped(&mut receiver, 6), Some(pub_ack(6)), "both count");
    }

    #[test]
    fn a_message_that_cant_be_read_is_let_in_to_be_refused() {
        let mut receiver = opened(1, 0);
        let frame = r#"{"type":"pub","n":1,"data":1,"id":"i"}"#;
        let received = receiver.receive(SenderFrame::read(frame).unwrap());
        assert!(
            matches!(
                &received,
                Ok(Received::Refuse { sequenced, refusal })
                    if sequenced.n == 1 && refusal.message.starts_with("to is missing")
            ),
            "{received:?}"
        );
        admitted(&mut receiver, 2);
    }

    #[test]
    fn a_hole_is_the_senders_mistake() {
        let mut receiver = opened(1, 4);
        assert!(publish(&mut receiver, 6).is_err());
        admitted(&mut receiver, 5);
    }

    #[test]
    fn what_stands_behind_a_number_without_room_is_dropped_until_that_comes_again() {
        let mut receiver = opened(1, 0);
        for n in 1..=4 {
            admitted(&mut receiver, n);
        }
        assert_eq!(complete(&mut receiver, 1, Ok(())), [pub_ack(1)]);
        assert_eq!(complete(&mut receiver, 2, BUSY), [pub_busy(500)]);
        assert!(complete(&mut receiver, 3, BUSY).is_empty(), "said once");
        assert_eq!(dropped(&mut receiver, 5), None, "it was on the way");
        assert!(complete(&mut receiver, 4, BUSY).is_empty());
        for n in 2..=4 {
            admitted(&mut receiver, n);
            assert_eq!(complete(&mut receiver, n, Ok(())), [pub_ack(n)]);
        }
        assert!(
            publish(&mut receiver, 6).is_err(),
            "5 was dropped, and has to come again"
        );
    }

    #[test]
    fn nothing_passes_a_number_whose_refusal_comes_after_that_of_a_later_one() {
        let mut receiver = opened(1, 0);
        for n in 1..=3 {
            admitted(&mut receiver, n);
        }
        // On the worker, before the disk thread knows the outcome of the second one.
        assert!(
            complete(&mut receiver, 3, BUSY).is_empty(),
            "1 and 2 are under way"
        );
        for n in 1..=3 {
            assert_eq!(dropped(&mut receiver, n), None, "{n} comes too early");
        }
        assert_eq!(complete(&mut receiver, 1, Ok(())), [pub_ack(1)]);
        assert_eq!(complete(&mut receiver, 2, BUSY), [pub_busy(500)]);
        assert_eq!(dropped(&mut receiver, 3), None);
        for n in 2..=3 {
            admitted(&mut receiver, n);
            assert_eq!(complete(&mut receiver, n, Ok(())), [pub_ack(n)]);
        }
    }

    #[test]
    fn a_number_without_room_is_told_once_those_before_it_are_acknowledged() {
        let mut receiver = opened(1, 0);
        for n in 1..=2 {
            admitted(&mut receiver, n);
        }
        assert!(complete(&mut receiver, 2, BUSY).is_empty());
        assert_eq!(
            complete(&mut receiver, 1, Ok(())),
            [pub_ack(1), pub_busy(500)]
        );
        admitted(&mut receiver, 2);
    }

    #[test]
    fn a_number_that_comes_again_begins_a_new_attempt() {
        let mut receiver = opened(1, 0);
        let (first, second) = (admitted(&mut receiver, 1), admitted(&mut receiver, 2));
        first.attempt.break_off();
        assert!(second.attempt.is_broken(), "2 stands behind 1");
        let third = admitted(&mut receiver, 3);
        assert!(third.attempt.is_broken(), "so does 3");
        complete(&mut receiver, 1, BUSY);
        assert!(!admitted(&mut receiver, 1).attempt.is_broken());
        assert!(!admitted(&mut receiver, 2).attempt.is_broken());
    }

    #[test]
    fn a_late_outcome_of_an_earlier_attempt_says_nothing_about_the_number_that_came_again() {
        let mut receiver = opened(1, 0);
        let (first, second) = (admitted(&mut receiver, 1), admitted(&mut receiver, 2));
        assert_eq!(receiver.complete(&first, BUSY), [pub_busy(500)]);
        let again = (admitted(&mut receiver, 1), admitted(&mut receiver, 2));
        assert!(receiver.complete(&second, BUSY).is_empty());
        assert_eq!(receiver.complete(&again.0, Ok(())), [pub_ack(1)]);
        assert_eq!(receiver.complete(&again.1, Ok(())), [pub_ack(2)]);
    }

    #[test]
    fn a_second_open_and_a_message_before_it_are_violations() {
        let mut receiver = LinkReceiver::default();
        assert!(publish(&mut receiver, 1).is_err());
        receiver.open("p".into(), 1, 0).unwrap();
        let open = r#"{"type":"open","producer":"p","first":1}"#;
        assert!(receiver.receive(SenderFrame::read(open).unwrap()).is_err());
        assert!(receiver.open("p".into(), 1, 0).is_err());
    }

    #[test]
    fn a_link_that_begins_where_no_counting_on_is_possible_is_a_violation() {
        for first in [0, (1 << 53) + 1, u64::MAX] {
            let mut receiver = LinkReceiver::default();
            assert!(receiver.open("p".into(), first, 0).is_err(), "{first}");
        }
        let mut receiver = LinkReceiver::default();
        assert!(receiver.open("p".into(), 1 << 53, 0).is_ok());
    }

    #[test]
    fn a_replaced_link_lets_nothing_in_and_says_nothing() {
        let mut receiver = opened(1, 0);
        let first = admitted(&mut receiver, 1);
        receiver.replace();
        assert!(receiver.complete(&first, Ok(())).is_empty());
        assert!(publish(&mut receiver, 2).is_err());
    }
}
