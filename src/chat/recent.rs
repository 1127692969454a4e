//! Which messages were said lately, so that a repeat is known.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::position::Position;
use super::settings::ChatSettings;
use super::stats::Totals;
use crate::proto::Tick;

/// Who says something, as far as a repeat is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Speaker<'a> {
    User(&'a str),
    Key { key: &'a str, from: Option<&'a str> },
}

/// What makes two messages the same: channel, speaker and id, as a keyed hash of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Sameness(u128);

/// Makes [`Sameness`]; the keys are random, so nobody can look for two messages with one hash.
#[derive(Debug, Default)]
pub(super) struct Hasher {
    high: RandomState,
    low: RandomState,
}

impl Hasher {
    pub(super) fn sameness(&self, channel: &str, speaker: Speaker<'_>, id: &str) -> Sameness {
        let what = (channel, speaker, id);
        let (high, low) = (self.high.hash_one(what), self.low.hash_one(what));
        Sameness(u128::from(high) << 64 | u128::from(low))
    }
}

/// The messages of one shard that had an id of their sender's.
#[derive(Debug, Default)]
pub(super) struct Recent {
    first: HashMap<Sameness, Option<Position>, foldhash::fast::FixedState>,
    /// In the order in which they came.
    order: VecDeque<(Tick, Sameness)>,
}

impl Recent {
    /// Where the same message stands already, if it was said lately.
    pub(super) fn find(
        &mut self,
        now: Tick,
        sameness: Sameness,
        settings: &ChatSettings,
        totals: &Totals,
    ) -> Option<Option<Position>> {
        self.forget_old(now, settings, totals);
        self.first.get(&sameness).copied()
    }

    /// Remembers a message that [`Recent::find`] didn't know.
    pub(super) fn remember(
        &mut self,
        now: Tick,
        sameness: Sameness,
        position: Option<Position>,
        settings: &ChatSettings,
        totals: &Totals,
    ) {
        if totals.dedup_entries.now() >= settings.dedup_entries_max {
            totals.dedup_forgotten.add(1);
            if !self.forget_oldest(totals) {
                return;
            }
        }
        totals.dedup_entries.add(1);
        self.first.insert(sameness, position);
        self.order.push_back((now, sameness));
    }

    /// Forgets what is older than the time for which a repeat is known.
    pub(super) fn forget_old(&mut self, now: Tick, settings: &ChatSettings, totals: &Totals) {
        while let Some((at, _)) = self.order.front()
            && at.after(settings.dedup_ms) <= now
        {
            self.forget_oldest(totals);
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self, totals: &Totals) -> bool {
        let Some((_, sameness)) = self.order.pop_front() else {
            return false;
        };
        self.first.remove(&sameness);
        totals.dedup_entries.subtract(1);
        true
    }
}
