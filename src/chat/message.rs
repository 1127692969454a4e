//! A message: as it is said, what is in it, and as it is kept.

use super::name::User;
use crate::base::{Fd, MessageBody};

/// What a kept message takes beside its texts: allocations, pointers, its place in the log.
const MESSAGE_OVERHEAD_BYTES: usize = 160;

/// A message to be said.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// The user in whose name it is said, with an API key; a connection's own user otherwise.
    pub from: Option<&'a str>,
    /// The sender's id, at most 64 bytes: a second message with it is a repeat. The chat makes an
    /// id when there is none.
    pub id: Option<&'a str>,
    /// Whether it is kept.
    pub keep: Keep,
    /// Connections that don't get it; only with [`Keep::No`].
    pub except: &'a [Fd],
    /// JSON text, which is never looked into.
    pub data: &'a str,
}

/// Whether a message gets an offset and is kept, where its channel keeps anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As its channel does.
    Yes,
    /// Delivered and forgotten (`"store":false`).
    No,
}

/// The receiver of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient<'a> {
    /// Everybody in a room.
    Room(&'a str),
    /// All connections of a user, and those of the sender.
    User(&'a str),
    /// One connection.
    Fd(Fd),
    /// Everyone who logged in.
    All,
}

/// A kept message, the owned form of a [`MessageBody`]. A private one is in two channels at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMessage {
    /// The id of its sender or of the chat.
    pub id: Box<str>,
    /// The user who said it, if anybody.
    pub from: Option<User>,
    /// The user who gets it, if it is private.
    pub to: Option<User>,
    /// Unix milliseconds at which it was said.
    pub ts: u64,
    /// JSON text.
    pub data: Box<str>,
}

impl KeptMessage {
    /// The bytes that the message takes in memory, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        MESSAGE_OVERHEAD_BYTES + self.id.len() + self.data.len()
    }

    /// The body of the message.
    #[must_use]
    pub fn body(&self) -> MessageBody<&str> {
        MessageBody {
            id: &self.id,
            from: self.from.as_ref().map(User::uid),
            to: self.to.as_ref().map(User::uid),
            ts: self.ts,
            data: &self.data,
        }
    }
}
