//! One shard of the connections: the user and the rooms of each.

use std::collections::HashMap;
use std::sync::Arc;

use super::bindings::ConnectionRecord;
use super::error::ChatError;
use super::name::User;
use super::rights::Rights;
use crate::base::Fd;

/// The connections of one shard, by their names.
#[derive(Debug, Default)]
pub(super) struct ConnectionShard {
    connections: ByFd<ChatConnection>,
    /// What few connections have, or those of few servers.
    records: ByFd<ConnectionRecord>,
}

type ByFd<T> = HashMap<u64, T, foldhash::fast::FixedState>;

/// One connection; `login` is `None` before it has logged in.
#[derive(Debug, Default)]
pub(super) struct ChatConnection {
    pub(super) login: Option<LoginState>,
}

/// The user, the rights and the rooms of a connection that has logged in.
#[derive(Debug)]
pub(super) struct LoginState {
    pub(super) user: User,
    pub(super) rights: Arc<Rights>,
    pub(super) rooms: RoomNames,
}

impl ConnectionShard {
    /// Adds a connection; `false` if it was there already.
    pub(super) fn open(&mut self, fd: Fd) -> bool {
        let before = self.connections.insert(fd.0, ChatConnection::default());
        before.is_none()
    }

    /// Adds a connection as it was; `false` if there is one of this name already.
    pub(super) fn enter(&mut self, fd: Fd, connection: ChatConnection) -> bool {
        self.connections.insert(fd.0, connection).is_none()
    }

    /// Lists the connections, in the order of their names.
    pub(super) fn in_order(&self) -> Vec<(Fd, &ChatConnection)> {
        let mut connections: Vec<_> = (self.connections.iter())
            .map(|(fd, own)| (Fd(*fd), own))
            .collect();
        connections.sort_unstable_by_key(|(fd, _)| *fd);
        connections
    }

    /// Removes a connection; `None` if there is none of this name.
    pub(super) fn close(&mut self, fd: Fd) -> Option<ChatConnection> {
        let connection = self.connections.remove(&fd.0);
        if self.connections.is_empty() {
            self.connections.shrink_to_fit();
        }
        connection
    }

    /// Finds a connection, or fails with [`ChatError::NoConnection`].
    pub(super) fn find(&mut self, fd: Fd) -> Result<&mut ChatConnection, ChatError> {
        let found = self.connections.get_mut(&fd.0);
        found.ok_or(ChatError::NoConnection(fd))
    }

    /// Finds the login of a connection, or fails with [`ChatError::NotLoggedIn`] before it.
    pub(super) fn login_of(&mut self, fd: Fd) -> Result<&mut LoginState, ChatError> {
        self.find(fd)?.login.as_mut().ok_or(ChatError::NotLoggedIn)
    }

    /// What is known of a connection beside its login; nothing of most.
    pub(super) fn record_of(&self, fd: Fd) -> ConnectionRecord {
        self.records.get(&fd.0).cloned().unwrap_or_default()
    }

    /// Replaces what is known of a connection that is logged in.
    pub(super) fn set_record(&mut self, fd: Fd, record: ConnectionRecord) {
        self.records.insert(fd.0, record);
    }

    /// Forgets what is known of a connection that isn't logged in any more; returns the bytes of its
    /// session data.
    pub(super) fn forget_record(&mut self, fd: Fd) -> usize {
        if self.records.is_empty() {
            return 0;
        }
        let record = self.records.remove(&fd.0);
        if self.records.is_empty() {
            self.records.shrink_to_fit();
        }
        let session = record.and_then(|record| record.session);
        session.map_or(0, |session| session.len())
    }

    /// Lists the connections that are logged in.
    pub(super) fn logged_in(&self) -> impl Iterator<Item = Fd> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.login.is_some())
            .map(|(fd, _)| Fd(*fd))
    }
}

/// The rooms of one connection; nearly always few, and one takes no allocation.
#[derive(Debug, Default)]
pub(super) enum RoomNames {
    #[default]
    None,
    One(Arc<str>),
    #[expect(clippy::box_collection, reason = "24 bytes for the many who have one")]
    Many(Box<Vec<Arc<str>>>),
}

impl RoomNames {
    /// The rooms in the order in which they were entered.
    pub(super) fn as_slice(&self) -> &[Arc<str>] {
        match self {
            Self::None => &[],
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }

    /// Whether the connection is in this room.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.as_slice().iter().any(|own| &**own == name)
    }

    /// Adds a room that isn't in the list; the caller checks this.
    pub(super) fn insert(&mut self, name: Arc<str>) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(name),
            Self::One(first) => *self = Self::Many(Box::new(vec![first, name])),
            Self::Many(mut names) => {
                names.push(name);
                *self = Self::Many(names);
            }
        }
    }

    /// Removes a room; `false` if the connection wasn't in there.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let before = self.as_slice().len();
        match self {
            Self::One(own) if **own == *name => *self = Self::None,
            Self::Many(names) => {
                names.retain(|own| **own != *name);
                if names.is_empty() {
                    *self = Self::None;
                }
            }
            _ => {}
        }
        before > self.as_slice().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_with_user_and_room_takes_48_bytes() {
        assert_eq!(size_of::<ChatConnection>(), 48);
    }
}
