//! The callbacks of a server, and calling them safely.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::handle::WorkerHandle;
use super::message::{Frame, Request};
use super::process::{ProcessMessage, TaskOutcome};
use super::responder::Responder;
use crate::net::Fd;
use crate::proto::connection::CloseReason;

type Callback<A> = Option<Box<dyn Fn(&WorkerHandle, A) + Send + Sync>>;

/// What the server's user wants to be told of; what isn't set is passed over.
#[derive(Default)]
pub(super) struct Handlers {
    pub(super) on_start: Callback<()>,
    pub(super) on_worker_start: Callback<usize>,
    pub(super) on_open: Option<Box<dyn Fn(&WorkerHandle, &Request) + Send + Sync>>,
    pub(super) on_message: Option<Box<dyn Fn(&WorkerHandle, Frame<'_>) + Send + Sync>>,
    pub(super) on_request: Option<Box<dyn Fn(&WorkerHandle, Request, Responder) + Send + Sync>>,
    pub(super) on_close: Option<Box<dyn Fn(&WorkerHandle, Fd, &CloseReason) + Send + Sync>>,
    pub(super) on_finish: Callback<TaskOutcome>,
    pub(super) on_pipe_message: Callback<ProcessMessage>,
    pub(super) on_worker_stop: Callback<usize>,
    pub(super) on_shutdown: Option<Box<dyn Fn() + Send + Sync>>,
}

/// Whether a callback came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Called {
    Returned,
    Panicked,
}

/// Calls `callback`; a panic in it is logged and goes no further.
pub(super) fn call(name: &'static str, fd: Option<Fd>, callback: impl FnOnce()) -> Called {
    match catch_unwind(AssertUnwindSafe(callback)) {
        Ok(()) => Called::Returned,
        Err(panic) => {
            let what = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
                .unwrap_or("no message");
            tracing::error!(callback = name, fd = fd.map(|fd| fd.0), what, "a callback panicked");
            Called::Panicked
        }
    }
}
