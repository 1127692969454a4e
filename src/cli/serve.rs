//! `tidings serve`.

use std::process::ExitCode;

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::SettingsFlags;
use crate::daemon::serve;

/// Run the server
///
/// Open the address that it prints in two browser windows, and chat. SIGTERM, SIGINT and SIGHUP stop
/// it gracefully: requests under way are answered, every WebSocket gets Close 1001, and the exit code is
/// 0. A second SIGTERM or SIGINT stops it at once.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsFlags,
}

impl ServeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        raise_descriptor_limit();
        let loaded = self.settings.load()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let outcome = serve(loaded)?;
        Ok(if outcome.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

/// Raises the limit of descriptors as far as the system allows, since every connection takes one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of descriptors stays at {:?}", limit.current);
        }
    }
}
