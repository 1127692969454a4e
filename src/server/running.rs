//! A server that runs on a thread of its own.

use std::thread::JoinHandle;

use super::handle::Handle;
use super::outcome::ServerOutcome;

/// A server that [`super::Builder::start`] has started on a thread of its own.
#[derive(Debug)]
pub struct RunningServer {
    pub(super) handle: Handle,
    pub(super) thread: JoinHandle<Option<ServerOutcome>>,
}

impl RunningServer {
    /// Returns the handle to the server, which any thread may use.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops the server as SIGTERM does, and waits for its end. `None` if its main thread panicked.
    pub fn stop(self) -> Option<ServerOutcome> {
        self.handle.stop();
        self.thread.join().ok().flatten()
    }
}
