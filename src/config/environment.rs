//! The environment: `http.head_ms_max` is `TIDINGS_HTTP_HEAD_MS_MAX` there.

use super::nearest::nearest;
use super::problem::Place;
use super::section::Section;
use super::{API_KEYS, ApiKeySettings, Reading, TOKEN_KEYS, TokenKeySettings};

const PREFIX: &str = "TIDINGS_";

/// Variables that aren't settings: the file's name, and what the server tells its processes.
const OTHERS: [&str; 3] = ["TIDINGS_CONFIG", "TIDINGS_PROCESS", "TIDINGS_PROCESS_PIPE"];

impl Reading {
    /// Takes the variables that are settings. An empty one counts as not there; one that nobody
    /// knows is warned of, since others set some too: Kubernetes does for a service called tidings.
    pub(super) fn take_environment(&mut self, environment: &[(String, String)]) {
        let mut variables: Vec<_> = environment
            .iter()
            .filter(|(name, value)| {
                name.starts_with(PREFIX) && !value.is_empty() && !OTHERS.contains(&&**name)
            })
            .collect();
        variables.sort();
        for (variable, value) in variables {
            let keys = self.settings.keys();
            let known = keys.iter().find(|key| variable_of(key) == *variable);
            match known.cloned().or_else(|| named(variable)) {
                Some(key) => self.take_text(&key, value, &Place::Environment(variable.clone())),
                None => {
                    let names: Vec<String> = keys.iter().map(|key| variable_of(key)).collect();
                    let near = nearest(variable, names.iter().map(String::as_str));
                    let meant = near.map(|near| format!("; did you mean {near}?"));
                    self.warnings.push(format!(
                        "{variable} in the environment is no setting{}",
                        meant.unwrap_or_default()
                    ));
                }
            }
        }
    }
}

/// The variable of a setting.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace(['.', '-'], "_"))
}

/// The setting of a named entry that is only in the environment; its name is in lower case.
fn named(variable: &str) -> Option<String> {
    named_in(variable, TOKEN_KEYS, &mut TokenKeySettings::default())
        .or_else(|| named_in(variable, API_KEYS, &mut ApiKeySettings::default()))
}

fn named_in(variable: &str, table: &str, section: &mut dyn Section) -> Option<String> {
    let prefix = format!("{}_", variable_of(table));
    let rest = variable.strip_prefix(&prefix)?.to_lowercase();
    let mut found: Option<(String, &str)> = None;
    section.each(&mut |field| {
        let name = rest.strip_suffix(field.key);
        let name = name.and_then(|name| name.strip_suffix('_'));
        // The longest key leaves the shortest name: `secret_file` before `file`.
        let shorter = |name: &str| found.as_ref().is_none_or(|(old, _)| name.len() < old.len());
        if let Some(name) = name.filter(|name| !name.is_empty() && shorter(name)) {
            found = Some((name.to_owned(), field.key));
        }
    });
    found.map(|(name, key)| format!("{table}.{name}.{key}"))
}
