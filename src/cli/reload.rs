//! `tidings reload`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::asking::{Asked, ask};
use crate::config::ControlFlags;
use crate::control::Question;
use crate::output::{Printer, print, tell};

/// Longest wait for the answer: the server reads a few files.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Have the server that runs with these settings read them anew
///
/// They are in force when this returns 0: all of them, or, with 1 and the reason, none. Whoever is
/// connected stays so. A change that takes a restart is refused. The exit code is 3 where no server runs.
///
/// With --workers the threads of the workers are renewed instead, and then the processes, such as the one
/// of a gateway that pushes.
#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    control: ControlFlags,
    /// Only say what would change, or why it would be refused
    #[arg(long)]
    check: bool,
    /// Renew the threads of the workers, and the processes, instead of the settings
    #[arg(long, conflicts_with = "check")]
    workers: bool,
}

impl ReloadArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.workers {
            return self.renew();
        }
        let (question, end) = match self.check {
            true => (Question::CheckReload, "nothing else would change"),
            false => (Question::Reload, "in force"),
        };
        let answer = match ask(&self.control, question, Some(ANSWER_MAX), |_| {})? {
            Asked::Answered(answer) => answer,
            Asked::NobodyRuns(code) => return Ok(code),
        };
        for warning in texts(&answer, "warnings") {
            tell(format!("warning: {warning}"));
        }
        let mut out = Printer::new();
        let mut printed = Ok(());
        for change in texts(&answer, "changes") {
            printed = printed.and_then(|()| out.line(change));
        }
        let generation = &answer["generation"];
        let end = match self.check {
            true => end.to_owned(),
            false => format!("{end}: generation {generation} of the settings"),
        };
        let printed = printed.and_then(|()| out.line(end));
        out.finish(printed)?;
        Ok(ExitCode::SUCCESS)
    }

    fn renew(self) -> anyhow::Result<ExitCode> {
        // Each thread and each process has its own time for it.
        match ask(&self.control, Question::Renew, None, |_| {})? {
            Asked::NobodyRuns(code) => Ok(code),
            Asked::Answered(renewed) => {
                let (workers, processes) = (&renewed["workers"], &renewed["processes"]);
                print(format!("renewed: workers {workers}, processes {processes}"))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn texts<'a>(answer: &'a Value, field: &str) -> impl Iterator<Item = &'a str> {
    let items = answer[field].as_array().into_iter().flatten();
    items.filter_map(Value::as_str)
}
