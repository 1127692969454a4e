//! The settings: from a file, then from the environment, then from flags; the later wins.
//!
//! [`sections`] lists every setting once. All errors are found here, together and before anything
//! starts: unknown names, wrong types, values out of bounds, keys that can't be used, and an address
//! that other machines can reach while nobody is asked for a key.
//!
//! The way of a setting: [`flags`] and [`load`] collect the sources; [`read`] and [`environment`]
//! set values; [`validate`] checks what single values can't show and prepares the keys; then
//! [`server`], [`chat`], [`store`] and [`gateway`] turn the settings into the library's.

mod addresses;
mod bindings;
mod channel_rule;
mod chat;
mod cluster;
mod control;
mod difference;
mod environment;
mod files;
mod flags;
mod gateway;
mod gather;
mod load;
mod origin;
mod problem;
mod purpose;
mod quote;
mod read;
mod retention;
mod section;
mod sections;
mod server;
mod store;
mod suggest;
mod template;
mod tls;
mod trusted_proxy;
mod types;
mod validate;
mod value;

pub use addresses::ListenAddresses;
pub use bindings::BindingSection;
pub use cluster::ClusterSection;
pub use control::ControlFlags;
pub use difference::SettingChange;
pub use files::{FileTexts, SettingFiles};
pub use flags::{FILE, GatewayFlags, SettingsFlags};
pub use gateway::{GatewayPlan, GatewaySection, UplinkSection};
pub use load::{Loaded, Sources};
pub use origin::{OriginParts, host_and_port, usual_port};
pub use purpose::Purpose;
pub use sections::{
    ApiKeySection, ChatSection, GeneralSection, HttpSection, LimitSection, LogSection,
    OutboxSection, QueueSection, ReactorSection, StoreSection, TokenKeySection, TokenSection,
    WebSocketSection,
};
pub use template::template;
pub use tls::{CertificateSection, TlsPlan, TlsSection, days_left};
pub use types::{LogFormat, LogLevel, PageMode};
pub use validate::is_open_to_others;

pub use section::InForceBy;

use load::Loader;
use section::Section;

/// Every setting of the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The server as a whole; these stand at the top of the file, in no table.
    pub general: GeneralSection,
    /// The form and the level of the log.
    pub log: LogSection,
    /// The claims that tokens have to make, and their bounds.
    pub tokens: TokenSection,
    /// Keys of tokens by their `kid`, in the order of the file.
    pub token_keys: Vec<(String, TokenKeySection)>,
    /// Keys of back ends by their names.
    pub api_keys: Vec<(String, ApiKeySection)>,
    /// Where TLS is spoken.
    pub tls: TlsSection,
    /// Certificates by their numbers or names, in the order of the file.
    pub certificates: Vec<(String, CertificateSection)>,
    /// Rooms, users and messages.
    pub chat: ChatSection,
    /// The data on disk.
    pub store: StoreSection,
    /// Who is where, for other programs.
    pub bindings: BindingSection,
    /// Several servers as one.
    pub cluster: ClusterSection,
    /// WebSocket connections.
    pub websocket: WebSocketSection,
    /// HTTP requests.
    pub http: HttpSection,
    /// Output that waits for slow readers.
    pub outbox: OutboxSection,
    /// Rates that one client may reach.
    pub limits: LimitSection,
    /// Bounds of each reactor.
    pub reactor: ReactorSection,
    /// Queues between threads.
    pub queues: QueueSection,
    /// Links from gateways to this server.
    pub uplink: UplinkSection,
    /// Settings of `tidings gateway` alone.
    pub gateway: GatewaySection,
}

/// The table of token keys, whose entries are named by their `kid`.
const TOKEN_KEYS: &str = "tokens.keys";
/// The table of API keys, whose entries are named after back ends.
const API_KEYS: &str = "api_keys";
/// The table of certificates, whose entries have numbers where the file gives them no names.
const CERTIFICATES: &str = "tls.certificate";

impl Settings {
    /// Lists every section with the name of its table, which is empty for the first one.
    fn sections(&mut self) -> Vec<(String, &mut dyn Section)> {
        let mut sections: Vec<(String, &mut dyn Section)> = vec![
            (String::new(), &mut self.general),
            ("log".into(), &mut self.log),
            ("tokens".into(), &mut self.tokens),
        ];
        for (name, key) in &mut self.token_keys {
            sections.push((format!("{TOKEN_KEYS}.{name}"), key));
        }
        for (name, key) in &mut self.api_keys {
            sections.push((format!("{API_KEYS}.{name}"), key));
        }
        sections.push(("tls".into(), &mut self.tls));
        for (name, certificate) in &mut self.certificates {
            sections.push((format!("{CERTIFICATES}.{name}"), certificate));
        }
        let rest: [(&str, &mut dyn Section); 12] = [
            ("chat", &mut self.chat),
            ("store", &mut self.store),
            ("bindings", &mut self.bindings),
            ("cluster", &mut self.cluster),
            ("websocket", &mut self.websocket),
            ("http", &mut self.http),
            ("outbox", &mut self.outbox),
            ("limits", &mut self.limits),
            ("reactor", &mut self.reactor),
            ("queues", &mut self.queues),
            ("uplink", &mut self.uplink),
            ("gateway", &mut self.gateway),
        ];
        sections.extend(rest.map(|(name, section)| (name.to_owned(), section)));
        sections
    }

    /// Finds the section of this name; creates a missing entry of `tokens.keys`, `api_keys` or `tls.certificate`.
    fn section(&mut self, name: &str) -> Option<&mut dyn Section> {
        if let Some((TOKEN_KEYS, key)) = split_name(name) {
            insert(&mut self.token_keys, key);
        } else if let Some((API_KEYS, key)) = split_name(name) {
            insert(&mut self.api_keys, key);
        } else if let Some((CERTIFICATES, key)) = split_name(name) {
            insert(&mut self.certificates, key);
        }
        let mut sections = self.sections().into_iter();
        sections
            .find(|(section, _)| section == name)
            .map(|(_, section)| section)
    }

    /// Lists the whole names of all settings.
    fn keys(&mut self) -> Vec<String> {
        let mut keys = Vec::new();
        for (name, section) in self.sections() {
            section.each(&mut |field| keys.push(join(&name, field.key)));
        }
        keys
    }
}

/// Splits the name of a named entry into its table and the name that it has there.
fn split_name(name: &str) -> Option<(&'static str, &str)> {
    [TOKEN_KEYS, API_KEYS, CERTIFICATES]
        .into_iter()
        .find_map(|table| {
            let key = name.strip_prefix(table)?.strip_prefix('.')?;
            is_name(key).then_some((table, key))
        })
}

fn insert<T: Default>(named: &mut Vec<(String, T)>, name: &str) {
    if !named.iter().any(|(other, _)| other == name) {
        named.push((name.to_owned(), T::default()));
    }
}

/// Whether a key may have this name: visible ASCII, so that the name can stand in logs and headers,
/// and short enough for one line of them.
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn join(section: &str, key: &str) -> String {
    match section {
        "" => key.to_owned(),
        _ => format!("{section}.{key}"),
    }
}

#[cfg(test)]
mod tests;
