//! Which settings each command heeds: one file or environment may serve two commands, but nobody
//! shall set by a flag what changes nothing.

/// The command that settings are loaded for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Purpose {
    /// A command that reads settings without running them.
    #[default]
    Reading,
    /// A command that asks the engine of a cluster, and is no node.
    Cluster,
    /// `tidings serve`.
    Serve,
    /// `tidings gateway`.
    Gateway,
}

/// Settings, or whole tables, that a gateway has no use for: it has no chat, no WebSockets and no
/// journal but its outbox.
const SERVERS_ALONE: [&str; 16] = [
    "node",
    "page",
    "echo",
    "tokens.",
    "chat.",
    "store.",
    "bindings.",
    "cluster.",
    "websocket.ping_ms",
    "websocket.pong_ms_max",
    "websocket.close_ms_max",
    "limits.commands_per_s_max",
    "limits.commands_burst_max",
    "reactor.topics_max",
    "reactor.topics_per_connection_max",
    "uplink.",
];

impl Purpose {
    /// The command that a setting is for, where it isn't this one.
    pub(super) fn stranger(self, key: &str) -> Option<&'static str> {
        let is_servers = SERVERS_ALONE
            .iter()
            .any(|known| *known == key || known.ends_with('.') && key.starts_with(known));
        match self {
            Self::Serve if key.starts_with("gateway.") => Some("tidings gateway"),
            Self::Gateway if is_servers => Some("tidings serve"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn every_name_in_the_list_is_that_of_a_setting_or_a_table() {
        let keys = Settings::default().keys();
        for known in SERVERS_ALONE {
            let is_known = |key: &String| *key == known || key.starts_with(known);
            assert!(keys.iter().any(is_known), "{known}");
        }
    }

    #[test]
    fn what_both_commands_heed_is_nobodys_alone() {
        for key in ["listen", "http.idle_ms_max", "limits.requests_per_s_max"] {
            assert_eq!(Purpose::Serve.stranger(key), None, "{key}");
            assert_eq!(Purpose::Gateway.stranger(key), None, "{key}");
        }
        let serve = Some("tidings serve");
        assert_eq!(Purpose::Gateway.stranger("chat.left_ms"), serve);
        assert_eq!(Purpose::Gateway.stranger("websocket.ping_ms"), serve);
        let gateway = Some("tidings gateway");
        assert_eq!(Purpose::Serve.stranger("gateway.name"), gateway);
        assert_eq!(Purpose::Reading.stranger("gateway.name"), None);
    }
}
