//! The program as the next image of a server that runs: what it was handed says what it goes on with.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{anyhow, bail};
use clap::Parser;
use rustix::process::{Signal, getpid, kill_process};
use tidings::base::vital::{is_told_to_fail, wait_while_told};
use tidings::server::upgrade::{Entered, ThawRelay};

use super::{Cli, CliCommand};
use crate::daemon::{DaemonState, KNOWN};

/// Goes on with the server of the image before, or executes that one again.
pub(super) fn thaw(entered: Entered) -> anyhow::Result<ExitCode> {
    let work = |relay| thawed(relay).map_err(|error| format!("{error:#}"));
    let thawed = Arc::new(entered).thaw(work);
    thawed.map_err(|reason| anyhow!(reason))
}

fn thawed(relay: ThawRelay) -> anyhow::Result<ExitCode> {
    if relay.entered().back().is_none() {
        fail_as_told();
    }
    let state = {
        let handover = relay.entered().handover()?;
        handover.check(KNOWN)?;
        DaemonState::read(&handover)?
    };
    let cli = Cli::try_parse_from(&state.arguments)?;
    match cli.command {
        CliCommand::Serve(command) => command.thaw(&cli.log, relay, state),
        CliCommand::Gateway(command) => command.thaw(&cli.log, relay, state),
        _ => bail!("only `tidings serve` and `tidings gateway` can be upgraded in place"),
    }
}

/// Fails in the way that a test says, which no build for users does.
fn fail_as_told() {
    assert!(!is_told_to_fail("thaw.panic"), "a test said that it panics");
    if is_told_to_fail("thaw.kill") {
        _ = kill_process(getpid(), Signal::KILL);
    }
    wait_while_told("thaw.wait");
}
