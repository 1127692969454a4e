//! Reading settings: all of a file, or one setting from its text.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::SettingPlace;
use super::suggest::suggest;
use super::value::describe;
use super::{API_KEYS, CERTIFICATES, Loader, TOKEN_KEYS, is_name, join};

/// A settings file: turns positions in its text into lines for complaints.
struct SettingsFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SettingsFile<'_> {
    fn place(&self, byte: usize) -> SettingPlace {
        let before = &self.text.as_bytes()[..byte.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        SettingPlace::File(self.path.to_path_buf(), line)
    }
}

impl Loader {
    /// Reads all settings of a file.
    pub(super) fn take_file(&mut self, path: &Path, text: &str) {
        let file = SettingsFile { path, text };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = error.span().map(|span| file.place(span.start));
            let key = error.span().and_then(|span| key_of_line(text, span.start));
            let key = key.map(|key| format!(" at {key}")).unwrap_or_default();
            let what = format!("that is no TOML{key}: {}", error.message());
            self.problems.add(place, what);
        }
        // The rest of a broken file would only lead to wrong complaints.
        if errors.is_empty() || self.is_lenient {
            self.take_table(&file, "", root.get_ref());
        }
    }

    fn take_table(&mut self, file: &SettingsFile<'_>, section: &str, table: &DeTable<'_>) {
        let mut entries: Vec<_> = table.iter().collect();
        // In the order of the file, since token keys are tried in that order.
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let place = file.place(key.span().start);
            let name = join(section, key.get_ref());
            if self.is_table(section, &name) {
                self.take_entry(file, &name, place, value);
            } else {
                self.take_value(section, key.get_ref(), place, value.get_ref());
            }
        }
    }

    /// Whether `name` has to be a table.
    fn is_table(&mut self, parent: &str, name: &str) -> bool {
        let named = [TOKEN_KEYS, API_KEYS, CERTIFICATES];
        named.contains(&name)
            || named.contains(&parent)
            || self
                .settings
                .sections()
                .iter()
                .any(|(known, _)| known == name)
    }

    fn take_entry(
        &mut self,
        file: &SettingsFile<'_>,
        name: &str,
        place: SettingPlace,
        value: &Spanned<DeValue<'_>>,
    ) {
        if let (CERTIFICATES, Some(items)) = (name, value.get_ref().as_array()) {
            for (number, item) in (1..).zip(items.iter()) {
                self.take_entry(file, &join(name, &format!("{number}")), place.clone(), item);
            }
            return;
        }
        let Some(table) = value.get_ref().as_table() else {
            let given = describe(value.get_ref(), false);
            let what = format!("{name} is {given}, but has to be a table: [{name}]");
            return self.problems.add(Some(place), what);
        };
        let is_named = |table| {
            name.strip_prefix(table)
                .is_some_and(|rest| !rest.is_empty())
        };
        if (is_named(TOKEN_KEYS) || is_named(API_KEYS) || is_named(CERTIFICATES))
            && self.settings.section(name).is_none()
        {
            let what = format!(
                "{name:?} can't be a name: it takes 1 to 128 visible ASCII characters without spaces"
            );
            return self.problems.add(Some(place), what);
        }
        self.places.insert(name.to_owned(), place);
        self.take_table(file, name, table);
    }

    fn take_value(&mut self, section: &str, key: &str, place: SettingPlace, value: &DeValue<'_>) {
        self.take(section, key, place, |slot| slot.read_toml(value));
    }

    /// Reads one setting from the environment or a flag, by its whole name.
    pub(super) fn take_text(&mut self, name: &str, text: &str, place: &SettingPlace) {
        let (section, key) = name.rsplit_once('.').unwrap_or(("", name));
        self.take(section, key, place.clone(), |slot| slot.read_text(text));
    }

    fn take(
        &mut self,
        section: &str,
        key: &str,
        place: SettingPlace,
        read: impl Fn(&mut dyn super::section::SettingSlot) -> Result<(), String>,
    ) {
        let name = join(section, key);
        let mut outcome = None;
        if let Some(section) = self.settings.section(section) {
            section.each(&mut |field| {
                if field.key == key {
                    outcome = Some(read(field.slot));
                }
            });
        }
        match outcome {
            Some(Ok(())) => drop(self.places.insert(name, place)),
            Some(Err(what)) => {
                self.broken.insert(section.to_owned());
                self.problems.add(Some(place), format!("{name} {what}"));
            }
            None => {
                self.broken.insert(section.to_owned());
                let what = format!("there is no setting {name}{}", self.meant(section, key));
                self.problems.add(Some(place), what);
            }
        }
    }

    /// Suggests what an unknown name may have been meant for.
    fn meant(&mut self, section: &str, key: &str) -> String {
        let key = key.to_lowercase().replace('-', "_");
        let all = self.settings.keys();
        let here = all.iter().filter_map(|name| {
            let (parent, key) = name.rsplit_once('.').unwrap_or(("", name));
            (parent == section).then_some(key)
        });
        let tables = [
            "log",
            "tokens",
            "api_keys",
            "tls",
            "chat",
            "websocket",
            "http",
            "outbox",
        ];
        let tables = tables.into_iter().chain([
            "limits", "reactor", "queues", "cluster", "uplink", "gateway",
        ]);
        let tables = tables.filter(|_| section.is_empty());
        if let Some(near) = suggest(&key, here.chain(tables)) {
            return format!("; did you mean {}?", join(section, near));
        }
        let elsewhere = all.iter().find(|name| {
            name.strip_suffix(&*key)
                .is_some_and(|parent| parent.is_empty() || parent.ends_with('.'))
        });
        match elsewhere.map(|name| name.rsplit_once('.').unwrap_or(("", name)).0) {
            Some("") => "; it stands at the top of the file, before the first table".into(),
            Some(table) => format!("; it stands in [{table}]"),
            None => "; `tidings init` writes a file with all there are".into(),
        }
    }
}

/// The key of the line around a byte, if it has one. The rest of the line may be a secret, so no
/// complaint may show it.
fn key_of_line(text: &str, byte: usize) -> Option<&str> {
    let begin = text.get(..byte)?.rfind('\n').map_or(0, |end| end + 1);
    let (key, _) = text[begin..].lines().next()?.split_once('=')?;
    let key = key.trim();
    is_key(key).then_some(key)
}

/// Whether a text has the form of a setting's whole name.
pub(super) fn is_key(text: &str) -> bool {
    text.split('.').all(is_name)
}
