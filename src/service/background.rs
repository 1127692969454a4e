//! A start in the background: this program once more, in a session of its own, and its report.
//!
//! The first process waits for the second one's report and ends with it, so a script knows whether the
//! server runs. The report comes through the second one's standard output, which is a pipe until then;
//! its end without a report is the report of a crash. Nothing is forked without being executed anew.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use tidings::base::sync::lock;

use crate::output::print;

/// The variable with the number of the process that waits for the report: one that only inherits the
/// variable has another parent.
const PARENT_VAR: &str = "TIDINGS_DETACHED";

/// The report of a server that is ready; any other is the reason of a failure.
const READY: &str = "ready\n";

/// Starts this program once more with these arguments, and waits until it is ready.
///
/// # Errors
///
/// The second process couldn't be started, or its start failed: the reason that it gave.
pub fn start_in_background(arguments: &[OsString]) -> anyhow::Result<ExitCode> {
    let program = arguments.first().cloned().unwrap_or_default();
    let mut command = Command::new("/proc/self/exe");
    let mut child = command
        .arg0(program)
        .args(arguments.iter().skip(1))
        .env(PARENT_VAR, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("can't start in the background")?;
    let mut report = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut report)
            .context("can't read the report of the server")?;
    }
    let report = String::from_utf8_lossy(&report);
    if report == READY {
        print(child.id())?;
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait().context("can't wait for the server")?;
    match report.trim_end() {
        "" => bail!("the server ended before it was ready: {status}"),
        reason => bail!("{reason}"),
    }
}

/// The way to the process that waits for the start of this one, if one does. The first report counts.
#[derive(Debug, Clone, Default)]
pub struct StartReport(Arc<Mutex<Option<File>>>);

impl StartReport {
    /// Reports that the server is ready.
    pub fn ready(&self) {
        self.write(READY);
    }

    /// Reports why the start has failed.
    pub fn failed(&self, reason: &str) {
        self.write(reason);
    }

    fn write(&self, text: &str) {
        if let Some(mut pipe) = lock(&self.0).take() {
            // Whoever waited may have been killed; the server goes on without.
            _ = pipe.write_all(text.as_bytes());
        }
    }
}

/// Leaves the terminal if this is the second process of a start in the background; `None` if it isn't.
///
/// # Errors
///
/// The system refuses a session of its own, or the descriptors.
pub fn detached() -> io::Result<Option<StartReport>> {
    let parent = std::env::var(PARENT_VAR).ok();
    let parent = parent.and_then(|pid| pid.parse::<i32>().ok());
    let own_parent = rustix::process::getppid().map(|pid| pid.as_raw_pid());
    if parent.is_none() || parent != own_parent {
        return Ok(None);
    }
    rustix::process::setsid()?;
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nowhere)?;
    let report = StartReport(Arc::new(Mutex::new(Some(report.into()))));
    Ok(Some(report))
}
