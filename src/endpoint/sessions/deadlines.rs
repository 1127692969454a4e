//! Which connections have to log in or bring a new token, and by when; and the keys of back ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::base::Fd;
use crate::base::sync::lock;

/// What a connection has to do before its time is over.
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
    /// Names of API keys.
    keys: HashMap<Fd, Arc<str>>,
    /// In Unix milliseconds.
    due_unix_ms: HashMap<Fd, (u64, DeadlineFor)>,
}

impl LoginDeadlines {
    /// Notes that a connection showed an API key: it needs no login.
    pub(super) fn note_key(&self, fd: Fd, key: Arc<str>) {
        lock(&self.0).keys.insert(fd, key);
    }

    /// Sets or moves the deadline of a connection.
    pub(super) fn set(&self, fd: Fd, unix_ms: u64, what: DeadlineFor) {
        lock(&self.0).due_unix_ms.insert(fd, (unix_ms, what));
    }

    /// Removes the deadline of a connection.
    pub(super) fn clear(&self, fd: Fd) {
        lock(&self.0).due_unix_ms.remove(&fd);
    }

    /// Removes the deadline of a connection unless the deadline is a token's end.
    pub(super) fn clear_login(&self, fd: Fd) {
        let due = &mut lock(&self.0).due_unix_ms;
        if let Some((_, DeadlineFor::Login)) = due.get(&fd) {
            due.remove(&fd);
        }
    }

    /// Forgets a connection.
    pub(super) fn forget(&self, fd: Fd) {
        let mut table = lock(&self.0);
        table.keys.remove(&fd);
        table.due_unix_ms.remove(&fd);
    }

    /// The name of the API key that a connection showed.
    pub(super) fn key_of(&self, fd: Fd) -> Option<Arc<str>> {
        lock(&self.0).keys.get(&fd).cloned()
    }

    /// Takes out the connections whose time is over.
    pub(super) fn take_late(&self, now_unix_ms: u64) -> Vec<(Fd, DeadlineFor)> {
        let mut late = Vec::new();
        lock(&self.0).due_unix_ms.retain(|fd, (at, what)| {
            let is_late = *at <= now_unix_ms;
            if is_late {
                late.push((*fd, *what));
            }
            !is_late
        });
        late
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
    fn a_key_is_known_until_its_connection_ends() {
        let deadlines = LoginDeadlines::default();
        deadlines.note_key(Fd(1), "shop".into());
        assert_eq!(deadlines.key_of(Fd(1)).as_deref(), Some("shop"));
        deadlines.forget(Fd(1));
        assert_eq!(deadlines.key_of(Fd(1)), None);
    }
}
