//! Which messages were said lately, so that a repeat is known.

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;

use siphasher::sip128::Hasher128 as _;
use siphasher::{sip, sip128};

use super::settings::ChatSettings;
use super::stats::Totals;
use crate::base::Tick;
use crate::base::{Epoch, Position};

/// Who says something, as far as a repeat is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Speaker<'a> {
    User(&'a str),
    Key { key: &'a str, from: Option<&'a str> },
}

/// What makes two messages the same: channel, speaker and id, as a keyed hash of 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct IdempotencyKey(pub(super) u128);

/// Makes [`IdempotencyKey`]; the keys are random, so nobody can look for two messages with one hash.
/// With the same keys it makes the same, in every process and version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hasher([u64; 2]);

impl Hasher {
    pub(super) fn new(keys: [u64; 2]) -> Self {
        Self(keys)
    }

    pub(super) fn sameness(&self, channel: &str, speaker: Speaker<'_>, id: &str) -> IdempotencyKey {
        let mut hasher = sip128::SipHasher13::new_with_keys(self.0[0], self.0[1]);
        put(&mut hasher, Some(channel));
        match speaker {
            Speaker::User(uid) => put(&mut hasher, Some(uid)),
            Speaker::Key { key, from } => {
                put(&mut hasher, None);
                put(&mut hasher, Some(key));
                put(&mut hasher, from);
            }
        }
        put(&mut hasher, Some(id));
        IdempotencyKey(hasher.finish128().as_u128())
    }

    /// The epoch of a channel that begins after so many others were forgotten.
    pub(super) fn epoch(&self, channel: &str, forgotten: u64) -> Epoch {
        let mut hasher = sip::SipHasher13::new_with_keys(self.0[0], self.0[1]);
        put(&mut hasher, Some(channel));
        hasher.write_u64(forgotten);
        Epoch::from_bits(hasher.finish() as u32)
    }
}

/// Texts one behind the other, so that no two lists of them look the same.
fn put(hasher: &mut impl std::hash::Hasher, text: Option<&str>) {
    match text {
        Some(text) => {
            hasher.write(&(text.len() as u64 + 1).to_le_bytes());
            hasher.write(text.as_bytes());
        }
        None => hasher.write(&0u64.to_le_bytes()),
    }
}

/// The messages of one shard that had an id of their sender's.
#[derive(Debug, Default)]
pub(super) struct Recent {
    first: HashMap<IdempotencyKey, Option<Position>, foldhash::fast::FixedState>,
    /// In the order in which they came.
    order: VecDeque<(Tick, IdempotencyKey)>,
}

impl Recent {
    /// Where the same message stands already, if it was said lately.
    pub(super) fn find(
        &mut self,
        now: Tick,
        sameness: IdempotencyKey,
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
        sameness: IdempotencyKey,
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
