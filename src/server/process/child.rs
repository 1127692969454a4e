//! The child's side of a process, which [`entered`] returns in a program that the server started.
//!
//! [`ProcessPipe`] never waits and fits into a poll of one's own; [`Process`] waits, for programs
//! that do nothing else.
//!
//! Invariant: [`Incoming::Stop`] is the last thing that is received; no frame is read after it.

use std::any::Any;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::link::TaskId;
use super::pipe::{PIPE_VERSION, PipeDecoder, PipeError, PipeFrame, PipeKind, header};
use crate::base::vital::spawn_vital;

/// The environment variable with the name of the process.
pub(super) const NAME_VAR: &str = "TIDINGS_PROCESS";

/// The environment variable with the PID of the server, `frame_size_max` and the version of the pipe.
pub(super) const PIPE_VAR: &str = "TIDINGS_PROCESS_PIPE";

/// Bytes of one read: a round number, so that many small frames come with one call.
const READ_SIZE: usize = 64 * 1024;

/// One thing that the process receives from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A message that was given to [`super::ProcessLink::send`].
    Message(Bytes),
    /// A task, to be answered with [`Process::finish`] or [`Process::fail`].
    Task {
        /// The name of the task in the answer.
        id: TaskId,
        /// The bytes that were given to [`super::ProcessLink::task`].
        payload: Bytes,
    },
    /// Nothing follows: finish the tasks that were received, and end. The server stops, or this
    /// process got a SIGTERM.
    Stop,
    /// The server is gone: end at once. Rarely seen, since the kernel kills the process first.
    Gone,
}

/// Returns the process and its pipe if this program was started as one of the server's processes.
///
/// Call it early in `main`, before anything that only the server should do. From then on the
/// process dies with its server, ignores SIGINT and SIGHUP (a terminal sends them to all of its
/// processes), and takes SIGTERM as [`Incoming::Stop`]. Its standard input is `/dev/null`. A second
/// call returns `None`, and so does a call in a program that the process starts itself.
///
/// # Errors
///
/// `NotConnected`: the server died meanwhile; end at once. `InvalidData`: the server is of another version.
/// Any other: a system call failed.
pub fn entered() -> io::Result<Option<Process>> {
    let Some(Invitation {
        name,
        parent,
        frame_size_max,
        pipe_version,
    }) = invitation()
    else {
        return Ok(None);
    };
    let stdin = rustix::stdio::stdin();
    // Programs that this process starts inherit the variables, but not the pipe.
    if !rustix::net::sockopt::socket_peercred(stdin).is_ok_and(|peer| peer.pid == parent) {
        return Ok(None);
    }
    if pipe_version != PIPE_VERSION {
        let other = format!("the server's pipe has version {pipe_version}, not {PIPE_VERSION}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, other));
    }
    let pipe = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;

    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the server is gone",
        ));
    }
    if let Ok(title) = CString::new(name.as_str()) {
        // Otherwise `ps` says "exe", after the link that was executed.
        rustix::thread::set_name(&title)?;
    }
    ProcessPipe::new(name, pipe, frame_size_max).map(|pipe| Some(Process { pipe }))
}

/// What the server says in the environment.
struct Invitation {
    name: String,
    /// The server.
    parent: Pid,
    frame_size_max: u32,
    pipe_version: u16,
}

fn invitation() -> Option<Invitation> {
    let name = std::env::var(NAME_VAR).ok()?;
    let pipe = std::env::var(PIPE_VAR).ok()?;
    let mut numbers = pipe.split(' ');
    Some(Invitation {
        name,
        parent: Pid::from_raw(numbers.next()?.parse().ok()?)?,
        frame_size_max: numbers.next()?.parse().ok()?,
        pipe_version: numbers.next()?.parse().ok()?,
    })
}

/// One of the server's processes, as its own program uses it; its methods wait.
#[derive(Debug)]
pub struct Process {
    pipe: ProcessPipe,
}

impl Process {
    /// Returns the name of the process, as the server calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pipe.name
    }

    /// Waits for the next message, task or end.
    ///
    /// # Errors
    ///
    /// The pipe failed; end.
    pub fn receive(&mut self) -> io::Result<Incoming> {
        loop {
            if let Some(incoming) = self.pipe.try_receive()? {
                return Ok(incoming);
            }
            self.wait(PollFlags::IN)?;
        }
    }

    /// Sends the server a message, and waits until the kernel has it.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the message is larger than a frame may be. Otherwise the pipe failed; end.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.pipe.send(payload)?;
        self.flush()
    }

    /// Tells the server the result of a task, and waits until the kernel has it.
    ///
    /// From then on the task is not given again, whatever happens to this process.
    ///
    /// # Errors
    ///
    /// The errors of [`Process::send`].
    pub fn finish(&mut self, task: TaskId, result: &[u8]) -> io::Result<()> {
        self.pipe.finish(task, result)?;
        self.flush()
    }

    /// Tells the server that a task failed for good, and waits until the kernel has it.
    ///
    /// # Errors
    ///
    /// The errors of [`Process::send`].
    pub fn fail(&mut self, task: TaskId, reason: &str) -> io::Result<()> {
        self.pipe.fail(task, reason)?;
        self.flush()
    }

    /// Runs tasks one after the other until the server stops; messages are dropped.
    ///
    /// A handler that panics fails its task with the panic's message, and the next task follows
    /// (where panics abort, the process dies and the task is given to the next one).
    ///
    /// # Errors
    ///
    /// The pipe failed; end.
    pub fn run_tasks(mut self, mut handler: impl FnMut(&[u8]) -> Vec<u8>) -> io::Result<()> {
        loop {
            let (id, payload) = match self.receive()? {
                Incoming::Task { id, payload } => (id, payload),
                Incoming::Message(_) => continue,
                Incoming::Stop | Incoming::Gone => return Ok(()),
            };
            // The handler's own state may be half changed, as after any panic that was caught.
            match catch_unwind(AssertUnwindSafe(|| handler(&payload))) {
                Ok(result) if result.len() > self.pipe.frame_size_max as usize => {
                    self.fail(
                        id,
                        &format!("result of {} bytes is larger than a frame", result.len()),
                    )?;
                }
                Ok(result) => self.finish(id, &result)?,
                Err(panic) => self.fail(id, panic_message(&*panic))?,
            }
        }
    }

    /// Returns the pipe, whose methods don't wait, for a loop of one's own.
    #[must_use]
    pub fn into_pipe(self) -> ProcessPipe {
        self.pipe
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.pipe.unsent_bytes() > 0 {
            self.wait(PollFlags::OUT)?;
            self.pipe.flush()?;
        }
        Ok(())
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.pipe, flags)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The pipe to the server, for a poll of one's own; its methods never wait.
///
/// The descriptor is readable when [`ProcessPipe::try_receive`] has something to return, and
/// writable when [`ProcessPipe::flush`] can write. With an edge-triggered poll (mio) call
/// `try_receive` until it returns `None`.
#[derive(Debug)]
pub struct ProcessPipe {
    name: String,
    stream: Arc<UnixStream>,
    decoder: PipeDecoder,
    scratch: Vec<u8>,
    outbox: Vec<u8>,
    /// Bytes of the outbox that are written.
    written: usize,
    frame_size_max: u32,
    /// Whether a SIGTERM came; set before the pipe is closed for reading because of it.
    is_terminated: Arc<AtomicBool>,
    end: Option<Incoming>,
}

impl ProcessPipe {
    fn new(name: String, pipe: OwnedFd, frame_size_max: u32) -> io::Result<Self> {
        let stream = UnixStream::from(pipe);
        stream.set_nonblocking(true)?;
        let stream = Arc::new(stream);
        let is_terminated = Arc::new(AtomicBool::new(false));
        heed_signals(Arc::downgrade(&stream), is_terminated.clone())?;
        Ok(Self {
            name,
            stream,
            decoder: PipeDecoder::new(frame_size_max),
            scratch: vec![0; READ_SIZE],
            outbox: Vec::new(),
            written: 0,
            frame_size_max,
            is_terminated,
            end: None,
        })
    }

    /// Returns the name of the process, as the server calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the next message, task or end, if one is there; [`Incoming::Stop`] and
    /// [`Incoming::Gone`] come again at every further call.
    ///
    /// # Errors
    ///
    /// The pipe failed; end.
    pub fn try_receive(&mut self) -> io::Result<Option<Incoming>> {
        loop {
            if self.end.is_some() {
                return Ok(self.end.clone());
            }
            if let Some(frame) = self.decoder.next_frame()? {
                return self.incoming(frame).map(Some);
            }
            match (&*self.stream).read(&mut self.scratch) {
                Ok(0) if self.is_terminated.load(Ordering::Acquire) => {
                    self.end = Some(Incoming::Stop)
                }
                Ok(0) => self.end = Some(Incoming::Gone),
                Ok(size) => self.decoder.receive(&self.scratch[..size]),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => self.end = Some(Incoming::Gone),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Sends the server a message: writes as much as the kernel takes now, and keeps the rest.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: the message is larger than a frame may be. Otherwise the pipe failed; end.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.put(PipeKind::Message, 0, payload)
    }

    /// Tells the server the result of a task, in the way of [`ProcessPipe::send`].
    ///
    /// # Errors
    ///
    /// The errors of [`ProcessPipe::send`].
    pub fn finish(&mut self, task: TaskId, result: &[u8]) -> io::Result<()> {
        self.put(PipeKind::Finish, task.0, result)
    }

    /// Tells the server that a task failed for good, in the way of [`ProcessPipe::send`]. A reason
    /// that is larger than a frame is cut.
    ///
    /// # Errors
    ///
    /// The pipe failed; end.
    pub fn fail(&mut self, task: TaskId, reason: &str) -> io::Result<()> {
        let size = reason.floor_char_boundary(self.frame_size_max as usize);
        self.put(PipeKind::Failed, task.0, &reason.as_bytes()[..size])
    }

    /// Counts the bytes kept because the kernel didn't take them yet; the caller has to bound them.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Writes the kept bytes, as far as the kernel takes them now.
    ///
    /// # Errors
    ///
    /// The pipe failed; end.
    pub fn flush(&mut self) -> io::Result<()> {
        while self.written < self.outbox.len() {
            match (&*self.stream).write(&self.outbox[self.written..]) {
                Ok(size) => self.written += size,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        self.outbox.clear();
        self.outbox.shrink_to(READ_SIZE);
        self.written = 0;
        Ok(())
    }

    fn put(&mut self, kind: PipeKind, id: u64, payload: &[u8]) -> io::Result<()> {
        if payload.len() > self.frame_size_max as usize {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                PipeError::TooLarge(payload.len()),
            ));
        }
        if self.written >= READ_SIZE {
            self.outbox.drain(..self.written);
            self.written = 0;
        }
        self.outbox
            .extend_from_slice(&header(kind, id, payload.len()));
        self.outbox.extend_from_slice(payload);
        self.flush()
    }

    fn incoming(&mut self, frame: PipeFrame) -> io::Result<Incoming> {
        match frame.kind {
            PipeKind::Message => Ok(Incoming::Message(frame.payload)),
            PipeKind::Task => Ok(Incoming::Task {
                id: TaskId(frame.id),
                payload: frame.payload,
            }),
            PipeKind::Stop => Ok(self.end.insert(Incoming::Stop).clone()),
            PipeKind::Finish | PipeKind::Failed => Err(PipeError::Direction(frame.kind).into()),
        }
    }
}

impl AsFd for ProcessPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Ignores SIGINT, SIGHUP, SIGUSR1 and SIGUSR2, which are meant for the server, and takes SIGTERM as
/// the end of the pipe.
///
/// The signal handler only takes a note; a thread then shuts the pipe for reading, so that a reader
/// finds the end, after the bytes that are already in the pipe.
fn heed_signals(stream: Weak<UnixStream>, is_terminated: Arc<AtomicBool>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let heed = move || {
        for signal in signals.forever().filter(|signal| *signal == SIGTERM) {
            is_terminated.store(true, Ordering::Release);
            match stream.upgrade() {
                // The only error is that the pipe was closed before.
                Some(stream) => drop(stream.shutdown(Shutdown::Read)),
                // The pipe is dropped, so no task is left: do what the signal does by default.
                None => drop(emulate_default_handler(signal)),
            }
        }
    };
    // Without it no SIGTERM would end this process, which another one replaces.
    spawn_vital("signals", heed, || std::process::exit(1))?;
    Ok(())
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "the task panicked"
    }
}
