//! The runner, which calls the callbacks of one worker: on the worker's thread, or on a reactor's
//! if there are no workers.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::connection_job::UserFunction;
use super::delivery::{OwnReactor, PerBatch};
use super::handle::{Handle, TimerCallback, WorkerHandle};
use super::handlers::{Called, Handlers, call};
use super::message::{Frame, Request};
use super::queue::WorkerJob;
use super::responder::Responder;
use super::shared::ServerShared;
use super::signal::ServerSignal;
use super::timers::{self, TimerId, Timers};
use super::turn;
use crate::base::Fd;
use crate::proto::connection::{self, CloseReason};
use crate::proto::http::{Head, Response};

/// Close code of RFC 6455 §7.4.1 for a handler that failed.
pub(super) const INTERNAL_ERROR: u16 = 1011;

/// Close code of RFC 6455 §7.4.1 for a server that stops.
const GOING_AWAY: u16 = 1001;

/// Makes the runners of a server.
pub(super) struct RunnerMaker {
    pub(super) shared: Arc<ServerShared>,
    pub(super) timers: Arc<Timers<TimerCallback>>,
}

impl RunnerMaker {
    /// Makes the runner of a worker, or of a reactor whose thread is given.
    pub(super) fn make(
        &self,
        id: usize,
        own: Option<OwnReactor>,
        handlers: &Arc<Handlers>,
    ) -> Runner {
        let delivery = PerBatch::new(self.shared.mailboxes.len(), own);
        let (shared, timers) = (Arc::clone(&self.shared), Arc::clone(&self.timers));
        Runner {
            handle: Handle::new(shared, timers, delivery),
            handlers: Arc::clone(handlers),
            id,
            timers: RefCell::default(),
        }
    }
}

pub(super) struct Runner {
    pub(super) handle: WorkerHandle,
    handlers: Arc<Handlers>,
    id: usize,
    /// The timers that `on_worker_start` has set, which end with this worker.
    timers: RefCell<Vec<TimerId>>,
}

impl Runner {
    /// Has other callbacks from now on.
    pub(super) fn renew(&mut self, handlers: Arc<Handlers>) {
        self.handlers = handlers;
    }

    /// The number of the thread among those of its kind.
    pub(super) fn id(&self) -> usize {
        self.id
    }

    /// Whether some events may be handled on the reactors although there are workers.
    pub(super) fn knows_light_events(&self) -> bool {
        self.handlers.are_some_light()
    }

    /// Tells the user, on the main thread, that the server listens.
    pub(super) fn server_started(&self) {
        if let Some(on_start) = &self.handlers.on_start {
            call("on_start", None, || on_start(&self.handle));
            self.flush();
        }
    }

    /// Tells the user of a signal, on the main thread; `false` where the user has no callback for it.
    pub(super) fn signalled(&self, signal: ServerSignal) -> bool {
        let Some(on_signal) = &self.handlers.on_signal else {
            return false;
        };
        call("on_signal", None, || on_signal(&self.handle, signal));
        self.flush();
        true
    }

    /// Tells the user, on the main thread, that a stop has begun.
    pub(super) fn server_stops(&self) {
        if let Some(on_stopping) = &self.handlers.on_stopping {
            call("on_stopping", None, || on_stopping(&self.handle));
            self.flush();
        }
    }

    pub(super) fn start(&self) {
        if let Some(on_worker_start) = &self.handlers.on_worker_start {
            let timers = timers::collect(|| {
                call("on_worker_start", None, || {
                    on_worker_start(&self.handle, self.id)
                });
            });
            self.timers.replace(timers);
        }
    }

    pub(super) fn stop(&self) {
        if let Some(on_worker_stop) = &self.handlers.on_worker_stop {
            call("on_worker_stop", None, || {
                on_worker_stop(&self.handle, self.id)
            });
        }
        for timer in self.timers.take() {
            self.handle.clear(timer);
        }
    }

    /// Tells the user that everything has ended.
    pub(super) fn server_stopped(&self) {
        if let Some(on_shutdown) = &self.handlers.on_shutdown {
            call("on_shutdown", None, || on_shutdown());
        }
    }

    /// Sends the commands that the callbacks gave.
    pub(super) fn flush(&self) {
        self.handle.delivery.flush(self.handle.shared());
    }

    pub(super) fn opened(&self, fd: Fd, head: Head) {
        let Some(on_open) = &self.handlers.on_open else {
            return;
        };
        let request = Request::new(fd, head, Bytes::new());
        let called = call("on_open", Some(fd), || on_open(&self.handle, &request));
        self.disconnect_after(called, fd);
    }

    pub(super) fn message(&self, frame: Frame<'_>) {
        let Some(on_message) = &self.handlers.on_message else {
            return;
        };
        let called = call("on_message", Some(frame.fd), || {
            on_message(&self.handle, frame)
        });
        self.disconnect_after(called, frame.fd);
    }

    /// Handles a message if it is light; `false` if nothing was done.
    pub(super) fn light_message(&self, frame: Frame<'_>) -> bool {
        let handlers = &self.handlers;
        let (Some(is_light), Some(on_message)) = (&handlers.is_light_message, &handlers.on_message)
        else {
            return false;
        };
        let mut has_begun = false;
        let called = call("on_message", Some(frame.fd), || {
            has_begun = is_light(frame);
            if has_begun {
                on_message(&self.handle, frame);
            }
        });
        self.disconnect_after(called, frame.fd);
        has_begun || called == Called::Panicked
    }

    /// Whether a request is light.
    pub(super) fn is_light_request(&self, fd: Fd, request: &connection::HttpRequest) -> bool {
        let Some(is_light) = &self.handlers.is_light_request else {
            return false;
        };
        let mut answer = false;
        call("is_light_request", Some(fd), || {
            answer = is_light(&request.head, &request.body);
        });
        answer
    }

    pub(super) fn request(&self, fd: Fd, request: connection::HttpRequest) {
        let shared = Arc::clone(self.handle.shared());
        let responder = Responder::new(fd, request.serial, shared);
        let Some(on_request) = &self.handlers.on_request else {
            responder.end(Response::new(404));
            return;
        };
        let request = Request::new(fd, request.head, request.body);
        // A panic drops the responder, which answers 500.
        call("on_request", Some(fd), || {
            on_request(&self.handle, request, responder)
        });
    }

    pub(super) fn closed(&self, fd: Fd, reason: &CloseReason) {
        if let Some(on_close) = &self.handlers.on_close {
            call("on_close", Some(fd), || on_close(&self.handle, fd, reason));
        }
        // Nothing of it comes any more: not its turn, and not the end of a pause.
        turn::end();
        self.handle.shared().pauses.forget(fd);
    }

    /// Whether `on_close` of a connection is still to come, as far as its thread knows without a look at
    /// the events that wait.
    pub(super) fn has_not_closed(&self, fd: Fd) -> bool {
        self.handle.shared().pauses.contains(fd) || self.handle.exists(fd)
    }

    /// Calls a function for a connection.
    pub(super) fn function(&self, fd: Fd, function: UserFunction) {
        let called = call("a function", Some(fd), || function.call(&self.handle));
        self.disconnect_after(called, fd);
    }

    pub(super) fn buffer_empty(&self, fd: Fd) {
        if let Some(on_buffer_empty) = &self.handlers.on_buffer_empty {
            call("on_buffer_empty", Some(fd), || {
                on_buffer_empty(&self.handle, fd)
            });
        }
    }

    /// Disconnects `fd`, whose earlier events are all handled, because the server stops.
    pub(super) fn farewell(&self, fd: Fd) {
        if let Some(on_drain) = &self.handlers.on_drain {
            call("on_drain", Some(fd), || on_drain(&self.handle, fd));
        }
        // The error says that the connection is gone, which needs no farewell.
        self.handle
            .disconnect(fd, GOING_AWAY, "the server is shutting down")
            .ok();
    }

    pub(super) fn job(&self, job: WorkerJob) {
        match job {
            WorkerJob::Timer(timer) => self.timer(timer),
            WorkerJob::TaskFinished { task, outcome } => {
                if let Some(on_finish) = &self.handlers.on_finish {
                    call("on_finish", None, || on_finish(&self.handle, task, outcome));
                }
            }
            WorkerJob::PipeMessage { process, payload } => {
                if let Some(on_message) = &self.handlers.on_pipe_message {
                    call("on_pipe_message", None, || {
                        on_message(&self.handle, &process, payload)
                    });
                }
            }
        }
    }

    fn timer(&self, timer: u64) {
        // Called without the timers' lock, since the callback may set and clear timers.
        if let Some(callback) = self.handle.timers().due(timer) {
            call("timer", None, || callback(&self.handle));
        }
    }

    fn disconnect_after(&self, called: Called, fd: Fd) {
        if called == Called::Panicked {
            self.handle
                .disconnect(fd, INTERNAL_ERROR, "the handler failed")
                .ok();
        }
    }
}
