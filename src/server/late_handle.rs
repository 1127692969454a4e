//! A handle for threads that run before their server does.

use std::sync::{Mutex, OnceLock};

use super::handle::Handle;
use crate::base::sync::lock;

/// The handle of a server that may not run yet.
///
/// A failure that comes before the server is told to it as soon as it runs.
#[derive(Debug, Default)]
pub struct LateHandle {
    handle: OnceLock<Handle>,
    /// The reason for which the server can't go on.
    failure: Mutex<Option<&'static str>>,
}

impl LateHandle {
    /// Notes the server that runs.
    pub fn meet(&self, server: Handle) {
        let failure = lock(&self.failure);
        // Only set here, and only once.
        let server = self.handle.get_or_init(|| server);
        if let Some(reason) = *failure {
            server.fail(reason);
        }
    }

    /// The server, once it runs.
    #[must_use]
    pub fn get(&self) -> Option<&Handle> {
        self.handle.get()
    }

    /// Does what [`Handle::fail`] does, at once or when the server runs.
    pub fn fail(&self, reason: &'static str) {
        let mut failure = lock(&self.failure);
        *failure = Some(reason);
        if let Some(server) = self.handle.get() {
            server.fail(reason);
        }
    }
}
