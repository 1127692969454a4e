//! The course of one round of fan-out: what is under way, who still waits for it, how long it took.
//!
//! A stream is a sequence of messages whose order must hold. A message is under way until every
//! member has it (or a later one of its stream) and the server has acknowledged it.
//!
//! Nothing here opens a socket or reads a clock.

use std::collections::VecDeque;

use crate::client::publisher::{Answer, Outcome};
use crate::load::delivery_audit::{Faults, Ledger, Verdict};
use crate::measure::failure::Failures;
use crate::measure::latency::Latency;

/// Whether a server acknowledges what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acknowledging {
    /// Each message is answered.
    Each,
    /// Nothing is answered.
    Never,
}

#[derive(Debug)]
struct Flight {
    at_ns: u64,
    /// Members that don't have it.
    waiting: usize,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct Stream {
    flights: VecDeque<Flight>,
    /// Number of the first flight, less one.
    done: u64,
}

impl Stream {
    fn sent(&self) -> u64 {
        self.done + self.flights.len() as u64
    }

    fn flight(&mut self, seq: u64) -> Option<&mut Flight> {
        self.flights
            .get_mut(seq.checked_sub(self.done + 1)? as usize)
    }

    /// Takes one waiting member off; gives the time of sending, and whether it was the last one.
    fn land(&mut self, seq: u64) -> Option<(u64, bool)> {
        let flight = self.flight(seq).filter(|flight| flight.waiting > 0)?;
        flight.waiting -= 1;
        let landed = (flight.at_ns, flight.waiting == 0);
        if landed.1 {
            self.settle();
        }
        Some(landed)
    }

    fn settle(&mut self) {
        let is_done = |flight: &Flight| flight.waiting == 0 && flight.acknowledged;
        while self.flights.front().is_some_and(is_done) {
            self.flights.pop_front();
            self.done += 1;
        }
    }
}

/// What was counted within the window.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Messages sent.
    pub(crate) publishes: u64,
    /// Messages heard, each by each member.
    pub(crate) deliveries: u64,
    /// From sending to each member.
    pub(crate) each: Latency,
    /// From sending to the last member.
    pub(crate) last: Latency,
    /// From sending to the acknowledgement.
    pub(crate) acks: Latency,
}

/// One round.
#[derive(Debug)]
pub(crate) struct Course {
    streams: Vec<Stream>,
    members: usize,
    alive: usize,
    acknowledging: Acknowledging,
    ledger: Ledger,
    tally: Tally,
    failures: Failures,
    /// Whether this is within the measured window.
    pub(crate) measuring: bool,
}

impl Course {
    /// Begins with so many members, all of which are to hear all streams.
    pub(crate) fn new(members: usize, streams: usize, acknowledging: Acknowledging) -> Self {
        Self {
            streams: (0..streams).map(|_| Stream::default()).collect(),
            members,
            alive: members,
            acknowledging,
            ledger: Ledger::new(members, streams),
            tally: Tally::default(),
            failures: Failures::default(),
            measuring: false,
        }
    }

    /// Sends the next message of a stream off, asked for at `at_ns`; gives its number.
    pub(crate) fn depart(&mut self, stream: usize, at_ns: u64) -> u64 {
        let stream = &mut self.streams[stream];
        stream.flights.push_back(Flight {
            at_ns,
            waiting: self.alive,
            acknowledged: self.acknowledging == Acknowledging::Never,
        });
        self.tally.publishes += u64::from(self.measuring);
        stream.sent()
    }

    /// How many messages of a stream are under way.
    pub(crate) fn under_way(&self, stream: usize) -> usize {
        self.streams[stream].flights.len()
    }

    /// Whether a message of a stream waits for its acknowledgement.
    pub(crate) fn awaits_ack(&self, stream: usize) -> bool {
        let mut flights = self.streams[stream].flights.iter();
        flights.any(|flight| !flight.acknowledged)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.iter().all(|stream| stream.flights.is_empty())
    }

    /// How many messages were heard within the window so far.
    pub(crate) fn deliveries(&self) -> u64 {
        self.tally.deliveries
    }

    /// Takes a message that a member heard.
    pub(crate) fn deliver(&mut self, member: usize, number: u64, seq: u64, now_ns: u64) {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(stream) = self.streams.get_mut(index) else {
            self.ledger.stray();
            return;
        };
        let skipped = match self.ledger.hear(member, index, seq, stream.sent()) {
            Verdict::Wrong => return,
            Verdict::Late => {
                self.tally.deliveries += u64::from(self.measuring);
                return;
            }
            Verdict::Next => 0,
            Verdict::Skipped(count) => count,
        };
        for skipped in seq - skipped..seq {
            stream.land(skipped);
        }
        let landed = stream.land(seq);
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
            None => stream.flights.iter().position(|one| !one.acknowledged),
        };
        let flight = place.and_then(|place| stream.flights.get_mut(place));
        let Some(flight) = flight.filter(|flight| !flight.acknowledged) else {
            return; // it was given up
        };
        flight.acknowledged = true;
        let took = now_ns.saturating_sub(flight.at_ns);
        match &answer.outcome {
            Outcome::Taken { duplicates, .. } => {
                let words = "the server took a new message for an old one";
                self.failures.add_many("duplicate", *duplicates, words);
                if self.measuring {
                    self.tally.acks.record(took, 1);
                }
            }
            Outcome::Refused(code) => {
                flight.waiting = 0;
                let seq = stream.done + 1 + place.unwrap_or(0) as u64;
                self.ledger.refuse(index, seq);
                let words = "the server did not take a message";
                self.failures
                    .add_many(&format!("refused: {code}"), 1, words);
            }
        }
        stream.settle();
    }

    /// Waits no more for what was sent before `since_ns`.
    pub(crate) fn give_up(&mut self, since_ns: u64) {
        for stream in &mut self.streams {
            while let Some(flight) = stream.flights.front().filter(|one| one.at_ns < since_ns) {
                let unanswered = u64::from(!flight.acknowledged);
                let words = "no acknowledgement came in time";
                self.failures.add_many("unacknowledged", unanswered, words);
                stream.flights.pop_front();
                stream.done += 1;
                stream.settle();
            }
        }
    }

    /// Takes a member out that is gone: nobody waits for it.
    pub(crate) fn leave(&mut self, member: usize) {
        self.alive -= 1;
        for (index, stream) in self.streams.iter_mut().enumerate() {
            for seq in self.ledger.last(member, index).max(stream.done) + 1..=stream.sent() {
                stream.land(seq);
            }
        }
    }

    /// Ends the round: what a member that `stayed` has not heard by now is lost.
    pub(crate) fn end(mut self, stayed: impl Fn(usize) -> bool) -> (Tally, Faults, Failures) {
        for member in (0..self.members).filter(|&member| stayed(member)) {
            for (index, stream) in self.streams.iter().enumerate() {
                self.ledger.close(member, index, stream.sent());
            }
        }
        (self.tally, self.ledger.faults(), self.failures)
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

    fn course() -> Course {
        let mut course = Course::new(2, 1, Acknowledging::Each);
        course.measuring = true;
        course
    }

    #[test]
    fn a_message_is_under_way_until_all_have_it_and_it_is_acknowledged() {
        let mut course = course();
        let (one, two) = (course.depart(0, 100), course.depart(0, 100));
        course.deliver(0, 0, one, 300);
        course.deliver(1, 0, one, 400);
        assert_eq!(course.under_way(0), 2);
        course.answer(0, &taken(Some(one)), 500);
        assert_eq!(course.under_way(0), 1);
        course.answer(0, &taken(None), 600);
        assert!(!course.awaits_ack(0));
        course.deliver(0, 0, two, 700);
        course.deliver(1, 0, two, 900);
        assert!(course.is_idle());
        let (tally, faults, failures) = course.end(|_| true);
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
        let mut course = course();
        for seq in [course.depart(0, 1), course.depart(0, 1)] {
            course.answer(0, &taken(None), 1);
            course.deliver(0, 0, seq, 2);
        }
        course.deliver(1, 0, 2, 2);
        assert!(course.is_idle());
        course.deliver(1, 0, 1, 3);
        let (tally, faults, _) = course.end(|_| true);
        assert_eq!(
            (tally.deliveries, faults.lost, faults.misordered),
            (4, 0, 1)
        );
    }

    #[test]
    fn nobody_waits_for_a_member_that_is_gone_or_a_message_that_was_refused() {
        let mut course = course();
        course.depart(0, 1);
        course.depart(0, 1);
        course.answer(0, &taken(Some(1)), 1);
        let outcome = Outcome::Refused("rate_limited".into());
        let refused = Answer {
            seq: Some(2),
            outcome,
        };
        course.answer(0, &refused, 1);
        course.deliver(0, 0, 1, 2);
        course.leave(1);
        assert!(course.is_idle());
        let (_, faults, failures) = course.end(|member| member == 0);
        assert_eq!(faults, Faults::default());
        assert_eq!(failures.iter().next().unwrap().0, "refused: rate_limited");
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_counted() {
        let mut course = course();
        course.depart(0, 10);
        course.depart(0, 30);
        course.deliver(0, 0, 1, 11);
        course.give_up(30);
        assert_eq!(course.under_way(0), 1);
        course.deliver(0, 0, 2, 31);
        course.deliver(1, 0, 2, 31);
        let (_, faults, failures) = course.end(|_| true);
        assert_eq!((faults.lost, failures.count()), (1, 1));
    }
}
