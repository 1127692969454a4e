//! What a node of a cluster does with what is sent to it: the seam between the threads that read the bus
//! and the endpoint, which has the chat and the way to the connections.

use std::sync::Arc;

use super::message::KeptMessage;
use crate::base::{Fd, Position};

/// A message that came to this node.
#[derive(Debug, Clone)]
pub struct HeardMessage<'a> {
    /// The channel, as its topic has it: `lobby`, `@ann`, `*`.
    pub channel: &'a str,
    /// Its place in the channel; `None` where it isn't kept.
    pub position: Option<Position>,
    /// The message.
    pub message: Arc<KeptMessage>,
    /// Connections that don't get it; only where it isn't kept.
    pub except: &'a [Fd],
}

/// What became of a message that came to this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was sent to those who hear the channel.
    Posted,
    /// It was sent before.
    Old,
    /// Messages before it are missing: the channel has this position. Nothing was sent.
    Behind(Position),
    /// It is of another epoch than the channel, which has this position. Nothing was sent.
    OtherEpoch(Position),
    /// Nobody here hears the channel.
    Unknown,
}

/// What others ask of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeRequest {
    /// Push a JSON message to a connection.
    Push {
        /// The connection.
        fd: Fd,
        /// The message.
        message: Box<str>,
    },
    /// Close connections of a user, or one connection.
    Kick {
        /// The user, or none for the connection alone.
        uid: Option<Box<str>>,
        /// The connection, or none for all of the user's.
        fd: Option<Fd>,
        /// The close code.
        code: u16,
        /// The word of it.
        reason: Box<str>,
    },
    /// A request of the HTTP API about a connection that is on the node: method, path and query, body.
    Http {
        /// The method.
        method: Box<str>,
        /// Path and query.
        target: Box<str>,
        /// The body.
        body: Box<str>,
        /// The name of the API key that was shown.
        key: Box<str>,
    },
    /// Send the clients away, and take no more.
    Drain {
        /// Milliseconds over which the closes are spread.
        within_ms: u64,
    },
}

/// A node's answer: an HTTP status, and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAnswer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: Box<str>,
}

/// Takes orders to read what a channel of this node is missing, and to have it posted. Never waits.
pub trait CatchUpOrders: Send + Sync {
    /// Messages of a channel were sent to this node before it had the channel.
    fn catch_up(&self, channel: &str);
}

/// What a node says of itself with each beat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Whether it sends its clients away.
    pub is_draining: bool,
    /// Connections.
    pub connections: u64,
    /// Connections that are logged in.
    pub logged_in: u64,
    /// Rooms that it hears.
    pub rooms: u64,
    /// Messages said there since its start.
    pub messages: u64,
    /// Bytes of its memory.
    pub memory_bytes: u64,
}

/// Takes what is sent to a node. Never waits.
pub trait Hearing: Send + Sync {
    /// Posts a message, if it is the next one of its channel.
    fn message(&self, message: &HeardMessage<'_>) -> Heard;

    /// The log of a channel goes on behind `position`: what was before isn't there any more, or can't be
    /// believed. Those who hear it are told by a gap.
    fn reset(&self, channel: &str, position: Position);

    /// The position of the newest message of a channel that was sent here; `None` if the node doesn't hear
    /// the channel.
    fn posted(&self, channel: &str) -> Option<Position>;

    /// Has the node attach channels once more that it hears: the engine has lost that.
    fn attach(&self, channels: &[Arc<str>]);

    /// Whether so much waits for the connections that no more should be read from the bus.
    fn is_pressed(&self) -> bool;

    /// The first connection of a user anywhere came into a room, which has so many users now.
    fn joined(&self, room: &str, uid: &str, users: usize);

    /// The last connection of a user left a room, and none came back in time; so many users are left.
    fn left(&self, room: &str, uid: &str, users: usize);

    /// A lasting membership began or ended.
    fn member(&self, room: &str, uid: &str, lasting: bool);

    /// The channels that this node hears, with the newest position that was posted in each.
    fn channels(&self, visit: &mut dyn FnMut(&Arc<str>, Position));

    /// Counts what the node tells the others with each beat.
    fn figures(&self) -> NodeFigures;

    /// Does what another node asks.
    fn request(&self, request: NodeRequest) -> NodeAnswer;
}
