//! What the supervisor is told before it starts.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A process that the server keeps running.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// What the process is called, in its environment, in logs and in events.
    pub(super) name: String,
    /// What is executed; a test may name something that can't be.
    pub(super) program: PathBuf,
}

impl ProcessSpec {
    /// A process with this name, made from the running binary.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the name is empty, or has a NUL byte and can't stand in an environment.
    pub fn new(name: impl Into<String>) -> io::Result<Self> {
        let name = name.into();
        if name.is_empty() || name.contains('\0') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a process needs a name without NUL",
            ));
        }
        // Also right after the file was replaced: the link leads to what runs, not to its path.
        Ok(Self {
            name,
            program: PathBuf::from("/proc/self/exe"),
        })
    }
}

/// Bounds and times of the supervised processes; each process has its own share of them.
#[derive(Debug, Clone, Copy)]
pub struct ProcessSettings {
    /// What waits or is unfinished for one process, in bytes, each entry counting
    /// 64 bytes beside its payload. A single entry may exceed it when nothing else waits.
    /// Default 16 MiB.
    pub pipe_bytes_max: usize,
    /// Tasks accepted and not finished, in number. Default 65,536.
    pub tasks_unfinished_max: usize,
    /// The largest payload of a task, a result or a message, in bytes. Default 16 MiB.
    pub frame_size_max: u32,
    /// Pause before the first restart, in milliseconds; each further one doubles it. Default 100.
    pub restart_backoff_ms_min: u64,
    /// Longest pause before a restart, in milliseconds. Default 10,000.
    pub restart_backoff_ms_max: u64,
    /// Life after which a process counts as healthy, in milliseconds: the pause before its restart
    /// is the shortest again. So it is after a finished task. Default 10,000.
    pub restart_healthy_ms: u64,
    /// Time that a process has to finish and end once it is told to, in milliseconds; then it is
    /// killed. So is one that closed its pipe and still lives after that long. Default 10,000.
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
