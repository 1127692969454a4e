//! A call of a node to the engine: what it says, and what it is answered. One call takes many entries, and
//! takes effect as a whole or not at all.

use std::sync::Arc;

use crate::base::{ChannelKind, Epoch, Fd, Position};
use crate::store::ChannelState;

/// The life of the engine that a node believes in: another one answers [`Answer::OtherLife`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Life {
    /// The engine's own name of its run (Redis: `run_id`).
    pub run: Box<str>,
    /// Rises whenever what clients know of positions can't be believed any more: each channel begins a
    /// new epoch then.
    pub era: u64,
}

/// The node that calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The node's name.
    pub node: Box<str>,
    /// The number of the node's run; a call of one that doesn't stand under the name any more is
    /// [`Answer::Gone`].
    pub generation: u64,
}

/// A call that writes. It is kept until it is answered, and sent again as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The life in which the call is to take effect.
    pub life: Life,
    /// The node.
    pub caller: Caller,
    /// Rises by one with each call of a generation: a call that comes a second time is answered as the
    /// first time, and one that comes too late does nothing.
    pub number: u64,
    /// Generations that are alive, as the node knows them.
    pub alive: Arc<[u64]>,
    /// What is to be done, in this order.
    pub entries: Vec<Entry>,
}

/// A channel as an entry names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The name of the channel.
    pub channel: Box<str>,
    /// What the channel keeps.
    pub kind: ChannelKind,
    /// The epoch in which the channel begins if the engine doesn't know it, or if its era is over.
    pub new_epoch: Epoch,
}

/// By what a repeat of a message is recognised, and who gave the message its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sameness {
    /// A hash that repeats have in common, and no other messages.
    pub key: u128,
    /// A hash of the user or the API key for whom the id counts.
    pub owner: u64,
}

/// A message on its way to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEntry {
    /// The channel that it is said in.
    pub first: Line,
    /// The sender's own line, for a private message.
    pub second: Option<Line>,
    /// The message, as the nodes write it; the engine never looks into it.
    pub payload: Arc<[u8]>,
    /// Recognises a repeat.
    pub sameness: Option<Sameness>,
    /// The producer and the number that are settled with it.
    pub mark: Option<(Box<str>, u64)>,
}

/// One thing to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Appends a message, and sends it to the nodes that hear its channels.
    Message(MessageEntry),
    /// Empties a channel, under a new epoch, and tells the nodes that hear it.
    Purge {
        /// The channel.
        channel: Box<str>,
        /// Its new epoch.
        epoch: Epoch,
    },
    /// Lets go of messages up to an offset.
    Trim {
        /// The channel.
        channel: Box<str>,
        /// The newest offset that goes.
        through: u64,
    },
    /// A user has everything of a channel up to an offset; one beyond its newest message changes nothing,
    /// nor does an older one.
    Ack {
        /// The channel.
        channel: Box<str>,
        /// The user.
        uid: Box<str>,
        /// The epoch of the offset; `None` for the present one.
        epoch: Option<Epoch>,
        /// The newest offset that the user has.
        offset: u64,
    },
    /// A lasting membership begins or ends; the nodes that hear the room or the user are told.
    Member {
        /// The room.
        room: Box<str>,
        /// The user.
        uid: Box<str>,
        /// Whether the membership lasts from now on.
        lasting: bool,
    },
    /// Everything of a producer up to a number is settled.
    Mark {
        /// The producer.
        producer: Box<str>,
        /// The newest number that is settled.
        number: u64,
    },
    /// The node hears a channel from now on.
    Attach {
        /// The channel.
        line: Line,
        /// The user whose acknowledgement is asked for.
        reader: Option<Box<str>>,
    },
    /// The node hears a channel no more.
    Detach {
        /// The channel.
        channel: Box<str>,
    },
    /// A connection is about to log in.
    Login {
        /// The connection.
        fd: Fd,
        /// The user.
        uid: Box<str>,
        /// The time, in Unix milliseconds.
        now_ms: u64,
        /// Connections that the user may have; those of generations that aren't alive don't count.
        connections_max: usize,
        /// The channels to attach; the user's lasting rooms are attached besides.
        lines: Vec<Line>,
        /// Random bits from which the epochs of lasting rooms are made that are new.
        bits: u64,
        /// Whether the user's acknowledgements in them are asked for.
        asks_acks: bool,
    },
    /// Changes nothing, and is written all the same: its answer vouches for what came before.
    Nothing,
}

impl Entry {
    /// Whether its repeats are recognised.
    pub(super) fn has_id(&self) -> bool {
        matches!(self, Self::Message(message) if message.sameness.is_some())
    }
}

/// The outcome of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message stands there, where its channels keep anything, and is on its way to this many
    /// connections of the first channel.
    Sent {
        /// Its position in the first channel.
        first: Option<Position>,
        /// Its position in the second one.
        second: Option<Position>,
        /// Connections that hear the first channel, of generations that are alive.
        receivers: u64,
    },
    /// The same message stands there already, or was sent if its channel keeps nothing.
    Repeat(Option<Position>),
    /// The number of its producer is settled already.
    Settled,
    /// No more ids can be remembered. Later messages of the same producer in the call are answered so, too:
    /// their numbers would settle this one's.
    TooManyIds,
    /// Few more ids can be remembered, and the owner of this one has its share of these. Later messages of the
    /// same producer are answered so, too.
    TooManyOwnIds,
    /// The channels are heard.
    Entered {
        /// Each channel that was attached.
        channels: Vec<(Box<str>, ChannelState)>,
        /// The user's lasting rooms.
        lasting: Vec<Box<str>>,
        /// The user's acknowledgements in these channels, of their present epochs.
        acks: Vec<(Box<str>, u64)>,
        /// The user's oldest connection, which is one too many.
        replaced: Option<Fd>,
    },
    /// Done.
    Done,
}

/// The engine's answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The call took effect, now or when it came before.
    Done {
        /// The engine's count of calls, this one included.
        n: u64,
        /// An outcome for each entry.
        outcomes: Vec<Outcome>,
        /// The generations to which something was sent that waits for its mark.
        reached: Vec<u64>,
    },
    /// A call with a greater number was answered before: this copy does nothing.
    Old,
    /// The generation doesn't stand under the node's name any more: nothing is done.
    Gone,
    /// The engine has begun another life, or another era: nothing is done.
    OtherLife,
    /// The call came before and failed in the middle: some of it may have taken effect.
    Broken,
}
