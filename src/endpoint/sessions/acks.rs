//! Acknowledgements on their way to the disk: many of one user become one record.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::Tick;
use crate::base::sync::lock;
use crate::chat::User;
use crate::endpoint::services::Services;
use crate::endpoint::store_task::{ReplyTo, StoreTask};

/// Milliseconds after which acknowledgements are given to the disk: with the disk's own time they
/// are written within a second.
const STORE_EVERY_MS: u64 = 500;

/// Acknowledgements that wait, one a channel and user; with more, each new one has one given to the
/// disk at once. This many take some 10 MB.
const WAITING_MAX: usize = 100_000;

/// Acknowledgements that a look gives to the disk: some hundred microseconds' work, without the lock.
/// With a hundred looks a second, 100,000 a second are given.
const GIVEN_MAX: usize = 1_000;

/// The newest acknowledgement of each user in each channel, until it is given to the disk.
#[derive(Debug, Default)]
pub(super) struct Acks(Mutex<PendingAcks<(Arc<str>, User)>>);

#[derive(Debug)]
struct PendingAcks<K> {
    offsets: BTreeMap<K, u64>,
    /// Those that are due, and given away step by step.
    due: BTreeMap<K, u64>,
    collected: Option<Tick>,
}

impl<K> Default for PendingAcks<K> {
    fn default() -> Self {
        Self {
            offsets: BTreeMap::new(),
            due: BTreeMap::new(),
            collected: None,
        }
    }
}

impl<K: Ord + Clone> PendingAcks<K> {
    /// Makes what has come so far due, if it is time and nothing is due.
    fn collect(&mut self, now: Tick) {
        let is_time = |since: Tick| since.after(STORE_EVERY_MS) <= now;
        if self.due.is_empty() && self.collected.is_none_or(is_time) {
            self.collected = Some(now);
            self.due = std::mem::take(&mut self.offsets);
        }
    }

    /// Takes up to `count` of those that are due.
    fn take_due(&mut self, count: usize) -> BTreeMap<K, u64> {
        let rest = self.due.keys().nth(count).cloned();
        let rest = rest.map_or_else(BTreeMap::new, |first| self.due.split_off(&first));
        std::mem::replace(&mut self.due, rest)
    }

    /// Takes one of all that wait.
    fn take_one(&mut self) -> BTreeMap<K, u64> {
        let one = self.due.pop_first().or_else(|| self.offsets.pop_first());
        one.into_iter().collect()
    }

    fn len(&self) -> usize {
        self.offsets.len() + self.due.len()
    }
}

impl Acks {
    /// Notes that a user has received everything of a channel up to `offset`.
    pub(super) fn note(&self, services: &Services, channel: &str, user: User, offset: u64) {
        let mut waiting = lock(&self.0);
        let known = waiting.offsets.entry((channel.into(), user)).or_default();
        *known = offset.max(*known);
        let one = (waiting.len() > WAITING_MAX).then(|| waiting.take_one());
        drop(waiting);
        give(services, one.unwrap_or_default());
    }

    /// Gives some of the pending acknowledgements to the disk if it is time; whether more are due.
    pub(super) fn store_if_due(&self, services: &Services) -> bool {
        let mut waiting = lock(&self.0);
        waiting.collect(services.now().tick);
        let due = waiting.take_due(GIVEN_MAX);
        let has_more = !waiting.due.is_empty();
        drop(waiting);
        give(services, due);
        has_more
    }

    /// Whether none waits to be given to the disk.
    pub(super) fn are_given(&self) -> bool {
        lock(&self.0).len() == 0
    }

    /// Gives the pending acknowledgements to the disk.
    pub(super) fn store(&self, services: &Services) {
        let waiting = std::mem::take(&mut *lock(&self.0));
        give(services, waiting.due);
        give(services, waiting.offsets);
    }
}

/// Gives acknowledgements to the disk, which keeps the highest of each channel and user.
fn give(services: &Services, acks: BTreeMap<(Arc<str>, User), u64>) {
    for ((channel, user), offset) in acks {
        let task = StoreTask::Ack {
            channel,
            user,
            offset,
        };
        services.store(task, ReplyTo::Nobody);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_given_in_steps_each_once_and_what_comes_meanwhile_waits() {
        let mut acks = PendingAcks {
            offsets: (0..25).map(|key| (key, 1)).collect(),
            ..PendingAcks::default()
        };
        acks.collect(Tick(1_000));
        acks.offsets.insert(0, 2);
        acks.collect(Tick(2_000));
        let steps: Vec<usize> = (0..4).map(|_| acks.take_due(10).len()).collect();
        assert_eq!((steps, acks.len()), (vec![10, 10, 5, 0], 1));
        acks.collect(Tick(1_400));
        assert_eq!(acks.take_due(10).len(), 0, "not before half a second");
        acks.collect(Tick(1_500));
        assert_eq!(acks.take_due(10).len(), 1);
    }

    #[test]
    fn over_the_bound_one_is_given_for_each_that_comes() {
        let mut acks = PendingAcks {
            offsets: [(0, 1), (1, 1)].into(),
            due: [(7, 1)].into(),
            collected: None,
        };
        let taken: Vec<usize> = (0..4).map(|_| acks.take_one().len()).collect();
        assert_eq!((taken, acks.len()), (vec![1, 1, 1, 0], 0));
    }
}
