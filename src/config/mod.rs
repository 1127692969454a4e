//! Layer 7: the settings: a file, then the environment, then flags; the later wins.
//!
//! [`sections`] lists every setting once. Whatever is wrong is found here, before anything starts,
//! and all of it at once: unknown names, wrong types, values out of bounds, keys that are none, an
//! address that other machines can reach without anybody being asked for a key.

mod chat;
mod environment;
mod flags;
mod gateway;
mod judge;
mod keep;
mod nearest;
mod problem;
mod read;
mod section;
mod sections;
mod server;
mod store;
mod template;
mod text;
mod value;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use flags::{GatewayFlags, SettingsFlags};
pub use gateway::{GatewayPlan, GatewaySettings, UplinkSettings};
pub use problem::Problems;
pub use sections::{
    ApiKeySettings, ChatSettings, GeneralSettings, HttpSettings, LimitSettings, LogSettings,
    OutboxSettings, QueueSettings, ReactorSettings, StoreSettings, TokenKeySettings, TokenSettings,
    WebSocketSettings,
};
pub use template::template;
pub use text::{OriginParts, Page, host_and_port, usual_port};

use crate::auth::{Access, Secret};
use problem::Place;
use section::Section;

/// Every setting of the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// Of the server as a whole; these stand at the top of the file, in no table.
    pub general: GeneralSettings,
    /// Of the log.
    pub log: LogSettings,
    /// What tokens have to satisfy.
    pub tokens: TokenSettings,
    /// The keys of tokens by their `kid`, in the order of the file.
    pub token_keys: Vec<(String, TokenKeySettings)>,
    /// The keys of back ends by their names.
    pub api_keys: Vec<(String, ApiKeySettings)>,
    /// Of rooms, users and messages.
    pub chat: ChatSettings,
    /// Of what is on disk.
    pub store: StoreSettings,
    /// Of WebSocket connections.
    pub websocket: WebSocketSettings,
    /// Of HTTP requests.
    pub http: HttpSettings,
    /// Of what waits for slow readers.
    pub outbox: OutboxSettings,
    /// Of how much one client may ask for.
    pub limits: LimitSettings,
    /// Of each reactor.
    pub reactor: ReactorSettings,
    /// Of what waits between threads.
    pub queues: QueueSettings,
    /// Of the links of gateways.
    pub uplink: UplinkSettings,
    /// Of the gateway.
    pub gateway: GatewaySettings,
}

/// Where settings come from; the later wins.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file in TOML.
    pub file: Option<PathBuf>,
    /// Variables of the environment; those that begin with `TIDINGS_` count.
    pub environment: Vec<(String, String)>,
    /// Setting, value and the flag that said so.
    pub flags: Vec<(String, String, String)>,
    /// Where to listen if nobody says; otherwise as it stands in [`GeneralSettings`].
    pub listen: Option<std::net::SocketAddr>,
}

/// Settings that are right, and what follows from them.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The keys in them, ready for use.
    pub access: Access,
    /// The key that gateways show here.
    pub uplink_key: Option<Secret>,
    /// The key that a gateway shows to its upstreams.
    pub link_key: Option<Secret>,
    /// What is allowed but hardly meant; for the log, a line each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Reads and judges settings.
    ///
    /// # Errors
    ///
    /// All that is wrong with them, each with its place and its mend.
    pub fn from(sources: &Sources) -> Result<Self, Problems> {
        let mut reading = Reading::default();
        let listen = &mut reading.settings.general.listen;
        *listen = sources.listen.unwrap_or(*listen);
        if let Some(path) = &sources.file {
            reading.folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
            match fs::read_to_string(path) {
                Ok(text) => reading.take_file(path, &text),
                Err(error) => reading.problems.add(
                    Some(Place::File(path.clone(), 0)),
                    format!("can't read the settings: {error}"),
                ),
            }
        }
        reading.take_environment(&sources.environment);
        for (key, value, flag) in &sources.flags {
            reading.take_text(key, value, &Place::Flag(flag.clone()));
        }
        let access = reading.judge();
        let (uplink_key, link_key) = reading.link_keys();
        if reading.problems.count() > 0 {
            reading.problems.sort();
            return Err(reading.problems);
        }
        Ok(Self {
            settings: reading.settings,
            access,
            uplink_key,
            link_key,
            warnings: reading.warnings,
        })
    }
}

/// Settings while they are read.
#[derive(Debug, Default)]
struct Reading {
    settings: Settings,
    /// Where each setting that somebody gave stands, by its whole name.
    places: HashMap<String, Place>,
    /// Sections with a setting that couldn't be taken; what follows from them is no news.
    broken: HashSet<String>,
    /// What file names are relative to.
    folder: PathBuf,
    problems: Problems,
    warnings: Vec<String>,
}

/// The tables whose entries have names of their own.
const TOKEN_KEYS: &str = "tokens.keys";
const API_KEYS: &str = "api_keys";

impl Settings {
    /// Every section with the name of its table; the first one has none.
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
        let rest: [(&str, &mut dyn Section); 10] = [
            ("chat", &mut self.chat),
            ("store", &mut self.store),
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

    /// The section of this name; an entry of a table of named ones is made when it isn't there.
    fn section(&mut self, name: &str) -> Option<&mut dyn Section> {
        if let Some((TOKEN_KEYS, key)) = split_name(name) {
            insert(&mut self.token_keys, key);
        } else if let Some((API_KEYS, key)) = split_name(name) {
            insert(&mut self.api_keys, key);
        }
        let mut sections = self.sections().into_iter();
        sections
            .find(|(section, _)| section == name)
            .map(|(_, section)| section)
    }

    /// The whole names of all settings.
    fn keys(&mut self) -> Vec<String> {
        let mut keys = Vec::new();
        for (name, section) in self.sections() {
            section.each(&mut |field| keys.push(join(&name, field.key)));
        }
        keys
    }
}

/// Cuts the name of a named entry: its table, and what it is called there.
fn split_name(name: &str) -> Option<(&'static str, &str)> {
    [TOKEN_KEYS, API_KEYS].into_iter().find_map(|table| {
        let key = name.strip_prefix(table)?.strip_prefix('.')?;
        is_name(key).then_some((table, key))
    })
}

fn insert<T: Default>(named: &mut Vec<(String, T)>, name: &str) {
    if !named.iter().any(|(other, _)| other == name) {
        named.push((name.to_owned(), T::default()));
    }
}

/// Whether a key may be called that: visible ASCII, so that it can stand in logs and headers.
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
