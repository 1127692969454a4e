//! The commands that a client can give on its WebSocket.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::api::posting::Posting;
use crate::api::refusal::Refusal;
use crate::chat::{self, Epoch, Position};

/// A command with the number that its answer carries.
#[derive(Debug)]
pub(in crate::endpoint) struct SequencedCommand<'a> {
    /// The number as the client wrote it; without one only failures are answered.
    pub(in crate::endpoint) seq: Option<&'a str>,
    /// The command, or the reason why the text is none.
    pub(in crate::endpoint) command: Result<NativeCommand<'a>, Refusal>,
}

/// One command.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum NativeCommand<'a> {
    /// Becomes a user: hears the inbox of that user, and joins rooms.
    Login(LoginFields<'a>),
    /// Hears a room from now on.
    Join {
        room: Cow<'a, str>,
        resume: Option<ResumeFrom<'a>>,
    },
    /// Hears a room no more.
    Leave { room: Cow<'a, str> },
    /// Sends a message.
    Say(Posting<'a>),
    /// Says that this user has received everything up to an offset.
    Ack { channel: Cow<'a, str>, offset: u64 },
    /// Asks for messages of the past.
    History {
        channel: Cow<'a, str>,
        /// Only messages behind this offset.
        after: Option<u64>,
        /// Only messages before this offset.
        before: Option<u64>,
        /// The most messages that the answer may have.
        limit: Option<u64>,
    },
    /// Asks who is in a room.
    Who { room: Cow<'a, str> },
    /// Asks which of these users are connected.
    Online { users: Vec<Cow<'a, str>> },
}

impl NativeCommand<'_> {
    /// Whether the command changes nothing, so that only its answer matters.
    pub(in crate::endpoint) fn is_question(&self) -> bool {
        matches!(
            self,
            Self::History { .. } | Self::Who { .. } | Self::Online { .. }
        )
    }
}

/// The fields of a login.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::endpoint) struct LoginFields<'a> {
    /// The user; must be the token's, where there is one.
    pub(in crate::endpoint) uid: Option<Cow<'a, str>>,
    /// The token that proves it.
    pub(in crate::endpoint) token: Option<Cow<'a, str>>,
    /// Rooms to join at once.
    pub(in crate::endpoint) rooms: Vec<Cow<'a, str>>,
    /// The place from which to go on, by channel.
    pub(in crate::endpoint) resume: Positions<'a>,
}

/// The places from which a login goes on, by channel.
pub(in crate::endpoint) type Positions<'a> = HashMap<Cow<'a, str>, ResumeFrom<'a>>;

/// The place from which a client goes on in a channel that it heard before.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::endpoint) enum ResumeFrom<'a> {
    /// The client goes on behind a position.
    After {
        /// The epoch that the offset belongs to.
        epoch: Cow<'a, str>,
        /// The last offset that the client has; 0 asks for everything that is kept.
        offset: u64,
    },
    /// The client goes on behind the last acknowledgement of the user.
    Acked,
}

/// Translates for the chat from where a client goes on; a client that names no place begins now.
pub(in crate::endpoint) fn resume_of(resume: Option<&ResumeFrom<'_>>) -> chat::Resume {
    match resume {
        None => chat::Resume::Now,
        Some(ResumeFrom::Acked) => chat::Resume::Acked,
        Some(ResumeFrom::After { epoch, offset }) => chat::Resume::After(Position {
            epoch: Epoch::of(epoch),
            offset: *offset,
        }),
    }
}
