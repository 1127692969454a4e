//! Checks that each member gets every message of every stream once and in order, at the price of one
//! comparison.
//!
//! A number that is skipped counts as lost until it comes after all: then it was misordered. A
//! number that comes when it was not missing is a repeat.
//!
//! Invariant: `last` is the highest number of a stream that was delivered to a member, and never
//! above what was sent.

use std::collections::HashSet;

use crate::measure::failure::Failures;

/// Skipped messages that are remembered one by one; beyond that, a late one counts as a repeat.
const MISSING_MAX: usize = 1 << 20;

/// What a message is to the member that got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next of its stream.
    Next,
    /// The next, but this many before it did not come.
    Skipped(u64),
    /// One that was missing: it was overtaken.
    Late,
    /// A repeat, or nothing that was ever sent.
    Wrong,
}

/// How many messages went astray in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    /// Sent, taken by the server, and never delivered to a member.
    pub(crate) lost: u64,
    /// Delivered again.
    pub(crate) repeated: u64,
    /// Delivered after a later one.
    pub(crate) misordered: u64,
    /// Delivered, but never sent in this round.
    pub(crate) stray: u64,
}

impl Faults {
    /// Adds another round's.
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.misordered += other.misordered;
        self.stray += other.stray;
    }

    /// Counts the faults as failures, so that the run doesn't pass for a good one.
    pub(crate) fn count_into(self, failures: &mut Failures) {
        for (kind, count, words) in [
            ("lost", self.lost, "a message did not reach a member"),
            ("repeated", self.repeated, "a member heard a message twice"),
            (
                "misordered",
                self.misordered,
                "a member heard a later message first",
            ),
            (
                "stray",
                self.stray,
                "a member heard what was not sent in this round",
            ),
        ] {
            failures.add_many(kind, count, words);
        }
    }
}

/// The account of one round.
#[derive(Debug)]
pub(crate) struct DeliveryAudit {
    streams: usize,
    last: Vec<u64>,
    missing: HashSet<(usize, usize, u64)>,
    refused: HashSet<(usize, u64)>,
    faults: Faults,
}

impl DeliveryAudit {
    /// Begins before the first message, which has number 1 in each stream.
    pub(crate) fn new(members: usize, streams: usize) -> Self {
        Self {
            streams,
            last: vec![0; members * streams],
            missing: HashSet::new(),
            refused: HashSet::new(),
            faults: Faults::default(),
        }
    }

    /// Checks a message that a member got; `sent` is the highest number sent in this stream.
    pub(crate) fn deliver(&mut self, member: usize, stream: usize, seq: u64, sent: u64) -> Verdict {
        let last = &mut self.last[member * self.streams + stream];
        if seq == *last + 1 && seq <= sent {
            *last = seq;
            return Verdict::Next;
        }
        if seq == 0 || seq > sent {
            self.stray();
            return Verdict::Wrong;
        }
        if seq <= *last {
            return self.deliver_again(member, stream, seq);
        }
        let skipped = *last + 1..seq;
        *last = seq;
        let count = skipped.end - skipped.start;
        for seq in skipped {
            self.miss(member, stream, seq);
        }
        Verdict::Skipped(count)
    }

    /// Counts a message that nobody sent.
    pub(crate) fn stray(&mut self) {
        self.faults.stray += 1;
    }

    /// Takes note that the server did not take a message, so that it isn't missed.
    pub(crate) fn refuse(&mut self, stream: usize, seq: u64) {
        self.refused.insert((stream, seq));
    }

    /// The highest number of a stream that was delivered to a member.
    pub(crate) fn last(&self, member: usize, stream: usize) -> u64 {
        self.last[member * self.streams + stream]
    }

    /// Ends the account of a member that stayed to the end: what was not delivered by now is lost.
    pub(crate) fn close(&mut self, member: usize, stream: usize, sent: u64) {
        for seq in self.last(member, stream) + 1..=sent {
            self.miss(member, stream, seq);
        }
    }

    /// What went astray so far.
    pub(crate) fn faults(&self) -> Faults {
        self.faults
    }

    fn deliver_again(&mut self, member: usize, stream: usize, seq: u64) -> Verdict {
        if self.missing.remove(&(member, stream, seq)) {
            self.faults.lost -= 1;
            self.faults.misordered += 1;
            return Verdict::Late;
        }
        self.faults.repeated += 1;
        Verdict::Wrong
    }

    fn miss(&mut self, member: usize, stream: usize, seq: u64) {
        if self.refused.contains(&(stream, seq)) {
            return;
        }
        self.faults.lost += 1;
        if self.missing.len() < MISSING_MAX {
            self.missing.insert((member, stream, seq));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(heard: &[u64], sent: u64) -> (u64, u64, u64, u64) {
        let mut audit = DeliveryAudit::new(2, 3);
        for &seq in heard {
            audit.deliver(1, 2, seq, sent);
        }
        audit.close(1, 2, sent);
        let Faults {
            lost,
            repeated,
            misordered,
            stray,
        } = audit.faults();
        (lost, repeated, misordered, stray)
    }

    #[test]
    fn each_way_to_go_astray_is_counted_apart() {
        for (heard, expected) in [
            (&[1, 2, 3, 4][..], (0, 0, 0, 0)),
            (&[1, 4], (2, 0, 0, 0)),
            (&[1, 2], (2, 0, 0, 0)),
            (&[1, 2, 2, 3, 4, 1], (0, 2, 0, 0)),
            (&[2, 1, 3, 4], (0, 0, 1, 0)),
            (&[4, 3, 3, 2, 1], (0, 1, 3, 0)),
            (&[1, 2, 3, 4, 5, 0], (0, 0, 0, 2)),
        ] {
            assert_eq!(faults(heard, 4), expected, "{heard:?}");
        }
    }

    #[test]
    fn what_the_server_did_not_take_is_not_missed() {
        let mut audit = DeliveryAudit::new(1, 1);
        audit.refuse(0, 1);
        audit.refuse(0, 3);
        assert_eq!(audit.deliver(0, 0, 2, 3), Verdict::Skipped(1));
        audit.close(0, 0, 3);
        assert_eq!(audit.faults(), Faults::default());
    }
}
