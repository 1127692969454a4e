//! A rehearsal, as the image that runs has it done: another process of a program takes over a trial
//! handover, and says whether that went well.
//!
//! It binds, locks and writes nothing. A program that is too old doesn't know the command, and ends.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tidings::server::upgrade::UPGRADE_VAR;

use super::images::Image;

/// The command by which a program rehearses.
pub const COMMAND: &str = "rehearse";

/// The flag of that command for the program that would be gone back to.
const BACK_FLAG: &str = "back";

/// Longest time for one rehearsal: reading 100,000 connections takes less than a second.
const REHEARSAL_MAX: Duration = Duration::from_secs(30);

/// Bytes of what a rehearsal says at most: a report, or the errors of a file of settings.
const SAID_SIZE_MAX: u64 = 64 << 10;

/// Bytes of memory beside the handover that a program needs at its start.
const PROGRAM_BYTES: u64 = 32 << 20;

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

/// What came of a rehearsal.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) version: String,
    pub(super) took: Duration,
}

/// Has a program take over a trial handover, which is a file in memory.
pub(super) fn rehearse(
    image: &Image,
    rehearsed: Rehearsed,
    trial: &OwnedFd,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    // A description of its own: the place in the file isn't shared.
    let trial = File::open(format!("/proc/self/fd/{}", trial.as_raw_fd()))
        .context("can't open the trial handover")?;
    let mut command = Command::new(image.executable());
    command.args([COMMAND]);
    if rehearsed == Rehearsed::Own {
        command.arg(format!("--{BACK_FLAG}"));
    }
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
        .context("it can't be executed")?;
    let (line, complaint) = heard(child)?;
    let said: Value = match serde_json::from_str(&line) {
        Ok(said) => said,
        Err(_) if complaint.contains(COMMAND) => bail!(
            "it doesn't know how to rehearse an upgrade: it is another program, or a version from \
             before upgrades"
        ),
        Err(_) => bail!("its rehearsal ended without a report: {}", complaint.trim()),
    };
    match (said["ok"].as_bool(), said["version"].as_str()) {
        (Some(true), Some(version)) => Ok(Report {
            version: version.to_owned(),
            took: began.elapsed(),
        }),
        _ => bail!("{}", said["error"].as_str().unwrap_or("it gives no reason")),
    }
}

/// Waits for the end of the child, and gives its first line and what it complained of.
fn heard(mut child: Child) -> anyhow::Result<(String, String)> {
    let (sender, heard) = channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reader = std::thread::Builder::new().name("rehearsal".into());
    let reader = reader.spawn(move || {
        let (mut line, mut complaint) = (String::new(), String::new());
        // What can't be read is no report.
        if let Some(stdout) = stdout {
            _ = BufReader::new(stdout.take(SAID_SIZE_MAX)).read_line(&mut line);
        }
        if let Some(stderr) = stderr {
            _ = stderr.take(SAID_SIZE_MAX).read_to_string(&mut complaint);
        }
        _ = sender.send((line, complaint));
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
        Err(RecvTimeoutError::Timeout) => {
            bail!(
                "its rehearsal took longer than {} s",
                REHEARSAL_MAX.as_secs()
            )
        }
        Err(RecvTimeoutError::Disconnected) => bail!("can't start a thread"),
    }
}

/// Fails unless there is memory for the handover twice and for what a rehearsal makes of it: a write
/// beyond the limit of a group of processes is no error, but the end of the largest of them.
pub(super) fn memory_for(handover_size: usize) -> anyhow::Result<()> {
    // A connection of 200 bytes in a handover has five times that in memory.
    let needed = 7 * handover_size as u64 + PROGRAM_BYTES;
    match free_memory() {
        Some(free) if free < needed => bail!(
            "it needs {} MiB of memory, and {} MiB are free",
            needed >> 20,
            free >> 20
        ),
        _ => Ok(()),
    }
}

/// Counts the bytes that this process may still get; `None` where that can't be known.
fn free_memory() -> Option<u64> {
    [of_the_machine(), of_the_group()]
        .into_iter()
        .flatten()
        .min()
}

fn of_the_machine() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

/// What the tightest of the groups that this process is in leaves.
fn of_the_group() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let folders = Path::new(own).ancestors().map(|folder| root.join(folder));
    folders.filter_map(|folder| left_in(&folder)).min()
}

fn left_in(folder: &Path) -> Option<u64> {
    let number = |name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(folder.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let (max, current) = (number("memory.max")?, number("memory.current")?);
    // Pages of files can be given back.
    let stat = std::fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cached = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let cached: u64 = cached.and_then(|text| text.parse().ok()).unwrap_or(0);
    Some(max.saturating_sub(current.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_there_is_is_refused_with_both_numbers() {
        memory_for(0).unwrap();
        let refused = memory_for(1 << 50).unwrap_err().to_string();
        assert!(refused.contains("MiB are free"), "{refused}");
    }
}
