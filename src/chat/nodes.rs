//! What a server asks of the other servers of its cluster: the seam between the endpoint, which answers
//! clients and back ends, and the cluster, which knows who is where.
//!
//! An answer is about the *other* nodes: what is so here the chat knows itself, at once, and the endpoint
//! puts both together.
//!
//! Invariant: each call has a limit of time, and is made by the thread for look-ups alone.

use std::fmt;
use std::sync::Arc;

use super::bindings::ConnectionRecord;
use super::hearing::{NodeAnswer, NodeFigures, NodeRequest};
use crate::base::{Fd, Position};

/// The reason why the cluster has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodesError {
    /// The engine that the nodes share doesn't answer; the text says why.
    Away(String),
    /// This node didn't answer in time.
    Silent(Box<str>),
}

impl fmt::Display for NodesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(what) => write!(f, "the cluster is out of reach: {what}"),
            Self::Silent(node) => write!(f, "node {node:?} didn't answer in time"),
        }
    }
}

impl std::error::Error for NodesError {}

/// A connection on another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarConnection {
    /// The connection.
    pub fd: Fd,
    /// The generation of its node.
    pub generation: u64,
    /// Its time and its session data.
    pub record: ConnectionRecord,
}

/// What other nodes have of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FarUser {
    /// The user's connections there, by their numbers.
    pub connections: Vec<FarConnection>,
    /// The rooms of these connections, and those of which the user is a lasting member.
    pub rooms: Vec<Arc<str>>,
}

/// What other nodes have of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FarRoom {
    /// The room.
    pub name: Arc<str>,
    /// Its newest message, and the number of those that are kept; `None` where nothing is.
    pub kept: Option<(Position, u64)>,
    /// Users who are there on other nodes, by their uids, each with the connections there; also those who
    /// left less than `left_ms` ago, with none.
    pub users: Vec<(Box<str>, usize)>,
    /// The number of users there, summed up over the other nodes.
    pub users_total: usize,
    /// The number of connections there.
    pub connections: usize,
    /// The lasting members, by their uids; only where they were asked for.
    pub lasting: Vec<Box<str>>,
}

/// How much of a room is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomDepth<'a> {
    /// Users up to this number are all named, so that nobody is counted twice.
    pub exact_users_max: usize,
    /// Users that are named of a larger room: the first by their uids, behind `after`.
    pub users_max: usize,
    /// The uid behind which a list begins.
    pub after: Option<&'a str>,
    /// Whether lasting members are asked for.
    pub asks_lasting: bool,
}

/// Whether a node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeState {
    /// It serves.
    Ready,
    /// It sends its clients away, and takes no more.
    Draining,
    /// Its beat stands still: it counts as dead.
    Silent,
}

impl NodeState {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Silent => "silent",
        }
    }
}

/// A node, as the cluster knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its name.
    pub name: Box<str>,
    /// The number of its run.
    pub generation: u64,
    /// The version of its program.
    pub version: Box<str>,
    /// Where it is reached.
    pub address: Box<str>,
    /// The time of its start, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// Whether it takes part.
    pub state: NodeState,
    /// What it says of itself.
    pub figures: NodeFigures,
    /// Messages said there in the last second.
    pub messages_per_s: u64,
    /// Milliseconds by which its clock is ahead of the engine's.
    pub clock_skew_ms: i64,
    /// What its answers promise.
    pub promise: Box<str>,
    /// Whether its settings agree with those of the node that tells of it, where all have to.
    pub settings_agree: bool,
    /// Whether it is the node that tells of it.
    pub is_own: bool,
}

/// What a node needs to take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodesHealth {
    /// Whether its generation stands in the engine, and beats.
    pub is_member: bool,
    /// Whether the bus hears what is sent to the node.
    pub hears: bool,
    /// Whether the log took calls when it was asked last.
    pub is_log_reached: bool,
}

/// The other nodes of the cluster.
pub trait Nodes: Send + Sync {
    /// Tells of each user whether there is a connection on another node.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn online(&self, uids: &[&str]) -> Result<Vec<bool>, NodesError>;

    /// Returns what other nodes have of a user.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn user(&self, uid: &str) -> Result<FarUser, NodesError>;

    /// Returns what other nodes have of a room; `None` where the cluster doesn't know the room.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn room(&self, room: &str, depth: RoomDepth<'_>) -> Result<Option<FarRoom>, NodesError>;

    /// Lists up to `limit` rooms of the whole cluster whose names begin with `prefix`, in the order of
    /// their names, from the first behind `after`.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn rooms(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        depth: RoomDepth<'_>,
    ) -> Result<Vec<FarRoom>, NodesError>;

    /// Finds the generation of the node that a connection is on, or was on.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn node_of(&self, fd: Fd) -> Result<Option<u64>, NodesError>;

    /// Asks something of another node.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn request(&self, generation: u64, request: &NodeRequest) -> Result<NodeAnswer, NodesError>;

    /// Lists the nodes by their names, this one included.
    ///
    /// # Errors
    ///
    /// [`NodesError`].
    fn nodes(&self) -> Result<Vec<NodeView>, NodesError>;

    /// Returns the number of this node's run. Waits for nothing.
    fn own_generation(&self) -> u64;

    /// Counts the nodes that are alive, this one included. Waits for nothing.
    fn alive(&self) -> usize;

    /// Whether a node of this generation is alive. Waits for nothing.
    fn is_alive(&self, generation: u64) -> bool;

    /// Says whether the node takes part. Waits for nothing.
    fn health(&self) -> NodesHealth;
}
