//! Clients that are sent away while the server goes on: their closes are spread, so that those who come
//! back elsewhere don't come all at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::Endpoint;
use crate::base::Fd;
use crate::base::sync::lock;
use crate::server::{TimerId, WorkerHandle};

/// Milliseconds between two shares of the closes.
const SHARE_EVERY_MS: u64 = 100;

/// Connections that are listed in one step.
const LISTED_MAX: usize = 10_000;

/// The close code of a server that goes away.
const GOING_AWAY: u16 = 1001;

/// The words for it.
const WHY: &str = "the node sends its clients away";

/// The connections that are still to be sent away.
#[derive(Debug, Default)]
pub(super) struct Departures {
    waiting: Mutex<VecDeque<Fd>>,
    timer: Mutex<Option<TimerId>>,
}

impl Endpoint {
    /// Sends all clients away, spread over so many milliseconds: each is told to come back, gets what it
    /// asked for before, and is closed with 1001. Whoever connects meanwhile stays.
    pub fn send_away(self: &Arc<Self>, within_ms: u64) {
        let Some(server) = self.services.server() else {
            return;
        };
        let mut fds = Vec::new();
        loop {
            let after = fds.last().copied().unwrap_or(Fd(0));
            let listed = server.connections(after, LISTED_MAX);
            let is_last = listed.len() < LISTED_MAX;
            fds.extend(listed);
            if is_last {
                break;
            }
        }
        fds.retain(|fd| server.is_established(*fd));
        tracing::info!(connections = fds.len(), within_ms, "clients are sent away");
        let shares = usize::try_from(within_ms / SHARE_EVERY_MS).unwrap_or(usize::MAX);
        let share = fds.len().div_ceil(shares.max(1));
        *lock(&self.departures.waiting) = fds.into();
        let this = Arc::clone(self);
        let timer = server.tick(SHARE_EVERY_MS, move |server| this.send_share(server, share));
        if let Some(before) = lock(&self.departures.timer).replace(timer) {
            server.clear(before);
        }
    }

    /// Sends the next ones away.
    fn send_share(self: &Arc<Self>, server: &WorkerHandle, share: usize) {
        let mut waiting = lock(&self.departures.waiting);
        let count = share.min(waiting.len());
        let leaving: Vec<Fd> = waiting.drain(..count).collect();
        let is_last = waiting.is_empty();
        drop(waiting);
        for fd in leaving {
            let this = Arc::clone(self);
            // Behind whatever the client has asked for.
            server.run(fd, move |server| {
                this.drained(server, fd);
                server.disconnect(fd, GOING_AWAY, WHY).ok();
            });
        }
        if is_last && let Some(timer) = lock(&self.departures.timer).take() {
            server.clear(timer);
        }
    }
}
