//! The engine that all nodes share, as the machines of this layer see it. Redis is one, the model of the
//! tests another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::call::{Answer, Call, Caller, Life};
use crate::base::Position;
use crate::store::{ChannelState, PageRange};

/// The reason why the engine could not be used.
#[derive(Debug)]
pub enum EngineError {
    /// Nothing was taken: there is no connection.
    Away(String),
    /// The connection was lost while an answer was awaited: it isn't known whether the call was taken.
    Lost(String),
    /// The engine is full: nothing was taken.
    Full(String),
    /// Something has to be mended in the engine before it can be used; the text says what.
    Refused(String),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(what) => write!(f, "the engine is out of reach: {what}"),
            Self::Lost(what) => write!(f, "the engine didn't answer: {what}"),
            Self::Full(what) => write!(f, "the engine is full: {what}"),
            Self::Refused(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for EngineError {}

impl EngineError {
    /// Whether the engine may answer later, without anything being mended.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Away(_) | Self::Lost(_))
    }
}

/// What the engine says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// The name of its run.
    pub run: Box<str>,
    /// The names of its history of replication: the present one and the one before (Redis: `master_replid`,
    /// `master_replid2`).
    pub replids: [Box<str>; 2],
    /// Whether it is a primary.
    pub is_primary: bool,
    /// Whether each write is synced before it is answered, into a file that is complete.
    pub syncs_always: bool,
    /// Whether writes go to a file at all.
    pub keeps_file: bool,
    /// Whether the file is being rewritten, or is about to be.
    pub rewrites: bool,
    /// Whether this run read a file when it began, and has been a primary ever since: the file was complete.
    pub began_with_file: bool,
    /// Replicas that are connected.
    pub replicas: usize,
    /// Replicas that could be promoted, the disconnected ones included, where somebody counts them.
    pub replicas_known: Option<usize>,
    /// The engine's clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// The engine's version.
    pub version: (u32, u32),
    /// Bytes that the engine uses.
    pub used_size: u64,
    /// Its settings that matter here, by name; empty where they may not be read.
    pub settings: Vec<(Box<str>, Box<str>)>,
}

impl EngineFacts {
    /// Returns a setting of the engine, where it may be read.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        let mut settings = self.settings.iter();
        settings.find_map(|(one, value)| (**one == *name).then_some(&**value))
    }
}

/// What stands in the engine of its own life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LifeState {
    /// The life.
    pub life: Life,
    /// Calls so far.
    pub n: u64,
    /// Calls when this life began.
    pub n0: u64,
    /// The name of the history of replication, as it was when somebody looked last.
    pub replid: Box<str>,
    /// Whether each write was synced then.
    pub syncs_always: bool,
}

/// The bounds of what a channel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelBounds {
    /// Messages at most, to within 16.
    pub messages_max: u64,
    /// Bytes of all messages at most; the newest one stays whatever its size.
    pub size_max: u64,
    /// The age of a message at most, in milliseconds; 0 for no bound.
    pub age_ms_max: u64,
}

/// The bounds by which a connection's calls go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBounds {
    /// Those of channels that are stored.
    pub stored: ChannelBounds,
    /// Those of channels that are kept in memory.
    pub memory: ChannelBounds,
    /// How long an id is remembered at least, in milliseconds.
    pub repeat_ms: u64,
    /// Ids that are remembered in such a time at most.
    pub ids_max: u64,
    /// Ids of one owner among the last quarter of these at most.
    pub ids_per_sender_max: u64,
}

impl CallBounds {
    /// Counts the ids that are remembered whoever has them: all but the last quarter.
    #[must_use]
    pub fn ids_unshared(&self) -> u64 {
        self.ids_max - self.ids_max / 4
    }
}

impl Default for CallBounds {
    fn default() -> Self {
        Self {
            stored: ChannelBounds {
                messages_max: 1_000,
                size_max: 4 << 20,
                age_ms_max: 7 * 24 * 3_600_000,
            },
            memory: ChannelBounds {
                messages_max: 100,
                size_max: 256 << 10,
                age_ms_max: 3_600_000,
            },
            repeat_ms: 600_000,
            ids_max: 1_000_000,
            ids_per_sender_max: 10_000,
        }
    }
}

/// What is kept of a generation's last call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCall {
    /// Its number.
    pub number: u64,
    /// [`Answer::Done`], or [`Answer::Broken`].
    pub answer: Answer,
}

/// A part of a channel's log, as it stands in the engine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EnginePage {
    /// The state of the channel; `None` if the engine doesn't know it, or if its era is over.
    pub state: Option<ChannelState>,
    /// The offsets and the messages, in the order of [`PageRange`].
    pub payloads: Vec<(u64, Arc<[u8]>)>,
    /// Whether the range has more.
    pub more: bool,
}

/// What a step of the upkeep did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tidied {
    /// The channel behind which the next step goes on; `None` at the end.
    pub next: Option<Box<str>>,
    /// Messages that were let go for their age.
    pub trimmed: u64,
    /// Channels that were let go, since nobody heard them and nothing was in them.
    pub forgotten: u64,
    /// Whether another node does the upkeep, and this one did nothing.
    pub is_other: bool,
}

/// What is so about a channel that a node believes to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Whether the node has its route.
    pub has_route: bool,
    /// The newest position; `None` where the engine doesn't know the channel, or where its era is over:
    /// it has to be attached again.
    pub newest: Option<Position>,
}

/// An open connection on which calls are made one after the other. After an error it isn't used again.
pub trait Engine: Send {
    /// Reads what the engine says of itself.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn facts(&mut self) -> Result<EngineFacts, EngineError>;

    /// Reads what stands of the engine's life; `None` where nothing does.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn life(&mut self) -> Result<Option<LifeState>, EngineError>;

    /// Takes the engine's present run for its life, writes down what of `facts` may change meanwhile, and
    /// returns what stands from now on.
    ///
    /// - Nothing stands: the era is above the one that is `known`, and above the engine's clock, so an
    ///   engine that was emptied never gives an era again.
    /// - Another run stands: `n0` is `n` from now on. If it isn't `trusted`, the era rises.
    /// - Whatever stands: the era rises if more was `seen` in the run that is `known` than the life after it
    ///   began with (of the last 16 runs that is known; of an older one, whatever was seen is more), or than
    ///   `n` in the present run. The engine has lost calls then. It rises as well if the era that is `known`
    ///   is a later one, and not if it is an older one: no channel goes by that any more. `n` goes above
    ///   what was seen.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn adopt(
        &mut self,
        facts: &EngineFacts,
        known: &Life,
        seen: u64,
        trusted: bool,
    ) -> Result<LifeState, EngineError>;

    /// Has all channels begin a new epoch; `None` where no life stands.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn renew(&mut self) -> Result<Option<LifeState>, EngineError>;

    /// Sets the bounds by which the calls that follow go.
    fn set_bounds(&mut self, bounds: &CallBounds);

    /// Makes a call.
    ///
    /// # Errors
    ///
    /// [`EngineError`]. [`EngineError::Full`] comes only for calls with a message, or with a membership
    /// that begins.
    fn call(&mut self, call: &Call) -> Result<Answer, EngineError>;

    /// Reads what became of the last call of a generation; `None` where none is known.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn last_call(&mut self, generation: u64) -> Result<Option<LastCall>, EngineError>;

    /// Waits until so many replicas have what this connection wrote last, but no longer than `patience`;
    /// returns how many have it.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn wait(&mut self, replicas: usize, patience: Duration) -> Result<usize, EngineError>;

    /// Tells nodes that everything up to call `n` is safe, without waiting for an answer.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn mark_safe(&mut self, n: u64, nodes: &[u64]) -> Result<(), EngineError>;

    /// Sends a frame to a node, without waiting for an answer.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn send(&mut self, node: u64, frame: &[u8]) -> Result<(), EngineError>;

    /// Reads a part of a channel's log.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn page(&mut self, channel: &str, range: PageRange) -> Result<EnginePage, EngineError>;

    /// Compares channels that a node believes to hear with the engine, in the order in which they are given.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn look(&mut self, caller: &Caller, channels: &[&str]) -> Result<Vec<Looked>, EngineError>;

    /// Returns the number up to which a producer's messages are settled; 0 for an unknown one.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn producer_mark(&mut self, producer: &str) -> Result<u64, EngineError>;

    /// Lets go of messages that are too old and of channels that nobody needs, among the next
    /// `channels_max` channels behind `after`, by name; changes the windows of ids if it is time.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn tidy(
        &mut self,
        caller: &Caller,
        after: Option<&str>,
        channels_max: usize,
    ) -> Result<Tidied, EngineError>;

    /// Returns the key of the cluster's hashes: the one that stands, or ours, which stands from now on.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn hasher_key(&mut self, ours: [u64; 2]) -> Result<[u64; 2], EngineError>;

    /// Reserves a block of serial numbers for a generation, and returns its number: above all that were
    /// given, and at least this one.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn reserve_block(&mut self, caller: &Caller, at_least: u64) -> Result<u64, EngineError>;

    /// Returns the generation to which a block of serial numbers belongs.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn block_owner(&mut self, block: u64) -> Result<Option<u64>, EngineError>;
}

/// The connection on which a node hears what is sent to it.
pub trait Bus: Send {
    /// Waits for the next frame, but no longer than `patience`.
    ///
    /// # Errors
    ///
    /// [`EngineError`]: the bus isn't used again.
    fn next(&mut self, patience: Duration) -> Result<Option<Vec<u8>>, EngineError>;
}

/// The way to an engine.
pub trait EngineSource: Send + Sync {
    /// Opens a connection, in a bounded time.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn open(&self) -> Result<Box<dyn Engine>, EngineError>;

    /// Opens the bus of a generation: what is sent to it from now on is heard.
    ///
    /// # Errors
    ///
    /// [`EngineError`].
    fn bus(&self, generation: u64) -> Result<Box<dyn Bus>, EngineError>;
}
