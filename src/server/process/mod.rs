//! A supervised child process with a framed two-way pipe, in the manner of Swoole's `addProcess`.
//!
//! The server's main thread owns a [`Supervisor`]: it starts each process by re-executing the
//! running binary, writes tasks and messages to it, starts it again when it dies, and ends it with
//! the server. Any thread gives it work through a [`ProcessLink`]. In the child, `main` runs again
//! up to [`entered`], which hands out the [`Process`] instead of `None`.
//!
//! A **task** that was accepted is kept until its result has arrived: when the process dies first,
//! the next one gets it again, in the order of acceptance. So a task runs **at least once**; what
//! its side effects may not bear twice must be made idempotent. A **message** is given up once the
//! kernel has all its bytes: what a dying process had not read of them is lost.
//!
//! The process dies with the *thread* that started it (`PR_SET_PDEATHSIG` counts threads, not
//! processes), so only a thread that lives as long as the server may drive the supervisor: the main
//! thread. Needs Linux 5.3 (`pidfd_open`).

mod child;
mod child_process;
mod event;
mod ledger;
mod link;
mod pipe;
mod settings;
mod supervised;
mod supervisor;

pub use child::{Incoming, Process, ProcessPipe, entered};
pub use event::{ProcessEvent, TaskOutcome};
pub use link::{ProcessLink, ProcessStats, TaskError, TaskId};
pub use settings::{ProcessSettings, ProcessSpec};
pub use supervisor::Supervisor;
