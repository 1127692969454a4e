//! The records that a store takes.

use crate::base::{Epoch, MessageBody, Position};

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
}

/// A channel that a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The name of the channel.
    pub name: &'a str,
    /// The epoch of the channel's log, if the store doesn't know the channel yet.
    pub epoch: Epoch,
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
    /// Whether the channel counts for the sender (`from` of the body) if it is new: who opened it
    /// is known until [`Record::Claim`].
    pub opens: bool,
    /// The producer and the number that are settled in the same durable write.
    pub mark: Option<(&'a str, u64)>,
}

/// The outcome of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The message will stand at this position, and at the other in its second channel.
    Message(Position, Option<Position>),
    /// The same message stands at this position of its first channel already, or will after this
    /// batch. Its mark, if it has one, is settled.
    Repeat(Position),
    /// The number of the message's mark is settled already: nothing is written.
    Settled,
    /// The record will take effect, or changes nothing.
    Noted,
}
