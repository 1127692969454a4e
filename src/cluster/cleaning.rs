//! When a generation that is over is cleaned away: `left_ms` after it was seen to be over, by a node that
//! was itself connected all that time.
//!
//! Nothing here reads a clock: time comes as milliseconds since some start.

use std::collections::HashMap;
use std::time::Duration;

/// The generations that were seen to be over, and since when.
#[derive(Debug, Default)]
pub struct Cleaning {
    over: HashMap<u64, OverSince>,
    buried: Vec<u64>,
}

#[derive(Debug, Clone, Copy)]
struct OverSince {
    since: Duration,
    /// The beat that stands still; `None` for one that doesn't stand any more.
    beat: Option<u64>,
}

/// A generation whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burial {
    /// The generation.
    pub generation: u64,
    /// The beat that stands still; `None` for one that doesn't stand any more.
    pub beat: Option<u64>,
}

impl Cleaning {
    /// Takes the generations that are over at `now`: those that stand no more, and those that stand with
    /// a beat that has stood still. Others are forgotten.
    pub fn note(&mut self, now: Duration, over: impl IntoIterator<Item = (u64, Option<u64>)>) {
        let before = std::mem::take(&mut self.over);
        self.over = (over.into_iter())
            .map(|(generation, beat)| {
                let seen = before.get(&generation).filter(|seen| seen.beat == beat);
                let since = seen.map_or(now, |seen| seen.since);
                (generation, OverSince { since, beat })
            })
            .collect();
    }

    /// Forgets since when generations are over: the node was cut off, and a client of theirs may have had
    /// no other node to go to.
    pub fn forget(&mut self) {
        self.over.clear();
    }

    /// Returns a generation that has been over for `left`, and isn't buried by this node yet.
    #[must_use]
    pub fn due(&self, now: Duration, left: Duration) -> Option<Burial> {
        let over = self.over.iter();
        let due = over.filter(|(generation, seen)| {
            now.saturating_sub(seen.since) >= left && !self.buried.contains(generation)
        });
        let first = due.min_by_key(|(generation, seen)| (seen.since, **generation))?;
        Some(Burial {
            generation: *first.0,
            beat: first.1.beat,
        })
    }

    /// Notes what came of a burial: whether this node is the one that cleans. If it isn't, it looks again
    /// after another `left`.
    pub fn tried(&mut self, now: Duration, generation: u64, is_ours: bool) {
        if is_ours {
            self.buried.push(generation);
        } else if let Some(seen) = self.over.get_mut(&generation) {
            seen.since = now;
        }
    }

    /// Returns the generation that this node cleans away at the moment.
    #[must_use]
    pub fn under_way(&self) -> Option<u64> {
        self.buried.first().copied()
    }

    /// Notes that nothing of a generation is left.
    pub fn cleaned(&mut self, generation: u64) {
        self.buried.retain(|one| *one != generation);
        self.over.remove(&generation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEFT: Duration = Duration::from_secs(3);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn due(cleaning: &Cleaning, at: u64) -> Option<u64> {
        cleaning.due(ms(at), LEFT).map(|burial| burial.generation)
    }

    #[test]
    fn one_that_is_over_is_cleaned_away_after_left_ms_and_the_oldest_first() {
        let mut cleaning = Cleaning::default();
        cleaning.note(ms(1_000), [(7, None)]);
        cleaning.note(ms(2_000), [(7, None), (3, Some(9))]);
        assert_eq!(
            (due(&cleaning, 3_999), due(&cleaning, 4_000)),
            (None, Some(7))
        );
        cleaning.tried(ms(4_000), 7, true);
        assert_eq!(
            (due(&cleaning, 4_999), due(&cleaning, 5_000)),
            (None, Some(3))
        );
        assert_eq!(cleaning.under_way(), Some(7));
        cleaning.cleaned(7);
        assert_eq!(cleaning.under_way(), None);
    }

    #[test]
    fn one_that_beats_again_and_a_node_that_was_cut_off_begin_anew() {
        let mut cleaning = Cleaning::default();
        cleaning.note(ms(0), [(3, Some(9))]);
        cleaning.note(ms(2_000), [(3, Some(10))]);
        assert_eq!(
            (due(&cleaning, 4_999), due(&cleaning, 5_000)),
            (None, Some(3))
        );
        cleaning.note(ms(2_500), []);
        assert_eq!(due(&cleaning, 60_000), None, "it is alive");
        cleaning.note(ms(3_000), [(3, Some(10))]);
        cleaning.forget();
        cleaning.note(ms(5_900), [(3, Some(10))]);
        assert_eq!(
            (due(&cleaning, 8_899), due(&cleaning, 8_900)),
            (None, Some(3))
        );
    }

    #[test]
    fn whom_another_node_cleans_away_is_looked_at_again_later() {
        let mut cleaning = Cleaning::default();
        cleaning.note(ms(0), [(3, None)]);
        cleaning.tried(ms(3_000), 3, false);
        assert_eq!(
            (due(&cleaning, 5_999), due(&cleaning, 6_000)),
            (None, Some(3))
        );
        assert_eq!(cleaning.under_way(), None);
    }
}
