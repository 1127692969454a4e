//! The records that a store takes.

use super::reader::ChannelState;
use crate::base::{ChannelKind, Epoch, Fd, MessageBody, Position};

/// A record for the store to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message, at the end of one or two channels.
    Message(MessageRecord<'a>),
    /// Replaces the log of a channel by an empty one under this epoch.
    Purge {
        /// The name of the channel, which need not exist yet.
        channel: &'a str,
        /// The new epoch.
        epoch: Epoch,
    },
    /// Lets go of all messages of a channel up to `through`.
    Trim {
        /// The name of the channel.
        channel: &'a str,
        /// The newest offset that goes.
        through: u64,
    },
    /// Lets go of a channel without messages; one with messages stays as it is.
    Forget {
        /// The name of the channel.
        channel: &'a str,
    },
    /// A reader has everything of a channel up to `offset`; an older one changes nothing.
    Ack {
        /// The name of the channel; where it doesn't exist, nothing happens.
        channel: &'a str,
        /// The name of the reader.
        reader: &'a str,
        /// The newest offset that the reader has.
        offset: u64,
    },
    /// A lasting membership begins, or ends.
    Member {
        /// The name of the room.
        room: &'a str,
        /// The id of the user.
        user: &'a str,
        /// Whether the membership lasts from now on.
        lasting: bool,
    },
    /// A channel counts for the user who opened it no more.
    Claim {
        /// The name of the channel; where it doesn't exist, nothing happens.
        channel: &'a str,
    },
    /// Everything of a producer up to `number` is settled; an older one changes nothing.
    Mark {
        /// The name of the producer.
        producer: &'a str,
        /// The newest number that is settled.
        number: u64,
    },
    /// Serial numbers of connections below this one may have been handed out.
    Serials {
        /// The bound; a lower one changes nothing.
        below: u64,
    },
    /// A connection is about to log in; only a store that nodes share is told.
    Login(LoginRecord<'a>),
    /// This node hears a channel from now on; only a store that nodes share is told.
    Attach {
        /// The channel, and how it begins if the store doesn't know it.
        channel: Channel<'a>,
        /// The user whose acknowledgement is asked for.
        reader: Option<&'a str>,
    },
    /// This node hears a channel no more; only a store that nodes share is told.
    Detach {
        /// The name of the channel.
        channel: &'a str,
    },
}

/// A connection that is about to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRecord<'a> {
    /// The connection.
    pub fd: Fd,
    /// The user.
    pub uid: &'a str,
    /// The time, in Unix milliseconds.
    pub now_ms: u64,
    /// Connections that the user may have; beyond it the oldest one gives way.
    pub connections_max: usize,
    /// The channels to attach: the user's line and the rooms of the login. Rooms of which the user is a
    /// lasting member are attached besides.
    pub channels: &'a [OwnedChannel],
    /// Whether the user's acknowledgements in them are asked for.
    pub asks_acks: bool,
}

/// A channel that a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The name of the channel.
    pub name: &'a str,
    /// The epoch of the channel's log, if the store doesn't know the channel yet.
    pub epoch: Epoch,
    /// What the channel keeps. A store of one node is given only channels that are stored.
    pub kind: ChannelKind,
}

/// A channel that a node is to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedChannel {
    /// The name of the channel.
    pub name: Box<str>,
    /// The epoch of the channel's log, if the store doesn't know the channel yet.
    pub epoch: Epoch,
    /// What the channel keeps.
    pub kind: ChannelKind,
}

impl OwnedChannel {
    /// Lends the name.
    #[must_use]
    pub fn as_channel(&self) -> Channel<'_> {
        Channel {
            name: &self.name,
            epoch: self.epoch,
            kind: self.kind,
        }
    }
}

impl<'a> Channel<'a> {
    /// Names a channel that is stored.
    #[must_use]
    pub const fn stored(name: &'a str, epoch: Epoch) -> Self {
        let kind = ChannelKind::Stored;
        Self { name, epoch, kind }
    }
}

/// A message for the store to append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// The channel that the message goes to.
    pub channel: Channel<'a>,
    /// The channel that has the message as well: a private one is in the sender's inbox too.
    pub second: Option<Channel<'a>>,
    /// The text, the sender and the time of the message.
    pub body: MessageBody<&'a str>,
    /// The key that a repeat of the message has too; `None` for a message that can't be repeated.
    pub idempotency_key: Option<u128>,
    /// A hash of the user or the API key whose id that is: a store that nodes share counts ids by it.
    pub id_owner: u64,
    /// Whether the channel counts for the sender (`from` of the body) if it is new: who opened it
    /// is known until [`Record::Claim`].
    pub opens: bool,
    /// The producer and the number that are settled in the same durable write.
    pub mark: Option<(&'a str, u64)>,
    /// Connections that don't get the message, where it isn't kept.
    pub except: &'a [Fd],
}

/// The outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The message will stand at this position, and at the other in its second channel.
    Message(Position, Option<Position>),
    /// The same message stands at this position of its first channel already, or will after this
    /// batch. Its mark, if it has one, is settled. Where the channel keeps nothing, this is offset 0 of
    /// [`Epoch::NONE`].
    Repeat(Position),
    /// The number of the message's mark is settled already: nothing is written.
    Settled,
    /// The record will take effect, or changes nothing.
    Noted,
    /// The message stands where its channels keep messages, and the store has sent it to all nodes that
    /// hear them.
    Sent {
        /// Its position in its first channel.
        first: Option<Position>,
        /// Connections that hear the first channel, on all nodes.
        receivers: usize,
    },
    /// This node hears channels now: those that [`Store::settle`](super::Store::settle) gave at this place.
    /// An outcome is copied often, so it owns no memory.
    Entered(u32),
}

/// The channels that a node hears from now on, and what was asked for with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnteredChannels {
    /// The channels, by name, as they stand: what comes after `newest` is heard.
    pub channels: Vec<(Box<str>, ChannelState)>,
    /// The rooms of which the user is a lasting member.
    pub lasting: Vec<Box<str>>,
    /// The user's acknowledgements: the name of the channel, and the offset in its present epoch.
    pub acks: Vec<(Box<str>, u64)>,
    /// The user's oldest connection on any node, which is one too many.
    pub replaced: Option<Fd>,
}
