//! The callbacks that are made anew at each renewal of the workers, and the function that makes them.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;

use super::handle::WorkerHandle;
use super::handlers::{Handlers, panic_message};
use super::message::{Frame, Request};
use super::process::{TaskId, TaskOutcome};
use super::responder::Responder;
use crate::base::Fd;
use crate::proto::connection::CloseReason;

/// An error of any kind.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// The function of [`Builder::handlers`](super::Builder::handlers).
pub(super) type HandlersFactory =
    Box<dyn Fn(&mut HandlerSet) -> Result<(), BoxError> + Send + Sync>;

/// The callbacks of the workers, to be set by the function of
/// [`Builder::handlers`](super::Builder::handlers).
///
/// Each method is the one of the same name of [`Builder`](super::Builder), and takes the place of a
/// callback that was set there.
pub struct HandlerSet {
    handlers: Handlers,
}

impl HandlerSet {
    /// Sets the callback for a worker that begins.
    pub fn on_worker_start(
        &mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_worker_start = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a WebSocket that was opened.
    pub fn on_open(
        &mut self,
        callback: impl Fn(&WorkerHandle, &Request) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_open = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a message from a WebSocket.
    pub fn on_message(
        &mut self,
        callback: impl Fn(&WorkerHandle, Frame<'_>) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_message = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for an HTTP request.
    pub fn on_request(
        &mut self,
        callback: impl Fn(&WorkerHandle, Request, Responder) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_request = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for the end of a WebSocket.
    pub fn on_close(
        &mut self,
        callback: impl Fn(&WorkerHandle, Fd, &CloseReason) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_close = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a WebSocket that is about to be closed because the server stops.
    pub fn on_drain(
        &mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_drain = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for an outbox that has become small enough.
    pub fn on_buffer_empty(
        &mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_buffer_empty = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a message from a process.
    pub fn on_pipe_message(
        &mut self,
        callback: impl Fn(&WorkerHandle, &str, Bytes) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_pipe_message = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a task that has ended.
    pub fn on_finish(
        &mut self,
        callback: impl Fn(&WorkerHandle, TaskId, TaskOutcome) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_finish = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a worker that ends.
    pub fn on_worker_stop(
        &mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> &mut Self {
        self.handlers.on_worker_stop = Some(Arc::new(callback));
        self
    }
}

/// The source of a server's callbacks: those that stay, and the function that makes the others.
pub(super) struct HandlersSource {
    pub(super) kept: Handlers,
    pub(super) factory: Option<HandlersFactory>,
}

impl HandlersSource {
    /// Makes the callbacks.
    ///
    /// # Errors
    ///
    /// The factory failed or panicked.
    pub(super) fn make(&self) -> Result<Arc<Handlers>, BoxError> {
        let mut set = HandlerSet {
            handlers: self.kept.clone(),
        };
        if let Some(factory) = &self.factory {
            let made = catch_unwind(AssertUnwindSafe(|| factory(&mut set)));
            made.unwrap_or_else(
                |panic| Err(format!("a panic: {}", panic_message(&*panic)).into()),
            )?;
        }
        Ok(Arc::new(set.handlers))
    }
}
