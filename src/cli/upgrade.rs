//! `tidings upgrade`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::asking::{Asked, ask};
use crate::config::ControlFlags;
use crate::control::Question;
use crate::output::{print, tell};

/// Longest wait for a line: two rehearsals take half a minute each at most, and each begins with a line.
const LINE_MAX: Duration = Duration::from_secs(60);

/// Replace the program of the server that runs with these settings, and cut no connection
///
/// The server rehearses with the new program first, and stays what it is if that fails. Then it stands
/// still for a moment, executes the new program in its own process, and goes on: with every connection,
/// its rooms and its place in each of them. The exit code is 0 once the new program serves, 1 with the
/// reason if the old one goes on, and 3 where no server runs.
#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    #[command(flatten)]
    control: ControlFlags,
    /// File of the new program [default: the path that the server was started by]
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Only rehearse, and say whether an upgrade would be refused
    #[arg(long)]
    check: bool,
}

impl UpgradeArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let binary = self.binary.map(|path| {
            // The server has a folder of its own.
            std::path::absolute(&path).unwrap_or(path)
        });
        let question = Question::Upgrade {
            binary,
            is_check: self.check,
        };
        let progress = |line: &Value| {
            if let Some(text) = line["progress"].as_str() {
                tell(text.to_owned());
            }
        };
        let answer = match ask(&self.control, question, Some(LINE_MAX), progress)? {
            Asked::Answered(answer) => answer,
            Asked::NobodyRuns(code) => return Ok(code),
        };
        let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
        let number = |field: &str| answer[field].as_u64().unwrap_or_default();
        let (from, to) = (text("from"), text("to"));
        match self.check {
            true => print(format_args!(
                "{from} → {to} would work: {} bytes would be handed over",
                number("handover_bytes")
            ))?,
            false => print(format_args!(
                "{from} → {to}: {} connections carried, a pause of {} ms",
                number("connections"),
                number("pause_ms")
            ))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
