//! One life of a process: the child, the server's end of its pipe, and the descriptor of its death.
//!
//! No method waits. Dropping a [`ChildProcess`] kills and reaps the child.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use mio::event::Event;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::child::{NAME_VAR, PIPE_VAR};
use super::ledger::{Ledger, WriteOutcome};
use super::pipe::{PipeDecoder, PipeError, PipeFrame};
use super::settings::{ProcessSettings, ProcessSpec};

/// The two sources of a process in the poll of the driving thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessTokens {
    pub pipe: Token,
    pub death: Token,
}

/// Whether bytes of the process can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PipeState {
    /// A read may return bytes.
    Ready,
    /// The pipe is empty until the poll reports bytes.
    Drained,
    /// The pipe has ended, or brought a bad frame and isn't trusted any more.
    Ended,
}

/// Whether bytes can be written to the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writing {
    Ready,
    Blocked,
    /// The process reads no more.
    Ended,
}

/// One life of a process.
#[derive(Debug)]
pub(super) struct ChildProcess {
    child: Child,
    /// Readable when the child has died; held for as long as it is registered.
    _pidfd: OwnedFd,
    pipe: UnixStream,
    decoder: PipeDecoder,
    started: Instant,
    reading: PipeState,
    writing: Writing,
    exited: Option<ExitStatus>,
    /// The moment at which a child that closed its pipe is killed.
    kill_at: Option<Instant>,
    /// Whether this life has finished a task.
    pub has_finished: bool,
}

impl ChildProcess {
    /// Starts the process and registers both of its sources.
    pub(super) fn spawn(
        spec: &ProcessSpec,
        settings: &ProcessSettings,
        registry: &Registry,
        tokens: ProcessTokens,
        now: Instant,
    ) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut pipe = UnixStream::from_std(ours);
        registry.register(
            &mut pipe,
            tokens.pipe,
            Interest::READABLE | Interest::WRITABLE,
        )?;

        let mut command = command(spec);
        command
            .env(NAME_VAR, &spec.name)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        command.env(
            PIPE_VAR,
            format!("{} {}", std::process::id(), settings.frame_size_max),
        );
        let mut child = command.spawn()?;

        let pidfd = match watch_death(&child, registry, tokens.death) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                kill_and_reap(&mut child);
                return Err(error);
            }
        };
        Ok(Self {
            child,
            _pidfd: pidfd,
            pipe,
            decoder: PipeDecoder::new(settings.frame_size_max),
            started: now,
            reading: PipeState::Ready,
            writing: Writing::Ready,
            exited: None,
            kill_at: None,
            has_finished: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Takes an event of the pipe.
    pub(super) fn pipe_ready(&mut self, event: &Event) {
        let is_over = event.is_error();
        if (event.is_readable() || event.is_read_closed() || is_over)
            && self.reading == PipeState::Drained
        {
            self.reading = PipeState::Ready;
        }
        if (event.is_writable() || event.is_write_closed() || is_over)
            && self.writing == Writing::Blocked
        {
            self.writing = Writing::Ready;
        }
    }

    /// Checks whether the child has died, and reaps it.
    pub(super) fn reap(&mut self) {
        if self.exited.is_some() {
            return;
        }
        if let Ok(Some(status)) = self.child.try_wait() {
            self.exited = Some(status);
            // The child may have written its last bytes after the last read.
            if self.reading == PipeState::Drained {
                self.reading = PipeState::Ready;
            }
        }
    }

    /// Returns the exit status, once all bytes that the child ever wrote have been read.
    pub(super) fn death(&self) -> Option<ExitStatus> {
        self.exited.filter(|_| self.reading != PipeState::Ready)
    }

    pub(super) fn is_readable(&self) -> bool {
        self.reading == PipeState::Ready
    }

    /// Reads once into `scratch` and hands the bytes to the decoder; returns their number.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> usize {
        match self.pipe.read(scratch) {
            Ok(0) => self.reading = PipeState::Ended,
            Ok(size) => {
                self.decoder.receive(&scratch[..size]);
                return size;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.reading = PipeState::Drained,
                io::ErrorKind::Interrupted => {}
                _ => self.reading = PipeState::Ended,
            },
        }
        0
    }

    /// Returns the next whole frame of the bytes that were read.
    pub(super) fn next_frame(&mut self) -> Result<Option<PipeFrame>, PipeError> {
        self.decoder.next_frame()
    }

    /// Writes the entries that wait in `ledger`, as far as the pipe takes them.
    pub(super) fn write(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        if self.writing == Writing::Ready && self.exited.is_none() {
            self.writing = match ledger.write(&mut self.pipe)? {
                WriteOutcome::All => Writing::Ready,
                WriteOutcome::Blocked => Writing::Blocked,
                WriteOutcome::Closed => Writing::Ended,
            };
        }
        Ok(())
    }

    /// Returns the moment at which the child is killed; `None` while its pipe is open.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        self.kill_at.filter(|_| self.exited.is_none())
    }

    /// Kills a child that closed its pipe and goes on running: no task can reach it any more.
    pub(super) fn expire(&mut self, now: Instant, settings: &ProcessSettings) {
        if self.reading == PipeState::Ended && self.exited.is_none() {
            let kill_at = *self.kill_at.get_or_insert(now + settings.stop_max());
            if kill_at <= now {
                self.kill();
            }
        }
    }

    /// Sends SIGKILL; the death is noticed later, like any other.
    pub(super) fn kill(&mut self) {
        // The only error is that the child has died already.
        let _ = self.child.kill();
    }

    /// Stops using the pipe and kills the child.
    pub(super) fn give_up(&mut self) {
        self.reading = PipeState::Ended;
        self.writing = Writing::Ended;
        self.kill();
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.exited.is_none() {
            kill_and_reap(&mut self.child);
        }
    }
}

/// The program of a process, with its arguments and without the variables that are withheld.
fn command(spec: &ProcessSpec) -> Command {
    let mut own = std::env::args_os();
    let mut command = Command::new(&spec.program);
    if let Some(zeroth) = own.next() {
        command.arg0(zeroth);
    }
    match &spec.launch.arguments {
        Some(arguments) => command.args(arguments),
        None => command.args(own),
    };
    for name in &spec.launch.variables_withheld {
        command.env_remove(name);
    }
    command
}

fn watch_death(child: &Child, registry: &Registry, token: Token) -> io::Result<OwnedFd> {
    // The child isn't reaped yet, so its PID can't belong to another process.
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::NONBLOCK)?;
    registry.register(&mut SourceFd(&pidfd.as_raw_fd()), token, Interest::READABLE)?;
    Ok(pidfd)
}

fn kill_and_reap(child: &mut Child) {
    if child.kill().is_ok() {
        // After SIGKILL this waits only as long as the kernel needs to end the process.
        let _ = child.wait();
    }
}
