//! The answers of one batch of the disk, which travel together: one command a connection and one
//! wake a reactor, not one an answer.
//!
//! Messages never wait in here, since what is sent in a channel is sent under the lock of its shard.
//! So the answer to a message comes behind the message itself, as it would alone.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use super::services::Services;
use crate::base::Fd;
use crate::server::{Handle, Responder, Response, WorkerHandle};

/// Answers that travel together at the most: the first of them waits for the others to be made,
/// some tens of microseconds.
const GATHERED_MAX: usize = 64;

/// The services, as the disk thread has them.
pub(super) struct DiskContext {
    pub(super) services: Arc<Services>,
    pub(super) answers: Answers,
}

/// The answers that wait for others of their batch.
#[derive(Default)]
pub(super) struct Answers {
    server: OnceCell<WorkerHandle>,
    gathered: Cell<usize>,
}

impl DiskContext {
    pub(super) fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            answers: Answers::default(),
        }
    }

    /// Takes an answer to a command; one for a client that is gone is dropped.
    pub(super) fn push(&self, fd: Fd, text: &str) {
        if let Some(server) = self.server() {
            server.push(fd, text).ok();
            self.count(server);
        }
    }

    /// Takes the answer to a request.
    pub(super) fn end(&self, responder: Responder, response: Response) {
        match self.server() {
            Some(server) => {
                responder.end_with(server, response);
                self.count(server);
            }
            None => responder.end(response),
        }
    }

    /// Sends the answers that wait.
    pub(super) fn flush(&self) {
        if self.answers.gathered.take() > 0
            && let Some(server) = self.answers.server.get()
        {
            server.flush();
        }
    }

    fn count(&self, server: &WorkerHandle) {
        let gathered = self.answers.gathered.get() + 1;
        self.answers.gathered.set(gathered % GATHERED_MAX);
        if gathered == GATHERED_MAX {
            server.flush();
        }
    }

    fn server(&self) -> Option<&WorkerHandle> {
        match self.answers.server.get() {
            Some(server) => Some(server),
            None => {
                let server = self.services.server().map(Handle::gathering)?;
                Some(self.answers.server.get_or_init(|| server))
            }
        }
    }
}

/// Also where the thread dies: what was answered isn't lost with it.
impl Drop for DiskContext {
    fn drop(&mut self) {
        self.flush();
    }
}
