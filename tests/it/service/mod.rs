//! The program as a service of the system: in the background, with a log file that can be moved away,
//! at the other end of its control socket, and under a service manager.

mod background;
mod by_reload;
mod container;
mod control;
mod listeners;
mod log_file;
pub mod manager;
mod reload;
mod renewal;
mod served;
pub mod terminal;

use std::path::Path;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::PATIENCE;
use crate::support::program::ends_within;

/// `tidings` in a folder, with nothing of the environment.
pub fn tidings(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
    command
        .current_dir(folder)
        .env_clear()
        .env("NO_COLOR", "1")
        .args(arguments);
    command
}

/// What a command said: its exit code, standard output and standard error.
#[track_caller]
pub fn said(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("tidings runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = status.code().expect("an exit code");
    (code, text(stdout), text(stderr))
}

/// A process that is no child of ours, and ends with the test.
pub struct Stranger(pub Pid);

impl Stranger {
    /// The one whose number is this text.
    #[track_caller]
    pub fn of(text: &str) -> Self {
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        Self(pid.unwrap_or_else(|| panic!("{text:?} is no number of a process")))
    }

    /// Sends it SIGTERM, and waits for its end.
    #[track_caller]
    pub fn stop(self) {
        kill_process(self.0, Signal::TERM).expect("it lives");
        assert!(ends_within(self.0, PATIENCE), "it has not ended");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        // It has ended before, unless the test failed.
        if test_kill_process(self.0).is_ok() {
            _ = kill_process(self.0, Signal::KILL);
        }
    }
}
