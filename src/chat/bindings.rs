//! The seam to a store in which it stands who is connected, as whom and in which rooms, so that programs
//! beside the server can read it.
//!
//! A [`BindingStore`] is told facts, not events: each [`BindingChange`] says what is so now, and saying it
//! twice does no harm. One thread writes, never under a lock of the chat; the chat only notes in a
//! [`BindingQueue`](super::BindingQueue) what has changed.
//!
//! Invariant: rows carry the generation of the server that wrote them, a random number for each start. Where
//! another generation stands under the server's name, nothing is written.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::name::User;
use crate::base::Fd;

/// A row that a store has, or would have.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindingKey {
    /// A connection as the one of a user.
    Connection(Fd, User),
    /// A user with connections in a room.
    Member(Arc<str>, User),
    /// A user who stays a member of a room without connections.
    Lasting(Arc<str>, User),
    /// A channel that a node of a cluster hears.
    Heard(Arc<str>),
}

/// The rows that a store is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingScope {
    /// Connections, users in rooms and lasting memberships, for programs beside the server.
    Tables,
    /// Connections, users in rooms and the channels that are heard: by them the nodes of a cluster know who
    /// is where.
    Register,
}

impl BindingScope {
    /// Whether a row is among them.
    #[must_use]
    pub fn has(self, row: &BindingKey) -> bool {
        match row {
            BindingKey::Connection(..) | BindingKey::Member(..) => true,
            BindingKey::Lasting(..) => self == Self::Tables,
            BindingKey::Heard(_) => self == Self::Register,
        }
    }
}

/// What is so about a row: it is there with these values, or it isn't there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindingChange {
    /// The connection belongs to the user.
    Connected {
        /// The connection.
        fd: Fd,
        /// The user.
        user: User,
        /// Its time and its session data.
        record: ConnectionRecord,
    },
    /// The connection doesn't belong to the user, or not any more.
    Closed {
        /// The connection.
        fd: Fd,
        /// The user.
        user: User,
    },
    /// The user has connections in the room: so many, or none for 0.
    Present {
        /// The room.
        room: Arc<str>,
        /// The user.
        user: User,
        /// The user's connections there.
        connections: usize,
        /// Whether the last one left there, and that isn't told yet; in a cluster only.
        is_leaving: bool,
    },
    /// The user is a lasting member of the room, or isn't.
    Lasting {
        /// The room.
        room: Arc<str>,
        /// The user.
        user: User,
        /// Whether there is such a membership.
        is_member: bool,
    },
    /// So many connections of a node of a cluster hear the channel.
    Heard {
        /// The channel.
        channel: Arc<str>,
        /// The connections.
        connections: usize,
    },
}

/// What is known of a connection beside its user and its rooms.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ConnectionRecord {
    /// The time of the login, in Unix milliseconds; 0 where that was not written down.
    pub since_unix_ms: u64,
    /// The session data, a JSON object, as the back end wrote it.
    pub session: Option<Arc<str>>,
}

/// The server, as its store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingNode {
    /// The server's name, the same after each restart.
    pub name: String,
    /// The number of this start.
    pub generation: u64,
    /// The time of the start, in Unix milliseconds.
    pub started_unix_ms: u64,
}

/// The generation that stands under the server's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GenerationState {
    /// The server's own.
    Own,
    /// None: the store has lost it.
    None,
    /// Another one, whose counter stands here.
    Other {
        /// The number of its start.
        generation: u64,
        /// Its counter.
        beat: u64,
    },
}

/// The reason why a store could not be used.
#[derive(Debug)]
pub enum BindingError {
    /// The store doesn't answer, or not as it should: to be tried again.
    Away(Box<dyn std::error::Error + Send + Sync>),
    /// The store answers, and something has to be mended before it can be used; the text says what.
    Refused(String),
    /// Another generation stands under the server's name, or none.
    Displaced,
}

impl fmt::Display for BindingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(_) => f.write_str("the store is out of reach"),
            Self::Refused(what) => f.write_str(what),
            Self::Displaced => {
                f.write_str("another server has this name, or the store was emptied")
            }
        }
    }
}

impl std::error::Error for BindingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Away(error) => Some(&**error),
            Self::Refused(_) | Self::Displaced => None,
        }
    }
}

/// A way to a store.
pub trait BindingStore: Send + Sync {
    /// The rows that it is told of.
    fn scope(&self) -> BindingScope {
        BindingScope::Tables
    }

    /// Opens a connection, in a bounded time.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn open(&self) -> Result<Box<dyn Bindings>, BindingError>;
}

/// An open connection to a store. After an error it isn't used again.
pub trait Bindings: Send {
    /// Enters the server's generation, in place of whatever stands under its name, and takes out rows of
    /// generations that are over.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn register(&mut self, node: &BindingNode) -> Result<(), BindingError>;

    /// Adds one to the server's counter, if the generation is its own.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn beat(&mut self, node: &BindingNode) -> Result<GenerationState, BindingError>;

    /// Shows all rows of the server's generation, and all lasting memberships of a server by itself.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn rows(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError>;

    /// Writes what is so, all or nothing.
    ///
    /// # Errors
    ///
    /// [`BindingError`]; [`BindingError::Displaced`] when the generation isn't the server's own.
    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError>;

    /// Whether the store has lost the rows that this server had written, so that nobody was told that their
    /// users left.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn has_lost_rows(&mut self) -> Result<bool, BindingError> {
        Ok(false)
    }

    /// Writes what stood there before the store lost it: nobody is told that these users came.
    ///
    /// # Errors
    ///
    /// As [`Bindings::write`].
    fn write_again(
        &mut self,
        node: &BindingNode,
        changes: &[BindingChange],
    ) -> Result<(), BindingError> {
        self.write(node, changes)
    }

    /// Takes the server out, with all its rows but those of lasting memberships.
    ///
    /// # Errors
    ///
    /// [`BindingError`].
    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError>;
}

impl BindingChange {
    /// Bytes of the session data in it.
    #[must_use]
    pub fn session_bytes(&self) -> usize {
        match self {
            Self::Connected { record, .. } => record.session.as_ref().map_or(0, |text| text.len()),
            _ => 0,
        }
    }

    /// The row that the change is about.
    #[must_use]
    pub fn key(&self) -> BindingKey {
        match self {
            Self::Connected { fd, user, .. } | Self::Closed { fd, user } => {
                BindingKey::Connection(*fd, user.clone())
            }
            Self::Present { room, user, .. } => BindingKey::Member(Arc::clone(room), user.clone()),
            Self::Lasting { room, user, .. } => BindingKey::Lasting(Arc::clone(room), user.clone()),
            Self::Heard { channel, .. } => BindingKey::Heard(Arc::clone(channel)),
        }
    }
}

// By the uid, as `Borrow<str>` wants it.
impl Hash for User {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uid().hash(state);
    }
}

impl User {
    /// Makes a user of a uid that a store has.
    #[must_use]
    pub fn of_uid(uid: &str) -> Self {
        Self::new(uid)
    }
}
