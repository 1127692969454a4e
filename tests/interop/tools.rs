//! What the tests with the programs of others share: the real server, and children that are
//! killed when their test ends.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Nothing that is no suite takes longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A `tidings serve --echo` on a free port.
pub struct Server {
    child: Reaped,
    log: Option<JoinHandle<String>>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    pub fn start(flags: &[&str]) -> Self {
        let mut child = Reaped::spawn(
            Command::new(env!("CARGO_BIN_EXE_tidings"))
                .args([
                    "serve",
                    "--echo",
                    "--listen",
                    "127.0.0.1:0",
                    "--data",
                    "none",
                ])
                .args(flags),
        );
        let lines = lines_of(child.0.stdout.take().unwrap());
        let log = Some(text_of(child.0.stderr.take().unwrap()));
        let first = lines.recv_timeout(PATIENCE);
        let address = first
            .iter()
            .find_map(|line| line.strip_prefix("listening on http://")?.parse().ok())
            .unwrap_or_else(|| panic!("{first:?} says where the server listens"));
        Self {
            child,
            log,
            address,
        }
    }

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    /// Stops the server as a service manager does; whatever it went through, it ends well.
    pub fn stop(mut self) {
        let pid = Pid::from_child(&self.child.0);
        kill_process(pid, Signal::TERM).unwrap();
        let status = self.child.wait(PATIENCE);
        let log = self.log.take().unwrap().join().unwrap();
        assert!(
            status.is_some_and(|status| status.success()),
            "{status:?}: {log}"
        );
        assert!(!log.contains("panic"), "{log}");
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

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        // Reads to the end, also when nobody listens: a full pipe would stop the server.
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    lines
}

fn text_of(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
