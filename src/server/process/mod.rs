//! A supervised child process with a framed two-way pipe, in the manner of Swoole's `addProcess`.
//!
//! The server's main thread owns a [`Supervisor`], which starts each process by re-executing the
//! running binary, writes tasks and messages to it, starts it again when it dies, and ends it with
//! the server. Any thread gives tasks and messages to a process through a [`ProcessLink`]. In the
//! child, `main` runs again up to [`entered`], which returns the [`Process`] instead of `None`.
//!
//! An accepted **task** is kept until its result has arrived: when the process dies first, the next
//! one gets the task again, in the order of acceptance. So a task runs **at least once**; a side
//! effect that mustn't happen twice has to be made idempotent. A **message** is dropped once the
//! kernel has all its bytes: the bytes that a dying process had not read are lost.
//!
//! A **renewal** replaces a process in order: it finishes the frame under way and what it was given, and ends;
//! what waits goes to the next one, which is started at once. A **handover** is what the next image of the
//! program needs to go on with the same children.
//!
//! A task goes through the files in this order: `link` (accepted, on any thread), `supervisor` and
//! `supervised` (the main thread, one place for each process), `ledger` (kept until it is
//! finished), `child_process` (one life of the process) and `pipe` (frames) to `child`, the other
//! side; its outcome comes back as an `event`.
//!
//! The process dies with the *thread* that started it (`PR_SET_PDEATHSIG` counts threads, not
//! processes), so only a thread that lives as long as the server may drive the supervisor: the main
//! thread. Needs Linux 5.4 (`waitid` with `P_PIDFD`).

mod child;
mod child_handle;
mod child_process;
mod event;
mod handover;
mod ledger;
mod link;
mod pipe;
mod settings;
mod supervised;
mod supervisor;

pub use child::{Incoming, Process, ProcessPipe, entered};
pub use event::{ProcessEvent, TaskOutcome};
pub use handover::{PROCESSES_FORMAT, ProcessesHandover};
pub use link::{ProcessLink, ProcessStats, TaskError, TaskId};
pub use settings::{ProcessLaunch, ProcessSettings, ProcessSpec};
pub use supervisor::Supervisor;
