//! What clients are sent without having asked for it.

use super::message::KeptMessage;
use super::name::User;
use crate::base::{MessageBody, Position};

/// A message as a channel delivers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The channel; `None` for one connection.
    pub channel: Option<&'a str>,
    /// The place in the channel; `None` when the message isn't kept.
    pub position: Option<Position>,
    /// The body.
    pub body: MessageBody<&'a str>,
}

impl KeptMessage {
    /// The message as one of its channels delivers it.
    #[must_use]
    pub fn delivered<'a>(&'a self, channel: &'a str, position: Position) -> Delivered<'a> {
        Delivered {
            channel: Some(channel),
            position: Some(position),
            body: self.body(),
        }
    }
}

/// Something that clients are sent without having asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A message.
    Message(Delivered<'a>),
    /// The channel goes on behind `position`; what was before isn't kept any more.
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
        /// The user.
        uid: &'a str,
    },
    /// A room has so many users that it isn't told any more who comes and goes.
    PresenceOff {
        /// The room.
        room: &'a str,
    },
    /// A room is told again who comes and goes from now on.
    PresenceOn {
        /// The room.
        room: &'a str,
        /// The users who are there, by their uids, `list_max` at the most.
        users: &'a [User],
        /// Users in all.
        users_total: usize,
    },
    /// The last connection of a user left a room, and none came back in time.
    Left {
        /// The room.
        room: &'a str,
        /// The user.
        uid: &'a str,
    },
}
