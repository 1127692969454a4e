//! The guard of a thread, which counts the thread out when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::shared::ServerShared;
use crate::net::command::{Command, CommandBatch};

/// Counts a thread out when it ends, even by a panic.
pub(super) struct ThreadGuard {
    pub(super) shared: Arc<ServerShared>,
    kind: ThreadKind,
}

enum ThreadKind {
    Reactor(usize),
    Worker,
}

impl ThreadGuard {
    pub(super) fn reactor(shared: &Arc<ServerShared>, id: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Reactor(id),
        }
    }

    pub(super) fn worker(shared: &Arc<ServerShared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Worker,
        }
    }
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        let main = &self.shared.main;
        match self.kind {
            ThreadKind::Reactor(id) => {
                main.reactors.fetch_sub(1, Ordering::AcqRel);
                if id != 0 {
                    self.shared.send(0, CommandBatch::of(Command::PeerEnded));
                }
            }
            ThreadKind::Worker => {
                main.workers.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if std::thread::panicking() {
            main.fail("a thread of the server has died");
        } else {
            main.wake();
        }
    }
}
