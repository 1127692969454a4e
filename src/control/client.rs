//! The asking end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::question::Question;
use super::socket::connect_to;

/// Bytes of an answer's line at most: far more than a server says.
const ANSWER_SIZE_MAX: u64 = 1 << 20;

/// Longest wait for the end of a process that has nothing left to do.
const END_MAX: Duration = Duration::from_secs(10);

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no socket, or a stale one.
    #[error("no server runs there: nobody answers at {}", .0.display())]
    NobodyRuns(PathBuf),
    /// The socket is another user's.
    #[error("{} answers only root and the user that the server runs as", .0.display())]
    NotAllowed(PathBuf),
    /// The server is there, but doesn't answer.
    #[error("the server at {} doesn't answer", path.display())]
    Silent {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The server has ended before it had answered.
    #[error("the server at {} ended without an answer", .0.display())]
    Gone(PathBuf),
}

/// A connection to a server that runs.
#[derive(Debug)]
pub struct ControlClient {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl ControlClient {
    /// Connects to the server of this control socket.
    ///
    /// # Errors
    ///
    /// Nobody runs there, or this user isn't answered.
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        let path = path.to_owned();
        match connect_to(&path) {
            Ok(stream) => Ok(Self {
                path,
                stream: BufReader::new(stream),
            }),
            Err(source) => Err(match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::ConnectionRefused => ControlError::NobodyRuns(path),
                io::ErrorKind::PermissionDenied => ControlError::NotAllowed(path),
                _ => ControlError::Silent { path, source },
            }),
        }
    }

    /// Asks, shows each line that comes before the last one to `progress`, and returns the last one.
    /// `time` is the longest wait for a line; without one there is no end to it.
    ///
    /// # Errors
    ///
    /// The server ended or was silent.
    pub fn ask(
        mut self,
        question: Question,
        time: Option<Duration>,
        mut progress: impl FnMut(&Value),
    ) -> Result<Value, ControlError> {
        let silent = |path: &Path| {
            let path = path.to_owned();
            |source| ControlError::Silent { path, source }
        };
        let stream = self.stream.get_ref();
        let set = stream.set_read_timeout(time);
        set.and_then(|()| stream.set_write_timeout(time))
            .map_err(silent(&self.path))?;
        let line = format!("{}\n", question.to_json());
        // A server that refuses this client may have closed already, and its answer says why.
        _ = self.stream.get_mut().write_all(line.as_bytes());
        loop {
            let line = self.line()?;
            if line.get("ok").is_some() {
                if question.is_stop() {
                    self.wait_for_end();
                }
                return Ok(line);
            }
            progress(&line);
        }
    }

    /// Waits until the process at the other end has gone, which it is about to.
    fn wait_for_end(&mut self) {
        let stream = self.stream.get_ref();
        if stream.set_read_timeout(Some(END_MAX)).is_ok() {
            // Whatever comes of it: the server has said how it ended.
            _ = self.stream.read(&mut [0]);
        }
    }

    fn line(&mut self) -> Result<Value, ControlError> {
        let mut line = Vec::new();
        let read = (&mut self.stream)
            .take(ANSWER_SIZE_MAX)
            .read_until(b'\n', &mut line);
        match read {
            Ok(_) => {
                serde_json::from_slice(&line).map_err(|_| ControlError::Gone(self.path.clone()))
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(ControlError::Gone(self.path.clone()))
            }
            Err(source) => Err(ControlError::Silent {
                path: self.path.clone(),
                source,
            }),
        }
    }
}
