//! The builder, which puts a server together.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use bytes::Bytes;

use super::error::ServerError;
use super::freeze::Freezes;
use super::handle::{TASK_PROCESS, WorkerHandle};
use super::handler_set::{BoxError, HandlerSet};
use super::message::{Frame, Request};
use super::process::{self, Process, ProcessLaunch, TaskId};
use super::responder::Responder;
use super::settings::ServerSettings;
use super::signal::ServerSignal;
use super::spec::ServerSpec;
use super::upgrade::{FreezeSections, ThawRelay, ThawSections};
use crate::base::Fd;
use crate::base::pressure::Pressure;
use crate::base::serial_blocks::SerialBlocks;
use crate::net::NoListenAddress;
#[cfg(feature = "tls")]
use crate::net::TlsCertificates;
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
    pub(super) spec: ServerSpec,
    /// The first error of a builder method, which the start returns.
    pub(super) error: Option<ServerError>,
    /// The way to the main thread, where another one prepares the server.
    pub(super) thaw: Option<ThawRelay>,
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
    /// Port 0 takes a free one. A name such as `"localhost:9502"` is looked up at the start, and stands
    /// for all its addresses that this machine has; `"unix:/run/chat.sock"` is a Unix socket, see
    /// [`Builder::unix_mode`]. Call it several times to listen on several addresses.
    #[must_use]
    pub fn listen(mut self, address: impl AsRef<str>) -> Self {
        let address = address.as_ref();
        match address.parse() {
            Ok(address) => self.spec.addresses.push(address),
            Err(source) => {
                let source: NoListenAddress = source;
                let source = io::Error::new(io::ErrorKind::InvalidInput, source);
                let address = address.to_owned();
                self.error
                    .get_or_insert(ServerError::Address { address, source });
            }
        }
        self
    }

    /// Listens on an address on which TLS is spoken, for `https` and `wss`; the address is as that of
    /// [`Builder::listen`]. All such addresses show the certificates that were given last, which
    /// [`TlsCertificates::replace`] replaces while the server runs.
    ///
    /// An upgrade in place can't carry these connections: their WebSockets are closed with 1012 just
    /// before, and come back. Where connections must stay open, let a proxy speak TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn listen_tls(
        mut self,
        address: impl AsRef<str>,
        certificates: Arc<TlsCertificates>,
    ) -> Self {
        let plain = std::mem::take(&mut self.spec.addresses);
        let mut builder = self.listen(address);
        let tls = std::mem::replace(&mut builder.spec.addresses, plain);
        builder.spec.tls_addresses.extend(tls);
        builder.spec.certificates = Some(certificates);
        builder
    }

    /// Keeps what the image before this one listened on, beside what is named here.
    #[doc(hidden)]
    #[must_use]
    pub fn keep_listeners(mut self) -> Self {
        self.spec.keeps_listeners = true;
        self
    }

    /// Sets who may connect to the Unix sockets of [`Builder::listen`], as the mode of a file. Default
    /// 0o660: the user and the group of this process.
    ///
    /// The file of a socket is made at the start, in the place of one that nobody answers at any more, and
    /// removed at the end.
    #[must_use]
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.spec.unix_mode = mode;
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

    /// Sets the function that names the events of a stream ([`Verdict::Events`]) by their texts; it must
    /// not block. A reader that comes back shows the name of the last event that had one, in
    /// `Last-Event-ID`. Without this function no event has a name.
    #[must_use]
    pub fn event_name(
        mut self,
        name: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.spec.event_name = Arc::new(name);
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
    /// that runs the server, and at each renewal ([`Handle::reload`](super::Handle::reload), SIGUSR1), on one of its own. What it
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

    /// Sets the callback for an outbox that has become as small as
    /// [`Handle::await_buffer`](super::Handle::await_buffer) asked.
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
    /// connection is read. Once [`Pressure::take`] returns `true`, call
    /// [`Handle::nudge`](super::Handle::nudge).
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

    /// Takes the serial numbers of an [`Fd`] from blocks that are this server's alone, in place of the
    /// clock, so that several servers name no two connections alike.
    #[must_use]
    pub fn serial_blocks(mut self, blocks: Arc<SerialBlocks>) -> Self {
        self.spec.serial_blocks = Some(blocks);
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

    /// Sets the function that runs tasks, in a process of its own named `task`.
    /// [`Handle::task`](super::Handle::task)
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

    /// Lets the program be replaced under its connections, by SIGUSR2 and [`Handle::upgrade`]: the file that
    /// it was started from is executed anew, in the same process, with the same arguments, and goes on with
    /// every open connection, its `fd`, its topics and its user. `version` is the program's own, for people.
    ///
    /// What the callbacks know besides is written down by [`Builder::on_freeze`] and read again by
    /// [`Builder::on_thaw`]; a program that sets neither is one whose callbacks know nothing of a
    /// connection. Timers and threads end with the old image: [`Builder::on_start`] and
    /// [`Builder::on_worker_start`] are called anew, and make them again, and so is the function of
    /// [`Builder::handlers`]; `on_open` isn't called again.
    ///
    /// First the new file is executed as another process, with `TIDINGS_REHEARSE` in its environment. There
    /// `main` runs up to [`Builder::run`], which takes over a trial handover, reports and ends the process
    /// instead of serving; `main` shall leave standard input alone until then. The same is tried with
    /// the file that runs, since that is the way back. Then everything stands still, for some tens of
    /// milliseconds at 10,000 connections, and the new image goes on, or within
    /// [`thaw_ms_max`](super::ServerSettings::thaw_ms_max) the old one again, with everything
    /// that it had. `main` runs up to [`Builder::run`] in that time, too: what it does there is done
    /// once an image and once a rehearsal, and shall be quick.
    ///
    /// Refused in the log, with nothing changed: a file that can't take over; a second server in the
    /// program; [`Builder::run`] on another thread than the main one; sockets of [`Builder::listener`];
    /// another number of reactors; a request whose [`Responder`] isn't answered within
    /// [`freeze_ms_max`](super::ServerSettings::freeze_ms_max), or a callback that doesn't return in
    /// that time.
    ///
    /// A thread of yours that starts a program in the moment before the execution may let it inherit
    /// the sockets; and one that was started before [`Builder::run`] may take a signal that comes in that
    /// moment, which is lost then.
    ///
    /// ```no_run
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use tidings::server::Server;
    ///
    /// # fn main() -> Result<(), tidings::server::ServerError> {
    /// let count = Arc::new(AtomicU64::new(0));
    /// let (counted, written, read) = (Arc::clone(&count), Arc::clone(&count), count);
    /// Server::builder()
    ///     .listen("127.0.0.1:9502")
    ///     .on_message(move |server, frame| {
    ///         let count = counted.fetch_add(1, Relaxed) + 1;
    ///         server.push(frame.fd, &*count.to_string()).ok();
    ///     })
    ///     .upgradable(env!("CARGO_PKG_VERSION"))
    ///     .on_freeze(move |out| out.write("count", 1, written.load(Relaxed).to_le_bytes()))
    ///     .on_thaw(move |sections| {
    ///         let count = sections.read("count", 1)?.bytes.try_into()?;
    ///         read.store(u64::from_le_bytes(count), Relaxed);
    ///         Ok(())
    ///     })
    ///     .run()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`Handle::upgrade`]: super::Handle::upgrade
    #[must_use]
    pub fn upgradable(mut self, version: impl Into<String>) -> Self {
        self.spec.upgradable.version = Some(version.into());
        self
    }

    /// Sets the function that writes down what the callbacks know, for those of the next image. It is called
    /// on the main thread while everything stands still: no callback runs, no connection is read, and
    /// nothing changes meanwhile but by threads of your own.
    ///
    /// It is called for the trial as well, after which this image goes on: it may only look. What is
    /// sent by a handle there is dropped, and logged. The time it takes is a part of the pause. Where it
    /// panics the upgrade is refused.
    #[must_use]
    pub fn on_freeze(
        mut self,
        function: impl Fn(&mut FreezeSections) + Send + Sync + 'static,
    ) -> Self {
        self.spec.upgradable.on_freeze = Some(Box::new(function));
        self
    }

    /// Sets the function that reads what the function of [`Builder::on_freeze`] has written in the image
    /// before. It is called on a thread of its own, before any other callback and before any thread of the
    /// server runs, and again by the rehearsal, in a process that ends afterwards: it must neither
    /// wait nor write, nor do anything that another process notices.
    ///
    /// An error or a panic has the image before go on, with all that it had. So does a section that
    /// isn't read ([`ThawSections`]).
    #[must_use]
    pub fn on_thaw(
        mut self,
        function: impl Fn(&ThawSections<'_>) -> Result<(), BoxError> + Send + Sync + 'static,
    ) -> Self {
        self.spec.upgradable.on_thaw = Some(Box::new(function));
        self
    }

    /// Sets the callback that is called last, on the main thread, when all threads have ended.
    #[must_use]
    pub fn on_shutdown(mut self, callback: impl Fn() + Send + Sync + 'static) -> Self {
        self.spec.handlers.on_shutdown = Some(Arc::new(callback));
        self
    }
}
