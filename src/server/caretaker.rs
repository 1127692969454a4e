//! The caretaker of a worker that has died: on the same thread, without its callbacks.
//!
//! Who waits for the worker shall not wait in vain while the server stops: WebSockets are closed,
//! requests are answered with 500, and the reactors learn that their batches are done. Only
//! `on_close` is still called, as it was promised.

use std::sync::Arc;

use super::connection_job::ConnectionJob;
use super::queue::{QueueItem, WorkerEvent, WorkerInbox};
use super::responder::Responder;
use super::runner::{INTERNAL_ERROR, Runner};

/// What a WebSocket is told whose worker has died.
const DIED: &str = "the server failed";

/// Empties the queue of a worker until it says `Stop`.
pub(super) fn take_care(runner: &Runner, inbox: &WorkerInbox) {
    while let Ok(item) = inbox.receiver.recv() {
        let taken = match item {
            QueueItem::Batch { batch, bytes } => {
                let (items, reactor) = (batch.events.len(), batch.reactor);
                for event in batch.events {
                    part_with(runner, event);
                }
                (items, bytes, Some(reactor))
            }
            QueueItem::Job { bytes, .. } => (1, bytes, None),
            QueueItem::Connection(_) => (1, size_of::<ConnectionJob>(), None),
            QueueItem::Rest { .. } | QueueItem::Retire(_) => (1, 0, None),
            QueueItem::Stop => return,
        };
        runner.flush();
        runner.handle.shared().count_out(inbox, taken);
    }
}

/// Ends what an event began.
pub(super) fn part_with(runner: &Runner, event: WorkerEvent) {
    match event {
        WorkerEvent::Request { fd, request } => {
            let shared = Arc::clone(runner.handle.shared());
            // Answers 500.
            drop(Responder::new(fd, request.serial, shared));
        }
        WorkerEvent::Closed { fd, reason } => runner.closed(fd, &reason),
        WorkerEvent::Call { function, .. } => drop(function),
        WorkerEvent::Opened { fd, .. }
        | WorkerEvent::Message { fd, .. }
        | WorkerEvent::Large { fd, .. }
        | WorkerEvent::BufferEmpty { fd }
        | WorkerEvent::TurnComes { fd }
        | WorkerEvent::Farewell { fd } => {
            // One that is gone needs no Close.
            runner.handle.disconnect(fd, INTERNAL_ERROR, DIED).ok();
        }
    }
}
