//! The environment: `http.head_ms_max` is `TIDINGS_HTTP_HEAD_MS_MAX` there. A setting with a flag has
//! the flag's name as well: `--data` is `TIDINGS_DATA`.

use super::problem::SettingPlace;
use super::section::Section;
use super::suggest::suggest;
use super::{API_KEYS, ApiKeySection, Loader, TOKEN_KEYS, TokenKeySection};

const PREFIX: &str = "TIDINGS_";

/// Variables that aren't settings: the name of the file, what a server passes to its processes, and
/// what a program passes to itself; and what the clients of the command line read.
const OTHERS: [&str; 10] = [
    "TIDINGS_CONFIG",
    "TIDINGS_PROCESS",
    "TIDINGS_PROCESS_PIPE",
    "TIDINGS_ARGUMENTS",
    "TIDINGS_DETACHED",
    "TIDINGS_UPGRADE",
    "TIDINGS_URL",
    "TIDINGS_UID",
    "TIDINGS_TOKEN",
    "TIDINGS_API_KEY",
];

/// Variables that are called like a flag and not like its setting; each with the setting.
pub(super) type FlagVariables = &'static [(&'static str, &'static str)];

impl Loader {
    /// Reads the variables that are settings. An empty variable counts as absent. An unknown one is
    /// only warned of, since others set such variables too: Kubernetes does for a service that is
    /// called tidings.
    ///
    /// A variable that is called like a flag wins over the one that is called like the setting.
    pub(super) fn take_environment(
        &mut self,
        environment: &[(String, String)],
        of_flags: FlagVariables,
    ) {
        let flag = |name: &str| of_flags.iter().find(|(variable, _)| *variable == name);
        let mut variables: Vec<_> = environment
            .iter()
            .filter(|(name, value)| {
                name.starts_with(PREFIX) && !value.is_empty() && !OTHERS.contains(&&**name)
            })
            .collect();
        variables.sort_by_key(|variable| (flag(&variable.0).is_some(), variable.0.clone()));
        for (variable, value) in variables {
            let keys = self.settings.keys();
            let of_flag = flag(variable).map(|(_, key)| (*key).to_owned());
            let known = || keys.iter().find(|key| variable_of(key) == *variable);
            match of_flag.or_else(|| known().cloned().or_else(|| named(variable))) {
                Some(key) => {
                    self.take_text(&key, value, &SettingPlace::Environment(variable.clone()))
                }
                None => {
                    let names: Vec<String> = keys.iter().map(|key| variable_of(key)).collect();
                    let of_flags = of_flags.iter().map(|(variable, _)| *variable);
                    let near = suggest(variable, names.iter().map(String::as_str).chain(of_flags));
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

/// Returns the name of the variable for a setting.
pub(super) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace(['.', '-'], "_"))
}

/// Finds the setting of a named entry that stands in the environment alone; the entry gets its name
/// in lower case.
fn named(variable: &str) -> Option<String> {
    named_in(variable, TOKEN_KEYS, &mut TokenKeySection::default())
        .or_else(|| named_in(variable, API_KEYS, &mut ApiKeySection::default()))
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
