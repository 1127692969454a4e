//! A rehearsal, as the image that runs has it done: another process of a program takes over a trial
//! handover, and says whether that went well.
//!
//! It binds, locks and writes nothing. A program that is too old doesn't know the command, and ends.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::entered::UPGRADE_VAR;
use super::error::RehearsalError;
use super::images::Image;

/// The variable that has a program rehearse where [`Builder::run`](crate::server::Builder::run) is called:
/// the number of the server that asks it to.
pub const REHEARSE_VAR: &str = "TIDINGS_REHEARSE";

/// The flag of a command for the program that would be gone back to.
const BACK_FLAG: &str = "--back";

/// Longest time for one rehearsal: reading 100,000 connections takes less than a second.
const REHEARSAL_MAX: Duration = Duration::from_secs(30);

/// Bytes of what a rehearsal says at most: a report, or the errors of a file of settings.
const SAID_SIZE_MAX: u64 = 64 << 10;

/// Variables that are for the server alone.
const OF_THE_SERVER: [&str; 7] = [
    UPGRADE_VAR,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The program that rehearses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rehearsed {
    /// The next image, with the settings as they are now.
    Next,
    /// The image that runs, with the settings in force: the way back.
    Own,
}

/// How a program learns that it shall rehearse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RehearsalCall {
    /// By a command of its own.
    Command(&'static str),
    /// By [`REHEARSE_VAR`], with the arguments of this program.
    Variable,
}

impl RehearsalCall {
    fn tell(self, command: &mut Command, rehearsed: Rehearsed) {
        match self {
            Self::Command(name) => {
                command.arg(name);
                if rehearsed == Rehearsed::Own {
                    command.arg(BACK_FLAG);
                }
            }
            Self::Variable => {
                command.args(std::env::args_os().skip(1));
                command.env(REHEARSE_VAR, std::process::id().to_string());
            }
        }
    }

    /// Whether a program that complains of this has no such command.
    fn is_unknown_in(self, complaint: &str) -> bool {
        matches!(self, Self::Command(name) if complaint.contains(name))
    }
}

/// What came of a rehearsal.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) took: Duration,
}

/// Has a program take over a trial handover, which is a file in memory.
pub(super) fn rehearse(
    image: &Image,
    (call, rehearsed): (RehearsalCall, Rehearsed),
    trial: &OwnedFd,
) -> Result<Report, RehearsalError> {
    let began = Instant::now();
    // A description of its own: the place in the file isn't shared.
    let trial = File::open(format!("/proc/self/fd/{}", trial.as_raw_fd()));
    let trial = trial.map_err(|source| RehearsalError::System {
        what: "can't open the trial handover",
        source,
    })?;
    let mut command = Command::new(image.executable());
    call.tell(&mut command, rehearsed);
    if let Some(zeroth) = std::env::args_os().next() {
        command.arg0(zeroth);
    }
    for name in OF_THE_SERVER {
        command.env_remove(name);
    }
    let child = command
        .stdin(trial)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(RehearsalError::Execution)?;
    let (said, complaint) = heard(child)?;
    match said {
        None if call.is_unknown_in(&complaint) => Err(RehearsalError::Foreign),
        None => Err(RehearsalError::Silent(complaint.trim().to_owned())),
        Some(said) => match (said["ok"].as_bool(), said["version"].as_str()) {
            (Some(true), Some(version)) => Ok(Report {
                version: version.to_owned(),
                took: began.elapsed(),
            }),
            _ => {
                let error = said["error"].as_str().unwrap_or("it gives no reason");
                Err(RehearsalError::Refused(error.to_owned()))
            }
        },
    }
}

/// Waits for the end of the child, and gives its report and what it complained of.
fn heard(mut child: Child) -> Result<(Option<Value>, String), RehearsalError> {
    let (sender, heard) = channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::Builder::new().name("rehearsal".into());
    let reader = reader.spawn(move || {
        let report = stdout.and_then(|stdout| report_in(stdout.take(SAID_SIZE_MAX)));
        let mut complaint = String::new();
        // What can't be read is no complaint.
        if let Some(stderr) = stderr
            && report.is_none()
        {
            _ = stderr.take(SAID_SIZE_MAX).read_to_string(&mut complaint);
        }
        _ = sender.send((report, complaint));
    });
    let said = match reader {
        Ok(_) => heard.recv_timeout(REHEARSAL_MAX),
        Err(_) => Err(RecvTimeoutError::Disconnected),
    };
    // It has ended, or has to: whoever reaps orphans may have seen it already.
    _ = child.kill();
    _ = child.wait();
    match said {
        Ok(said) => Ok(said),
        Err(RecvTimeoutError::Timeout) => Err(RehearsalError::Slow(REHEARSAL_MAX.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err(RehearsalError::System {
            what: "can't start a thread",
            source: io::ErrorKind::OutOfMemory.into(),
        }),
    }
}

/// Finds the report among what a program says: it may say other things before.
fn report_in(said: impl Read) -> Option<Value> {
    let lines = BufReader::new(said).lines().map_while(Result::ok);
    let mut values = lines.filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    values.find(|value| value["ok"].is_boolean())
}
