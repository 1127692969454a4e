//! The bounds of the chat.

use super::pattern::Pattern;

/// What a channel keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelKind {
    /// Offsets, and messages on disk: they outlive the process.
    Stored,
    /// Offsets, and the last messages in memory; a start makes a new epoch.
    Memory,
    /// No offsets and no history: delivered and forgotten.
    None,
}

/// Every bound of the chat, with its unit last.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The kind of a channel is that of the first pattern that matches its name, which for a user
    /// begins with `@` and for everyone is `*`. Default: none.
    pub kinds: Vec<(Pattern, ChannelKind)>,
    /// The kind of channels that no pattern matches. Default: memory.
    pub kind: ChannelKind,
    /// Parts that rooms, users and connections are each divided into, so that threads rarely wait
    /// for one another. Default 64.
    pub shards: usize,
    /// Rooms and inboxes at the most; then whoever needs a new one gets `unavailable`.
    /// Default 1,000,000.
    pub channels_max: usize,
    /// Milliseconds that a channel stays without messages and members. Default 600,000.
    pub channel_ttl_ms: u64,
    /// Messages that one channel keeps; the oldest goes. Default 100.
    pub kept_messages_max: usize,
    /// Milliseconds that a message is kept. Default 300,000.
    pub kept_ms_max: u64,
    /// Bytes that one channel keeps; the oldest message goes. Default 262,144: what is missed fits
    /// in one command.
    pub kept_channel_bytes_max: usize,
    /// Bytes that all channels keep; the oldest messages of the channel that is written to go.
    /// Default 268,435,456.
    pub kept_bytes_max: usize,
    /// Milliseconds for which a repeated id is known. Default 300,000.
    pub dedup_ms: u64,
    /// Ids that are remembered in all; the oldest of a shard are forgotten early, and counted.
    /// Default 1,000,000, of some 80 bytes each.
    pub dedup_entries_max: usize,
    /// Connections of one user; the oldest goes. Default 20.
    pub connections_per_user_max: usize,
    /// Rooms of a connection up to which it may join one more; lasting memberships don't ask, so
    /// there may be `lasting_rooms_per_user_max` on top. Default 100.
    pub rooms_per_connection_max: usize,
    /// Lasting memberships of one user. Default 100.
    pub lasting_rooms_per_user_max: usize,
    /// Lasting memberships in all. Default 1,000,000.
    pub lasting_max: usize,
    /// Users who acknowledge in one channel. Default 100,000.
    pub acks_per_channel_max: usize,
    /// Users in a room up to which it hears who comes and goes. Default 200.
    pub presence_users_max: usize,
    /// Milliseconds after which somebody who went has left. Default 3,000.
    pub left_ms: u64,
    /// Receivers of one request, and connections in its `except`. Default 100.
    pub receivers_max: usize,
    /// Messages of one page of history. Default 1,000.
    pub page_messages_max: usize,
    /// Bytes after which a page of history ends, though it has one message at least. Default
    /// 262,144.
    pub page_bytes_max: usize,
    /// Users or rooms that one answer lists. Default 1,000.
    pub list_max: usize,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            kind: ChannelKind::Memory,
            shards: 64,
            channels_max: 1_000_000,
            channel_ttl_ms: 600_000,
            kept_messages_max: 100,
            kept_ms_max: 300_000,
            kept_channel_bytes_max: 256 * 1024,
            kept_bytes_max: 256 * 1024 * 1024,
            dedup_ms: 300_000,
            dedup_entries_max: 1_000_000,
            connections_per_user_max: 20,
            rooms_per_connection_max: 100,
            lasting_rooms_per_user_max: 100,
            lasting_max: 1_000_000,
            acks_per_channel_max: 100_000,
            presence_users_max: 200,
            left_ms: 3_000,
            receivers_max: 100,
            page_messages_max: 1_000,
            page_bytes_max: 256 * 1024,
            list_max: 1_000,
        }
    }
}

impl ChatSettings {
    /// What the channel of this name keeps.
    #[must_use]
    pub fn kind_of(&self, channel: &str) -> ChannelKind {
        self.kinds
            .iter()
            .find(|(pattern, _)| pattern.matches(channel))
            .map_or(self.kind, |(_, kind)| *kind)
    }
}
