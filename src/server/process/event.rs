//! What a process tells the server.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::TaskId;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// It ran to its end; this is its result.
    Done(Bytes),
    /// It panicked or was failed by the process; why, in its words.
    Failed(String),
}

/// What happened to a process, or came from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It was started, for the first time or again.
    Started {
        /// Name of the process.
        process: Arc<str>,
        /// Its PID.
        pid: u32,
    },
    /// It sent a message.
    Message {
        /// Name of the process.
        process: Arc<str>,
        /// The message.
        payload: Bytes,
    },
    /// A task is finished; comes exactly once for each accepted task, unless `Ended` counts it.
    Finished {
        /// Name of the process.
        process: Arc<str>,
        /// What [`ProcessLink::task`](super::ProcessLink::task) returned.
        task: TaskId,
        /// How it went.
        outcome: TaskOutcome,
    },
    /// It died, or ended as it was told to. All it had sent came before.
    Died {
        /// Name of the process.
        process: Arc<str>,
        /// How.
        status: ExitStatus,
        /// Pause before its restart; none when it is over for good.
        restart_in: Option<Duration>,
    },
    /// It is over for good: the last event of this process.
    Ended {
        /// Name of the process.
        process: Arc<str>,
        /// Accepted tasks that nobody will finish; 0 unless it had to be killed.
        tasks_unfinished: usize,
    },
}
