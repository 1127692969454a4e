//! The settings with which an image can follow another one.

use anyhow::bail;

use crate::config::{InForceBy, Loaded, SettingChange};

/// Refuses settings that take a restart: whoever is connected would not notice them, or what is on disk
/// would not fit.
///
/// # Errors
///
/// One of them does: which, and where it stands.
pub fn refuse_changes(in_force: &Loaded, next: &Loaded) -> anyhow::Result<()> {
    let changes = in_force.settings.changes_to(next);
    let refusals = changes
        .iter()
        .filter(|change| change.by == InForceBy::Restart);
    let mut refusals: Vec<String> = refusals.map(SettingChange::refusal).collect();
    if in_force.access.is_open() != next.access.is_open() {
        refusals.push(
            "from open mode to keys, and back, takes a restart: connections that were let in \
             without a key would stay"
                .to_owned(),
        );
    }
    match refusals.is_empty() {
        true => Ok(()),
        false => bail!(refusals.join("\n")),
    }
}
