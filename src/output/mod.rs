//! Standard output and standard error: the only place of the program that writes to them.
//!
//! A server never waits for them: its log and its announcements go through [`lines`], which drops
//! and counts what can't be written. A command that runs and ends waits for its reader, and ends
//! quietly when the reader has gone.

mod lines;
mod log_file;

use std::fmt::Display;
use std::io::{self, BufWriter, StdoutLock, Write};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use lines::LineQueue;
use log_file::FollowedFile;
pub use log_file::OpenLogFile;

/// Bytes of the log that may wait at most: some thousand lines, about what a busy server logs while
/// the reader of its log is started again.
const LOG_BYTES_MAX: usize = 1 << 20;

/// Bytes of announcements that may wait at most; a start writes some hundred.
const ANNOUNCEMENTS_BYTES_MAX: usize = 64 << 10;

/// Time at the end of the process for lines that still wait: a reader that lives takes them at
/// once, and one that doesn't must not hold up a stop.
const FLUSH_MAX: Duration = Duration::from_millis(500);

static LOG: OnceLock<LineQueue> = OnceLock::new();
/// The log file that this process has to follow by itself.
static FOLLOWED: OnceLock<PathBuf> = OnceLock::new();
static ANNOUNCEMENTS: OnceLock<LineQueue> = OnceLock::new();

/// Returns the queue of the log; the first call starts its thread.
fn log() -> &'static LineQueue {
    LOG.get_or_init(|| {
        let stream = LogStream {
            stderr: Descriptor(rustix::stdio::stderr()),
            followed: FOLLOWED.get().cloned().map(FollowedFile::new),
        };
        LineQueue::new("log", LOG_BYTES_MAX, stream, |count| {
            tracing::warn!(
                lines = count,
                "lines of the log were dropped, since they could not be written"
            );
        })
    })
}

/// Has the log opened anew whenever this file, which is its standard error, was moved away: for a
/// process that is told so by nobody. To be called before the first line.
pub fn follow_log_file(path: PathBuf) {
    // Only set here, and only once.
    _ = FOLLOWED.set(path);
}

/// Writes a line to standard output without ever waiting: for a server, which says so where it
/// listens.
pub fn announce(line: impl Display) {
    let queue = ANNOUNCEMENTS.get_or_init(|| {
        let stdout = Descriptor(rustix::stdio::stdout());
        LineQueue::new("announcements", ANNOUNCEMENTS_BYTES_MAX, stdout, |_| {})
    });
    queue.push(format!("{line}\n").as_bytes());
}

/// Counts the lines of the log that were dropped since the start.
#[must_use]
pub fn log_dropped() -> u64 {
    LOG.get().map_or(0, LineQueue::dropped)
}

/// Writes the waiting lines, for `time` at most: what waits longer ends with this image of the program.
pub fn flush(time: Duration) {
    for queue in [LOG.get(), ANNOUNCEMENTS.get()].into_iter().flatten() {
        queue.flush(time);
    }
}

/// Writes the waiting lines when the program ends, however it ends.
#[derive(Debug)]
pub struct FlushAtEnd;

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        flush(FLUSH_MAX);
    }
}

/// Takes the lines of the log; never waits and never fails.
#[derive(Debug, Clone, Copy)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        log().push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends the messages of panics through the log: the standard library would wait for standard
/// error, with locks in hand that others need.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("without a name");
        let at = panic.location().map(ToString::to_string);
        let message = panic
            .payload_as_str()
            .unwrap_or("a panic without a message");
        let backtrace = std::backtrace::Backtrace::capture();
        let at = at.unwrap_or_default();
        match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => {
                tracing::error!(thread, at, "panicked: {message:?}\n{backtrace}");
            }
            _ => tracing::error!(thread, at, "panicked: {message:?}"),
        }
    }));
}

/// A descriptor that is written to without a buffer; a non-blocking one is waited for.
struct Descriptor(BorrowedFd<'static>);

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match rustix::io::write(self.0, bytes) {
                Ok(size) => return Ok(size),
                // Another program may have set the flag, since it belongs to the open file.
                Err(rustix::io::Errno::AGAIN) => {
                    poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Standard error as the log's.
struct LogStream {
    stderr: Descriptor,
    followed: Option<FollowedFile>,
}

impl Write for LogStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(file) = &mut self.followed {
            file.look();
        }
        self.stderr.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The reader of standard output has closed it, as `head` does when it has read enough.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads standard output")]
pub struct ReaderGone;

/// Standard output of a command that prints and ends; buffered until [`Printer::flush`].
#[derive(Debug)]
pub struct Printer {
    stdout: BufWriter<StdoutLock<'static>>,
    failed: Option<io::Error>,
}

impl Printer {
    /// Locks standard output for as long as the printer lives.
    #[must_use]
    pub fn new() -> Self {
        Self {
            stdout: BufWriter::new(io::stdout().lock()),
            failed: None,
        }
    }

    /// Prints a line. The error ends whatever makes the lines; [`Printer::finish`] explains it.
    ///
    /// # Errors
    ///
    /// The reader has gone, or the file can't be written.
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.stdout, "{line}").map_err(|error| self.note(error))
    }

    /// Writes the buffered lines.
    ///
    /// # Errors
    ///
    /// The errors of [`Printer::line`].
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush().map_err(|error| self.note(error))
    }

    /// Flushes, and prefers a failure of the output to the `outcome` that it may have led to.
    ///
    /// # Errors
    ///
    /// [`ReaderGone`], a file that can't be written, or the error of `outcome`.
    pub fn finish<E>(mut self, outcome: Result<(), E>) -> anyhow::Result<()>
    where
        anyhow::Error: From<E>,
    {
        // The error is in `failed` as well.
        _ = self.flush();
        match self.failed {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
            Some(error) => Err(anyhow::Error::new(error).context("can't write to standard output")),
            None => Ok(outcome?),
        }
    }

    /// Keeps the first error, and passes its kind on.
    fn note(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.failed.get_or_insert(error);
        kind.into()
    }
}

/// Prints a line at once, for a command that prints and ends.
///
/// # Errors
///
/// [`ReaderGone`], or a file that can't be written.
pub fn print(line: impl Display) -> anyhow::Result<()> {
    let mut printer = Printer::new();
    let printed = printer.line(line);
    printer.finish(printed)
}

/// Tells the person at a terminal something on standard error. There is nowhere to report a failure
/// to, so it is ignored.
pub fn tell(line: String) {
    _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes the last line of a server that ends with an error, without waiting for the reader.
pub fn tell_without_waiting(line: String) {
    log().push(format!("{line}\n").as_bytes());
}
