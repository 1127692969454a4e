//! `tidings gateway`.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use tidings::gateway::push_with;
use tidings::server::{ServerOutcome, is_hangup_ignored, process};

use super::log::LogFlags;
use super::start::{DetachFlag, addresses_of, can_listen, settings_of, start_line};
use crate::config::{GatewayFlags, LogLevel, SettingFiles};
use crate::daemon::gateway;
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
        let detach = self.detach;
        detach.run(arguments, signals, |start| self.serve(log, start))
    }

    fn serve(self, log: &LogFlags, start: ServiceStart) -> anyhow::Result<ServerOutcome> {
        let flags = self.flags;
        let load = move |files: &SettingFiles| Ok(flags.load(files)?);
        let (loaded, renewal) = settings_of(
            log,
            &addresses_of(&start.sockets)?,
            &SettingFiles::OnDisk,
            load,
        )?;
        let plan = match loaded.gateway() {
            Ok(plan) => plan,
            Err(what) => bail!(what),
        };
        let listen = loaded.settings.general.listen;
        if start.sockets.is_empty() {
            can_listen(listen, 9503)?;
        }
        start_line("gateway", listen, &loaded.settings.gateway.data);
        let mut push_arguments = vec!["gateway".into()];
        push_arguments.extend(log.arguments(&loaded.settings.log));
        gateway(loaded, plan, push_arguments, renewal, start)
    }
}
