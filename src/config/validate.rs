//! Validating settings as a whole: whether they fit together, whether keys can be used, and who can
//! connect.

use super::problem::SettingPlace;
use super::{API_KEYS, ApiKeySection, Loader, Settings, TOKEN_KEYS, TokenKeySection};
use crate::auth::{Access, Algorithm, ApiKeys, Secret, TokenKey, TokenRules, Tokens};

/// Longest file with a key or a secret, in bytes: sixteen times the longest PEM block that is taken,
/// and little enough to read whatever file a mistyped name leads to.
const KEY_FILE_SIZE_MAX: u64 = 64 * 1024;

impl Settings {
    /// Explains why these settings must not be served: other machines could connect, and nobody would
    /// be asked for a key. `None` when they may.
    pub fn exposure(&self, access: &Access) -> Option<String> {
        let all = || self.general.listen.0.iter().chain(&self.tls.listen.0);
        let is_asked = access.is_open() && !self.general.insecure;
        let is_exposed = is_asked && all().any(|one| !one.is_loopback());
        is_exposed.then(|| {
            let reachable = all().find(|one| !one.is_loopback());
            let listen = reachable.map(ToString::to_string).unwrap_or_default();
            format!(
                "listen is {listen}, which other machines can reach, and there are no keys: \
                 everybody could be whoever they say. `tidings init` writes a file with keys; \
                 or listen on 127.0.0.1; or say --insecure if that is what you want"
            )
        })
    }
}

impl Loader {
    /// Finds errors that no single value shows, and prepares the keys.
    pub(super) fn validate(&mut self) -> Access {
        self.validate_bounds();
        let access = Access {
            tokens: self.tokens(),
            api_keys: self.api_keys(),
        };
        let exposure = self.settings.exposure(&access);
        // A broken key isn't a missing key: one mistake gets one complaint.
        let has_keys = !(self.settings.token_keys.is_empty() && self.settings.api_keys.is_empty());
        if let Some(what) = exposure.filter(|_| !has_keys) {
            self.problem("listen", what);
        }
        self.warn(&access);
        access
    }

    pub(super) fn problem(&mut self, key: &str, what: impl Into<String>) {
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        let place = self.places.get(key).or_else(|| self.places.get(table));
        self.problems.add(place.cloned(), what);
    }

    fn validate_bounds(&mut self) {
        let (outbox, chat) = (&self.settings.outbox, &self.settings.chat);
        let topics = self.settings.reactor.topics_per_connection_max;
        // A user's inbox and `*` are topics beside the rooms.
        let rooms = (chat.rooms_per_connection_max, topics - 2);
        for (key, value, most, other) in [
            (
                "outbox.pause_size",
                outbox.pause_size,
                outbox.size_max,
                "outbox.size_max",
            ),
            (
                "outbox.size_max",
                outbox.size_max,
                outbox.total_size_max,
                "outbox.total_size_max",
            ),
            (
                "chat.gather_size_max",
                chat.gather_size_max,
                chat.gather_total_size_max,
                "chat.gather_total_size_max",
            ),
            (
                "chat.rooms_per_connection_max",
                rooms.0,
                rooms.1,
                "reactor.topics_per_connection_max",
            ),
        ] {
            if value > most {
                let what =
                    format!("{key} is {value}, but has to be at most {most}, for {other}'s sake");
                // The one of the two that somebody gave; the other may be a default.
                let given = if self.places.contains_key(key) {
                    key
                } else {
                    other
                };
                self.problem(given, what);
            }
        }
    }

    fn tokens(&mut self) -> Tokens {
        let settings = self.settings.tokens.clone();
        let mut keys = Vec::new();
        for (id, key) in self.settings.token_keys.clone() {
            keys.extend(self.token_key(&id, &key));
        }
        let rules = TokenRules {
            audience: settings.audience,
            issuer: settings.issuer,
            leeway: std::time::Duration::from_secs(settings.leeway_s),
            size_max: settings.token_size_max,
        };
        Tokens::new(keys, rules)
    }

    fn token_key(&mut self, id: &str, key: &TokenKeySection) -> Option<TokenKey> {
        let table = format!("{TOKEN_KEYS}.{id}");
        if self.broken.contains(&table) {
            return None;
        }
        let secret = (key.secret.reveal(), key.secret_file.as_str(), "secret");
        let public = (
            key.public_key.0.as_str(),
            key.public_key_file.as_str(),
            "public_key",
        );
        let (wanted, other) = match key.algorithm {
            Algorithm::HS256 => (secret, public),
            Algorithm::RS256 | Algorithm::ES256 => (public, secret),
        };
        if !(other.0.is_empty() && other.1.is_empty()) {
            let what = format!(
                "{table} is for {}, which takes a {} and no {}",
                key.algorithm, wanted.2, other.2
            );
            self.problem(&format!("{table}.algorithm"), what);
            return None;
        }
        let material = self.material(&table, wanted)?;
        match TokenKey::new(id, key.algorithm, material.reveal().as_bytes()) {
            Ok(key) => Some(key),
            Err(error) => {
                self.problem(
                    &format!("{table}.{}", wanted.2),
                    format!("{table}: {error}"),
                );
                None
            }
        }
    }

    fn api_keys(&mut self) -> ApiKeys {
        let mut keys: Vec<(String, Secret)> = Vec::new();
        for (name, key) in self.settings.api_keys.clone() {
            if let Some(key) = self.api_key(&name, &key, &keys) {
                keys.push((name, key));
            }
        }
        self.api_key = keys.first().map(|(_, key)| key.clone());
        ApiKeys::new(keys.iter().map(|(name, key)| (name.as_str(), key)))
    }

    fn api_key(
        &mut self,
        name: &str,
        key: &ApiKeySection,
        others: &[(String, Secret)],
    ) -> Option<Secret> {
        let table = format!("{API_KEYS}.{name}");
        if self.broken.contains(&table) {
            return None;
        }
        let key = self.material(&table, (key.key.reveal(), &key.key_file, "key"))?;
        let same = others.iter().find(|(_, other)| *other == key);
        if let Some((other, _)) = same {
            let what = format!("{table} has the same key as {API_KEYS}.{other}: give each its own");
            self.problem(&format!("{table}.key"), what);
            return None;
        }
        self.strong(&format!("{table}.key"), key)
    }

    /// Prepares the keys of links: the one that this server asks gateways for, and the one that
    /// this gateway shows to its upstreams.
    pub(super) fn link_keys(&mut self) -> (Option<Secret>, Option<Secret>) {
        let (uplink, gateway) = (self.settings.uplink.clone(), self.settings.gateway.clone());
        (
            self.link_key("uplink", (uplink.key.reveal(), &uplink.key_file, "key")),
            self.link_key(
                "gateway",
                (
                    gateway.link_key.reveal(),
                    &gateway.link_key_file,
                    "link_key",
                ),
            ),
        )
    }

    fn link_key(&mut self, table: &str, given: (&str, &str, &str)) -> Option<Secret> {
        let is_given = !(given.0.is_empty() && given.1.is_empty());
        if !is_given || self.broken.contains(table) {
            return None;
        }
        let key = self.material(table, given)?;
        self.strong(&format!("{table}.{}", given.2), key)
    }

    /// Passes a key that can stand in a header and that nobody guesses; complains about others.
    fn strong(&mut self, name: &str, key: Secret) -> Option<Secret> {
        let text = key.reveal();
        let is_strong =
            text.len() >= ApiKeys::SIZE_MIN && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_strong {
            return Some(key);
        }
        let what = format!(
            "{name} has {} characters, but needs at least {} visible ones without spaces; \
             `openssl rand -hex 32` makes a good one",
            text.chars().count(),
            ApiKeys::SIZE_MIN
        );
        self.problem(name, what);
        None
    }

    /// Finds the secret or key of a table, either in the settings or in a file that they name.
    fn material(&mut self, table: &str, given: (&str, &str, &str)) -> Option<Secret> {
        let (inline, file, key) = given;
        match (inline.is_empty(), file.is_empty()) {
            (false, true) => Some(Secret::from(inline.to_owned())),
            (true, false) => self.read_key_file(table, file, key),
            (true, true) => {
                self.problem(table, format!("{table} needs {key} or {key}_file"));
                None
            }
            (false, false) => {
                let what = format!("{table} has both {key} and {key}_file: take one out");
                self.problem(&format!("{table}.{key}"), what);
                None
            }
        }
    }

    pub(super) fn read_key_file(&mut self, table: &str, file: &str, key: &str) -> Option<Secret> {
        let path = self.folder.join(file);
        let text = match self.read_file(&path, KEY_FILE_SIZE_MAX) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("{table}.{key}_file: can't read {}: {error}", path.display());
                self.problem(&format!("{table}.{key}_file"), what);
                return None;
            }
        };
        if key != "public_key" && is_open_to_others(&path) {
            self.warnings.push(format!(
                "{} has a secret in it and can be read by others: chmod 600 it",
                path.display()
            ));
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Some(Secret::from(
            line.strip_suffix('\r').unwrap_or(line).to_owned(),
        ))
    }

    /// Warns of settings that are allowed but hardly meant.
    fn warn(&mut self, access: &Access) {
        if access.tokens.is_empty() && !access.api_keys.is_empty() {
            self.warnings.push(
                "there are API keys and no token keys: only who has an API key can come in".into(),
            );
        }
        if access.api_keys.is_empty() && !access.tokens.is_empty() {
            self.warnings
                .push("there are token keys and no API keys: nobody can post over HTTP".into());
        }
        let secrets = |name: &String| {
            [".secret", ".key", ".link_key"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        let file = self.places.iter().find_map(|(name, place)| match place {
            SettingPlace::File(path, _) if secrets(name) => Some(path),
            _ => None,
        });
        if let Some(path) = file
            && is_open_to_others(path)
        {
            self.warnings.push(format!(
                "{} has secrets in it and can be read by others: chmod 600 it",
                path.display()
            ));
        }
    }
}

/// Whether other accounts of the machine are let into a file.
#[must_use]
pub fn is_open_to_others(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}
