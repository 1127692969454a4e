//! `tidings check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tidings::cluster::{EngineSettings, StoreEngine};

use crate::config::{Loaded, Purpose, SettingFiles, SettingsFlags, days_left};
use crate::output::{print, tell};

/// What a check calls the store of the bindings.
pub(super) const STORE: &str = "the store of the bindings";

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
                let wrong = out_of_reach(&loaded);
                if !wrong.is_empty() {
                    let count = wrong.len();
                    wrong.into_iter().for_each(tell);
                    tell(counted(count));
                    return Ok(ExitCode::FAILURE);
                }
                print(summary(&loaded))?;
                Ok(ExitCode::SUCCESS)
            }
            Err(problems) => {
                tell(problems.to_string());
                tell(counted(problems.count()));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// How many things are wrong, as the last line of a check.
pub(super) fn counted(count: usize) -> String {
    let things = if count == 1 { "thing is" } else { "things are" };
    format!("{count} {things} wrong")
}

/// Tries the engines that the settings name, and says which are out of reach.
fn out_of_reach(loaded: &Loaded) -> Vec<String> {
    let of_cluster = loaded.cluster.as_ref().map(|cluster| &cluster.engine);
    let of_cluster = of_cluster.map(|engine| ("the Redis of the cluster", engine));
    let engines = of_cluster.into_iter().chain(bindings(loaded));
    let tried = engines.filter_map(|(name, engine)| {
        let what = reach(engine.clone()).err()?;
        Some(format!("{name}: {what}"))
    });
    let upstreams = loaded
        .upstreams_by_tls()
        .map(|why| format!("wss:// upstreams: {why}"));
    tried.chain(upstreams).collect()
}

/// The store of the bindings, where it isn't the Redis of a cluster.
fn bindings(loaded: &Loaded) -> Option<(&'static str, &EngineSettings)> {
    let engine = loaded.bindings.as_ref()?;
    let is_own = loaded.cluster.is_none() || engine.engine == StoreEngine::MySql;
    is_own.then_some((STORE, engine))
}

/// Opens the store that bindings would be written to, which has to be there and fit.
pub(super) fn reach(engine: EngineSettings) -> Result<(), String> {
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
    let node = loaded.cluster.as_ref().map(|cluster| {
        let (place, promise) = (&cluster.engine.address.place, cluster.promise.word());
        format!(
            "node {:?} of the cluster at {place} ({promise}), ",
            cluster.node
        )
    });
    let node = node.unwrap_or_default();
    let tls = loaded.tls.as_ref().map(|plan| {
        let each = plan.infos.iter();
        let each = each.map(|info| format!("{} ({} days)", info.names.join(" "), days_left(info)));
        let (listen, each) = (
            &loaded.settings.tls.listen,
            each.collect::<Vec<_>>().join(", "),
        );
        format!(", with TLS on {listen}, certificates: {each}")
    });
    let tls = tls.unwrap_or_default();
    format!(
        "all is right: {node}listens on {}{tls}, {who}",
        general.listen
    )
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
