//! A message as it is said, its receiver, and a message as it is kept.

use std::borrow::Cow;

use super::name::User;
use crate::base::{DeflatedData, Fd, MessageBody};

/// Bytes that a kept message takes beside its texts: allocations, pointers, its place in the log.
const MESSAGE_OVERHEAD_BYTES: usize = 160;

/// A message to be said.
#[derive(Debug, PartialEq, Eq)]
pub struct NewMessage<'a> {
    /// The user in whose name an API key says the message; without an API key, the connection's own
    /// user says it.
    pub from: Option<Cow<'a, str>>,
    /// The sender's id, at most 64 bytes: a second message with the same id is a repeat. The chat
    /// makes an id when there is none.
    pub id: Option<Cow<'a, str>>,
    /// Whether the message gets an offset and is kept.
    pub keep: Keep,
    /// Connections that don't get the message; only with [`Keep::No`].
    pub except: Vec<Fd>,
    /// JSON text, which the chat never looks into.
    pub data: &'a str,
}

/// Whether a message gets an offset and is kept, where its channel keeps anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The message gets an offset and is kept where its channel keeps messages.
    Yes,
    /// The message is delivered and forgotten (`"store":false`).
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
    /// Id and data in one allocation, since both come and go together.
    text: Box<str>,
    id_size: usize,
    /// The user who said the message, if any.
    pub from: Option<User>,
    /// The user who gets the message, if it is private.
    pub to: Option<User>,
    /// The time at which the message was said, in Unix milliseconds.
    pub ts: u64,
    /// The compressed form of the data, for those who hear it while it is in memory.
    pub(super) deflated: Option<DeflatedData>,
}

impl KeptMessage {
    /// Copies the texts of a message of these users.
    pub(super) fn new(body: &MessageBody<&str>, from: Option<User>, to: Option<User>) -> Self {
        let mut text = String::with_capacity(body.id.len() + body.data.len());
        text.push_str(body.id);
        text.push_str(body.data);
        Self {
            text: text.into(),
            id_size: body.id.len(),
            from,
            to,
            ts: body.ts,
            deflated: None,
        }
    }

    /// Adds the compressed form of the data.
    #[must_use]
    pub(super) fn with_deflated(self, deflated: Option<DeflatedData>) -> Self {
        Self { deflated, ..self }
    }

    /// Copies the texts of a message that was read back, users included.
    #[must_use]
    pub fn of_body(body: &MessageBody<&str>) -> Self {
        Self::new(body, body.from.map(User::new), body.to.map(User::new))
    }

    /// The id that the sender chose, or the chat.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[..self.id_size]
    }

    /// JSON text.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.text[self.id_size..]
    }

    /// The bytes that the message takes in memory, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        let deflated = self.deflated.as_ref();
        let deflated_size = deflated.map_or(0, |deflated| deflated.blocks().len());
        MESSAGE_OVERHEAD_BYTES + self.text.len() + deflated_size
    }

    /// The body of the message.
    #[must_use]
    pub fn body(&self) -> MessageBody<&str> {
        MessageBody {
            id: self.id(),
            from: self.from.as_ref().map(User::uid),
            to: self.to.as_ref().map(User::uid),
            ts: self.ts,
            data: self.data(),
        }
    }
}
