//! The difference between the settings that are in force and those of a file that was changed.

use std::collections::BTreeMap;

use super::section::InForceBy;
use super::{API_KEYS, Loaded, Settings, TOKEN_KEYS, split_name};

/// The most characters of a value that are shown.
const SHOWN_MAX: usize = 80;

/// One setting that differs, or one named entry that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// What puts the change into force.
    pub by: InForceBy,
    /// The change in words: `log.level: "info" → "debug"`.
    pub what: String,
    /// The place of the new value; `None` where nobody gives one any more.
    place: Option<String>,
}

/// What is known of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SettingState {
    value: String,
    by: InForceBy,
    is_public: bool,
}

impl SettingChange {
    /// Says why a reload can't put the change into force.
    #[must_use]
    pub fn refusal(&self) -> String {
        let place = self.place.as_ref().map(|place| format!("{place}: "));
        let takes = match self.by {
            InForceBy::Upgrade => "`tidings upgrade`, or a restart",
            InForceBy::Reload | InForceBy::Restart => "a restart",
        };
        let place = place.unwrap_or_default();
        format!("{place}{}, which takes {takes}", self.what)
    }
}

impl Settings {
    /// Lists the differences to other settings, which are to follow these.
    #[must_use]
    pub fn changes_to(&self, next: &Loaded) -> Vec<SettingChange> {
        let (old, new) = (self.states(), next.settings.states());
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let mut changes: Vec<SettingChange> = Vec::new();
        for name in names {
            let place = || next.places.get(name).map(ToString::to_string);
            let (by, what) = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) if old.value == new.value => continue,
                (Some(old), Some(new)) if old.is_public => {
                    let (from, to) = (cut(&old.value), cut(&new.value));
                    (new.by, format!("{name}: {from} → {to}"))
                }
                (_, Some(new)) if old.contains_key(name) => {
                    (new.by, format!("{name}: another value"))
                }
                (old, new) => {
                    let entry = entry_of(name);
                    let word = if new.is_some() { "added" } else { "withdrawn" };
                    let state = old.or(new);
                    let by = state.map_or(InForceBy::Restart, |state| state.by);
                    (by, format!("{entry}: {word}"))
                }
            };
            let place = place();
            if changes.last().is_none_or(|last| last.what != what) {
                changes.push(SettingChange { by, what, place });
            }
        }
        if changes.is_empty() && self.names() != next.settings.names() {
            changes.push(SettingChange {
                by: InForceBy::Reload,
                what: format!("{TOKEN_KEYS}, {API_KEYS}: another order"),
                place: None,
            });
        }
        changes
    }

    /// Whether the server has to be told of other settings.
    #[must_use]
    pub fn differs_for_server(&self, next: &Self) -> bool {
        let times = |one: &Self| {
            let general = &one.general;
            let upgrade = (
                general.freeze_ms_max,
                general.pause_ms_max,
                general.thaw_ms_max,
            );
            (general.stop_delay_ms, general.stop_ms_max, upgrade)
        };
        self.websocket != next.websocket
            || self.http != next.http
            || self.outbox != next.outbox
            || self.limits != next.limits
            || self.reactor != next.reactor
            || self.chat != next.chat
            || times(self) != times(next)
            || self.proxies() != next.proxies()
    }

    /// Whether the disk thread has to be told of other settings.
    #[must_use]
    pub fn differs_for_store(&self, next: &Self) -> bool {
        self.store != next.store
            || self.cluster != next.cluster
            || self.queues != next.queues
            || self.chat != next.chat
    }

    fn states(&self) -> BTreeMap<String, SettingState> {
        let mut states = BTreeMap::new();
        let mut settings = self.clone();
        for (section, fields) in settings.sections() {
            fields.each(&mut |field| {
                let state = SettingState {
                    value: field.slot.to_toml(),
                    by: field.by,
                    is_public: field.slot.is_public(),
                };
                states.insert(super::join(&section, field.key), state);
            });
        }
        states
    }

    /// The names of the keys, whose order says which is tried first.
    fn names(&self) -> Vec<&str> {
        let tokens = self.token_keys.iter().map(|(name, _)| &**name);
        let keys = self.api_keys.iter().map(|(name, _)| &**name);
        let certificates = self.certificates.iter().map(|(name, _)| &**name);
        tokens.chain(keys).chain(certificates).collect()
    }
}

/// The named entry that a setting belongs to, which comes and goes as a whole.
fn entry_of(name: &str) -> &str {
    let section = name.rsplit_once('.').map_or(name, |(section, _)| section);
    match split_name(section) {
        Some(_) => section,
        None => name,
    }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
