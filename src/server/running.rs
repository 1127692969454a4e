//! A server that runs on a thread of its own.

use std::thread::JoinHandle;

use super::handle::Handle;
use super::lifecycle::ServerOutcome;

/// A server that runs on a thread of its own.
#[derive(Debug)]
pub struct RunningServer {
    pub(super) handle: Handle,
    pub(super) thread: JoinHandle<Option<ServerOutcome>>,
}

impl RunningServer {
    /// Reaches it from any thread.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Stops it as SIGTERM does, and waits for that. `None` if its main thread panicked.
    pub fn stop(self) -> Option<ServerOutcome> {
        self.handle.stop();
        self.thread.join().ok().flatten()
    }
}
