//! `tidings gateway`.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use tidings::server::process;

use crate::config::GatewayFlags;
use crate::daemon::gateway;

/// Take messages by HTTP, and bring them to servers on other machines
///
/// It answers 202 once a message is in its outbox on disk. A process of its own holds a link to each
/// server, and brings what is in the outbox there in order and once, whichever of the two machines
/// was away meanwhile. SIGTERM and SIGINT stop it: what is on the way is brought to its end, what is
/// left stays in the outbox.
#[derive(Debug, Args)]
pub(super) struct GatewayCommand {
    #[command(flatten)]
    flags: GatewayFlags,
}

impl GatewayCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        // The push process runs up to here too. What it has to know comes over its pipe, so that a
        // file that was changed meanwhile can't keep it from coming back.
        if let Some(process) = process::entered().context("can't enter the push process")? {
            tidings::gateway::push(process).context("the push process failed")?;
            return Ok(ExitCode::SUCCESS);
        }
        let loaded = self.flags.load()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let plan = match loaded.gateway() {
            Ok(plan) => plan,
            Err(what) => bail!(what),
        };
        let outcome = gateway(loaded, plan)?;
        Ok(if outcome.is_clean() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
