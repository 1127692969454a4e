//! The specification of a process, and the bounds and times of all of them.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A process that the server keeps running.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The name of the process in its environment, in logs and in events.
    pub(super) name: String,
    /// The program that is executed; a test may name one that can't be.
    pub(super) program: PathBuf,
    pub(super) launch: ProcessLaunch,
}

/// The arguments and the environment of a process, as far as they aren't those of this program.
#[derive(Debug, Clone, Default)]
pub struct ProcessLaunch {
    /// Arguments behind the program's name; `None` repeats those of this program, with whatever
    /// secrets are among them.
    pub arguments: Option<Vec<OsString>>,
    /// Variables that the process doesn't get, such as those with secrets that it doesn't need.
    pub variables_withheld: Vec<OsString>,
}

impl ProcessSpec {
    /// Specifies a process with this name that runs the present binary.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the name is empty, or has a NUL byte, which no environment can hold.
    pub fn new(name: impl Into<String>) -> io::Result<Self> {
        let name = name.into();
        if name.is_empty() || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a process needs a name without NUL",
            ));
        }
        // Right even after the file was replaced: the link leads to the running binary, not to
        // its path.
        Ok(Self {
            name,
            program: PathBuf::from("/proc/self/exe"),
            launch: ProcessLaunch::default(),
        })
    }

    /// Starts the process with other arguments or variables than this program has.
    #[must_use]
    pub fn with_launch(self, launch: ProcessLaunch) -> Self {
        Self { launch, ..self }
    }
}

/// Bounds and times of the supervised processes; each process has its own share of them.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSettings {
    /// Bytes of a process's unfinished tasks and unwritten messages; each counts 64 bytes beside
    /// its payload. A single one may exceed the bound when nothing else waits. Default 16 MiB: one
    /// frame of the largest default size.
    pub pipe_bytes_max: usize,
    /// Number of accepted and unfinished tasks. Default 65,536: a round number, at which small
    /// tasks take 4 MiB of `pipe_bytes_max` beside their payloads.
    pub tasks_unfinished_max: usize,
    /// The largest payload of a task, a result or a message, in bytes. Default 16 MiB: a round
    /// number, since both sides keep a whole payload in memory.
    pub frame_size_max: u32,
    /// Pause before the first restart, in milliseconds; each further restart doubles the pause.
    /// Default 100: a round number, so that a single crash is hardly noticed.
    pub restart_backoff_ms_min: u64,
    /// Longest pause before a restart, in milliseconds. Default 10,000: a round number, at which a
    /// process that always crashes costs little.
    pub restart_backoff_ms_max: u64,
    /// Time after which a running process counts as healthy, in milliseconds: the pause before its
    /// next restart is the shortest again. A finished task has the same effect. Default 10,000, as
    /// long as the longest pause, so that a process that crashes at once never gets there.
    pub restart_healthy_ms: u64,
    /// Time that a process has to finish and end once it is told to, in milliseconds; then it is
    /// killed. A process that closed its pipe gets as long to end. Default 10,000: a round number,
    /// a third of the server's default `stop_ms_max`.
    pub stop_ms_max: u64,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            pipe_bytes_max: 16 << 20,
            tasks_unfinished_max: 65_536,
            frame_size_max: 16 << 20,
            restart_backoff_ms_min: 100,
            restart_backoff_ms_max: 10_000,
            restart_healthy_ms: 10_000,
            stop_ms_max: 10_000,
        }
    }
}

impl ProcessSettings {
    pub(super) fn stop_max(&self) -> Duration {
        Duration::from_millis(self.stop_ms_max)
    }

    pub(super) fn healthy(&self) -> Duration {
        Duration::from_millis(self.restart_healthy_ms)
    }
}
