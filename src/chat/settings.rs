//! The bounds of the chat.

use super::pattern::Pattern;
pub use crate::base::ChannelKind;

/// Every bound of the chat, with its unit last.
#[derive(Debug, Clone)]
pub struct ChatSettings {
    /// The kind of a channel is that of the first pattern that matches its name, which for a user
    /// begins with `@` and for everyone is `*`. Default: none.
    pub kinds: Vec<(Pattern, ChannelKind)>,
    /// The kind of channels that no pattern matches. Default: memory.
    pub kind: ChannelKind,
    /// Channels whose deliveries wait for more, and for how many milliseconds at the most: the first
    /// pattern that matches a name counts. Default: none.
    pub gather: Vec<(Pattern, u16)>,
    /// Channels of which a slow reader gets only the newest message. Default: none.
    pub latest: Vec<Pattern>,
    /// Shards that rooms, users and connections are each divided into. Default 64: several times the
    /// threads of a large machine, so that two of them rarely want the same one.
    pub shards: usize,
    /// Rooms and inboxes at the most; a request that needs a new one is refused as `unavailable`.
    /// A tenth is left to back ends; a login is never refused for its own inbox. Default 1,000,000.
    pub channels_max: usize,
    /// Channels that one user opened and that are still there, at the most: rooms, and inboxes of
    /// users who never came. One more is refused as `unavailable`. Back ends have no such share.
    /// Default 1,000: more than a person ever needs, and so few that it takes a thousand users to
    /// fill the table.
    pub channels_per_user_max: usize,
    /// Inboxes of users who never came, opened by other users, at the most; they count apart from
    /// `channels_max`. From seven eighths on the oldest ones of whoever opened the most go, with what
    /// is in them. Default 100,000.
    pub unclaimed_lines_max: usize,
    /// Milliseconds that a channel stays without messages and members. Default 600,000: a client
    /// that was offline for minutes finds the epoch that it knows.
    pub channel_ttl_ms: u64,
    /// Messages that one channel keeps; the oldest goes. Default 100: a page of a conversation.
    pub kept_messages_max: usize,
    /// Milliseconds that a message is kept. Default 300,000: longer than a restart of a client or a
    /// change of its network takes.
    pub kept_ms_max: u64,
    /// Bytes that one channel keeps; the oldest message goes. Default 262,144: what is missed fits
    /// in one command.
    pub kept_channel_bytes_max: usize,
    /// Bytes that all channels keep; the oldest messages of the channel that is written to go.
    /// Default 268,435,456, 256 MiB: a small part of a server's memory.
    pub kept_bytes_max: usize,
    /// Milliseconds for which a repeated id is known. Default 300,000, as long as a message is kept:
    /// a client that is back in time neither misses anything nor says anything twice.
    pub dedup_ms: u64,
    /// Ids that are remembered in all; for one more the sender with the most loses its oldest, which
    /// is counted. Default 1,000,000, of some 200 bytes each.
    pub dedup_entries_max: usize,
    /// Connections of one user; the oldest goes. Default 20: more than one person has devices and
    /// tabs, and few enough that a client which reconnects in a loop harms nobody else.
    pub connections_per_user_max: usize,
    /// Rooms of a connection up to which it may join one more; lasting memberships don't ask, so
    /// there may be `lasting_rooms_per_user_max` on top. Default 100.
    pub rooms_per_connection_max: usize,
    /// Bytes of the session data of one connection. Default 4,096: a few facts about who it is, no
    /// document.
    pub session_bytes_max: usize,
    /// Bytes of the session data of all connections; more are refused as `unavailable`. Default
    /// 67,108,864, 64 MiB: 16,000 of the largest ones.
    pub sessions_bytes_max: usize,
    /// Lasting memberships of one user. Default 100: each is one more room to join at every login.
    pub lasting_rooms_per_user_max: usize,
    /// Lasting memberships in all. Default 1,000,000: as many as channels.
    pub lasting_max: usize,
    /// Users who acknowledge in one channel. Default 100,000: a round number, which bounds the
    /// memory of one channel to some MB.
    pub acks_per_channel_max: usize,
    /// Users in a room up to which it is told who joins and leaves. Default 200: n users who join one
    /// after the other cost n² / 2 notices, 20,000 here.
    pub presence_users_max: usize,
    /// Milliseconds after which a user without connections in a room has left it. Default 3,000: a
    /// client that reconnects at once is never reported as gone.
    pub left_ms: u64,
    /// Receivers of one request, and connections in its `except`. Default 100: each receiver costs a
    /// message of its own, and one request must not occupy a worker for long.
    pub receivers_max: usize,
    /// Messages of one page of history. Default 1,000: the answer is made in one turn of a worker.
    pub page_messages_max: usize,
    /// Bytes after which a page of history ends, though it has one message at least. Default
    /// 262,144: a quarter of what an outbox takes.
    pub page_bytes_max: usize,
    /// Users or rooms that one answer lists. Default 1,000: a quarter of a MiB of JSON with the
    /// longest names.
    pub list_max: usize,
    /// Makes it the chat of a node of a cluster: the milliseconds for which a channel that nobody hears
    /// any more stays with the node. `None`: the server is by itself. Default `None`.
    pub cluster_linger_ms: Option<u64>,
}

impl Default for ChatSettings {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            kind: ChannelKind::Memory,
            gather: Vec::new(),
            latest: Vec::new(),
            shards: 64,
            channels_max: 1_000_000,
            channels_per_user_max: 1_000,
            unclaimed_lines_max: 100_000,
            channel_ttl_ms: 600_000,
            kept_messages_max: 100,
            kept_ms_max: 300_000,
            kept_channel_bytes_max: 256 * 1024,
            kept_bytes_max: 256 * 1024 * 1024,
            dedup_ms: 300_000,
            dedup_entries_max: 1_000_000,
            connections_per_user_max: 20,
            rooms_per_connection_max: 100,
            session_bytes_max: 4_096,
            sessions_bytes_max: 64 * 1024 * 1024,
            lasting_rooms_per_user_max: 100,
            lasting_max: 1_000_000,
            acks_per_channel_max: 100_000,
            presence_users_max: 200,
            left_ms: 3_000,
            receivers_max: 100,
            page_messages_max: 1_000,
            page_bytes_max: 256 * 1024,
            list_max: 1_000,
            cluster_linger_ms: None,
        }
    }
}

impl ChatSettings {
    /// Returns the kind of the channel of this name.
    #[must_use]
    pub fn kind_of(&self, channel: &str) -> ChannelKind {
        let mut kinds = self.kinds.iter();
        let found = kinds.find(|(pattern, _)| pattern.matches(channel));
        found.map_or(self.kind, |(_, kind)| *kind)
    }
}
