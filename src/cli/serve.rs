//! `tidings serve`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tidings::server::upgrade::ThawRelay;
use tidings::server::upgrade::kernel::hold_signals;
use tidings::server::{ServerOutcome, is_hangup_ignored};

use super::log::LogFlags;
use super::start::{
    DetachFlag, addresses_of, can_listen, completed, exit_code, given, settings_of, start_line,
};
use crate::config::{Loaded, Purpose, SettingFiles, SettingsFlags};
use crate::daemon::{DaemonState, Thaw, refuse_changes, serve};
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
        hold_signals();
        let signals = EarlySignals::heed(!is_hangup_ignored()).context("can't heed signals")?;
        let detach = self.detach;
        detach.run(arguments, signals, |start| {
            self.serve(log, arguments, start)
        })
    }

    /// Goes on with a server that an image of the program before this one has handed over.
    pub(super) fn thaw(
        self,
        log: &LogFlags,
        relay: ThawRelay,
        state: DaemonState,
    ) -> anyhow::Result<ExitCode> {
        let signals = EarlySignals::heed(false).context("can't heed signals")?;
        let in_force = SettingFiles::AsTheyWere(state.texts.clone());
        let files = match relay.entered().back() {
            Some(_) => in_force.clone(),
            None => SettingFiles::OnDisk,
        };
        let given = given(&state)?;
        let before = self.settings(log, &given, &in_force)?;
        let flags = self.settings;
        let load = move |files: &SettingFiles| Ok(flags.load(Purpose::Serve, files)?);
        let (loaded, renewal) = settings_of(log, &given, &files, load)?;
        refuse_changes(&before, &loaded)?;
        let (listen, data) = (&loaded.settings.general.listen, &loaded.settings.store.data);
        start_line("server that goes on", listen, data);
        let start = ServiceStart {
            signals,
            ..ServiceStart::default()
        };
        let arguments = state.arguments.clone();
        let thaw = Thaw {
            before: Some(before),
            relay,
            state,
        };
        exit_code(serve(loaded, renewal, start, &arguments, Some(thaw))?)
    }

    /// Reads the settings of a server with these flags.
    pub(super) fn settings(
        &self,
        log: &LogFlags,
        given: &[SocketAddr],
        files: &SettingFiles,
    ) -> anyhow::Result<Loaded> {
        completed(self.settings.load(Purpose::Serve, files)?, log, given)
    }

    fn serve(
        self,
        log: &LogFlags,
        arguments: &[OsString],
        start: ServiceStart,
    ) -> anyhow::Result<ServerOutcome> {
        let flags = self.settings;
        let load = move |files: &SettingFiles| Ok(flags.load(Purpose::Serve, files)?);
        let given = addresses_of(&start.sockets)?;
        let (loaded, renewal) = settings_of(log, &given, &SettingFiles::OnDisk, load)?;
        let listen = &loaded.settings.general.listen;
        if start.sockets.is_empty() {
            can_listen(listen, 9503)?;
        }
        can_listen(&loaded.settings.tls.listen, 9504)?;
        start_line("server", listen, &loaded.settings.store.data);
        serve(loaded, renewal, start, arguments, None)
    }
}
