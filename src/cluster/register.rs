//! The register of a cluster's nodes, as it stands in the engine: who has which name, and that it beats.

use super::call::Caller;
use super::engine::EngineError;
use crate::chat::NodeFigures;

/// A node, as it enters itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its name and the number of its run.
    pub caller: Caller,
    /// Where it is reached.
    pub address: Box<str>,
    /// The version of its program.
    pub version: Box<str>,
    /// What its answers promise.
    pub promise: Box<str>,
    /// A digest of the settings that have to agree on all nodes.
    pub settings: u64,
    /// The time of its start, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// The blocks of serial numbers that are its own.
    pub blocks: Vec<u64>,
}

/// When a generation that stands under the node's name gives way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Succession {
    /// At the start of a node: one of the same address does, since two can't be there.
    Start,
    /// This one does, whose beat has stood still.
    Over(u64),
    /// None does.
    Free,
}

/// The outcome of entering a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The generation stands under the node's name.
    Standing,
    /// Another one does.
    Taken {
        /// The number of its run.
        generation: u64,
        /// Its beat.
        beat: u64,
        /// Its address.
        address: Box<str>,
    },
}

/// The beats of all generations, as they were read together with the node's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beats {
    /// Whether the node's own generation stands.
    pub stands: bool,
    /// The generations that stand, with their beats.
    pub standing: Vec<(u64, u64)>,
    /// The generations that are over and not cleaned away.
    pub gone: Vec<u64>,
}

/// A node, as it stands in the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name.
    pub name: Box<str>,
    /// The number of its run.
    pub generation: u64,
    /// Its beat.
    pub beat: u64,
    /// Where it is reached.
    pub address: Box<str>,
    /// The version of its program.
    pub version: Box<str>,
    /// What its answers promise.
    pub promise: Box<str>,
    /// A digest of the settings that have to agree.
    pub settings: u64,
    /// The time of its start, in Unix milliseconds.
    pub started_unix_ms: u64,
    /// What it said of itself with its last beat.
    pub figures: NodeFigures,
    /// Messages said between its last two beats.
    pub messages_per_s: u64,
    /// Milliseconds by which its clock was ahead of the engine's.
    pub clock_skew_ms: i64,
}

/// An open connection to the register. After an error it isn't used again.
pub trait Register: Send {
    /// Enters a node. The generation before it is over from then on, and all nodes are told.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn enter(
        &mut self,
        entry: &NodeEntry,
        succession: Succession,
    ) -> Result<Registered, EngineError>;

    /// Adds one to the node's beat if its generation stands, writes what the node says of itself, and
    /// reads the beats of all.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn beat(
        &mut self,
        caller: &Caller,
        figures: &NodeFigures,
        messages_per_s: u64,
        unix_ms: u64,
    ) -> Result<Beats, EngineError>;

    /// Reads all nodes that stand, by their names.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn nodes(&mut self) -> Result<Vec<NodeRow>, EngineError>;

    /// Takes a generation out for good: nothing of it is taken any more. `false` if its beat isn't the one
    /// that stood still, or if another node cleans it away.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn bury(
        &mut self,
        caller: &Caller,
        generation: u64,
        beat: Option<u64>,
    ) -> Result<bool, EngineError>;

    /// Takes some rows and routes of a buried generation out, and tells the rooms who left by it. Returns
    /// whether nothing of it is left.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn clean(&mut self, generation: u64) -> Result<bool, EngineError>;

    /// Takes the node itself out; its rows are cleaned away by whoever is there.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn leave(&mut self, caller: &Caller) -> Result<(), EngineError>;
}

/// The way to the register.
pub trait RegisterSource: Send + Sync {
    /// Opens a connection, in a bounded time.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn open(&self) -> Result<Box<dyn Register>, EngineError>;
}
