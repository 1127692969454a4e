//! The acknowledgements of each upstream, as a pure value: the offsets to be written down, and the
//! messages that may go.
//!
//! An upstream's refusal acknowledges a message as well, but only once the dead letter is on disk:
//! until then the upstream's offset stays before that message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::link::wire::RefusalWords;

/// The acknowledgements of one upstream.
#[derive(Debug)]
pub(super) struct UpstreamAcks {
    /// The number that no other upstream of this outbox gets before the next start.
    number: usize,
    /// The upstream's URL, which is its name as a reader of the outbox.
    pub(super) name: Arc<str>,
    /// The offset up to which the upstream has acknowledged everything.
    acked: u64,
    /// The offset that was given to the disk.
    submitted: u64,
    /// Refused messages whose dead letter isn't on disk yet, with the reason.
    refused: BTreeMap<u64, RefusalWords>,
    /// Refused messages behind the offset whose dead letter is on disk.
    stored: BTreeSet<u64>,
}

/// The acknowledgements of all upstreams of an outbox.
#[derive(Debug)]
pub(super) struct AckTracker {
    upstreams: Vec<UpstreamAcks>,
    /// The offset up to which the outbox was told to let everything go.
    trimmed: u64,
}

impl AckTracker {
    /// Starts from the offsets that these upstreams have acknowledged, whose numbers count from 0;
    /// everything up to `floor` is gone.
    pub(super) fn new(upstreams: impl IntoIterator<Item = (Arc<str>, u64)>, floor: u64) -> Self {
        let upstreams = upstreams.into_iter().enumerate();
        Self {
            upstreams: upstreams.map(UpstreamAcks::new).collect(),
            trimmed: floor,
        }
    }

    /// Goes on with these upstreams, by their numbers. Those that stay keep what is known of them; those
    /// that have come begin with the offset that they have acknowledged.
    pub(super) fn set_upstreams(&mut self, upstreams: Vec<(usize, (Arc<str>, u64))>) {
        let mut before = std::mem::take(&mut self.upstreams);
        let kept = |(number, upstream)| match before.iter().position(|one| one.number == number) {
            Some(at) => before.swap_remove(at),
            None => UpstreamAcks::new((number, upstream)),
        };
        self.upstreams = upstreams.into_iter().map(kept).collect();
    }

    fn upstream(&mut self, number: usize) -> Option<&mut UpstreamAcks> {
        self.upstreams.iter_mut().find(|one| one.number == number)
    }

    pub(super) fn upstreams(&self) -> &[UpstreamAcks] {
        &self.upstreams
    }

    /// Takes the acknowledgement of everything up to `n`.
    pub(super) fn acknowledge(&mut self, upstream: usize, n: u64) {
        if let Some(upstream) = self.upstream(upstream) {
            upstream.acked = upstream.acked.max(n);
        }
    }

    /// Takes the refusal of `n`; `true` if its dead letter has to be stored.
    pub(super) fn refuse(&mut self, upstream: usize, n: u64, why: RefusalWords) -> bool {
        let Some(upstream) = self.upstream(upstream) else {
            return false;
        };
        let is_known = upstream.refused.contains_key(&n) || upstream.stored.contains(&n);
        let is_new = n > upstream.ack_offset() && !is_known;
        if is_new {
            upstream.refused.insert(n, why);
        }
        is_new
    }

    /// Takes notice that the dead letter of `n` is on disk.
    pub(super) fn dead_letter_stored(&mut self, upstream: usize, n: u64) {
        if let Some(upstream) = self.upstream(upstream) {
            upstream.refused.remove(&n);
            upstream.stored.insert(n);
        }
    }

    /// The reason why `n` was refused, while its dead letter isn't on disk.
    pub(super) fn refusal(&self, upstream: usize, n: u64) -> Option<&RefusalWords> {
        let mut upstreams = self.upstreams.iter();
        let upstream = upstreams.find(|one| one.number == upstream)?;
        upstream.refused.get(&n)
    }

    /// Takes the offsets that have to be written down, each once.
    pub(super) fn take_acks(&mut self) -> Vec<(Arc<str>, u64)> {
        let mut acks = Vec::new();
        for upstream in &mut self.upstreams {
            let offset = upstream.ack_offset();
            upstream.stored = upstream.stored.split_off(&(offset + 1));
            if offset > upstream.submitted {
                upstream.submitted = offset;
                acks.push((Arc::clone(&upstream.name), offset));
            }
        }
        acks
    }

    /// Takes the number up to which all upstreams have acknowledged, once, so that those messages
    /// may go; the offsets have to be given to the disk before.
    pub(super) fn take_trim(&mut self) -> Option<u64> {
        let through = self
            .upstreams
            .iter()
            .map(|upstream| upstream.submitted)
            .min()?;
        let is_new = through > self.trimmed;
        self.trimmed = self.trimmed.max(through);
        is_new.then_some(through)
    }

    /// Has all offsets given to the disk again, which refused some of them.
    pub(super) fn resubmit(&mut self, floor: u64) {
        for upstream in &mut self.upstreams {
            upstream.submitted = floor;
        }
        self.trimmed = floor;
    }
}

impl UpstreamAcks {
    fn new((number, (name, acked)): (usize, (Arc<str>, u64))) -> Self {
        Self {
            number,
            name,
            acked,
            submitted: acked,
            refused: BTreeMap::new(),
            stored: BTreeSet::new(),
        }
    }

    /// Returns the offset to be written down: everything up to this offset is acknowledged, or is a
    /// dead letter on disk.
    pub(super) fn ack_offset(&self) -> u64 {
        match self.refused.first_key_value() {
            Some((n, _)) => self.acked.min(n - 1),
            None => self.acked,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(acked: &[u64], floor: u64) -> AckTracker {
        let names = ["a", "b", "c"].map(Arc::from);
        AckTracker::new(names.into_iter().zip(acked.iter().copied()), floor)
    }

    fn bad() -> RefusalWords {
        RefusalWords {
            code: "bad_request".into(),
            message: "to: nobody".into(),
        }
    }

    fn acks(tracker: &mut AckTracker) -> Vec<(String, u64)> {
        let acks = tracker.take_acks().into_iter();
        acks.map(|(name, offset)| (name.to_string(), offset))
            .collect()
    }

    #[test]
    fn only_what_all_have_acknowledged_goes_and_each_offset_is_written_for_itself() {
        let mut tracker = tracker(&[0, 0], 0);
        tracker.acknowledge(0, 5);
        assert_eq!(acks(&mut tracker), [("a".into(), 5)]);
        assert_eq!(tracker.take_trim(), None, "b has nothing yet");
        tracker.acknowledge(1, 3);
        assert_eq!(acks(&mut tracker), [("b".into(), 3)]);
        assert_eq!(tracker.take_trim(), Some(3));
        tracker.acknowledge(0, 4);
        assert_eq!(acks(&mut tracker), [], "an older one changes nothing");
        assert_eq!(tracker.take_trim(), None, "said once");
    }

    #[test]
    fn an_upstream_that_left_the_settings_holds_nothing_back() {
        let mut tracker = tracker(&[7], 2);
        assert_eq!(tracker.take_trim(), Some(7));
    }

    #[test]
    fn a_refused_message_is_acknowledged_once_its_dead_letter_is_on_disk() {
        let mut tracker = tracker(&[0], 0);
        assert!(tracker.refuse(0, 2, bad()));
        assert!(!tracker.refuse(0, 2, bad()), "known already");
        tracker.acknowledge(0, 4);
        assert_eq!(acks(&mut tracker), [("a".into(), 1)]);
        assert_eq!(tracker.refusal(0, 2), Some(&bad()));
        tracker.dead_letter_stored(0, 2);
        assert_eq!(acks(&mut tracker), [("a".into(), 4)]);
        assert!(!tracker.refuse(0, 2, bad()), "it is acknowledged");
    }

    #[test]
    fn a_refusal_that_is_told_again_has_one_dead_letter() {
        let mut tracker = tracker(&[0], 0);
        assert!(tracker.refuse(0, 2, bad()) && tracker.refuse(0, 3, bad()));
        tracker.dead_letter_stored(0, 3);
        assert!(!tracker.refuse(0, 3, bad()), "2 is still before it");
        tracker.acknowledge(0, 3);
        tracker.dead_letter_stored(0, 2);
        assert_eq!(acks(&mut tracker), [("a".into(), 3)]);
        assert!(tracker.upstreams()[0].stored.is_empty());
    }

    #[test]
    fn offsets_that_the_disk_refused_are_given_again() {
        let mut tracker = tracker(&[0], 0);
        tracker.acknowledge(0, 4);
        assert_eq!(acks(&mut tracker), [("a".into(), 4)]);
        assert_eq!(tracker.take_trim(), Some(4));
        tracker.resubmit(0);
        assert_eq!(acks(&mut tracker), [("a".into(), 4)]);
        assert_eq!(tracker.take_trim(), Some(4));
    }

    #[test]
    fn other_upstreams_keep_what_is_known_of_those_that_stay_whatever_their_place() {
        let mut tracker = tracker(&[0, 0], 0);
        assert!(tracker.refuse(1, 3, bad()));
        tracker.acknowledge(1, 5);
        let (b, c): (Arc<str>, Arc<str>) = ("b".into(), "c".into());
        tracker.set_upstreams(vec![(2, (c, 4)), (1, (b, 0))]);
        tracker.acknowledge(0, 9);
        assert_eq!(tracker.refusal(1, 3), Some(&bad()));
        assert_eq!(acks(&mut tracker), [("b".into(), 2)], "a is gone");
        tracker.dead_letter_stored(1, 3);
        assert_eq!(acks(&mut tracker), [("b".into(), 5)]);
        assert_eq!(tracker.take_trim(), Some(4), "c has no more");
    }

    #[test]
    fn an_upstream_that_isnt_there_is_passed_over() {
        let mut tracker = tracker(&[0], 0);
        tracker.acknowledge(9, 4);
        tracker.dead_letter_stored(9, 4);
        assert!(!tracker.refuse(9, 4, bad()));
        assert_eq!((acks(&mut tracker), tracker.refusal(9, 4)), (vec![], None));
    }
}
