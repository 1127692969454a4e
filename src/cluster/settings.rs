//! The settings of a node of a cluster.

use super::EngineSettings;

/// What an answer to a sender vouches for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClusterPromise {
    /// The engine has synced the message to its disk.
    #[default]
    Synced,
    /// The replicas have it, too.
    Replicated,
    /// The engine has it in its memory.
    Fast,
}

impl ClusterPromise {
    /// Every promise with its word.
    pub const ALL: [(&'static str, Self); 3] = [
        ("synced", Self::Synced),
        ("replicated", Self::Replicated),
        ("fast", Self::Fast),
    ];

    /// Returns its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, promise)| *promise == self);
        found.map_or("", |(word, _)| word)
    }
}

/// How a node is part of a cluster. What channels keep, and for how long ids are remembered, is said by
/// [`StoreSettings`](crate::store::StoreSettings).
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// The engine that all nodes share; all of its keys begin with the prefix, and the longest wait is that
    /// for the answer to one call.
    pub engine: EngineSettings,
    /// The name of the node, the same after each start.
    pub node: String,
    /// The address at which the node listens, for people; a name that beats at another one is refused.
    pub address: String,
    /// A digest of the settings that have to agree on all nodes.
    pub agreed: u64,
    /// What an answer vouches for.
    pub promise: ClusterPromise,
    /// Replicas that have to have a message; only with [`ClusterPromise::Replicated`].
    pub replicas: usize,
    /// Whether the settings of the engine are read, and it is refused if they don't fit.
    pub checks: bool,
    /// Milliseconds after which a node is taken for dead whose beat stands still.
    pub lease_ms: u64,
    /// Milliseconds that a sender waits at most for an outcome that isn't known.
    pub answer_ms_max: u64,
    /// Milliseconds without the bus after which the node sends its clients away; 0 never does.
    pub deaf_ms_max: u64,
    /// Milliseconds for which a channel stays attached after its last listener went.
    pub linger_ms: u64,
    /// Milliseconds between two looks at each attached channel.
    pub look_ms: u64,
    /// Milliseconds after a user's last connection left a room until that is told.
    pub left_ms: u64,
    /// Bytes of frames that wait until they are safe, at most; over it they are dropped, and read from the
    /// log.
    pub held_bytes_max: usize,
    /// Bytes of frames that wait for one channel to catch up, at most; over it they are dropped, and read
    /// from the log.
    pub behind_channel_bytes_max: usize,
    /// The same for all channels.
    pub behind_bytes_max: usize,
    /// Logins and joins that wait for the engine at a time, at most; one more is refused.
    pub held_logins_max: usize,
    /// Questions that wait for the engine or for other nodes at a time, at most; one more is refused.
    pub lookups_max: usize,
    /// Milliseconds that another node has for its answer.
    pub request_ms_max: u64,
}

impl ClusterSettings {
    /// Makes the settings of a node that promises [`ClusterPromise::Synced`], with the bounds that `tidings
    /// serve` has where nothing else is said.
    #[must_use]
    pub fn new(engine: EngineSettings, node: &str) -> Self {
        Self {
            engine,
            node: node.to_owned(),
            address: String::new(),
            agreed: 0,
            promise: ClusterPromise::Synced,
            replicas: 0,
            checks: true,
            lease_ms: 5_000,
            answer_ms_max: 10_000,
            deaf_ms_max: 0,
            linger_ms: 10_000,
            look_ms: 30_000,
            left_ms: 3_000,
            held_bytes_max: 16 << 20,
            behind_channel_bytes_max: 1 << 20,
            behind_bytes_max: 64 << 20,
            held_logins_max: 10_000,
            lookups_max: 1_000,
            request_ms_max: 1_000,
        }
    }
}
