//! What is written.

/// A place in a channel's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Which life of the log.
    pub epoch: u32,
    /// Counted from 1 without holes; 0 is before the first message.
    pub offset: u64,
}

/// One thing that the store shall know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record<'a> {
    /// A message, at the end of one or two channels.
    Message(MessageRecord<'a>),
    /// Begins the log of a channel anew, empty, under this epoch.
    Purge {
        /// Which one; it need not exist yet.
        channel: &'a str,
        /// The new epoch.
        epoch: u32,
    },
    /// Lets go of all messages of a channel up to `through`.
    Trim {
        /// Which one.
        channel: &'a str,
        /// The newest offset that goes.
        through: u64,
    },
    /// Lets go of a channel without messages; one with messages stays as it is.
    Forget {
        /// Which one.
        channel: &'a str,
    },
    /// A reader has everything of a channel up to `offset`; an older one changes nothing.
    Ack {
        /// Which one; where it doesn't exist, nothing happens.
        channel: &'a str,
        /// Who.
        reader: &'a str,
        /// Up to where.
        offset: u64,
    },
    /// A lasting membership begins, or ends.
    Member {
        /// Where.
        room: &'a str,
        /// Who.
        user: &'a str,
        /// Whether it lasts from now on.
        lasting: bool,
    },
    /// Everything of a producer up to `number` is settled; an older one changes nothing.
    Mark {
        /// Whose.
        producer: &'a str,
        /// Up to where.
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
    /// Its name.
    pub name: &'a str,
    /// The epoch that it gets, if the store doesn't know it yet.
    pub epoch: u32,
}

/// A message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// Where it goes.
    pub channel: Channel<'a>,
    /// Where it stands as well: a private message is in the sender's line too.
    pub second: Option<Channel<'a>>,
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
    /// What a repeat has in common with it; `None` for a message that can't be repeated.
    pub sameness: Option<u128>,
    /// Settles this number of this producer in the same durable write.
    pub mark: Option<(&'a str, u64)>,
}

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The message will stand here, and here in its second channel.
    Message(Position, Option<Position>),
    /// The same message stands here already (or will, in this batch), in its first channel. Its
    /// mark, if it has one, is settled.
    Repeat(Position),
    /// The number of the message's mark is settled already: nothing is written.
    Settled,
    /// It will be so.
    Noted,
}
