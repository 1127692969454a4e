//! The deadlines of connections that have to log in or bring a new token, and the keys of back
//! ends.

mod handover;

pub(super) use handover::TakenDeadlines;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use crate::api::auth::WithdrawnKeys;
use crate::base::Fd;
use crate::base::sync::lock;

/// Late connections that one look takes out, which are closed then: some 300 microseconds' work. With a
/// hundred looks a second, 10,000 tokens that end together are closed within a second.
pub(super) const LATE_A_LOOK_MAX: usize = 100;

/// Connections that are closed in a second since their key was withdrawn: as many as a stop closes, so
/// that they don't come back all at once.
const WITHDRAWN_A_SECOND: u64 = 500;

/// Connections of those that are closed together, in a fraction of a second.
const WITHDRAWN_A_LOOK: usize = 50;

/// The thing that a connection has to do before its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadlineFor {
    /// The connection hasn't logged in yet.
    Login,
    /// The token of its login ends; with the number of the token's key.
    Token(u64),
}

/// The kind of key that let a connection in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Api,
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
    /// Connections whose key was withdrawn, which are closed a few at a time. Each is in `keys` or in
    /// `due_unix_ms` as well, unless it has ended.
    withdrawn: VecDeque<(Fd, KeyKind)>,
    /// The numbers of the withdrawn keys of tokens: a connection that has logged in anew since is none
    /// of theirs.
    withdrawn_token_keys: HashSet<u64>,
    /// The moment of the next look at them, in Unix milliseconds.
    next_look_unix_ms: u64,
}

impl DeadlineTable {
    /// Whether a connection is still there by a key that was withdrawn.
    fn is_withdrawn(&self, fd: Fd, kind: KeyKind) -> bool {
        match kind {
            // A connection shows its key once.
            KeyKind::Api => self.keys.contains_key(&fd),
            KeyKind::Token => matches!(
                self.due_unix_ms.get(&fd),
                Some((_, DeadlineFor::Token(key))) if self.withdrawn_token_keys.contains(key)
            ),
        }
    }

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

    /// Notes the connections that were let in by these keys, and has the keys replaced: whoever is
    /// entered later was let in by the new ones, or is looked at once more.
    pub(super) fn withdraw(&self, keys: &WithdrawnKeys, replace: impl FnOnce()) {
        let mut table = lock(&self.0);
        let named = |name: &Option<Arc<str>>| {
            let name = name.as_deref();
            name.is_some_and(|name| keys.api_keys.iter().any(|key| key == name))
        };
        let of_api = table.keys.iter().filter(|(_, name)| named(name));
        let of_api = of_api.map(|(fd, _)| (*fd, KeyKind::Api));
        let of_tokens = table
            .due_unix_ms
            .iter()
            .filter(|(_, (_, what))| match what {
                DeadlineFor::Token(key) => keys.token_keys.contains(key),
                DeadlineFor::Login => false,
            });
        let of_tokens = of_tokens.map(|(fd, _)| (*fd, KeyKind::Token));
        let withdrawn: Vec<(Fd, KeyKind)> = of_api.chain(of_tokens).collect();
        table.withdrawn.extend(withdrawn);
        table.withdrawn_token_keys.extend(&keys.token_keys);
        replace();
    }

    /// Notes a connection that was let in by a key while that was withdrawn.
    pub(super) fn note_withdrawn(&self, fd: Fd, kind: KeyKind) {
        let mut table = lock(&self.0);
        if let Some((_, DeadlineFor::Token(key))) = table.due_unix_ms.get(&fd).copied() {
            table.withdrawn_token_keys.insert(key);
        }
        table.withdrawn.push_back((fd, kind));
    }

    /// Takes out connections whose key was withdrawn, [`WITHDRAWN_A_SECOND`] at the most.
    pub(super) fn take_withdrawn(&self, now_unix_ms: u64) -> Vec<(Fd, KeyKind)> {
        let mut table = lock(&self.0);
        if now_unix_ms < table.next_look_unix_ms {
            return Vec::new();
        }
        let mut taken = Vec::new();
        while taken.len() < WITHDRAWN_A_LOOK
            && let Some((fd, kind)) = table.withdrawn.pop_front()
        {
            if table.is_withdrawn(fd, kind) {
                taken.push((fd, kind));
            }
        }
        if table.withdrawn.is_empty() {
            table.withdrawn_token_keys.clear();
        }
        if taken.len() == WITHDRAWN_A_LOOK {
            table.next_look_unix_ms =
                now_unix_ms + WITHDRAWN_A_LOOK as u64 * 1_000 / WITHDRAWN_A_SECOND;
        }
        taken
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
        deadlines.set(Fd(2), 200, DeadlineFor::Token(1));
        deadlines.clear(Fd(3));
        deadlines.set(Fd(4), 100, DeadlineFor::Login);
        deadlines.clear_login(Fd(4));
        deadlines.clear_login(Fd(2));
        assert_eq!(deadlines.take_late(99), []);
        assert_eq!(deadlines.take_late(100), [(Fd(1), DeadlineFor::Login)]);
        assert_eq!(deadlines.take_late(200), [(Fd(2), DeadlineFor::Token(1))]);
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
    fn those_of_a_withdrawn_key_go_at_500_a_second_and_nobody_else() {
        let deadlines = LoginDeadlines::default();
        for fd in 0..120 {
            deadlines.set(Fd(fd), u64::MAX, DeadlineFor::Token(fd % 2));
        }
        deadlines.note_key(Fd(200), "shop".into());
        deadlines.note_key(Fd(201), "ops".into());
        let withdrawn = WithdrawnKeys {
            api_keys: vec!["shop".into()],
            token_keys: vec![1],
            link_key: false,
        };
        let mut replaced = false;
        deadlines.withdraw(&withdrawn, || replaced = true);
        assert!(replaced);
        // One has logged in anew, one has ended, one came by the old key at the same moment.
        deadlines.set(Fd(1), u64::MAX, DeadlineFor::Token(2));
        deadlines.forget(Fd(3));
        deadlines.set(Fd(300), u64::MAX, DeadlineFor::Token(1));
        deadlines.note_withdrawn(Fd(300), KeyKind::Token);
        let mut taken = deadlines.take_withdrawn(1_000);
        assert_eq!(taken.len(), 50);
        assert_eq!(deadlines.take_withdrawn(1_099), []);
        taken.extend(deadlines.take_withdrawn(1_100));
        taken.sort_by_key(|(fd, _)| *fd);
        let odd = (5..120).step_by(2).map(|fd| (Fd(fd), KeyKind::Token));
        let more = [(Fd(200), KeyKind::Api), (Fd(300), KeyKind::Token)];
        assert_eq!(taken, odd.chain(more).collect::<Vec<_>>());
        assert_eq!(deadlines.take_withdrawn(u64::MAX), []);
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
