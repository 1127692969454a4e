//! The builder, which puts a server together.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::process::exit;
use std::sync::Arc;

use bytes::Bytes;

use super::error::ServerError;
use super::freeze::Freezes;
use super::handle::{Handle, TASK_PROCESS, WorkerHandle};
use super::handler_set::{BoxError, HandlerSet};
use super::lifecycle::{Lifecycle, StopSource};
use super::message::{Frame, Request};
use super::outcome::ServerOutcome;
use super::process::{self, Process, ProcessLaunch, TaskId};
use super::responder::Responder;
use super::running::RunningServer;
use super::settings::ServerSettings;
use super::signal::ServerSignal;
use super::spec::ServerSpec;
use super::upgrade::ThawRelay;
use crate::base::pressure::Pressure;
use crate::base::{Fd, REACTORS_MAX};
use crate::net::reactor::LISTENERS_MAX;
use crate::proto::connection::{CloseReason, Verdict};
use crate::proto::http::Head;

/// Largest number of workers in a server: a round number far above useful ones, which refuses
/// mistyped settings before any thread starts.
pub const WORKERS_MAX: usize = 1_024;

/// A builder of a server.
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
    /// The first error of a builder method, which the start returns.
    error: Option<ServerError>,
    /// The way to the main thread, where another one prepares the server.
    thaw: Option<ThawRelay>,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            spec: ServerSpec::default(),
            error: None,
            thaw: None,
        }
    }

    /// Listens on an address, such as `"127.0.0.1:9502"`; HTTP and WebSocket share the port.
    ///
    /// Port 0 takes a free one. Call it several times to listen on several addresses.
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

    /// Takes connections from a socket that listens already, such as one that the program was started
    /// with; beside those of [`Builder::listen`], in whose list of addresses it comes last.
    #[must_use]
    pub fn listener(mut self, socket: TcpListener) -> Self {
        self.spec.sockets.push(socket);
        self
    }

    /// Goes on with what an image of the program before this one has handed over, in place of what
    /// [`Builder::listen`] says. [`Builder::run`] is called on the thread that thaws then, and runs the
    /// server on the main one.
    #[doc(hidden)]
    #[must_use]
    pub fn thaw(mut self, relay: ThawRelay) -> Self {
        self.spec.entered = Some(Arc::clone(relay.entered()));
        self.thaw = Some(relay);
        self
    }

    /// Sets the number of threads that own the sockets: 1 to 64. Default 1.
    #[must_use]
    pub fn reactors(mut self, reactors: usize) -> Self {
        self.spec.reactors = reactors;
        self
    }

    /// Sets the number of threads that run the callbacks; 0 runs them on the reactors, for
    /// callbacks that never block. Default 1.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.spec.workers = workers;
        self
    }

    /// Sets the bounds and times.
    #[must_use]
    pub fn settings(mut self, settings: ServerSettings) -> Self {
        self.spec.settings = settings;
        self
    }

    /// Sets the function that judges every request head on the reactor's thread, for health checks
    /// and refusals; it is told the connection as well. It must not block.
    #[must_use]
    pub fn gate(mut self, gate: impl Fn(&Head, Fd) -> Verdict + Send + Sync + 'static) -> Self {
        self.spec.gate = Arc::new(gate);
        self
    }

    /// Sets the callback for a server that listens; called on the main thread, before all others.
    #[must_use]
    pub fn on_start(mut self, callback: impl Fn(&WorkerHandle) + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_start = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for SIGHUP, SIGUSR1 and SIGUSR2; called on the main thread, so it must not
    /// wait. None of the three stops the server then, and once a stop is under way they mean nothing.
    #[must_use]
    pub fn on_signal(
        mut self,
        callback: impl Fn(&WorkerHandle, ServerSignal) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_signal = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a stop that begins, whatever it comes from; called on the main thread.
    #[must_use]
    pub fn on_stopping(mut self, callback: impl Fn(&WorkerHandle) + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_stopping = Some(Arc::new(callback));
        self
    }

    /// Sets the function that makes the callbacks of the workers: it is called at the start, on the thread
    /// that runs the server, and at each renewal ([`Handle::reload`], SIGUSR1), on one of its own. What it
    /// sets takes the place of callbacks that are set here; those that it doesn't set stay.
    ///
    /// An error or a panic at a renewal leaves everything as it is; at the start it is the server's error.
    ///
    /// ```no_run
    /// use tidings::server::{BoxError, Server};
    ///
    /// # fn main() -> Result<(), tidings::server::ServerError> {
    /// Server::builder()
    ///     .listen("127.0.0.1:9502")
    ///     .handlers(|set| {
    ///         // Read again at each renewal.
    ///         let greeting = std::fs::read_to_string("greeting.txt")?;
    ///         set.on_open(move |server, request| {
    ///             server.push(request.fd, greeting.as_str()).ok();
    ///         });
    ///         Ok(())
    ///     })
    ///     .run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn handlers(
        mut self,
        factory: impl Fn(&mut HandlerSet) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.spec.factory = Some(Box::new(factory));
        self
    }

    /// Sets the callback for a worker that begins; called on its thread with its number, also after a
    /// renewal. Timers that it sets belong to this worker: they end with it, and so at its renewal.
    #[must_use]
    pub fn on_worker_start(
        mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_worker_start = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a WebSocket that was opened; the request is the one that opened it.
    #[must_use]
    pub fn on_open(
        mut self,
        callback: impl Fn(&WorkerHandle, &Request) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_open = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a message from a WebSocket. If it panics, the WebSocket is closed with
    /// 1011.
    #[must_use]
    pub fn on_message(
        mut self,
        callback: impl Fn(&WorkerHandle, Frame<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_message = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for an HTTP request. The responder may be kept and used later, from any
    /// thread; one that is dropped, even by a panic, answers 500. Without this callback every
    /// request is answered with 404.
    #[must_use]
    pub fn on_request(
        mut self,
        callback: impl Fn(&WorkerHandle, Request, Responder) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_request = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for the end of a WebSocket; called exactly once for each that was opened,
    /// as its last event.
    #[must_use]
    pub fn on_close(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd, &CloseReason) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_close = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a WebSocket that is about to be closed with 1001 because the server
    /// stops: the last chance to push.
    #[must_use]
    pub fn on_drain(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_drain = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for an outbox that has become as small as [`Handle::await_buffer`] asked.
    #[must_use]
    pub fn on_buffer_empty(
        mut self,
        callback: impl Fn(&WorkerHandle, Fd) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_buffer_empty = Some(Arc::new(callback));
        self
    }

    /// Says which messages and requests are light: their callback never blocks on more than a short
    /// lock and costs little, so it may run on the reactor's thread, before the way to a worker
    /// would have paid. The order of the events of a connection stays.
    #[doc(hidden)]
    #[must_use]
    pub fn light(
        mut self,
        is_light_message: impl Fn(Frame<'_>) -> bool + Send + Sync + 'static,
        is_light_request: impl Fn(&Head, &[u8]) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.is_light_message = Some(Arc::new(is_light_message));
        self.spec.handlers.is_light_request = Some(Arc::new(is_light_request));
        self
    }

    /// Adds the pressure of a queue of yours that the callbacks fill: while it is high, no
    /// connection is read. Once [`Pressure::take`] returns `true`, call [`Handle::nudge`].
    #[must_use]
    pub fn pressure(mut self, pressure: Arc<Pressure>) -> Self {
        self.spec.pressures.push(pressure);
        self
    }

    /// Sets a lower bound of the serial numbers of an [`Fd`], beside that of the clock, which is
    /// [`crate::base::fd::serials_by_clock`]. Default 0: the clock's bound alone.
    #[must_use]
    pub fn serials_from(mut self, serials_from: u64) -> Self {
        self.spec.serials_from = serials_from;
        self
    }

    /// Has a part of the program that works for the server rest in a freeze, after the parts that were
    /// told before.
    #[doc(hidden)]
    #[must_use]
    pub fn freezes_with(mut self, part: Arc<dyn Freezes>) -> Self {
        self.spec.parts.push(part);
        self
    }

    /// Adds a process that the server starts and restarts, with a pipe between the two.
    ///
    /// `entry` runs in a child in which `main` has run again up to [`Builder::run`], so code before
    /// `run` runs in both. When `entry` returns, the process ends.
    #[must_use]
    pub fn process(
        mut self,
        name: &str,
        entry: impl FnOnce(Process) -> io::Result<()> + Send + 'static,
    ) -> Self {
        self.spec.processes.push((name.to_owned(), Box::new(entry)));
        self
    }

    /// Sets the arguments and the environment of the server's processes, which are those of this
    /// program unless told otherwise: every account of the machine can read arguments.
    #[must_use]
    pub fn process_launch(mut self, launch: ProcessLaunch) -> Self {
        self.spec.process_launch = launch;
        self
    }

    /// Sets the callback for a message from a process; called on a worker with the process's name.
    #[must_use]
    pub fn on_pipe_message(
        mut self,
        callback: impl Fn(&WorkerHandle, &str, Bytes) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_pipe_message = Some(Arc::new(callback));
        self
    }

    /// Sets the function that runs tasks, in a process of its own named `task`. [`Handle::task`]
    /// gives it tasks; its results go to [`Builder::on_finish`].
    #[must_use]
    pub fn on_task(self, handler: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        self.process(TASK_PROCESS, |process| process.run_tasks(handler))
    }

    /// Sets the callback for a task that has ended; called on a worker.
    #[must_use]
    pub fn on_finish(
        mut self,
        callback: impl Fn(&WorkerHandle, TaskId, process::TaskOutcome) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_finish = Some(Arc::new(callback));
        self
    }

    /// Sets the callback for a worker that ends; called on its thread with its number, after its
    /// other callbacks. A renewal ends each worker, and another thread with the same number goes on.
    ///
    /// Where there are no workers, the call with number 0 is made on the main thread, after it has
    /// run the last jobs of the processes.
    #[must_use]
    pub fn on_worker_stop(
        mut self,
        callback: impl Fn(&WorkerHandle, usize) + Send + Sync + 'static,
    ) -> Self {
        self.spec.handlers.on_worker_stop = Some(Arc::new(callback));
        self
    }

    /// Sets the callback that is called last, on the main thread, when all threads have ended.
    #[must_use]
    pub fn on_shutdown(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_shutdown = Some(Arc::new(callback));
        self
    }

    /// Runs the server on this thread until SIGTERM, SIGINT, SIGHUP or [`Handle::stop`] ends it.
    ///
    /// SIGUSR1 renews workers and processes, as [`Handle::reload`] does; SIGUSR2 is logged and changes
    /// nothing. [`Builder::on_signal`] gives these and SIGHUP another meaning. SIGHUP is left to a process that was
    /// started with it ignored, as by `nohup`.
    ///
    /// Call it on the main thread: the processes die with the thread that runs this. In one of the
    /// server's processes it runs that process instead, and doesn't return.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: the server can't start. Connections or tasks that a stop had to cut are no
    /// error; the outcome counts them.
    pub fn run(mut self) -> Result<ServerOutcome, ServerError> {
        let relay = self.thaw.take();
        let (lifecycle, _) = self.prepare(StopSource::Signals)?;
        match relay {
            None => Ok(lifecycle.run()),
            Some(relay) => relay
                .run(move || lifecycle.run())
                .ok_or(ServerError::TooLate),
        }
    }

    /// Runs the server on a thread of its own, which leaves signals alone: for tests, and for
    /// programs that have a main loop already.
    ///
    /// # Errors
    ///
    /// [`ServerError`]: the server can't start.
    pub fn start(self) -> Result<RunningServer, ServerError> {
        // Prepared on the thread that runs the server, since the processes die with that thread.
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

    /// Checks the specification, binds the addresses, starts processes and threads. In a process of
    /// the server it runs that process and doesn't return.
    fn prepare(mut self, stop_source: StopSource) -> Result<(Lifecycle, Handle), ServerError> {
        if let Some(process) = process::entered().map_err(ServerError::system("enter a process"))? {
            self.enter(process)?;
        }
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let listeners = self.spec.addresses.len() + self.spec.sockets.len();
        if self.spec.entered.is_none() {
            if listeners == 0 {
                return Err(ServerError::NoAddress);
            }
            within("listening addresses", listeners, 1, LISTENERS_MAX)?;
        }
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
