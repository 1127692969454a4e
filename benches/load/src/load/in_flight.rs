//! The messages of one round of fan-out: which are under way, which members still wait for each, and
//! how long each took.
//!
//! A stream is a sequence of messages whose order must hold. A message is under way until every
//! member has it (or a later one of its stream) and the server has acknowledged it.
//!
//! Nothing here opens a socket or reads a clock.

use std::collections::VecDeque;

use crate::client::ack::{Answer, Outcome};
use crate::load::delivery_audit::{DeliveryAudit, Faults, Verdict};
use crate::measure::failure::Failures;
use crate::measure::latency::Latency;

/// Whether a server acknowledges messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledging {
    /// Each message is answered.
    Each,
    /// Nothing is answered.
    Never,
}

#[derive(Debug)]
struct Pending {
    at_ns: u64,
    /// Members that don't have it.
    waiting: usize,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct Stream {
    pending: VecDeque<Pending>,
    /// Number of the first message, less one.
    done: u64,
}

impl Stream {
    fn sent(&self) -> u64 {
        self.done + self.pending.len() as u64
    }

    fn message(&mut self, seq: u64) -> Option<&mut Pending> {
        self.pending
            .get_mut(seq.checked_sub(self.done + 1)? as usize)
    }

    /// Counts one member that waits no more; gives the time of sending, and whether it was the last one.
    fn delivered(&mut self, seq: u64) -> Option<(u64, bool)> {
        let message = self.message(seq).filter(|message| message.waiting > 0)?;
        message.waiting -= 1;
        let landed = (message.at_ns, message.waiting == 0);
        if landed.1 {
            self.settle();
        }
        Some(landed)
    }

    fn settle(&mut self) {
        let is_done = |message: &Pending| message.waiting == 0 && message.acknowledged;
        while self.pending.front().is_some_and(is_done) {
            self.pending.pop_front();
            self.done += 1;
        }
    }
}

/// What was counted within the window.
#[derive(Debug, Default)]
pub(crate) struct FanoutTally {
    /// Messages sent.
    pub(crate) publishes: u64,
    /// Messages delivered, each counted at each member.
    pub(crate) deliveries: u64,
    /// From sending to each member.
    pub(crate) each: Latency,
    /// From sending to the last member.
    pub(crate) last: Latency,
    /// From sending to the acknowledgement.
    pub(crate) acks: Latency,
}

/// The messages of one round.
#[derive(Debug)]
pub(crate) struct InFlight {
    streams: Vec<Stream>,
    members: usize,
    alive: usize,
    acknowledging: Acknowledging,
    audit: DeliveryAudit,
    tally: FanoutTally,
    failures: Failures,
    /// Whether this is within the measured window.
    pub(crate) measuring: bool,
}

impl InFlight {
    /// Begins with this many members, all of which are to get all streams.
    pub(crate) fn new(members: usize, streams: usize, acknowledging: Acknowledging) -> Self {
        Self {
            streams: (0..streams).map(|_| Stream::default()).collect(),
            members,
            alive: members,
            acknowledging,
            audit: DeliveryAudit::new(members, streams),
            tally: FanoutTally::default(),
            failures: Failures::default(),
            measuring: false,
        }
    }

    /// Sends the next message of a stream off, asked for at `at_ns`; gives its number.
    pub(crate) fn send(&mut self, stream: usize, at_ns: u64) -> u64 {
        let stream = &mut self.streams[stream];
        stream.pending.push_back(Pending {
            at_ns,
            waiting: self.alive,
            acknowledged: self.acknowledging == Acknowledging::Never,
        });
        self.tally.publishes += u64::from(self.measuring);
        stream.sent()
    }

    /// How many messages of a stream are under way.
    pub(crate) fn under_way(&self, stream: usize) -> usize {
        self.streams[stream].pending.len()
    }

    /// Whether a message of a stream waits for its acknowledgement.
    pub(crate) fn awaits_ack(&self, stream: usize) -> bool {
        let mut pending = self.streams[stream].pending.iter();
        pending.any(|message| !message.acknowledged)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.iter().all(|stream| stream.pending.is_empty())
    }

    /// How many messages were delivered within the window so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.tally.deliveries
    }

    /// Counts a message that a member got.
    pub(crate) fn deliver(&mut self, member: usize, number: u64, seq: u64, now_ns: u64) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(stream) = self.streams.get_mut(index) else {
            self.audit.stray();
            return;
        };
        let skipped = match self.audit.deliver(member, index, seq, stream.sent()) {
            Verdict::Wrong => return,
            Verdict::Late => {
                self.tally.deliveries += u64::from(self.measuring);
                return;
            }
            Verdict::Next => 0,
            Verdict::Skipped(count) => count,
        };
        for skipped in seq - skipped..seq {
            stream.delivered(skipped);
        }
        let landed = stream.delivered(seq);
        if self.measuring {
            self.tally.deliveries += 1;
            if let Some((at_ns, was_last)) = landed {
                let took = now_ns.saturating_sub(at_ns);
                self.tally.each.record(took, 1);
                if was_last {
                    self.tally.last.record(took, 1);
                }
            }
        }
    }

    /// Takes an answer to a message of a stream: that with its number, or the oldest unanswered.
    pub(crate) fn answer(&mut self, index: usize, answer: &Answer, now_ns: u64) {
        let stream = &mut self.streams[index];
        let place = match answer.seq {
            Some(seq) => seq.checked_sub(stream.done + 1).map(|place| place as usize),
            None => stream.pending.iter().position(|one| !one.acknowledged),
        };
        let message = place.and_then(|place| stream.pending.get_mut(place));
        let Some(message) = message.filter(|message| !message.acknowledged) else {
            return; // it was given up
        };
        message.acknowledged = true;
        let took = now_ns.saturating_sub(message.at_ns);
        match &answer.outcome {
            Outcome::Taken { duplicates, .. } => {
                let words = "the server took a new message for an old one";
                self.failures.add_many("duplicate", *duplicates, words);
                if self.measuring {
                    self.tally.acks.record(took, 1);
                }
            }
            Outcome::Refused(code) => {
                message.waiting = 0;
                let seq = stream.done + 1 + place.unwrap_or(0) as u64;
                self.audit.refuse(index, seq);
                let words = "the server did not take a message";
                self.failures
                    .add_many(&format!("refused: {code}"), 1, words);
            }
        }
        stream.settle();
    }

    /// Gives up the messages that were sent before `since_ns`.
    pub(crate) fn give_up(&mut self, since_ns: u64) {
        for stream in &mut self.streams {
            while let Some(message) = stream.pending.front().filter(|one| one.at_ns < since_ns) {
                let unanswered = u64::from(!message.acknowledged);
                let words = "no acknowledgement came in time";
                self.failures.add_many("unacknowledged", unanswered, words);
                stream.pending.pop_front();
                stream.done += 1;
                stream.settle();
            }
        }
    }

    /// Removes a member that is gone, so that no message waits for it.
    pub(crate) fn leave(&mut self, member: usize) {
        self.alive -= 1;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            for seq in self.audit.last(member, index).max(stream.done) + 1..=stream.sent() {
                stream.delivered(seq);
            }
        }
    }

    /// Ends the round: what was not delivered by now to a member that `stayed` is lost.
    pub(crate) fn end(mut self, stayed: impl Fn(usize) -> bool) -> (FanoutTally, Faults, Failures) {
        for member in (0..self.members).filter(|&member| stayed(member)) {
            for (index, stream) in self.streams.iter().enumerate() {
                self.audit.close(member, index, stream.sent());
            }
        }
        (self.tally, self.audit.faults(), self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(seq: Option<u64>) -> Answer {
        let outcome = Outcome::Taken {
            refused: Vec::new(),
            duplicates: 0,
        };
        Answer { seq, outcome }
    }

    fn in_flight() -> InFlight {
        let mut in_flight = InFlight::new(2, 1, Acknowledging::Each);
        in_flight.measuring = true;
        in_flight
    }

    #[test]
    fn a_message_is_under_way_until_all_have_it_and_it_is_acknowledged() {
        let mut in_flight = in_flight();
        let (one, two) = (in_flight.send(0, 100), in_flight.send(0, 100));
        in_flight.deliver(0, 0, one, 300);
        in_flight.deliver(1, 0, one, 400);
        assert_eq!(in_flight.under_way(0), 2);
        in_flight.answer(0, &taken(Some(one)), 500);
        assert_eq!(in_flight.under_way(0), 1);
        in_flight.answer(0, &taken(None), 600);
        assert!(!in_flight.awaits_ack(0));
        in_flight.deliver(0, 0, two, 700);
        in_flight.deliver(1, 0, two, 900);
        assert!(in_flight.is_idle());
        let (tally, faults, failures) = in_flight.end(|_| true);
        assert_eq!((tally.publishes, tally.deliveries), (2, 4));
        assert_eq!(
            (tally.each.count(), tally.last.count(), tally.acks.count()),
            (4, 2, 2)
        );
        assert!((tally.last.max_us() - 0.8).abs() < 0.01);
        assert_eq!((faults, failures.count()), (Faults::default(), 0));
    }

    #[test]
    fn a_later_message_ends_the_wait_for_a_lost_one() {
        let mut in_flight = in_flight();
        for seq in [in_flight.send(0, 1), in_flight.send(0, 1)] {
            in_flight.answer(0, &taken(None), 1);
            in_flight.deliver(0, 0, seq, 2);
        }
        in_flight.deliver(1, 0, 2, 2);
        assert!(in_flight.is_idle());
        in_flight.deliver(1, 0, 1, 3);
        let (tally, faults, _) = in_flight.end(|_| true);
        assert_eq!(
            (tally.deliveries, faults.lost, faults.misordered),
            (4, 0, 1)
        );
    }

    #[test]
    fn nobody_waits_for_a_member_that_is_gone_or_a_message_that_was_refused() {
        let mut in_flight = in_flight();
        in_flight.send(0, 1);
        in_flight.send(0, 1);
        in_flight.answer(0, &taken(Some(1)), 1);
        let outcome = Outcome::Refused("rate_limited".into());
        let refused = Answer {
            seq: Some(2),
            outcome,
        };
        in_flight.answer(0, &refused, 1);
        in_flight.deliver(0, 0, 1, 2);
        in_flight.leave(1);
        assert!(in_flight.is_idle());
        let (_, faults, failures) = in_flight.end(|member| member == 0);
        assert_eq!(faults, Faults::default());
        assert_eq!(failures.iter().next().unwrap().0, "refused: rate_limited");
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_counted() {
        let mut in_flight = in_flight();
        in_flight.send(0, 10);
        in_flight.send(0, 30);
        in_flight.deliver(0, 0, 1, 11);
        in_flight.give_up(30);
        assert_eq!(in_flight.under_way(0), 1);
        in_flight.deliver(0, 0, 2, 31);
        in_flight.deliver(1, 0, 2, 31);
        let (_, faults, failures) = in_flight.end(|_| true);
        assert_eq!((faults.lost, failures.count()), (1, 1));
    }
}
