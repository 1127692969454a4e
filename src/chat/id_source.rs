//! The source of epochs and ids.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::Epoch;
use crate::base::position::DIGITS;

/// Characters of an id; each stands for 5 of its 64 bits.
const ID_DIGITS: usize = 13;

/// An id that a source made.
#[derive(Debug)]
pub(super) struct MadeId([u8; ID_DIGITS]);

impl Deref for MadeId {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the digits are ASCII")
    }
}

/// Makes epochs and ids; from one seed always the same ones.
#[derive(Debug)]
pub(super) struct IdSource(AtomicU64);

impl IdSource {
    /// Makes a source whose epochs and ids depend on `seed` alone.
    pub(super) fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// Returns the seed of a source that goes on where this one is.
    pub(super) fn rest(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes the next epoch.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch::from_bits((self.next() >> 34) as u32)
    }

    /// Makes an id that this source gives only once; those of another seed differ in 64 bits.
    pub(super) fn id(&self) -> MadeId {
        let number = self.next();
        MadeId(std::array::from_fn(|at| {
            DIGITS[(number >> (5 * (ID_DIGITS - 1 - at)) & 31) as usize]
        }))
    }

    /// SplitMix64: a bijection of a counter, so nothing comes twice.
    fn next(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_dont_repeat() {
        let source = IdSource::new(1);
        let ids: std::collections::HashSet<_> =
            (0..10_000).map(|_| source.id().to_string()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
