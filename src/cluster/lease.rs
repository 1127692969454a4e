//! Who is alive: judged by the beats of the others, and by this node's own monotonic clock alone.
//!
//! Each reading brings the beats of all generations that stand. One whose beat has stood still for
//! `lease` while readings succeeded is dead. Time in which nothing was read counts for nobody: a node that
//! was frozen or cut off takes no other for dead when it wakes.
//!
//! Nothing here reads a clock: time comes as milliseconds since some start.

use std::collections::HashMap;
use std::time::Duration;

/// A reading that comes later than this after the one before counts as this late: two beats are apart by
/// a second, and a reader that took longer was frozen, or cut off.
const BETWEEN_READINGS_MAX: Duration = Duration::from_millis(1_500);

/// The beats of the generations that stand, and since when each of them has stood still.
#[derive(Debug, Default)]
pub struct Leases {
    seen: HashMap<u64, SeenBeat>,
    read_at: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct SeenBeat {
    beat: u64,
    /// Time for which the beat stood still, as far as readings succeeded.
    still: Duration,
}

impl Leases {
    /// Takes the beats of all generations that stand, as they were read at `now`. Returns whether there
    /// are other generations than before.
    pub fn read(&mut self, now: Duration, beats: &[(u64, u64)]) -> bool {
        let passed = self.since_reading(now);
        let before = std::mem::take(&mut self.seen);
        self.seen = (beats.iter())
            .map(|&(generation, beat)| {
                let still = match before.get(&generation) {
                    Some(seen) if seen.beat == beat => seen.still + passed,
                    _ => Duration::ZERO,
                };
                (generation, SeenBeat { beat, still })
            })
            .collect();
        self.read_at = Some(now);
        let is_known = |generation| before.contains_key(generation);
        self.seen.len() != before.len() || !self.seen.keys().all(is_known)
    }

    /// Lists the generations that are alive at `now`, in order.
    #[must_use]
    pub fn alive(&self, now: Duration, lease: Duration) -> Vec<u64> {
        let mut alive: Vec<u64> = (self.seen.keys().copied())
            .filter(|generation| self.is_alive(*generation, now, lease))
            .collect();
        alive.sort_unstable();
        alive
    }

    /// Whether a generation stands, and its beat hasn't stood still for `lease`.
    #[must_use]
    pub fn is_alive(&self, generation: u64, now: Duration, lease: Duration) -> bool {
        (self.still_for(generation, now)).is_some_and(|still| still < lease)
    }

    /// Returns the time for which the beat of a generation has stood still; `None` for one that doesn't
    /// stand.
    #[must_use]
    pub fn still_for(&self, generation: u64, now: Duration) -> Option<Duration> {
        let seen = self.seen.get(&generation)?;
        Some(seen.still + self.since_reading(now))
    }

    fn since_reading(&self, now: Duration) -> Duration {
        let passed = self.read_at.map(|then| now.saturating_sub(then));
        passed.map_or(Duration::ZERO, |passed| passed.min(BETWEEN_READINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(5);

    /// Random numbers from a seed (SplitMix64).
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ (mixed >> 31)) % bound
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_that_stands_still_for_the_lease_is_dead_at_that_moment_and_not_at_the_next_reading() {
        let mut leases = Leases::default();
        for second in 0..=4 {
            leases.read(ms(second * 1_000), &[(1, second), (2, 7)]);
        }
        assert_eq!(leases.alive(ms(4_999), LEASE), [1, 2]);
        assert_eq!(leases.alive(ms(5_000), LEASE), [1]);
        leases.read(ms(5_000), &[(1, 5), (2, 8)]);
        assert_eq!(leases.alive(ms(5_000), LEASE), [1, 2], "it beats again");
    }

    #[test]
    fn who_was_frozen_or_cut_off_takes_nobody_for_dead() {
        let mut leases = Leases::default();
        leases.read(ms(0), &[(1, 1), (2, 1)]);
        leases.read(ms(1_000), &[(1, 2), (2, 2)]);
        assert_eq!(leases.alive(ms(60_000), LEASE), [1, 2], "asked first");
        leases.read(ms(60_000), &[(1, 2), (2, 40)]);
        assert_eq!(leases.alive(ms(60_000), LEASE), [1, 2]);
        for second in 61..64 {
            leases.read(ms(second * 1_000), &[(1, 2), (2, second)]);
        }
        assert_eq!(leases.alive(ms(63_400), LEASE), [1, 2]);
        assert_eq!(leases.alive(ms(63_500), LEASE), [2]);
    }

    #[test]
    fn a_generation_that_does_not_stand_is_dead_at_once_and_a_change_is_told() {
        let mut leases = Leases::default();
        assert!(leases.read(ms(0), &[(1, 1), (2, 1)]));
        assert!(!leases.read(ms(500), &[(1, 1), (2, 2)]));
        assert!(leases.read(ms(1_000), &[(1, 2), (3, 1)]), "another one");
        assert_eq!(leases.alive(ms(1_000), LEASE), [1, 3]);
        assert_eq!(leases.still_for(2, ms(1_000)), None);
        assert!(leases.read(ms(1_500), &[(1, 2)]), "one less");
    }

    /// Whatever readings fail and whenever the reader is frozen: one that beats each second is never
    /// taken for dead, and one that doesn't is, after `lease` of readings that succeed each second.
    #[test]
    fn who_beats_lives_and_who_does_not_dies_whatever_the_reader_suffers() {
        for seed in 0..500 {
            let dice = &mut Dice(seed);
            let mut leases = Leases::default();
            let mut now = 0;
            for _ in 0..60 {
                now += if dice.below(4) == 0 {
                    dice.below(30_000)
                } else {
                    1_000
                };
                leases.read(ms(now), &[(1, now / 1_000), (2, 0)]);
                let asked = now + dice.below(3_000);
                assert!(leases.is_alive(1, ms(asked), LEASE), "seed {seed}");
            }
            (0..5).for_each(|_| {
                now += 1_000;
                leases.read(ms(now), &[(1, now / 1_000), (2, 0)]);
            });
            assert_eq!(leases.alive(ms(now), LEASE), [1], "seed {seed}");
        }
    }
}
