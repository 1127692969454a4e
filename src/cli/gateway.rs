//! `tidings gateway`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use tidings::gateway::push_with;
use tidings::server::upgrade::ThawRelay;
use tidings::server::upgrade::kernel::hold_signals;
use tidings::server::{ServerOutcome, is_hangup_ignored, process};

use super::log::LogFlags;
use super::start::{
    DetachFlag, addresses_of, can_listen, completed, exit_code, given, settings_of, start_line,
};
use crate::config::{GatewayFlags, Loaded, LogLevel, SettingFiles};
use crate::daemon::{DaemonState, Thaw, gateway, refuse_changes};
use crate::output::follow_log_file;
use crate::service::{EarlySignals, ServiceStart};

/// Take messages by HTTP, and deliver them to servers on other machines
///
/// The answer is 202 once a message is in the outbox on disk. A process of its own holds a link to
/// each server, and delivers the outbox there in order and exactly once, even if one of the machines
/// was down meanwhile. SIGTERM and SIGINT stop the gateway: messages on the way are finished, the
/// rest stays in the outbox.
#[derive(Debug, Args)]
pub(super) struct GatewayArgs {
    #[command(flatten)]
    detach: DetachFlag,
    #[command(flatten)]
    flags: GatewayFlags,
}

impl GatewayArgs {
    pub(super) fn run(self, log: &LogFlags, arguments: &[OsString]) -> anyhow::Result<ExitCode> {
        let signals = EarlySignals::heed(!is_hangup_ignored()).context("can't heed signals")?;
        // The push process begins here too. It gets its settings over its pipe, so that a settings
        // file that was changed meanwhile can't keep it from starting again.
        if let Some(process) = process::entered().context("can't enter the push process")? {
            if let Some(path) = self.flags.log_file() {
                follow_log_file(path.to_owned());
            }
            let set_level = log.start();
            let push = push_with(process, move |level| set_level(&LogLevel(level.to_owned())));
            push.context("the push process failed")?;
            return Ok(ExitCode::SUCCESS);
        }
        hold_signals();
        let detach = self.detach;
        detach.run(arguments, signals, |start| {
            self.serve(log, arguments, start)
        })
    }

    /// Goes on with a gateway that an image of the program before this one has handed over.
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
        let flags = self.flags;
        let load = move |files: &SettingFiles| Ok(flags.load(files)?);
        let (loaded, renewal) = settings_of(log, &given, &files, load)?;
        refuse_changes(&before, &loaded)?;
        let (listen, data) = (
            &loaded.settings.general.listen,
            &loaded.settings.gateway.data,
        );
        start_line("gateway that goes on", listen, data);
        let start = ServiceStart {
            signals,
            ..ServiceStart::default()
        };
        let arguments = state.arguments.clone();
        let thaw = Thaw {
            // Each request shows its key anew: no withdrawn one has left anybody here.
            before: None,
            relay,
            state,
        };
        let push = push_arguments(log, &loaded);
        let arguments = (&*arguments, push);
        exit_code(gateway(loaded, arguments, renewal, start, Some(thaw))?)
    }

    /// Reads the settings of a gateway with these flags.
    pub(super) fn settings(
        &self,
        log: &LogFlags,
        given: &[SocketAddr],
        files: &SettingFiles,
    ) -> anyhow::Result<Loaded> {
        completed(self.flags.load(files)?, log, given)
    }

    fn serve(
        self,
        log: &LogFlags,
        arguments: &[OsString],
        start: ServiceStart,
    ) -> anyhow::Result<ServerOutcome> {
        let flags = self.flags;
        let load = move |files: &SettingFiles| Ok(flags.load(files)?);
        let given = addresses_of(&start.sockets)?;
        let (loaded, renewal) = settings_of(log, &given, &SettingFiles::OnDisk, load)?;
        let listen = &loaded.settings.general.listen;
        // Before anything is made.
        loaded.gateway().map_err(anyhow::Error::msg)?;
        if start.sockets.is_empty() {
            can_listen(listen, 9503)?;
        }
        can_listen(&loaded.settings.tls.listen, 9504)?;
        start_line("gateway", listen, &loaded.settings.gateway.data);
        let push = push_arguments(log, &loaded);
        gateway(loaded, (arguments, push), renewal, start, None)
    }
}

/// The arguments of the push process, which logs as the gateway does.
fn push_arguments(log: &LogFlags, loaded: &Loaded) -> Vec<OsString> {
    let mut arguments = vec!["gateway".into()];
    arguments.extend(log.arguments(&loaded.settings.log));
    arguments
}
