//! The right to answer one request.

use std::sync::Arc;

use super::handle::WorkerHandle;
use super::shared::ServerShared;
use crate::base::Fd;
use crate::net::command::{Command, CommandBatch};
use crate::proto::http::Response;

/// Answers one HTTP request, now or later, from any thread.
///
/// A responder that is dropped without an answer answers 500, so that no client waits for ever.
#[derive(Debug)]
pub struct Responder {
    fd: Fd,
    serial: u32,
    /// The state of the server; `None` once the answer was sent.
    shared: Option<Arc<ServerShared>>,
}

impl Responder {
    pub(super) fn new(fd: Fd, serial: u32, shared: Arc<ServerShared>) -> Self {
        Self {
            fd,
            serial,
            shared: Some(shared),
        }
    }

    /// Returns the connection that waits for the answer.
    #[must_use]
    pub fn fd(&self) -> Fd {
        self.fd
    }

    /// Sends the answer. Text becomes a 200 of `text/plain`.
    pub fn end(mut self, response: impl Into<Response>) {
        self.send(response.into());
    }

    /// Sends the answer together with the other commands of a handle.
    pub fn end_with(mut self, server: &WorkerHandle, response: impl Into<Response>) {
        if let Some((_, answer)) = self.answer(response.into()) {
            server.put(self.fd.reactor(), answer);
        }
    }

    fn send(&mut self, response: Response) {
        if let Some((shared, answer)) = self.answer(response) {
            shared.send(self.fd.reactor(), CommandBatch::of(answer));
        }
    }

    fn answer(&mut self, response: Response) -> Option<(Arc<ServerShared>, Command)> {
        let answer = Command::Answer {
            fd: self.fd,
            serial: self.serial,
            response: Box::new(response),
        };
        Some((self.shared.take()?, answer))
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.shared.is_some() {
            tracing::error!(fd = self.fd.0, "a request was dropped without an answer");
            self.send(Response::new(500));
        }
    }
}
