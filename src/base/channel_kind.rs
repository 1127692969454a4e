//! The kind of a channel.

/// The kind of a channel: what it keeps, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// The channel has offsets, and messages in the store: they outlive the process.
    Stored,
    /// The channel has offsets, and its last messages in memory; a restart makes a new epoch.
    Memory,
    /// The channel has no offsets and no history: messages are delivered and forgotten.
    None,
}
