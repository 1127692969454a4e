//! Which messages were written lately, so that a repeat is known.
//!
//! Belongs to the thread that writes; no reader asks.

use std::collections::{HashMap, VecDeque};

use super::record::Position;

/// The committed ones.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    first: HashMap<Sameness, (u32, u64), foldhash::fast::FixedState>,
    /// In the order in which they came.
    order: VecDeque<(u64, Sameness)>,
    forgotten: u64,
}

/// A `u128` without its alignment.
type Sameness = [u64; 2];

fn halves(sameness: u128) -> Sameness {
    [(sameness >> 64) as u64, sameness as u64]
}

impl Dedup {
    pub(super) fn find(&self, sameness: u128) -> Option<Position> {
        let &(epoch, offset) = self.first.get(&halves(sameness))?;
        Some(Position { epoch, offset })
    }

    /// Notes a message of this time; the oldest are forgotten early when there are more than
    /// `max`.
    pub(super) fn remember(&mut self, at_ms: u64, sameness: u128, position: Position, max: usize) {
        let sameness = halves(sameness);
        let Position { epoch, offset } = position;
        if self.first.insert(sameness, (epoch, offset)).is_none() {
            self.order.push_back((at_ms, sameness));
        }
        while self.order.len() > max {
            self.forget_oldest();
            self.forgotten += 1;
        }
    }

    /// Forgets what was written before this time.
    pub(super) fn forget_before(&mut self, ms: u64) {
        while self.oldest_ms().is_some_and(|oldest| oldest < ms) {
            self.forget_oldest();
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            self.first = HashMap::default();
            self.order = VecDeque::new();
        }
    }

    /// When the oldest was written that is known.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.order.front().map(|(at_ms, _)| *at_ms)
    }

    /// How many were forgotten early.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_oldest(&mut self) {
        if let Some((_, sameness)) = self.order.pop_front() {
            self.first.remove(&sameness);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    #[test]
    fn a_repeat_is_known_until_its_time_is_over_or_too_many_came() {
        let mut dedup = Dedup::default();
        dedup.remember(10, 1, at(1), 2);
        dedup.remember(11, 1 << 64, at(2), 2);
        assert_eq!(
            (dedup.find(1), dedup.find(1 << 64)),
            (Some(at(1)), Some(at(2)))
        );
        dedup.remember(12, 3, at(3), 2);
        assert_eq!((dedup.find(1), dedup.forgotten()), (None, 1));
        dedup.forget_before(12);
        assert_eq!((dedup.find(1 << 64), dedup.find(3)), (None, Some(at(3))));
        assert_eq!(dedup.oldest_ms(), Some(12));
        dedup.forget_before(13);
        assert_eq!(dedup.oldest_ms(), None);
    }
}
