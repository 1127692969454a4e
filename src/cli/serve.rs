//! `tidings serve`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tidings::server::{ServerOutcome, is_hangup_ignored};

use super::log::LogFlags;
use super::start::{DetachFlag, can_listen, settings_of, start_line};
use crate::config::{Purpose, SettingsFlags};
use crate::daemon::serve;
use crate::service::{EarlySignals, ServiceStart};

/// Run the server
///
/// Open the address that it prints in two browser windows, and chat. SIGTERM and SIGINT stop it
/// gracefully, and so does a terminal that is closed: requests under way are answered, every WebSocket gets Close 1001, and the exit code is
/// 0. A second SIGTERM or SIGINT stops it at once.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    detach: DetachFlag,
    #[command(flatten)]
    settings: SettingsFlags,
}

impl ServeArgs {
    pub(super) fn run(self, log: &LogFlags, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
        let signals = EarlySignals::heed(!is_hangup_ignored()).context("can't heed signals")?;
        let detach = self.detach;
        detach.run(arguments, signals, |start| self.serve(log, start))
    }

    fn serve(self, log: &LogFlags, start: ServiceStart) -> anyhow::Result<ServerOutcome> {
        let flags = self.settings;
        let load = move || Ok(flags.load(Purpose::Serve)?);
        let (loaded, renewal) = settings_of(log, &start.sockets, load)?;
        let listen = loaded.settings.general.listen;
        if start.sockets.is_empty() {
            can_listen(listen, 9503)?;
        }
        start_line("server", listen, &loaded.settings.store.data);
        serve(loaded, renewal, start)
    }
}
