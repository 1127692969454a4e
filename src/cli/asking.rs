//! A question to a running server, for the commands that ask one.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;

use crate::config::ControlFlags;
use crate::control::{ControlClient, ControlError, Question};
use crate::output::tell;

/// What came of a question.
pub(super) enum Asked {
    /// The last line of the answer.
    Answered(Value),
    /// No server runs there; the person was told so.
    NobodyRuns(ExitCode),
}

/// Asks the server that runs with these settings.
///
/// # Errors
///
/// The settings can't be used, the server doesn't answer, or it refuses to.
pub(super) fn ask(
    control: &ControlFlags,
    question: Question,
    time: Option<Duration>,
    progress: impl FnMut(&Value),
) -> anyhow::Result<Asked> {
    let Some(path) = control.path()? else {
        bail!("{}", control.why_none());
    };
    let answer =
        ControlClient::connect(&path).and_then(|client| client.ask(question, time, progress));
    let answer = match answer {
        Ok(answer) => answer,
        Err(error @ ControlError::NobodyRuns(_)) => {
            tell(format!("tidings: {error}"));
            return Ok(Asked::NobodyRuns(super::NOT_RUNNING.into()));
        }
        Err(error) => return Err(error.into()),
    };
    match (answer["ok"].as_bool(), answer["error"].as_str()) {
        (Some(false), Some(error)) => bail!("{error}"),
        _ => Ok(Asked::Answered(answer)),
    }
}
