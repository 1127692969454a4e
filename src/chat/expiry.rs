//! The times at which channels are swept of old messages, and removed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::call::Scope;
use super::log::MessageLog;
use super::settings::ChannelKind;
use crate::base::Tick;

/// The least time between two sweeps of a stored channel without members, so that a
/// `channel_ttl_ms` of 0 doesn't ask the disk at every turn.
const SWEEP_AGAIN_MS: u64 = 1_000;

/// The channels by the times at which they are to be swept. A channel stands in here once at the
/// most, so a busy channel costs no more than a quiet one.
#[derive(Debug)]
pub(super) struct ExpiryQueue<K>(BinaryHeap<Reverse<(Tick, K)>>);

impl<K: Ord> Default for ExpiryQueue<K> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<K: Ord + Clone> ExpiryQueue<K> {
    /// Schedules a sweep of a channel, unless there is one.
    pub(super) fn schedule(&mut self, at: Tick, key: &K, log: &mut MessageLog) {
        if !log.sweep_is_scheduled {
            log.sweep_is_scheduled = true;
            self.0.push(Reverse((at, key.clone())));
        }
    }

    /// Has all channels swept that would be later.
    pub(super) fn hasten(&mut self) {
        let entries = std::mem::take(&mut self.0).into_iter();
        let at_once = entries.map(|Reverse((_, key))| Reverse((Tick(0), key)));
        self.0 = at_once.collect();
    }

    /// Lists the sweeps, in no order; a channel that began anew may stand here twice.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Tick, &K)> {
        self.0.iter().map(|Reverse((at, key))| (*at, key))
    }

    /// Takes the next channel whose sweep is due.
    pub(super) fn next(&mut self, now: Tick) -> Option<K> {
        if self.0.peek()?.0.0 > now {
            return None;
        }
        let Reverse((_, key)) = self.0.pop()?;
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
        Some(key)
    }
}

/// The decision about a channel that was swept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// The channel is to be removed; it is uncounted already.
    Gone,
    /// Nobody hears the channel on this node of a cluster: its route is to go with it.
    Unheard,
    /// The channel could be removed if the disk forgot it too; otherwise it is swept again then.
    Forgettable(Tick),
    /// The channel stays, and is swept again then.
    SweepAgain(Tick),
    /// The channel stays, and has nothing that could become too old.
    Stays,
}

impl Expiry {
    /// Removes what is too old from a channel that has had neither members nor connections since
    /// `empty_since`, and decides what becomes of it.
    pub(super) fn sweep(
        scope: Scope<'_>,
        channel: &str,
        log: &mut MessageLog,
        empty_since: Option<Tick>,
    ) -> Self {
        log.sweep_is_scheduled = false;
        log.forget_excess(scope);
        log.forget_old(scope);
        let (common, now) = (scope.common, scope.now);
        let ttl_ms = common.settings.channel_ttl_ms();
        let gone_at = empty_since.map(|since| since.after(ttl_ms));
        if common.in_cluster() {
            return match (gone_at, log.oldest_at()) {
                (Some(gone_at), _) if gone_at <= now => Self::Unheard,
                (Some(gone_at), _) => Self::SweepAgain(gone_at),
                (None, Some(_)) => Self::SweepAgain(now.after(ttl_ms.max(SWEEP_AGAIN_MS))),
                (None, None) => Self::Stays,
            };
        }
        let newest = log.position().offset;
        let is_due = gone_at.is_some_and(|gone_at| gone_at <= now) && log.oldest_at().is_none();
        if is_due && common.settings.kind_of(channel) == ChannelKind::Stored {
            let again = now.after(ttl_ms.max(SWEEP_AGAIN_MS));
            match common.stored.floor(channel) {
                Some(floor) if floor < newest => return Self::SweepAgain(again),
                // The disk knows a purged channel too, which has had no message since.
                Some(_) => return Self::Forgettable(again),
                None if newest > 0 => return Self::Forgettable(again),
                None => {}
            }
        }
        match (log.oldest_at(), gone_at) {
            (Some(oldest), _) => Self::SweepAgain(oldest.after(common.settings.kept_ms_max())),
            (None, Some(gone_at)) if gone_at <= now => {
                common.uncount_channel(channel);
                Self::Gone
            }
            (None, Some(gone_at)) => Self::SweepAgain(gone_at),
            (None, None) => Self::Stays,
        }
    }
}
