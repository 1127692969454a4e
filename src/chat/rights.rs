//! The rights of connections and back ends.

use std::sync::Arc;

use super::pattern::Pattern;
use crate::base::Fd;

/// The rights of a connection from its login on; connections with the same rights share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Open mode: the connection may join any room, under any uid.
    Open,
    /// A token: the connection may join the rooms that the token names, and use `say` and `who`
    /// where it has joined.
    Token {
        /// Rooms that may be joined.
        rooms: Box<[Pattern]>,
    },
    /// An API key: the connection may do everything, also in the name of others.
    ApiKey {
        /// The key's name, never the key.
        name: Arc<str>,
    },
}

impl Rights {
    /// Whether a room may be joined.
    #[must_use]
    pub fn may_join(&self, room: &str) -> bool {
        match self {
            Self::Open | Self::ApiKey { .. } => true,
            Self::Token { rooms } => rooms.iter().any(|pattern| pattern.matches(room)),
        }
    }
}

/// The one in whose name something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// A WebSocket, which has the rights of its login.
    Connection(Fd),
    /// The back end, by HTTP: an API key of this name; in open mode the empty name.
    Key(&'a str),
}
