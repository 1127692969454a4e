//! The rights of connections and back ends.

use std::sync::Arc;

use super::common::Capacity;
use super::error::ChatError;
use super::message::{NewMessage, Recipient};
use super::name::User;
use super::pattern::Pattern;
use crate::base::Fd;

/// The rights of a connection from its login on; connections with the same rights share them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
            Self::Token { rooms } => matches_any(rooms, room),
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

/// The one in whose name something is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor<'a> {
    /// A WebSocket, which has the rights of its login.
    Connection(Fd),
    /// The back end, by HTTP: an API key of this name; in open mode the empty name.
    Key(&'a str),
    /// A user without a connection, by HTTP.
    User(TokenUser<'a>),
}

/// A user who showed a token, and the rooms that the token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenUser<'a> {
    /// The user.
    pub uid: &'a str,
    /// Patterns of the rooms.
    pub rooms: &'a [Pattern],
}

impl TokenUser<'_> {
    /// Judges whether this user may say a message without a connection: in the rooms of the token,
    /// which need no joining, and to users.
    ///
    /// # Errors
    ///
    /// [`ChatError`], which names what is missing.
    pub fn may_say(&self, to: Recipient<'_>, message: &NewMessage<'_>) -> Result<(), ChatError> {
        if message.from.is_some() {
            return Err(ChatError::KeyNeeded("from"));
        } else if !message.except.is_empty() {
            return Err(ChatError::KeyNeeded("except"));
        }
        match to {
            Recipient::Room(room) if !matches_any(self.rooms, room) => {
                Err(ChatError::RoomNotAllowed(room.into()))
            }
            Recipient::Room(_) | Recipient::User(_) => Ok(()),
            Recipient::Fd(_) | Recipient::All => Err(ChatError::KeyNeeded("to")),
        }
    }
}

fn matches_any(patterns: &[Pattern], room: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(room))
}
