//! One life of a process: the child, the server's end of its pipe, and the descriptor of its death.
//!
//! No method waits. Dropping a [`ChildProcess`] kills and reaps the child.

mod handover;

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use mio::event::Event;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::child::{NAME_VAR, PIPE_VAR};
use super::child_handle::ChildHandle;
use super::ledger::{Ledger, WriteOutcome};
use super::pipe::{PIPE_VERSION, PipeDecoder, PipeError, PipeFrame};
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
    child: ChildHandle,
    pipe: UnixStream,
    /// The version of the frames on the pipe.
    pipe_version: u16,
    /// What is still to be written to a child whose frames are those of another program.
    farewell: Option<Vec<u8>>,
    decoder: PipeDecoder,
    started: Instant,
    reading: PipeState,
    writing: Writing,
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
        register_pipe(&mut pipe, registry, tokens)?;

        let mut command = command(spec);
        command
            .env(NAME_VAR, &spec.name)
            .stdin(Stdio::from(OwnedFd::from(theirs)));
        let (server, frame_size_max) = (std::process::id(), settings.frame_size_max);
        command.env(
            PIPE_VAR,
            format!("{server} {frame_size_max} {PIPE_VERSION}"),
        );
        let child = ChildHandle::of(command.spawn()?)?;
        register_death(&child, registry, tokens)?;
        Ok(Self {
            child,
            pipe,
            pipe_version: PIPE_VERSION,
            farewell: None,
            decoder: PipeDecoder::new(settings.frame_size_max),
            started: now,
            reading: PipeState::Ready,
            writing: Writing::Ready,
            kill_at: None,
            has_finished: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
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
        if self.child.reap() {
            self.read_rest();
        }
    }

    /// Learns that the child has died and was reaped.
    pub(super) fn reaped(&mut self, status: ExitStatus) {
        self.child.reaped(status);
        self.read_rest();
    }

    /// Has the pipe read once more: the child may have written its last bytes after the last read.
    fn read_rest(&mut self) {
        if self.reading == PipeState::Drained {
            self.reading = PipeState::Ready;
        }
    }

    /// Returns the exit status, once all bytes that the child ever wrote have been read.
    pub(super) fn death(&self) -> Option<ExitStatus> {
        self.child
            .exited()
            .filter(|_| self.reading != PipeState::Ready)
    }

    pub(super) fn is_readable(&self) -> bool {
        self.reading == PipeState::Ready
    }

    /// Reads once into `scratch` and hands the bytes to the decoder; returns their number.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> usize {
        match self.pipe.read(scratch) {
            Ok(0) => self.reading = PipeState::Ended,
            Ok(size) => {
                if self.farewell.is_none() {
                    self.decoder.receive(&scratch[..size]);
                }
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

    /// Whether something is to be written, if `ledger` is that of the process.
    pub(super) fn has_to_write(&self, ledger: &Ledger) -> bool {
        match &self.farewell {
            Some(farewell) => !farewell.is_empty(),
            None => ledger.is_waiting(),
        }
    }

    /// Writes the entries that wait in `ledger`, as far as the pipe takes them.
    pub(super) fn write(&mut self, ledger: &mut Ledger) -> io::Result<()> {
        if self.writing == Writing::Ready && self.child.exited().is_none() {
            let outcome = match &mut self.farewell {
                Some(farewell) => write_all(&mut self.pipe, farewell)?,
                None => ledger.write(&mut self.pipe)?,
            };
            self.writing = match outcome {
                WriteOutcome::All => Writing::Ready,
                WriteOutcome::Blocked => Writing::Blocked,
                WriteOutcome::Closed => Writing::Ended,
            };
        }
        Ok(())
    }

    /// Returns the moment at which the child is killed; `None` while its pipe is open.
    pub(super) fn kill_at(&self) -> Option<Instant> {
        self.kill_at.filter(|_| self.child.exited().is_none())
    }

    /// Kills a child that closed its pipe and goes on running: no task can reach it any more.
    pub(super) fn expire(&mut self, now: Instant, settings: &ProcessSettings) {
        if self.reading == PipeState::Ended && self.child.exited().is_none() {
            let kill_at = *self.kill_at.get_or_insert(now + settings.stop_max());
            if kill_at <= now {
                self.kill();
            }
        }
    }

    /// Sends SIGKILL; the death is noticed later, like any other.
    pub(super) fn kill(&mut self) {
        self.child.kill();
    }

    /// Stops using the pipe and kills the child.
    pub(super) fn give_up(&mut self) {
        self.reading = PipeState::Ended;
        self.writing = Writing::Ended;
        self.kill();
    }
}

/// Writes bytes as far as the pipe takes them, and leaves the rest.
fn write_all(pipe: &mut impl Write, bytes: &mut Vec<u8>) -> io::Result<WriteOutcome> {
    while !bytes.is_empty() {
        match pipe.write(bytes) {
            Ok(0) => return Ok(WriteOutcome::Closed),
            Ok(size) => drop(bytes.drain(..size)),
            Err(error) => {
                if let Some(outcome) = WriteOutcome::of(error)? {
                    return Ok(outcome);
                }
            }
        }
    }
    Ok(WriteOutcome::All)
}

fn register_pipe(
    pipe: &mut UnixStream,
    registry: &Registry,
    tokens: ProcessTokens,
) -> io::Result<()> {
    let both = Interest::READABLE | Interest::WRITABLE;
    registry.register(pipe, tokens.pipe, both)
}

fn register_death(
    child: &ChildHandle,
    registry: &Registry,
    tokens: ProcessTokens,
) -> io::Result<()> {
    let pidfd = child.pidfd();
    registry.register(&mut SourceFd(&pidfd), tokens.death, Interest::READABLE)
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
