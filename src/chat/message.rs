//! What is said, and what is sent.

use std::sync::Arc;

use super::name::User;
use crate::base::Fd;
use crate::base::{Epoch, Position};

/// What a kept message takes beside its texts: allocations, pointers, its place in the ring.
const MESSAGE_OVERHEAD_BYTES: usize = 160;

/// A message to be said.
#[derive(Debug, Clone, Copy)]
pub struct NewMessage<'a> {
    /// In whose name, with an API key; a connection's own user otherwise.
    pub from: Option<&'a str>,
    /// What makes it the same as an earlier one, at most 64 bytes; made here when there is none.
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

/// To whom.
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

/// What becomes of a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// It is done.
    Done(Position),
    /// It is to be stored, with this epoch.
    Stored(Epoch),
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The channel it went to; `None` for one connection.
    pub channel: Option<Arc<str>>,
    /// Where it stands; `None` when it isn't kept.
    pub position: Option<Position>,
    /// Its id.
    pub id: Box<str>,
    /// It had been said before; this is where it stands since then.
    pub duplicate: bool,
    /// Connections that were subscribed at that moment; no proof of delivery. A repeat has none.
    pub receivers: usize,
}

impl Receipt {
    /// The receipt of a message that was said just now.
    pub(super) fn new(
        channel: Option<Arc<str>>,
        id: &str,
        position: Option<Position>,
        receivers: usize,
    ) -> Self {
        Self {
            channel,
            position,
            id: id.into(),
            duplicate: false,
            receivers,
        }
    }

    /// The receipt of a message that had been said before, at `first`.
    pub(super) fn repeat(channel: Arc<str>, id: &str, first: Option<Position>) -> Self {
        Self {
            duplicate: true,
            ..Self::new(Some(channel), id, first, 0)
        }
    }
}

/// A kept message. A private one is in two channels at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptMessage {
    /// Its id.
    pub id: Box<str>,
    /// Who said it, if anybody.
    pub from: Option<User>,
    /// To whom, if it is private.
    pub to: Option<User>,
    /// When, in Unix milliseconds.
    pub ts: u64,
    /// JSON text.
    pub data: Box<str>,
}

impl KeptMessage {
    /// Bytes it takes in memory, nearly.
    #[must_use]
    pub fn size(&self) -> usize {
        MESSAGE_OVERHEAD_BYTES + self.id.len() + self.data.len()
    }

    /// As it goes out of one of its channels.
    #[must_use]
    pub fn posted<'a>(&'a self, channel: &'a str, position: Position) -> Delivered<'a> {
        Delivered {
            channel: Some(channel),
            position: Some(position),
            id: &self.id,
            from: self.from.as_ref().map(User::uid),
            to: self.to.as_ref().map(User::uid),
            ts: self.ts,
            data: &self.data,
        }
    }
}

/// A message on its way to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The channel; `None` for one connection.
    pub channel: Option<&'a str>,
    /// Where it stands; `None` when it isn't kept.
    pub position: Option<Position>,
    /// Its id.
    pub id: &'a str,
    /// Who said it, if anybody.
    pub from: Option<&'a str>,
    /// To whom, if it is private.
    pub to: Option<&'a str>,
    /// When, in Unix milliseconds.
    pub ts: u64,
    /// JSON text.
    pub data: &'a str,
}

/// Something that clients are sent without having asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A message.
    Message(Delivered<'a>),
    /// What follows in this channel starts after `position`; what was before isn't kept any more.
    Gap {
        /// The channel.
        channel: &'a str,
        /// The place behind which it goes on.
        position: Position,
    },
    /// The first connection of a user came into a room.
    Joined {
        /// The room.
        room: &'a str,
        /// Who.
        uid: &'a str,
    },
    /// The last connection of a user went out of a room, and none came back.
    Left {
        /// The room.
        room: &'a str,
        /// Who.
        uid: &'a str,
    },
}
