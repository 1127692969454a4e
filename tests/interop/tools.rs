//! Foreign programs, run with a time limit, and the server that they talk to.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::support::program::Program;

/// `tidings serve --echo`, with more flags.
pub fn serve_echo(flags: &[&str]) -> Program {
    Program::serve(&[&["--echo"], flags].concat())
}

/// Runs `test` against a server with its handlers on the reactor, and against one with a worker.
pub fn against_both(flags: &[&str], test: impl Fn(&Program)) {
    for workers in ["0", "1"] {
        let server = serve_echo(&[&["--workers", workers], flags].concat());
        test(&server);
        server.stop();
    }
}

/// A child that is killed, and waited for, with this value.
struct Reaped(Child);

impl Reaped {
    fn spawn(command: &mut Command) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits for its end; `None` when it takes longer than `limit`.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.0), PidfdFlags::empty()).unwrap();
        let limit = Timespec::try_from(limit).unwrap();
        let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)).unwrap();
        (ended > 0).then(|| self.0.wait().unwrap())
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program that has to end well within `limit`, and gives what it printed.
pub fn run(command: &mut Command, limit: Duration) -> String {
    let mut child = Reaped::spawn(command);
    let printed = text_of(child.0.stdout.take().unwrap());
    let complaints = text_of(child.0.stderr.take().unwrap());
    let status = child.wait(limit);
    drop(child);
    let (printed, complaints) = (printed.join().unwrap(), complaints.join().unwrap());
    let outcome = match status {
        Some(status) if status.success() => return printed,
        Some(status) => status.to_string(),
        None => format!("not done after {limit:?}"),
    };
    panic!("{command:?}: {outcome}\n{printed}{complaints}")
}

/// The path of what `tests/tools/install` installed.
pub fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(".tools")
        .join(path);
    assert!(
        path.exists(),
        "{} is missing: run tests/tools/install",
        path.display()
    );
    path
}

fn text_of(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
