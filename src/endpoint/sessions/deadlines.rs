//! The deadlines of connections that have to log in or bring a new token, and the keys of back
//! ends.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use crate::base::Fd;
use crate::base::sync::lock;

/// Late connections that one look takes out, which are closed then: some 300 microseconds' work. With a
/// hundred looks a second, 10,000 tokens that end together are closed within a second.
pub(super) const LATE_A_LOOK_MAX: usize = 100;

/// The thing that a connection has to do before its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadlineFor {
    /// The connection hasn't logged in yet.
    Login,
    /// The token of its login ends.
    Token,
}

/// The connections that will be closed unless they act, and the API keys that connections showed.
#[derive(Debug, Default)]
pub(super) struct LoginDeadlines(Mutex<DeadlineTable>);

#[derive(Debug, Default)]
struct DeadlineTable {
    /// The name of the API key that each of these connections showed; `None` for a key that nobody
    /// knows.
    keys: HashMap<Fd, Option<Arc<str>>>,
    /// The deadline of each connection, in Unix milliseconds.
    due_unix_ms: HashMap<Fd, (u64, DeadlineFor)>,
    /// The same deadlines, the next one first: a look at what is due passes over nobody else.
    in_order: BTreeSet<(u64, Fd)>,
}

impl DeadlineTable {
    fn set(&mut self, fd: Fd, unix_ms: u64, what: DeadlineFor) {
        self.clear(fd);
        self.due_unix_ms.insert(fd, (unix_ms, what));
        self.in_order.insert((unix_ms, fd));
    }

    fn clear(&mut self, fd: Fd) {
        if let Some((unix_ms, _)) = self.due_unix_ms.remove(&fd) {
            self.in_order.remove(&(unix_ms, fd));
        }
    }

    fn next_late(&mut self, now_unix_ms: u64) -> Option<(Fd, DeadlineFor)> {
        let (unix_ms, fd) = self.in_order.first().copied()?;
        if unix_ms > now_unix_ms {
            return None;
        }
        self.in_order.pop_first();
        let (_, what) = self.due_unix_ms.remove(&fd)?;
        Some((fd, what))
    }
}

impl LoginDeadlines {
    /// Notes that a connection showed an API key, so that it needs no login.
    pub(super) fn note_key(&self, fd: Fd, key: Arc<str>) {
        lock(&self.0).keys.insert(fd, Some(key));
    }

    /// Notes that a connection showed an API key that nobody knows.
    pub(super) fn note_unknown_key(&self, fd: Fd) {
        lock(&self.0).keys.insert(fd, None);
    }

    /// Whether a connection showed an API key that nobody knows.
    pub(super) fn has_unknown_key(&self, fd: Fd) -> bool {
        lock(&self.0).keys.get(&fd).is_some_and(Option::is_none)
    }

    /// Sets or moves the deadline of a connection.
    pub(super) fn set(&self, fd: Fd, unix_ms: u64, what: DeadlineFor) {
        lock(&self.0).set(fd, unix_ms, what);
    }

    /// Removes the deadline of a connection.
    pub(super) fn clear(&self, fd: Fd) {
        lock(&self.0).clear(fd);
    }

    /// Removes the deadline of a connection unless the deadline is a token's end.
    pub(super) fn clear_login(&self, fd: Fd) {
        let mut table = lock(&self.0);
        if let Some((_, DeadlineFor::Login)) = table.due_unix_ms.get(&fd) {
            table.clear(fd);
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, fd: Fd) {
        let mut table = lock(&self.0);
        table.keys.remove(&fd);
        table.clear(fd);
    }

    /// Returns the name of the API key that a connection showed.
    pub(super) fn key_of(&self, fd: Fd) -> Option<Arc<str>> {
        lock(&self.0).keys.get(&fd).cloned().flatten()
    }

    /// Takes out the connections whose time is over, [`LATE_A_LOOK_MAX`] of them at the most: the
    /// others are taken out at the next look.
    pub(super) fn take_late(&self, now_unix_ms: u64) -> Vec<(Fd, DeadlineFor)> {
        let mut table = lock(&self.0);
        std::iter::from_fn(|| table.next_late(now_unix_ms))
            .take(LATE_A_LOOK_MAX)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_late_once_and_only_if_it_did_nothing() {
        let deadlines = LoginDeadlines::default();
        deadlines.set(Fd(1), 100, DeadlineFor::Login);
        deadlines.set(Fd(2), 100, DeadlineFor::Login);
        deadlines.set(Fd(3), 100, DeadlineFor::Login);
        deadlines.set(Fd(2), 200, DeadlineFor::Token);
        deadlines.clear(Fd(3));
        deadlines.set(Fd(4), 100, DeadlineFor::Login);
        deadlines.clear_login(Fd(4));
        deadlines.clear_login(Fd(2));
        assert_eq!(deadlines.take_late(99), []);
        assert_eq!(deadlines.take_late(100), [(Fd(1), DeadlineFor::Login)]);
        assert_eq!(deadlines.take_late(200), [(Fd(2), DeadlineFor::Token)]);
        assert_eq!(deadlines.take_late(u64::MAX), []);
    }

    #[test]
    fn many_that_are_late_together_go_in_turns_the_longest_due_first() {
        let deadlines = LoginDeadlines::default();
        for fd in 0..250 {
            deadlines.set(Fd(fd), 1_000 + fd, DeadlineFor::Login);
        }
        let turns: Vec<usize> = (0..4).map(|_| deadlines.take_late(9_999).len()).collect();
        assert_eq!(turns, [100, 100, 50, 0]);
        let table = lock(&deadlines.0);
        assert!(table.in_order.is_empty() && table.due_unix_ms.is_empty());
    }

    #[test]
    fn a_key_is_known_until_its_connection_ends() {
        let deadlines = LoginDeadlines::default();
        deadlines.note_key(Fd(1), "shop".into());
        deadlines.note_unknown_key(Fd(2));
        assert_eq!(deadlines.key_of(Fd(1)).as_deref(), Some("shop"));
        assert_eq!(deadlines.key_of(Fd(2)), None);
        assert_eq!(
            [1, 2].map(|fd| deadlines.has_unknown_key(Fd(fd))),
            [false, true]
        );
        for fd in [Fd(1), Fd(2)] {
            deadlines.forget(fd);
            assert_eq!(deadlines.key_of(fd), None);
            assert!(!deadlines.has_unknown_key(fd));
        }
    }
}
