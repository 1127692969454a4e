//! The succession of a worker: all that makes a thread this worker, and its way to the next thread.
//!
//! The queue stays the same, and what waits for its turn goes along; so the order of the events holds,
//! and nothing is lost.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};

use super::order::Order;
use super::queue::WorkerInbox;
use super::scheduler::Scheduler;
use super::thread_guard::ThreadGuard;

/// An order to a worker's thread to hand the worker over.
pub(super) type WorkerOrder = Order<Succession>;

/// All that makes a thread a worker.
pub(super) struct WorkerParts {
    pub(super) inbox: WorkerInbox,
    pub(super) scheduler: Scheduler,
    pub(super) orders: Receiver<Arc<WorkerOrder>>,
    pub(super) guard: ThreadGuard,
}

/// What the successor gets.
pub(super) struct HandedOver {
    pub(super) parts: WorkerParts,
    /// The thread that was the worker, and is about to end.
    pub(super) predecessor: JoinHandle<()>,
}

/// The way to a thread that waits to be the worker.
pub(super) struct Succession {
    pub(super) successor: Sender<HandedOver>,
    /// The thread that has the order.
    pub(super) predecessor: JoinHandle<()>,
}

impl Succession {
    /// Hands the worker over; the thread that calls this ends.
    pub(super) fn hand_over(self, parts: WorkerParts) {
        let predecessor = self.predecessor;
        let handed = self.successor.send(HandedOver { parts, predecessor });
        handed.expect("a successor waits until its order is carried out, or void");
    }
}
