//! Who may do what.

use std::sync::Arc;

use super::common::Capacity;
use super::name::User;
use super::pattern::Pattern;
use crate::base::Fd;

/// What a connection may do from its login on. Shared by all that have the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rights {
    /// Open mode: any room, any uid.
    Open,
    /// A token: the rooms that it names; say and who only where joined.
    Token {
        /// Rooms that may be joined.
        rooms: Box<[Pattern]>,
    },
    /// An API key: everything, also in another's name.
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

    /// The bound against which channels count that a user with these rights opens.
    pub(super) fn capacity<'a>(&self, user: &'a User) -> Capacity<'a> {
        match self {
            Self::Open | Self::Token { .. } => Capacity::User(user),
            Self::ApiKey { .. } => Capacity::BackEnd,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// A WebSocket, with the rights of its login.
    Connection(Fd),
    /// The back end, by HTTP: an API key of this name; in open mode the empty name.
    Key(&'a str),
}
