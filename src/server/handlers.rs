//! The callbacks of a server, and the call that survives their panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::handle::WorkerHandle;
use super::message::{Frame, Request};
use super::process::{TaskId, TaskOutcome};
use super::responder::Responder;
use super::signal::ServerSignal;
use crate::base::Fd;
use crate::proto::connection::CloseReason;
use crate::proto::http::Head;

/// A callback with its arguments behind the handle.
pub(super) type Callback<F> = Option<Arc<F>>;

/// The callbacks that the server's user has set; events without a callback are skipped.
#[derive(Default, Clone)]
#[allow(
    clippy::type_complexity,
    reason = "each is the signature that its builder method shows"
)]
pub(super) struct Handlers {
    pub(super) on_start: Callback<dyn Fn(&WorkerHandle) + Send + Sync>,
    pub(super) on_signal: Callback<dyn Fn(&WorkerHandle, ServerSignal) + Send + Sync>,
    pub(super) on_stopping: Callback<dyn Fn(&WorkerHandle) + Send + Sync>,
    pub(super) on_worker_start: Callback<dyn Fn(&WorkerHandle, usize) + Send + Sync>,
    pub(super) on_open: Callback<dyn Fn(&WorkerHandle, &Request) + Send + Sync>,
    pub(super) on_message: Callback<dyn Fn(&WorkerHandle, Frame<'_>) + Send + Sync>,
    pub(super) on_request: Callback<dyn Fn(&WorkerHandle, Request, Responder) + Send + Sync>,
    /// Whether a message may be handled on its reactor's thread; `is_light_request` says the same of a
    /// request.
    pub(super) is_light_message: Callback<dyn Fn(Frame<'_>) -> bool + Send + Sync>,
    pub(super) is_light_request: Callback<dyn Fn(&Head, &[u8]) -> bool + Send + Sync>,
    pub(super) on_close: Callback<dyn Fn(&WorkerHandle, Fd, &CloseReason) + Send + Sync>,
    pub(super) on_drain: Callback<dyn Fn(&WorkerHandle, Fd) + Send + Sync>,
    pub(super) on_buffer_empty: Callback<dyn Fn(&WorkerHandle, Fd) + Send + Sync>,
    pub(super) on_finish: Callback<dyn Fn(&WorkerHandle, TaskId, TaskOutcome) + Send + Sync>,
    pub(super) on_pipe_message: Callback<dyn Fn(&WorkerHandle, &str, Bytes) + Send + Sync>,
    pub(super) on_worker_stop: Callback<dyn Fn(&WorkerHandle, usize) + Send + Sync>,
    pub(super) on_shutdown: Callback<dyn Fn() + Send + Sync>,
}

impl Handlers {
    /// Whether some events may be handled on the reactors although there are workers.
    pub(super) fn are_some_light(&self) -> bool {
        self.is_light_message.is_some() || self.is_light_request.is_some()
    }
}

/// Whether a callback returned or panicked.
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
            let what = panic_message(&*panic);
            tracing::error!(
                callback = name,
                fd = fd.map(|fd| fd.0),
                what,
                "a callback panicked"
            );
            Called::Panicked
        }
    }
}

/// Returns what a panic said.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
