//! `tidings check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tidings::cluster::EngineSettings;

use crate::config::{Loaded, Purpose, SettingFiles, SettingsFlags};
use crate::output::{print, tell};

/// Check settings without starting anything
///
/// Prints every error with its line; the exit code is 1 if there is one. The environment counts as it
/// would for `tidings serve`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// File to check, like --config
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsFlags,
}

impl CheckArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let settings = self.settings.with_file(self.file);
        match settings.load(Purpose::Reading, &SettingFiles::OnDisk) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    tell(format!("warning: {warning}"));
                }
                if let Some(engine) = &loaded.bindings
                    && let Err(what) = reach(engine.clone())
                {
                    tell(format!("the store of the bindings: {what}"));
                    tell("1 thing is wrong".to_owned());
                    return Ok(ExitCode::FAILURE);
                }
                print(summary(&loaded))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(problems) => {
                tell(problems.to_string());
                let count = problems.count();
                let things = if count == 1 { "thing is" } else { "things are" };
                tell(format!("{count} {things} wrong"));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// Opens the store that bindings would be written to, which has to be there and fit.
fn reach(engine: EngineSettings) -> Result<(), String> {
    let place = engine.address.place.to_string();
    let opened = tidings::cluster::store(engine)?.open();
    opened.map(drop).map_err(|error| {
        let mut text = format!("{place}: {error}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            text += &format!(": {error}");
            source = error.source();
        }
        text
    })
}

fn summary(loaded: &Loaded) -> String {
    let (access, general) = (&loaded.access, &loaded.settings.general);
    let who = if access.is_open() {
        "open mode: nobody is asked for a key".to_owned()
    } else {
        let tokens: Vec<String> = (access.tokens.keys().iter())
            .map(|key| format!("{} ({})", key.id(), key.algorithm()))
            .collect();
        let back_ends: Vec<&str> = access.api_keys.names().collect();
        format!(
            "token keys: {}; API keys: {}",
            or_none(&tokens.join(", ")),
            or_none(&back_ends.join(", "))
        )
    };
    format!("all is right: listens on {}, {who}", general.listen)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
