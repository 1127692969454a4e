//! `tidings serve`.

use std::process::ExitCode;

use clap::Args;

use super::log::LogFlags;
use super::start::{can_listen, pass_over_user_signals, start_line};
use crate::config::{Purpose, SettingsFlags};
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
    pub(super) fn run(self, log: &LogFlags) -> anyhow::Result<ExitCode> {
        pass_over_user_signals()?;
        let loaded = self.settings.load(Purpose::Serve)?;
        log.start_with(&loaded.settings.log);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let general = &loaded.settings.general;
        can_listen(general.listen, 9503)?;
        start_line("server", general.listen, &loaded.settings.store.data);
        let outcome = serve(loaded)?;
        Ok(if outcome.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
