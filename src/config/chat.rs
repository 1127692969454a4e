//! The library's chat settings, made from ours.

use super::Settings;
use super::gather::GatherRule;
use tidings::chat::{ChannelKind, ChatSettings, Pattern};
use tidings::endpoint::LimitSettings;

impl Settings {
    /// Makes the settings of the library's chat.
    #[must_use]
    pub fn chat(&self) -> ChatSettings {
        let chat = &self.chat;
        let unkept = chat
            .unkept
            .iter()
            .map(|pattern| (Pattern::new(pattern), ChannelKind::None));
        let in_memory = chat
            .in_memory
            .iter()
            .map(|pattern| (Pattern::new(pattern), ChannelKind::Memory));
        let kind = match self.data().is_some() || self.is_node() {
            true => ChannelKind::Stored,
            false => ChannelKind::Memory,
        };
        ChatSettings {
            kinds: unkept.chain(in_memory).collect(),
            kind,
            gather: chat.gather.iter().map(GatherRule::gather).collect(),
            latest: chat.latest.iter().map(|one| Pattern::new(one)).collect(),
            channels_max: chat.channels_max,
            channels_per_user_max: chat.channels_per_user_max,
            unclaimed_lines_max: chat.unclaimed_lines_max,
            channel_ttl_ms: chat.channel_idle_ms,
            kept_messages_max: chat.ring_messages_max,
            kept_ms_max: chat.ring_ms,
            dedup_ms: chat.repeat_ms,
            dedup_entries_max: chat.repeat_entries_max,
            connections_per_user_max: chat.connections_per_user_max,
            rooms_per_connection_max: chat.rooms_per_connection_max,
            presence_users_max: chat.presence_users_max,
            left_ms: chat.left_ms,
            session_bytes_max: self.bindings.session_size_max,
            sessions_bytes_max: self.bindings.sessions_size_max,
            page_messages_max: chat.page_messages_max,
            page_bytes_max: chat.page_size_max,
            cluster_linger_ms: self.is_node().then_some(self.cluster.linger_ms),
            ..ChatSettings::default()
        }
    }

    /// Makes the limits of the rates that one client may reach.
    #[must_use]
    pub fn limits(&self) -> LimitSettings {
        LimitSettings {
            commands_per_s_max: self.limits.commands_per_s_max,
            commands_burst_max: self.limits.commands_burst_max,
            requests_per_s_max: self.limits.requests_per_s_max,
            requests_burst_max: self.limits.requests_burst_max,
            askers_max: self.limits.askers_max,
        }
    }
}
