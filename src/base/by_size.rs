//! Who holds how much, so that the largest holder is found at once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use foldhash::fast::FixedState;

/// Holders and their sizes. Only those that hold something take memory.
#[derive(Debug)]
pub struct BySize<K> {
    sizes: HashMap<K, usize, FixedState>,
    in_order: BTreeSet<(usize, K)>,
    total: usize,
}

impl<K> Default for BySize<K> {
    fn default() -> Self {
        Self {
            sizes: HashMap::default(),
            in_order: BTreeSet::new(),
            total: 0,
        }
    }
}

impl<K: Copy + Eq + Hash + Ord> BySize<K> {
    /// Notes how much a holder has; 0 forgets the holder.
    pub fn set(&mut self, holder: K, size: usize) {
        let before = match size {
            0 => self.sizes.remove(&holder),
            size => self.sizes.insert(holder, size),
        };
        if let Some(before) = before {
            self.in_order.remove(&(before, holder));
            self.total -= before;
        }
        if size > 0 {
            self.in_order.insert((size, holder));
            self.total += size;
        } else if self.sizes.is_empty() {
            // A crowd that left must not leave its table behind.
            self.sizes.shrink_to_fit();
        }
    }

    /// Forgets the largest holder and gives it.
    pub fn take_largest(&mut self) -> Option<K> {
        let (_, holder) = self.in_order.last().copied()?;
        self.set(holder, 0);
        Some(holder)
    }

    /// What all of them hold.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_this_moment_comes_first_and_each_once() {
        let mut holders = BySize::default();
        for (holder, size) in [('a', 5), ('b', 9), ('c', 7), ('b', 6), ('d', 8), ('d', 0)] {
            holders.set(holder, size);
        }
        assert_eq!(holders.total(), 18);
        let taken: String = std::iter::from_fn(|| holders.take_largest()).collect();
        assert_eq!(taken, "cba");
        assert_eq!(holders.total(), 0);
        assert_eq!(holders.sizes.capacity(), 0, "nothing is left behind");
    }

    #[test]
    fn it_agrees_with_a_plain_table_whatever_changes() {
        let (mut holders, mut plain, mut dice) = (BySize::default(), [0; 8], 1_u64);
        for _ in 0..2_000 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (holder, size) = ((dice >> 40) as usize % 8, (dice >> 50) as usize % 4);
            if dice >> 60 == 0 {
                let largest = holders.take_largest();
                let most = plain.iter().max().copied().filter(|most| *most > 0);
                assert_eq!(largest.map(|holder| plain[holder]), most);
                largest.into_iter().for_each(|holder| plain[holder] = 0);
            } else {
                holders.set(holder, size);
                plain[holder] = size;
            }
            assert_eq!(holders.total(), plain.iter().sum::<usize>());
        }
    }
}
