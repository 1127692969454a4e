//! The ids of lately said messages, so that a repeat is known.

use std::collections::{HashMap, VecDeque};

use super::call::Scope;
use super::hasher::IdempotencyKey;
use super::stats::Totals;
use crate::base::{Position, Tick};

/// The messages of one shard that had an id of their sender's, for `dedup_ms`.
#[derive(Debug, Default)]
pub(super) struct RecentIds {
    first: HashMap<IdempotencyKey, Option<Position>, foldhash::fast::FixedState>,
    /// The keys in the order in which their messages came.
    order: VecDeque<(Tick, IdempotencyKey)>,
}

impl RecentIds {
    /// Finds the place of the first message with this key, if that was said lately.
    pub(super) fn find(
        &mut self,
        scope: Scope<'_>,
        key: Option<IdempotencyKey>,
    ) -> Option<Option<Position>> {
        let key = key?;
        self.forget_old(scope);
        self.first.get(&key).copied()
    }

    /// Remembers a message that [`RecentIds::find`] didn't know.
    pub(super) fn remember(
        &mut self,
        scope: Scope<'_>,
        key: Option<IdempotencyKey>,
        position: Option<Position>,
    ) {
        let Some(key) = key else { return };
        let totals = &scope.common.totals;
        if totals.dedup_entries.now() >= scope.common.settings.dedup_entries_max {
            totals.dedup_forgotten.add(1);
            if !self.forget_oldest(totals) {
                return;
            }
        }
        totals.dedup_entries.add(1);
        self.first.insert(key, position);
        self.order.push_back((scope.now, key));
    }

    /// Forgets what is older than the time for which a repeat is known.
    pub(super) fn forget_old(&mut self, scope: Scope<'_>) {
        while let Some((at, _)) = self.order.front()
            && at.after(scope.common.settings.dedup_ms) <= scope.now
        {
            self.forget_oldest(&scope.common.totals);
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            *self = Self::default();
        }
    }

    fn forget_oldest(&mut self, totals: &Totals) -> bool {
        let Some((_, key)) = self.order.pop_front() else {
            return false;
        };
        self.first.remove(&key);
        totals.dedup_entries.subtract(1);
        true
    }
}
