//! `tidings stop`.

use std::process::ExitCode;

use clap::Args;

use super::asking::{Asked, ask};
use crate::config::ControlFlags;
use crate::control::Question;
use crate::output::{print, tell};

/// Stop the server that runs with these settings, and wait for its end
///
/// It stops as at SIGTERM: requests under way are answered, every WebSocket gets Close 1001. The exit
/// code is 0 if nothing was lost, else 1, and 3 where no server runs.
#[derive(Debug, Args)]
pub(super) struct StopArgs {
    #[command(flatten)]
    control: ControlFlags,
    /// Stop at once, as at a second SIGTERM: connections are cut
    #[arg(long)]
    now: bool,
}

impl StopArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let question = match self.now {
            true => Question::StopNow,
            false => Question::Stop,
        };
        // It has bounds of its own for each part of a stop.
        let end = match ask(&self.control, question, None, |_| {})? {
            Asked::Answered(end) => end,
            Asked::NobodyRuns(code) => return Ok(code),
        };
        if end["ok"] == true {
            print("stopped")?;
            return Ok(ExitCode::SUCCESS);
        }
        let counts = [
            "connections_cut",
            "requests_unanswered",
            "tasks_unfinished",
            "threads_stuck",
        ];
        let lost = counts.iter().filter_map(|name| {
            let count = end[*name].as_u64().filter(|count| *count > 0)?;
            Some(format!("{name} {count}"))
        });
        let lost = lost.collect::<Vec<_>>().join(", ");
        let failed = end["has_failed"] == true;
        let why = end["error"].as_str().map(str::to_owned);
        let why = why.or_else(|| failed.then(|| "it had failed; its log says why".to_owned()));
        tell(format!(
            "tidings: stopped, but not clean: {}",
            why.unwrap_or(lost)
        ));
        Ok(ExitCode::FAILURE)
    }
}
