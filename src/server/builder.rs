//! Putting a server together.

use std::io;
use std::net::ToSocketAddrs;
use std::process::exit;
use std::sync::Arc;

use bytes::Bytes;

use super::error::ServerError;
use super::handle::{Handle, TASK_PROCESS, WorkerHandle};
use super::lifecycle::{Lifecycle, ServerOutcome, StopSource};
use super::message::{Frame, Request};
use super::process::{self, Process, TaskId};
use super::responder::Responder;
use super::running::RunningServer;
use super::settings::ServerSettings;
use super::spec::ServerSpec;
use crate::base::pressure::Pressure;
use crate::base::{Fd, REACTORS_MAX};
use crate::net::reactor::LISTENERS_MAX;
use crate::proto::connection::{CloseReason, Verdict};
use crate::proto::http::Head;

/// The most workers a server may have.
pub const WORKERS_MAX: usize = 1_024;

/// A server to be.
///
/// ```no_run
/// use tidings::server::Server;
///
/// # fn main() -> Result<(), tidings::server::ServerError> {
/// Server::builder()
///     .listen("127.0.0.1:9502")
///     .on_message(|server, frame| drop(server.push(frame.fd, frame)))
///     .on_request(|_, request, responder| responder.end(format!("you asked {}", request.path())))
///     .run()?;
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    spec: ServerSpec,
    /// The first thing that was wrong; reported when the server is to start.
    error: Option<ServerError>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            spec: ServerSpec::default(),
            error: None,
        }
    }

    /// Listens on an address, such as `"127.0.0.1:9502"`; HTTP and WebSocket share the port.
    ///
    /// Port 0 takes a free one. May be given several times.
    #[must_use]
    pub fn listen(mut self, address: impl AsRef<str>) -> Self {
        let address = address.as_ref();
        match address.to_socket_addrs() {
            Ok(addresses) => self.spec.addresses.extend(addresses.take(1)),
            Err(source) => {
                let address = address.to_owned();
                self.error
                    .get_or_insert(ServerError::Address { address, source });
            }
        }
        self
    }

    /// Threads that own the sockets: 1 to 64. Default 1.
    #[must_use]
    pub fn reactors(mut self, reactors: usize) -> Self {
        self.spec.reactors = reactors;
        self
    }

    /// Threads that run the callbacks; 0 runs them on the reactors, for callbacks that never block.
    /// Default 1.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.spec.workers = workers;
        self
    }

    /// Bounds and times.
    #[must_use]
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.spec.settings = settings;
        self
    }

    /// Judges every request head on the reactor's thread: health checks, refusals. Must not block.
    #[must_use]
    pub fn gate(mut self, gate: impl Fn(&Head) -> Verdict + Send + Sync + 'static) -> Self {
        self.spec.gate = Arc::new(gate);
        self
    }

    /// The server listens; called on the main thread, before anything else.
    #[must_use]
    pub fn on_start(mut self, callback: impl Fn(&WorkerHandle) + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_start = Some(Box::new(callback));
        self
    }

    /// A worker begins; called on its thread with its number.
    #[must_use]
    pub fn on_worker_start(
        mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_worker_start = Some(Box::new(callback));
        self
    }

    /// A WebSocket is open; the request is the one that opened it.
    #[must_use]
    pub fn on_open(
        mut self,
        callback: impl Fn(&WorkerHandle, &Request) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_open = Some(Box::new(callback));
        self
    }

    /// A WebSocket sent a message. A panic closes it with 1011.
    #[must_use]
    pub fn on_message(
        mut self,
        callback: impl Fn(&WorkerHandle, Frame<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_message = Some(Box::new(callback));
        self
    }

    /// An HTTP request came. The responder may be kept and used later, from any thread; dropped,
    /// also by a panic, it answers 500. Without this callback everything is 404.
    #[must_use]
    pub fn on_request(
        mut self,
        callback: impl Fn(&WorkerHandle, Request, Responder) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_request = Some(Box::new(callback));
        self
    }

    /// A WebSocket that was open has ended: exactly once, and the last thing of it.
    #[must_use]
    pub fn on_close(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd, &CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_close = Some(Box::new(callback));
        self
    }

    /// The server stops, and is about to close this WebSocket with 1001: the last chance to push.
    #[must_use]
    pub fn on_drain(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_drain = Some(Box::new(callback));
        self
    }

    /// A connection has as few bytes waiting as [`Handle::await_buffer`] asked to be told of.
    #[must_use]
    pub fn on_buffer_empty(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_buffer_empty = Some(Box::new(callback));
        self
    }

    /// A queue of yours that the callbacks fill: while its pressure is high, nothing is read from
    /// any connection. Once it is relieved, call [`Handle::nudge`].
    #[must_use]
    pub fn pressure(mut self, pressure: Arc<Pressure>) -> Self {
        self.spec.pressures.push(pressure);
        self
    }

    /// The first serial number of an [`Fd`], at least; see [`crate::base::fd::serials_by_clock`].
    /// Default 0: only the clock tells what earlier processes may have handed out.
    #[must_use]
    pub fn serials_from(mut self, serials_from: u64) -> Self {
        self.spec.serials_from = serials_from;
        self
    }

    /// A process of its own, started and restarted by the server, with a pipe between the two.
    ///
    /// `entry` runs in a child in which `main` was run again up to [`Builder::run`]; so nothing
    /// that only the server should do may stand before that. When it returns, the process ends.
    #[must_use]
    pub fn process(
        mut self,
        name: &str,
        entry: impl FnOnce(Process) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.spec.processes.push((name.to_owned(), Box::new(entry)));
        self
    }

    /// A process sent a message over its pipe; called on a worker with the process's name.
    #[must_use]
    pub fn on_pipe_message(
        mut self,
        callback: impl Fn(&WorkerHandle, &str, Bytes) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_pipe_message = Some(Box::new(callback));
        self
    }

    /// Runs tasks, in a process of its own named `task`; what it gives back goes to
    /// [`Builder::on_finish`]. [`Handle::task`] gives it work.
    #[must_use]
    pub fn on_task(self, handler: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        self.process(TASK_PROCESS, |process| process.run_tasks(handler))
    }

    /// A task has ended; called on a worker.
    #[must_use]
    pub fn on_finish(
        mut self,
        callback: impl Fn(&WorkerHandle, TaskId, process::TaskOutcome) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_finish = Some(Box::new(callback));
        self
    }

    /// A worker ends; called on its thread with its number, after all other callbacks of it.
    ///
    /// Where there are no workers, number 0 is told on the main thread, which has run what the
    /// processes still sent.
    #[must_use]
    pub fn on_worker_stop(
        mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_worker_stop = Some(Box::new(callback));
        self
    }

    /// Everything has ended; called last, on the main thread.
    #[must_use]
    pub fn on_shutdown(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_shutdown = Some(Box::new(callback));
        self
    }

    /// Runs the server on this thread until SIGTERM, SIGINT, SIGHUP or [`Handle::stop`] ends it.
    ///
    /// SIGUSR1 and SIGUSR2 are logged and change nothing; SIGHUP is left to a process that was
    /// started with it ignored, as by `nohup`.
    ///
    /// Call it on the main thread: the processes die with the thread that runs this. In one of the
    /// server's processes it runs that process instead, and doesn't return.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: it can't start. What a stop had to cut is no error but in the outcome.
    pub fn run(self) -> Result<ServerOutcome, ServerError> {
        let (lifecycle, _) = self.prepare(StopSource::Signals)?;
        Ok(lifecycle.run())
    }

    /// Runs the server on a thread of its own, without looking at signals: for tests, and for
    /// programs that have a main loop already.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: it can't start.
    pub fn start(self) -> Result<RunningServer, ServerError> {
        // Made on the thread that runs it, since the processes die with that one.
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let main = move || match self.prepare(StopSource::Handle) {
            Ok((lifecycle, handle)) => {
                drop(sender.send(Ok(handle)));
                Some(lifecycle.run())
            }
            Err(error) => {
                drop(sender.send(Err(error)));
                None
            }
        };
        let thread = std::thread::Builder::new()
            .name("main".into())
            .spawn(main)
            .map_err(ServerError::system("start a thread"))?;
        let handle = receiver.recv().map_err(|_| ServerError::System {
            what: "start",
            source: io::Error::other("the main thread panicked"),
        })??;
        Ok(RunningServer { handle, thread })
    }

    /// Checks everything, binds the addresses, starts processes and threads. In a process of the
    /// server it runs that one and doesn't return.
    fn prepare(mut self, stop_source: StopSource) -> Result<(Lifecycle, Handle), ServerError> {
        if let Some(process) = process::entered().map_err(ServerError::system("enter a process"))? {
            self.enter(process)?;
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        if self.spec.addresses.is_empty() {
            return Err(ServerError::NoAddress);
        }
        within(
            "listening addresses",
            self.spec.addresses.len(),
            1,
            LISTENERS_MAX,
        )?;
        within("reactors", self.spec.reactors, 1, REACTORS_MAX)?;
        within("workers", self.spec.workers, 0, WORKERS_MAX)?;
        Lifecycle::start(self.spec, stop_source)
    }

    fn enter(&mut self, process: Process) -> Result<(), ServerError> {
        let entry = self
            .spec
            .processes
            .iter()
            .position(|(name, _)| name == process.name());
        let Some(entry) = entry else {
            return Err(ServerError::UnknownProcess(process.name().to_owned()));
        };
        let (name, entry) = self.spec.processes.swap_remove(entry);
        match entry(process) {
            Ok(()) => exit(0),
            Err(error) => {
                tracing::error!(process = name, %error, "a process failed");
                exit(1)
            }
        }
    }
}

fn within(name: &'static str, value: usize, min: usize, max: usize) -> Result<(), ServerError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ServerError::OutOfBounds {
        name,
        value,
        min,
        max,
    })
}
