//! The link to a process, for any thread: bounded, counted, and without waiting.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::handover::TaskCounts;
use super::ledger::LedgerEntry;
use super::pipe::PipeKind;
use super::settings::ProcessSettings;
use crate::base::sync;

/// Wakes the thread that drives the supervisor.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The name of a task among those of one process: counted from 1, never reused while the server
/// runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// The reason why a task or a message was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// The queue of the process is full; try again once the process has finished some tasks.
    Full {
        /// Tasks accepted and not finished.
        tasks: usize,
        /// Bytes that these tasks and the unwritten messages count.
        bytes: usize,
    },
    /// The server is stopping, or the process is gone for good.
    Stopping,
    /// The server has no process for tasks.
    NoProcess,
    /// The payload is larger than a frame may be.
    TooLarge {
        /// Size of the payload, in bytes.
        size: usize,
        /// `frame_size_max`, in bytes.
        size_max: usize,
    },
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { tasks, bytes } => {
                write!(
                    f,
                    "the process is full: {tasks} tasks unfinished, {bytes} bytes waiting"
                )
            }
            Self::Stopping => f.write_str("the process is stopping"),
            Self::NoProcess => f.write_str("the server has no process for tasks"),
            Self::TooLarge { size, size_max } => {
                write!(
                    f,
                    "payload of {size} bytes is over the {size_max} of a frame"
                )
            }
        }
    }
}

impl std::error::Error for TaskError {}

/// The statistics of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessStats {
    /// Name of the process.
    pub name: Arc<str>,
    /// PID of the process while it runs.
    pub pid: Option<u32>,
    /// Number of starts after the first one.
    pub restarts: u64,
    /// Tasks finished, whatever their outcome.
    pub tasks_finished: u64,
    /// Tasks accepted and not finished.
    pub tasks_unfinished: usize,
    /// Bytes that unfinished tasks and unwritten messages count.
    pub bytes_queued: usize,
}

/// A link that gives tasks and messages to one process; cheap to clone.
#[derive(Clone)]
pub struct ProcessLink {
    intake: Arc<TaskIntake>,
}

impl fmt::Debug for ProcessLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessLink")
            .field("name", &self.intake.name)
            .finish_non_exhaustive()
    }
}

impl ProcessLink {
    pub(super) fn new(intake: Arc<TaskIntake>) -> Self {
        Self { intake }
    }

    /// Name of the process.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.intake.name
    }

    /// Gives the process a task. Never waits.
    ///
    /// An accepted task is run at least once, after all tasks accepted before it; its outcome
    /// comes as [`super::ProcessEvent::Finished`] with the id that is returned here.
    ///
    /// # Errors
    ///
    /// [`TaskError`]; then the task was not accepted.
    pub fn task(&self, payload: impl Into<Bytes>) -> Result<TaskId, TaskError> {
        self.intake
            .accept(PipeKind::Task, payload.into())
            .map(TaskId)
    }

    /// Sends the process a message, in order with the tasks. Never waits.
    ///
    /// The message is kept until the kernel has all its bytes, not until the process has read it.
    ///
    /// # Errors
    ///
    /// [`TaskError`]; then the message was not accepted.
    pub fn send(&self, payload: impl Into<Bytes>) -> Result<(), TaskError> {
        self.intake
            .accept(PipeKind::Message, payload.into())
            .map(|_| ())
    }

    /// Reads the statistics of the process.
    #[must_use]
    pub fn stats(&self) -> ProcessStats {
        self.intake.stats()
    }
}

/// The accepted entries of one process and their counts, which all threads share.
///
/// Invariant: `tasks` and `bytes` count the entries in `queue` and in the supervisor's ledger,
/// together.
pub(super) struct TaskIntake {
    pub name: Arc<str>,
    settings: ProcessSettings,
    wake: Wake,
    state: Mutex<IntakeState>,
    let_go: Condvar,
}

struct IntakeState {
    /// Accepted entries that the supervisor hasn't taken yet.
    queue: Vec<LedgerEntry>,
    tasks: usize,
    bytes: usize,
    next_id: u64,
    open: bool,
    /// Whether those who give something have to wait.
    is_held: bool,
    pid: Option<u32>,
    starts: u64,
    tasks_finished: u64,
}

impl TaskIntake {
    pub(crate) fn new(name: Arc<str>, settings: ProcessSettings, wake: Wake) -> Self {
        let state = IntakeState {
            queue: Vec::new(),
            tasks: 0,
            bytes: 0,
            next_id: 1,
            open: true,
            is_held: false,
            pid: None,
            starts: 0,
            tasks_finished: 0,
        };
        Self {
            name,
            settings,
            wake,
            state: Mutex::new(state),
            let_go: Condvar::new(),
        }
    }

    fn accept(&self, kind: PipeKind, payload: Bytes) -> Result<u64, TaskError> {
        let size_max = self.settings.frame_size_max as usize;
        if payload.len() > size_max {
            return Err(TaskError::TooLarge {
                size: payload.len(),
                size_max,
            });
        }
        let mut state = self.lock();
        while state.is_held {
            let waited = self.let_go.wait(state);
            // Nobody panics under this lock.
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if !state.open {
            return Err(TaskError::Stopping);
        }
        let mut entry = LedgerEntry {
            kind,
            id: state.next_id,
            payload,
        };
        let is_over =
            state.bytes + entry.weight() > self.settings.pipe_bytes_max && state.bytes > 0;
        let is_task = kind == PipeKind::Task;
        if is_over || (is_task && state.tasks >= self.settings.tasks_unfinished_max) {
            return Err(TaskError::Full {
                tasks: state.tasks,
                bytes: state.bytes,
            });
        }
        if is_task {
            state.next_id += 1;
            state.tasks += 1;
        } else {
            entry.id = 0;
        }
        let id = entry.id;
        state.bytes += entry.weight();
        let is_first = state.queue.is_empty();
        state.queue.push(entry);
        drop(state);
        // Only the thread that found the queue empty wakes the supervisor, which takes all entries
        // at once.
        if is_first {
            (self.wake)();
        }
        Ok(id)
    }

    /// Moves the entries accepted since the last call into `queue`, which is empty.
    pub(crate) fn take(&self, queue: &mut Vec<LedgerEntry>) {
        debug_assert!(queue.is_empty(), "what was taken before is in the ledger");
        std::mem::swap(&mut self.lock().queue, queue);
    }

    /// Has those wait who give something, rather than that it is accepted and lost.
    pub(crate) fn hold(&self) {
        self.lock().is_held = true;
    }

    /// Lets them go on.
    pub(crate) fn let_go(&self) {
        self.lock().is_held = false;
        self.let_go.notify_all();
    }

    /// Refuses further tasks and messages.
    pub(crate) fn close(&self) {
        self.lock().open = false;
    }

    /// Frees the room of a finished task.
    pub(crate) fn release_task(&self, weight: usize) {
        let mut state = self.lock();
        state.tasks -= 1;
        state.bytes -= weight;
        state.tasks_finished += 1;
    }

    /// Frees the room of written messages.
    pub(crate) fn release_messages(&self, weight: usize) {
        if weight > 0 {
            self.lock().bytes -= weight;
        }
    }

    /// Notes that the process was started.
    pub(crate) fn started(&self, pid: u32) {
        let mut state = self.lock();
        state.pid = Some(pid);
        state.starts += 1;
    }

    /// Counts what a handover has to have beside the ledger.
    pub(super) fn counts(&self) -> TaskCounts {
        let state = self.lock();
        TaskCounts {
            next_id: state.next_id,
            starts: state.starts,
            tasks_finished: state.tasks_finished,
        }
    }

    /// Goes on from what was handed over; nothing has been accepted yet.
    pub(super) fn take_over(
        &self,
        counts: TaskCounts,
        (tasks, bytes): (usize, usize),
        pid: Option<u32>,
    ) {
        let mut state = self.lock();
        debug_assert!(state.queue.is_empty(), "the gate is closed");
        state.next_id = counts.next_id;
        state.starts = counts.starts;
        state.tasks_finished = counts.tasks_finished;
        (state.tasks, state.bytes, state.pid) = (tasks, bytes, pid);
    }

    /// Notes that the process has died.
    pub(crate) fn died(&self) {
        self.lock().pid = None;
    }

    pub(crate) fn stats(&self) -> ProcessStats {
        let state = self.lock();
        ProcessStats {
            name: self.name.clone(),
            pid: state.pid,
            restarts: state.starts.saturating_sub(1),
            tasks_finished: state.tasks_finished,
            tasks_unfinished: state.tasks,
            bytes_queued: state.bytes,
        }
    }

    fn lock(&self) -> MutexGuard<'_, IntakeState> {
        sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::ledger::ENTRY_SIZE;
    use super::*;

    fn intake(settings: ProcessSettings) -> (ProcessLink, Arc<TaskIntake>, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counter = wakes.clone();
        let wake: Wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let intake = Arc::new(TaskIntake::new("p".into(), settings, wake));
        (ProcessLink::new(intake.clone()), intake, wakes)
    }

    #[test]
    fn only_the_first_of_those_that_wait_wakes() {
        let (link, intake, wakes) = intake(ProcessSettings::default());
        for _ in 0..3 {
            link.task("x").unwrap();
        }
        link.send("m").unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        let mut queue = Vec::new();
        intake.take(&mut queue);
        assert_eq!(
            queue.iter().map(|entry| entry.id).collect::<Vec<_>>(),
            [1, 2, 3, 0]
        );
        link.task("x").unwrap();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn tasks_are_bounded_in_number_and_a_finished_one_makes_room() {
        let settings = ProcessSettings {
            tasks_unfinished_max: 2,
            ..ProcessSettings::default()
        };
        let (link, intake, _) = intake(settings);
        link.task("x").unwrap();
        link.task("x").unwrap();
        assert_eq!(
            link.task("x"),
            Err(TaskError::Full {
                tasks: 2,
                bytes: 2 * (ENTRY_SIZE + 1)
            })
        );
        link.send("messages are not tasks").unwrap();
        intake.release_task(ENTRY_SIZE + 1);
        assert_eq!(link.task("x"), Ok(TaskId(3)));
    }

    #[test]
    fn bytes_are_bounded_but_one_entry_alone_always_fits() {
        let settings = ProcessSettings {
            pipe_bytes_max: 1_000,
            ..ProcessSettings::default()
        };
        let (link, intake, _) = intake(settings);
        link.send(vec![0; 5_000]).unwrap();
        assert_eq!(
            link.send(""),
            Err(TaskError::Full {
                tasks: 0,
                bytes: 5_000 + ENTRY_SIZE
            })
        );
        intake.release_messages(5_000 + ENTRY_SIZE);
        link.send(vec![0; 1_000 - ENTRY_SIZE]).unwrap();
        assert!(link.send("").is_err());
    }

    #[test]
    fn a_payload_larger_than_a_frame_and_a_closed_intake_are_told_apart() {
        let settings = ProcessSettings {
            frame_size_max: 10,
            ..ProcessSettings::default()
        };
        let (link, intake, _) = intake(settings);
        assert_eq!(
            link.task(vec![0; 11]),
            Err(TaskError::TooLarge {
                size: 11,
                size_max: 10
            })
        );
        link.task(vec![0; 10]).unwrap();
        intake.close();
        assert_eq!(link.task("x"), Err(TaskError::Stopping));
    }
}
