//! The events of a process, and the outcomes of its tasks.

use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::link::TaskId;

/// The outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskOutcome {
    /// The task ran to its end and gave this result.
    Done(Bytes),
    /// The task panicked, or the process failed it, for this reason.
    Failed(String),
}

/// One event of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProcessEvent {
    /// The process was started, for the first time or again.
    Started {
        /// Name of the process.
        process: Arc<str>,
        /// PID of the process.
        pid: u32,
    },
    /// The process sent a message.
    Message {
        /// Name of the process.
        process: Arc<str>,
        /// The bytes that the process sent.
        payload: Bytes,
    },
    /// A task ended; this event comes exactly once for each accepted task, unless `Ended` counts
    /// the task.
    Finished {
        /// Name of the process.
        process: Arc<str>,
        /// The id that [`ProcessLink::task`](super::ProcessLink::task) returned.
        task: TaskId,
        /// The outcome of the task.
        outcome: TaskOutcome,
    },
    /// The process died, or ended as it was told to. Its messages and results came before.
    Died {
        /// Name of the process.
        process: Arc<str>,
        /// Exit status of the process.
        status: ExitStatus,
        /// Pause before the restart; `None` if the process isn't started again.
        restart_in: Option<Duration>,
    },
    /// The process has ended for good; this is its last event.
    Ended {
        /// Name of the process.
        process: Arc<str>,
        /// Accepted tasks that nobody will finish; 0 unless the process had to be killed.
        tasks_unfinished: usize,
    },
}
