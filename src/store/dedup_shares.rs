//! Who has how many of the remembered messages: kept only while there are too many, since then it
//! has to be known who loses one.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

use foldhash::fast::FixedState;

/// A sender among those whose messages are remembered: a hash of the name, so that two senders may
/// share one and then count as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SenderTag(pub(super) u32);

/// The numbers of the remembered messages by their senders, and the senders by how many they have.
#[derive(Debug, Default)]
pub(super) struct DedupShares {
    by_sender: HashMap<SenderTag, VecDeque<u32>, FixedState>,
    /// How many each sender has, and the number of its oldest one.
    by_count: BTreeSet<(usize, Reverse<u32>, SenderTag)>,
    count: usize,
    count_peak: usize,
}

impl DedupShares {
    /// Adds the newest message of a sender.
    pub(super) fn insert(&mut self, sender: SenderTag, number: u32) {
        let own = self.by_sender.entry(sender).or_default();
        own.push_back(number);
        let (count, oldest) = (own.len(), Reverse(own[0]));
        self.by_count.remove(&(count - 1, oldest, sender));
        self.by_count.insert((count, oldest, sender));
        self.count += 1;
        self.count_peak = self.count_peak.max(self.count);
    }

    /// Takes out the oldest message of a sender.
    pub(super) fn take_oldest(&mut self, sender: SenderTag) -> Option<u32> {
        let own = self.by_sender.get_mut(&sender)?;
        let before = own.len();
        let number = own.pop_front()?;
        self.by_count.remove(&(before, Reverse(number), sender));
        match own.front() {
            Some(oldest) => _ = self.by_count.insert((before - 1, Reverse(*oldest), sender)),
            None => _ = self.by_sender.remove(&sender),
        }
        self.count -= 1;
        Some(number)
    }

    /// The sender with the most messages; among equals the one whose oldest message is the oldest.
    pub(super) fn largest(&self) -> Option<SenderTag> {
        self.by_count.last().map(|(_, _, sender)| *sender)
    }

    /// How many messages there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// How many there were at the most.
    pub(super) fn count_peak(&self) -> usize {
        self.count_peak
    }
}
