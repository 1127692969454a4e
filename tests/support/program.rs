//! A server of ours as a process under test: started on a free port, listened to, and ended
//! whatever happens to the test.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
#[cfg(feature = "cli")]
use std::path::Path;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::PATIENCE;
use super::http::HttpClient;
use super::signal::send;
use super::websocket::WebSocketClient;

/// Copies a program so that it can be run: by a process of its own, since a child that another test starts
/// meanwhile would keep the copy open for writing, and nobody may run it then (execve(2), ETXTBSY).
#[track_caller]
pub fn copy_program(from: impl AsRef<std::path::Path>, to: &std::path::Path) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A running server.
pub struct Program {
    child: Child,
    pub address: SocketAddr,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Program {
    /// Starts it and waits until it says where it listens.
    pub fn start(command: &mut Command) -> Self {
        Self::start_telling(command, |_| {})
    }

    /// The same, and tells the number of the process as soon as there is one.
    pub fn start_telling(command: &mut Command, tell: impl FnOnce(Pid)) -> Self {
        let mut child = command
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        tell(Pid::from_child(&child));
        let mut stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        let line = stdout.wait_for("listening on ");
        let (_, address) = line.split_once("://").unwrap();
        let address = address.trim_end_matches('/').parse().unwrap();
        Self {
            child,
            address,
            stdout,
            stderr,
        }
    }

    /// `tidings serve` with more flags; in memory only, unless they say otherwise.
    #[cfg(feature = "cli")]
    pub fn serve(flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidings"));
        Self::start(
            command
                .args([
                    "serve",
                    "--listen",
                    "127.0.0.1:0",
                    "--set",
                    "store.data=none",
                ])
                .args(flags),
        )
    }

    /// `tidings serve` with its data in a folder, and these settings.
    #[cfg(feature = "cli")]
    pub fn serve_in(data: &Path, settings: &[&str]) -> Self {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let flags = ["--data", data.to_str().unwrap()].into_iter();
        Self::serve(&flags.chain(settings).collect::<Vec<_>>())
    }

    /// The example of this name, which stands beside the test's own binary; `cargo test` builds
    /// it, `cargo test --test it` alone doesn't.
    pub fn example(name: &str) -> Self {
        Self::example_with(name, &[])
    }

    /// The same with more arguments behind the address.
    pub fn example_with(name: &str, more: &[&str]) -> Self {
        let mut command = Command::new(example_path(name));
        Self::start(command.arg("127.0.0.1:0").args(more))
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Waits until it has ended.
    pub fn ended(&mut self) -> ExitStatus {
        assert!(ends_within(self.pid(), PATIENCE), "it has not ended");
        self.child.wait().unwrap()
    }

    /// Waits until it has ended of itself, and gives its exit code.
    pub fn exit_code(&mut self) -> i32 {
        let status = self.ended();
        assert_eq!(status.signal(), None, "{}", self.stderr.all());
        status.code().unwrap()
    }

    /// Stops it with SIGTERM, which must leave nothing undone; whatever it went through, nothing
    /// panicked.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let code = self.exit_code();
        let log = self.stderr.all();
        assert_eq!(code, 0, "{log}");
        assert!(!log.contains("panic"), "{log}");
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.ended();
    }

    /// The memory that it holds (`VmRSS`), in bytes.
    pub fn memory(&self) -> u64 {
        let pid = self.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kib.parse::<u64>().unwrap() << 10
    }

    pub fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    pub fn http(&self) -> HttpClient {
        HttpClient::connect(self.address)
    }

    pub fn websocket(&self, path: &str) -> WebSocketClient {
        WebSocketClient::connect(self.address, path)
    }

    /// A WebSocket with more fields in its request.
    pub fn websocket_with(&self, path: &str, fields: &[(&str, &str)]) -> WebSocketClient {
        WebSocketClient::connect_with(self.address, path, fields)
    }
}

/// The file of the example of this name.
pub fn example_path(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    profile.join("examples").join(name)
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended before, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the process has ended, or does so in time; the process needn't be a child of ours.
pub fn ends_within(pid: Pid, time: Duration) -> bool {
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::NONBLOCK) else {
        return true;
    };
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What a process writes, by lines; read as it comes, so that the process never waits for us.
pub struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            receiver,
            seen: Vec::new(),
        }
    }

    /// Waits for the next line that has `text` in it.
    pub fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .receiver
                .recv_timeout(left)
                .unwrap_or_else(|error| panic!("no {text:?}: {error}; {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Whether a line with `text` in it has come.
    pub fn has(&mut self, text: &str) -> bool {
        self.seen.extend(self.receiver.try_iter());
        self.seen.iter().any(|line| line.contains(text))
    }

    /// Everything, once the process has ended.
    pub fn all(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .receiver
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.seen.push(line);
        }
        self.seen.join("\n")
    }
}
