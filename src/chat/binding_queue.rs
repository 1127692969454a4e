//! The rows that have changed since they were last written, from all threads to the one that writes.
//!
//! A row is in the queue once, however often it changes. When the queue is full, all of it is forgotten, and
//! the whole table is to be compared instead; the same holds while the store is away, when nothing is
//! noted at all.
//!
//! Invariant: a row is noted under the lock under which it was changed, so whoever takes it out and then
//! looks sees the change.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::bindings::{BindingKey, BindingScope};
use crate::base::sync::lock;

/// Rows that wait to be written, a bounded number.
#[derive(Debug)]
pub struct BindingQueue {
    waiting: Mutex<WaitingRows>,
    /// Notified when the first row comes, and at the end.
    came: Condvar,
    scope: BindingScope,
    changes_max: usize,
    size: AtomicUsize,
    overflows: AtomicU64,
}

#[derive(Debug)]
struct WaitingRows {
    rows: HashSet<BindingKey, RandomState>,
    /// Whether the whole table will be compared, so that no single row counts.
    is_whole: bool,
    is_ended: bool,
    untold: UntoldMembers,
}

/// Users in rooms who came or went since a store was told of everybody last: all others who stand in the
/// table have been told of. `None` once there were too many.
pub type UntoldMembers = Option<HashSet<BindingKey, RandomState>>;

impl WaitingRows {
    /// Notes a row of which a store wasn't told, as long as there are no more than `rows_max`.
    fn keep_untold(&mut self, row: BindingKey, rows_max: usize) {
        if let (Some(untold), BindingKey::Member(..)) = (&mut self.untold, &row) {
            match untold.len() < rows_max || untold.contains(&row) {
                true => _ = untold.insert(row),
                false => self.untold = None,
            }
        }
    }
}

/// What is to be written.
#[derive(Debug, PartialEq, Eq)]
pub enum TakenRows {
    /// These rows; none where nothing came in time.
    Rows(Vec<BindingKey>),
    /// All rows: there were too many.
    Whole,
    /// These rows, and no others will come.
    Last(Vec<BindingKey>),
}

impl BindingQueue {
    /// Makes a queue that holds up to `changes_max` rows of these, in which nothing is noted before
    /// [`BindingQueue::begin`].
    #[must_use]
    pub fn new(scope: BindingScope, changes_max: usize) -> Self {
        Self {
            waiting: Mutex::new(WaitingRows {
                rows: HashSet::default(),
                is_whole: true,
                is_ended: false,
                untold: Some(HashSet::default()),
            }),
            came: Condvar::new(),
            scope,
            changes_max,
            size: AtomicUsize::new(0),
            overflows: AtomicU64::new(0),
        }
    }

    /// Notes that a row has changed, if it is one of these; to be called under the lock under which it did.
    pub(super) fn note(&self, row: BindingKey) {
        if !self.scope.has(&row) {
            return;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.is_whole {
            return waiting.keep_untold(row, self.untold_max());
        }
        if waiting.rows.len() >= self.changes_max && !waiting.rows.contains(&row) {
            waiting.rows = HashSet::default();
            waiting.is_whole = true;
            waiting.untold = None;
            self.overflows.fetch_add(1, Relaxed);
        } else {
            waiting.rows.insert(row);
        }
        let size = waiting.rows.len();
        self.size.store(size, Relaxed);
        let wakes = size <= 1;
        drop(waiting);
        if wakes {
            self.came.notify_one();
        }
    }

    /// Begins to note rows. Called before the whole table is looked at, so that no change is missed.
    pub fn begin(&self) {
        self.set_whole(false);
    }

    /// Notes no rows to be written until the next [`BindingQueue::begin`]: the store is away.
    pub fn pause(&self) {
        self.set_whole(true);
    }

    /// Only a register tells who comes.
    fn untold_max(&self) -> usize {
        match self.scope {
            BindingScope::Register => self.changes_max,
            BindingScope::Tables => 0,
        }
    }

    fn set_whole(&self, is_whole: bool) {
        let mut waiting = lock(&self.waiting);
        let rows = std::mem::take(&mut waiting.rows);
        rows.into_iter()
            .for_each(|row| waiting.keep_untold(row, self.untold_max()));
        waiting.is_whole = is_whole;
        self.size.store(0, Relaxed);
    }

    /// Notes rows that were taken, and that the store wasn't told of.
    pub fn keep_untold(&self, rows: impl IntoIterator<Item = BindingKey>) {
        let mut waiting = lock(&self.waiting);
        rows.into_iter()
            .for_each(|row| waiting.keep_untold(row, self.untold_max()));
    }

    /// Returns the users in rooms of whom the store wasn't told before the last [`BindingQueue::begin`].
    #[must_use]
    pub fn untold(&self) -> UntoldMembers {
        lock(&self.waiting).untold.clone()
    }

    /// Notes that the store was told of everybody.
    pub fn told_all(&self) {
        lock(&self.waiting).untold = Some(HashSet::default());
    }

    /// Waits for rows until `due`, and takes all that wait.
    #[must_use]
    pub fn take(&self, due: Instant) -> TakenRows {
        let mut waiting = lock(&self.waiting);
        while waiting.rows.is_empty() && !waiting.is_whole && !waiting.is_ended {
            let Some(left) = due.checked_duration_since(Instant::now()) else {
                return TakenRows::Rows(Vec::new());
            };
            waiting = self.wait(waiting, left);
        }
        if waiting.is_whole && !waiting.is_ended {
            return TakenRows::Whole;
        }
        let rows = std::mem::take(&mut waiting.rows).into_iter().collect();
        self.size.store(0, Relaxed);
        match waiting.is_ended {
            true => TakenRows::Last(rows),
            false => TakenRows::Rows(rows),
        }
    }

    /// Waits until `due`, whatever comes; `false` when the end came first.
    #[must_use]
    pub fn pause_until(&self, due: Instant) -> bool {
        let mut waiting = lock(&self.waiting);
        while !waiting.is_ended {
            match due.checked_duration_since(Instant::now()) {
                Some(left) => waiting = self.wait(waiting, left),
                None => return true,
            }
        }
        false
    }

    fn wait<'a>(
        &self,
        waiting: std::sync::MutexGuard<'a, WaitingRows>,
        left: Duration,
    ) -> std::sync::MutexGuard<'a, WaitingRows> {
        let woken = self.came.wait_timeout(waiting, left);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Ends the queue: who waits for rows gets the last ones.
    pub fn end(&self) {
        lock(&self.waiting).is_ended = true;
        self.came.notify_one();
    }

    /// Returns the rows that wait.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size.load(Relaxed)
    }

    /// Returns how often there were too many.
    #[must_use]
    pub fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Fd;
    use crate::chat::User;

    fn row(fd: u64) -> BindingKey {
        BindingKey::Connection(Fd(fd), User::of_uid("ann"))
    }

    fn taken(queue: &BindingQueue) -> TakenRows {
        queue.take(Instant::now())
    }

    #[test]
    fn a_row_that_changes_often_is_written_once() {
        let queue = BindingQueue::new(BindingScope::Tables, 10);
        queue.begin();
        (0..100).for_each(|_| queue.note(row(1)));
        assert_eq!(queue.size(), 1);
        assert_eq!(taken(&queue), TakenRows::Rows(vec![row(1)]));
        assert_eq!(taken(&queue), TakenRows::Rows(vec![]));
    }

    #[test]
    fn only_rows_of_its_scope_wait_in_it() {
        let ann = || User::of_uid("ann");
        let lasting = BindingKey::Lasting("tea".into(), ann());
        let heard = BindingKey::Heard("tea".into());
        let member = BindingKey::Member("tea".into(), ann());
        for (scope, own) in [
            (BindingScope::Tables, &lasting),
            (BindingScope::Register, &heard),
        ] {
            let queue = BindingQueue::new(scope, 10);
            queue.begin();
            for row in [&lasting, &heard, &member] {
                queue.note(row.clone());
            }
            let TakenRows::Rows(rows) = taken(&queue) else {
                panic!("it isn't full")
            };
            assert_eq!(rows.len(), 2, "{rows:?}");
            assert!(rows.contains(own) && rows.contains(&member), "{rows:?}");
        }
    }

    #[test]
    fn a_full_queue_asks_for_the_whole_table_and_keeps_nothing() {
        let queue = BindingQueue::new(BindingScope::Tables, 3);
        queue.begin();
        (1..=3).for_each(|fd| queue.note(row(fd)));
        queue.note(row(2));
        assert_eq!((queue.size(), queue.overflows()), (3, 0), "no row more");
        queue.note(row(4));
        assert_eq!((queue.size(), queue.overflows()), (0, 1));
        queue.note(row(5));
        assert_eq!(taken(&queue), TakenRows::Whole);
        queue.begin();
        queue.note(row(6));
        assert_eq!(taken(&queue), TakenRows::Rows(vec![row(6)]));
    }

    #[test]
    fn users_of_whom_the_store_was_not_told_are_known_until_it_was_told_of_everybody() {
        let queue = BindingQueue::new(BindingScope::Register, 3);
        let member = |uid: &str| BindingKey::Member("tea".into(), User::of_uid(uid));
        let untold = |queue: &BindingQueue| {
            let untold = queue.untold()?.into_iter().map(|row| format!("{row:?}"));
            Some(untold.collect::<std::collections::BTreeSet<_>>())
        };
        let names = |uids: &[&str]| {
            Some(
                uids.iter()
                    .map(|uid| format!("{:?}", member(uid)))
                    .collect(),
            )
        };
        queue.note(member("ann"));
        queue.begin();
        assert_eq!(untold(&queue), names(&["ann"]), "before it has begun");
        queue.told_all();
        queue.note(member("bob"));
        queue.note(row(1));
        assert_eq!(untold(&queue), names(&[]), "it waits to be written");
        queue.pause();
        queue.note(member("cid"));
        queue.keep_untold([member("dee"), row(2)]);
        queue.begin();
        assert_eq!(untold(&queue), names(&["bob", "cid", "dee"]));
        queue.keep_untold([member("eve")]);
        assert_eq!(untold(&queue), None, "there are too many");
        queue.told_all();
        assert_eq!(untold(&queue), names(&[]));
    }

    #[test]
    fn nothing_is_kept_while_the_store_is_away_and_the_end_ends_every_wait() {
        let queue = BindingQueue::new(BindingScope::Tables, 3);
        queue.note(row(1));
        assert_eq!(taken(&queue), TakenRows::Whole, "before it has begun");
        queue.begin();
        queue.note(row(1));
        queue.pause();
        queue.note(row(2));
        assert_eq!((queue.size(), taken(&queue)), (0, TakenRows::Whole));
        assert!(queue.pause_until(Instant::now()));
        queue.end();
        assert!(!queue.pause_until(Instant::now() + Duration::from_secs(60)));
        assert_eq!(taken(&queue), TakenRows::Last(vec![]));
    }
}
