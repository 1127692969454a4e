//! `tidings rehearse`, which a server asks of a program that shall replace its own: nobody else calls
//! it.

use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, Parser};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;
use tidings::handover::Handover;

use super::start::given;
use super::{Cli, CliCommand};
use crate::config::{Purpose, SettingFiles};
use crate::daemon::DaemonState;
use crate::output::print;
use crate::version::version;

/// Bytes of memory that a rehearsal may have: those of the handover so many times, and of the program.
const MEMORY_TIMES: u64 = 7;
const MEMORY_BYTES: u64 = 128 << 20;

/// What the system ends first where memory runs out.
const OOM_FIRST: &str = "1000";

/// How much others come first for the processor.
const NICE: i32 = 10;

/// Take over a trial handover on standard input, and say whether that went well
#[derive(Debug, Args)]
pub(super) struct RehearseArgs {
    /// With the settings that the handover has, as on the way back
    #[arg(long)]
    back: bool,
}

impl RehearseArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let began = Instant::now();
        let report = match self.rehearse() {
            Ok(()) => json!({
                "ok": true,
                "version": version(),
                "ms": began.elapsed().as_millis() as u64,
            }),
            Err(error) => json!({"ok": false, "error": format!("{error:#}")}),
        };
        print(report)?;
        Ok(ExitCode::SUCCESS)
    }

    fn rehearse(&self) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes);
        read.context("can't read the handover")?;
        give_way(bytes.len() as u64);
        let handover = Handover::read(&bytes)?;
        let state = DaemonState::read(&handover)?;
        let in_force = SettingFiles::AsTheyWere(state.texts.clone());
        let next = match self.back {
            true => in_force.clone(),
            false => SettingFiles::OnDisk,
        };
        let cli = Cli::try_parse_from(&state.arguments)?;
        let given = given(&state)?;
        let settings = |files: &SettingFiles| match &cli.command {
            CliCommand::Serve(serve) => {
                Ok((Purpose::Serve, serve.settings(&cli.log, &given, files)?))
            }
            CliCommand::Gateway(gateway) => {
                Ok((Purpose::Gateway, gateway.settings(&cli.log, &given, files)?))
            }
            _ => bail!("only `tidings serve` and `tidings gateway` can be upgraded in place"),
        };
        let in_force = settings(&in_force);
        let (purpose, in_force) =
            in_force.context("the settings in force can't be read by this program")?;
        let (_, next) = settings(&next)?;
        crate::daemon::rehearse(&handover, purpose, &in_force, &next)
    }
}

/// Leaves processor and memory to the server. Each of these may be forbidden, and is no condition.
fn give_way(handover_size: u64) {
    _ = rustix::process::nice(NICE);
    _ = std::fs::write("/proc/self/oom_score_adj", OOM_FIRST);
    let bytes = Some(MEMORY_BYTES + MEMORY_TIMES * handover_size);
    let limit = Rlimit {
        current: bytes,
        maximum: bytes,
    };
    _ = setrlimit(Resource::Data, limit);
}
