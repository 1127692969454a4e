//! The other nodes of the cluster, as a node asks for them: rows in the engine, and questions over the bus.
//!
//! Rows of generations that aren't alive count nowhere, and neither do the node's own, since it knows
//! better itself.

use std::sync::{Arc, Mutex};

use super::engine::EngineError;
use super::register::NodeRow;
use super::shared::{NodePart, NodeShared};
use crate::base::Fd;
use crate::base::sync::lock;
use crate::chat::{
    FarConnection, FarRoom, FarUser, NodeAnswer, NodeRequest, NodeState, NodeView, Nodes,
    NodesError, NodesHealth, RoomDepth,
};

/// Bits of a serial number within its block.
const BLOCK_BITS: u32 = 22;

/// An open connection on which rows are read. After an error it isn't used again.
pub trait Presence: Send {
    /// Returns the connections of each user, of all generations.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn connections(&mut self, uids: &[&str]) -> Result<Vec<Vec<FarConnection>>, EngineError>;

    /// Returns the rooms of a user's connections on these nodes, and those of which the user is a lasting
    /// member.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn rooms_of(&mut self, uid: &str, generations: &[u64]) -> Result<Vec<Arc<str>>, EngineError>;

    /// Returns the names of up to `limit` rooms that begin with `prefix`, from the first behind `after`.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn room_names(
        &mut self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, EngineError>;

    /// Returns what these nodes have of rooms; `None` for one that the engine doesn't know.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn rooms(
        &mut self,
        names: &[Arc<str>],
        generations: &[u64],
        depth: RoomDepth<'_>,
    ) -> Result<Vec<Option<FarRoom>>, EngineError>;

    /// Reads all nodes that stand, by their names.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn nodes(&mut self) -> Result<Vec<NodeRow>, EngineError>;

    /// Returns the generation to which a block of serial numbers belongs.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError>;
}

/// The way to the rows.
pub trait PresenceSource: Send + Sync {
    /// Opens a connection, in a bounded time.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn open(&self) -> Result<Box<dyn Presence>, EngineError>;
}

/// Asks something of another node, and waits for a limited time.
pub type NodeAsker = Box<dyn Fn(u64, &NodeRequest) -> Result<NodeAnswer, NodesError> + Send + Sync>;

/// The other nodes of a node's cluster.
pub struct ClusterNodes {
    shared: Arc<NodeShared>,
    source: Arc<dyn PresenceSource>,
    open: Mutex<Option<Box<dyn Presence>>>,
    ask: NodeAsker,
}

impl ClusterNodes {
    /// Makes the way to the other nodes; nothing is opened yet.
    #[must_use]
    pub fn new(shared: Arc<NodeShared>, source: Arc<dyn PresenceSource>, ask: NodeAsker) -> Self {
        Self {
            shared,
            source,
            open: Mutex::default(),
            ask,
        }
    }

    /// Reads through the open connection, or a new one where that has ended.
    fn read<T>(
        &self,
        read: impl Fn(&mut dyn Presence) -> Result<T, EngineError>,
    ) -> Result<T, NodesError> {
        let away = |error: EngineError| NodesError::Away(error.to_string());
        let mut open = lock(&self.open).take();
        if let Some(connection) = &mut open
            && let Ok(found) = read(&mut **connection)
        {
            *lock(&self.open) = open;
            return Ok(found);
        }
        let mut connection = self.source.open().map_err(away)?;
        let found = read(&mut *connection).map_err(away)?;
        *lock(&self.open) = Some(connection);
        Ok(found)
    }

    /// The generations of the other nodes that are alive.
    fn others(&self) -> Vec<u64> {
        let own = self.shared.generation();
        let alive = self.shared.alive();
        alive.iter().copied().filter(|one| *one != own).collect()
    }
}

impl Nodes for ClusterNodes {
    fn online(&self, uids: &[&str]) -> Result<Vec<bool>, NodesError> {
        let others = self.others();
        let found = self.read(|presence| presence.connections(uids))?;
        let is_there = |fds: &Vec<FarConnection>| {
            (fds.iter()).any(|connection| others.contains(&connection.generation))
        };
        Ok(found.iter().map(is_there).collect())
    }

    fn user(&self, uid: &str) -> Result<FarUser, NodesError> {
        let others = self.others();
        self.read(|presence| {
            let mut connections = presence.connections(&[uid])?.pop().unwrap_or_default();
            connections.retain(|connection| others.contains(&connection.generation));
            connections.sort_unstable_by_key(|connection| connection.fd);
            let mut generations: Vec<u64> = connections.iter().map(|one| one.generation).collect();
            generations.sort_unstable();
            generations.dedup();
            let rooms = presence.rooms_of(uid, &generations)?;
            Ok(FarUser { connections, rooms })
        })
    }

    fn room(&self, room: &str, depth: RoomDepth<'_>) -> Result<Option<FarRoom>, NodesError> {
        let others = self.others();
        let names = [Arc::from(room)];
        self.read(|presence| Ok(presence.rooms(&names, &others, depth)?.pop().flatten()))
    }

    fn rooms(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        depth: RoomDepth<'_>,
    ) -> Result<Vec<FarRoom>, NodesError> {
        let others = self.others();
        self.read(|presence| {
            let names = presence.room_names(prefix, after, limit)?;
            let rooms = presence.rooms(&names, &others, depth)?;
            Ok(rooms.into_iter().flatten().collect())
        })
    }

    fn node_of(&self, fd: Fd) -> Result<Option<u64>, NodesError> {
        let block = fd.serial() >> BLOCK_BITS;
        self.read(|presence| presence.block_owner(block))
    }

    fn request(&self, generation: u64, request: &NodeRequest) -> Result<NodeAnswer, NodesError> {
        (self.ask)(generation, request)
    }

    fn nodes(&self) -> Result<Vec<NodeView>, NodesError> {
        let rows = self.read(|presence| presence.nodes())?;
        let (alive, own) = (self.shared.alive(), self.shared.generation());
        let settings = self.shared.settings.agreed;
        let view = |row: NodeRow| NodeView {
            state: match (alive.contains(&row.generation), row.figures.is_draining) {
                (false, _) => NodeState::Silent,
                (true, true) => NodeState::Draining,
                (true, false) => NodeState::Ready,
            },
            settings_agree: row.settings == settings,
            is_own: row.generation == own,
            name: row.name,
            generation: row.generation,
            version: row.version,
            address: row.address,
            started_unix_ms: row.started_unix_ms,
            figures: row.figures,
            messages_per_s: row.messages_per_s,
            clock_skew_ms: row.clock_skew_ms,
            promise: row.promise,
        };
        Ok(rows.into_iter().map(view).collect())
    }

    fn own_generation(&self) -> u64 {
        self.shared.generation()
    }

    fn alive(&self) -> usize {
        self.shared.alive().len()
    }

    fn is_alive(&self, generation: u64) -> bool {
        self.shared.alive().contains(&generation)
    }

    fn health(&self) -> NodesHealth {
        NodesHealth {
            is_member: self.shared.is_ready(NodePart::Generation),
            hears: self.shared.is_ready(NodePart::Bus),
            is_log_reached: self.shared.is_ready(NodePart::Log),
        }
    }
}
