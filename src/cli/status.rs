//! `tidings status`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::asking::{Asked, ask};
use crate::config::ControlFlags;
use crate::control::Question;
use crate::output::print;

/// Longest wait for the answer: the server only has to look at its own numbers.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Say how the server is that runs with these settings
///
/// The exit code is 0 while it serves, and 3 where none runs or the one that runs is stopping.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    control: ControlFlags,
    /// Print the answer as a line of JSON
    #[arg(long)]
    json: bool,
}

impl StatusArgs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let status = match ask(&self.control, Question::Status, Some(ANSWER_MAX), |_| {})? {
            Asked::Answered(status) => status,
            Asked::NobodyRuns(code) => return Ok(code),
        };
        match self.json {
            true => print(&status)?,
            false => print(described(&status))?,
        }
        Ok(match status["state"] == "stopping" {
            true => super::NOT_RUNNING.into(),
            false => ExitCode::SUCCESS,
        })
    }
}

fn described(status: &Value) -> String {
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    let number = |field: &str| status[field].as_u64().unwrap_or_default();
    let list = |field: &str| {
        let items = status[field].as_array().into_iter().flatten();
        let items: Vec<&str> = items.filter_map(Value::as_str).collect();
        items.join(", ")
    };
    let state = match status["reason"].as_str() {
        Some(reason) => format!("{}: {reason}", text("state")),
        None => text("state"),
    };
    let last = |errand: &str| {
        let last = &status[format!("last_{errand}")];
        match (last["ok"].as_bool(), last["error"].as_str()) {
            (None, _) => String::new(),
            (Some(true), _) => format!("\nlast {errand}: went well"),
            (Some(false), error) => {
                format!("\nlast {errand}: failed: {}", error.unwrap_or_default())
            }
        }
    };
    let lasts = ["reload", "renewal", "upgrade"].map(last).concat();
    let config = status["config"].as_str().unwrap_or("no file");
    format!(
        "{} {} with process {} is {state}\n\
         listens on {}, has {} connections, runs for {} s\n\
         settings: {config}{lasts}",
        text("kind"),
        text("version"),
        number("pid"),
        list("listen"),
        number("connections"),
        number("uptime_ms") / 1_000,
    )
}
