//! Notices: messages, gaps and presence, which clients get without having asked.

use super::message::KeptMessage;
use super::name::User;
use crate::base::{DeflatedData, MessageBody, Position};

/// A message as a channel delivers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// The channel; `None` for a message to one connection.
    pub channel: Option<&'a str>,
    /// The place in the channel; `None` when the message isn't kept.
    pub position: Option<Position>,
    /// The text, the sender and the time of the message.
    pub body: MessageBody<&'a str>,
    /// The compressed form of its data, if there is one.
    pub deflated: Option<&'a DeflatedData>,
}

impl KeptMessage {
    /// Makes the form in which a channel delivers a kept message.
    #[must_use]
    pub fn delivered<'a>(&'a self, channel: &'a str, position: Position) -> Delivered<'a> {
        Delivered {
            channel: Some(channel),
            position: Some(position),
            body: self.body(),
            deflated: self.deflated.as_ref(),
        }
    }
}

/// One notice, which clients get without having asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<'a> {
    /// A message for all who hear the channel, or for one connection.
    Message(Delivered<'a>),
    /// The channel goes on behind `position`; what was before isn't kept any more.
    Gap {
        /// The channel whose log began anew or has lost messages.
        channel: &'a str,
        /// The place behind which the log goes on.
        position: Position,
    },
    /// The first connection of a user came into a room.
    Joined {
        /// The name of the room.
        room: &'a str,
        /// The id of the user.
        uid: &'a str,
    },
    /// A room has so many users that it isn't told any more who comes and goes.
    PresenceOff {
        /// The name of the room.
        room: &'a str,
    },
    /// A room is told again who comes and goes from now on.
    PresenceOn {
        /// The name of the room.
        room: &'a str,
        /// The users who are there, by their uids, `list_max` at the most.
        users: &'a [User],
        /// The number of users who are there, also of those that `users` leaves out.
        users_total: usize,
    },
    /// The last connection of a user left a room, and none came back in time.
    Left {
        /// The name of the room.
        room: &'a str,
        /// The id of the user.
        uid: &'a str,
    },
}
