//! The threads of a server, as the main thread owns them: it renews their callbacks, and joins them.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::handlers::Handlers;
use super::order::ReactorOrder;
use super::runner::{Runner, RunnerMaker};
use super::succession::{HandedOver, Succession, WorkerOrder};
use super::upgrade::kernel::hold_as_others_do;
use super::worker::work;
use crate::net::command::{Command, CommandBatch};

/// The thread of a worker.
pub(super) struct WorkerThread {
    /// The thread; `None` only while it is replaced.
    pub(super) thread: Option<JoinHandle<()>>,
    pub(super) orders: Sender<Arc<WorkerOrder>>,
}

/// The thread of a reactor.
pub(super) struct ReactorThread {
    pub(super) thread: JoinHandle<()>,
    /// The way of orders to a reactor that runs callbacks.
    pub(super) orders: Option<Sender<Arc<ReactorOrder>>>,
}

/// All threads of a server but the main one.
pub(super) struct ServerThreads {
    pub(super) maker: RunnerMaker,
    pub(super) workers: Vec<WorkerThread>,
    pub(super) reactors: Vec<ReactorThread>,
}

/// A thread that runs callbacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallbackThread {
    Worker(usize),
    Reactor(usize),
}

impl CallbackThread {
    /// The name that the thread has in the system, too.
    pub(super) fn name(self) -> String {
        match self {
            Self::Worker(id) => format!("worker-{id}"),
            Self::Reactor(id) => format!("reactor-{id}"),
        }
    }
}

/// An order that a thread was given.
pub(super) enum GivenOrder {
    Worker(usize, Arc<WorkerOrder>),
    Reactor(Arc<ReactorOrder>),
}

impl GivenOrder {
    /// Whether the order is carried out.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Worker(_, order) => order.is_done(),
            Self::Reactor(order) => order.is_done(),
        }
    }
}

impl ServerThreads {
    /// Lists the threads that run callbacks, the workers first.
    pub(super) fn with_callbacks(&self) -> Vec<CallbackThread> {
        let workers = (0..self.workers.len()).map(CallbackThread::Worker);
        let reactors = self.reactors.iter().enumerate();
        let reactors = reactors.filter(|(_, reactor)| reactor.orders.is_some());
        let reactors = reactors.map(|(id, _)| CallbackThread::Reactor(id));
        workers.chain(reactors).collect()
    }

    /// Orders a thread to call other callbacks from now on; a worker gets another thread for it.
    ///
    /// # Errors
    ///
    /// The system gives no thread; nothing has changed.
    pub(super) fn renew(
        &mut self,
        thread: CallbackThread,
        number: u64,
        handlers: &Arc<Handlers>,
    ) -> io::Result<GivenOrder> {
        match thread {
            CallbackThread::Worker(id) => self.replace_worker(id, number, handlers),
            CallbackThread::Reactor(id) => {
                let order = Arc::new(ReactorOrder::new(number, Arc::clone(handlers)));
                if let Some(orders) = &self.reactors[id].orders {
                    // One that has ended carries nothing out, which shows in time.
                    drop(orders.send(Arc::clone(&order)));
                }
                let shared = &self.maker.shared;
                shared.send(id, CommandBatch::of(Command::Renew));
                Ok(GivenOrder::Reactor(order))
            }
        }
    }

    /// Makes an order void; `false` if it is being carried out already.
    pub(super) fn cancel(&mut self, order: &GivenOrder) -> bool {
        match order {
            GivenOrder::Reactor(order) => order.cancel().is_some(),
            GivenOrder::Worker(id, order) => {
                let succession = order.cancel();
                let is_void = succession.is_some();
                if let Some(Succession { predecessor, .. }) = succession {
                    // The successor finds that nobody can hand it anything, and ends.
                    self.workers[*id].thread = Some(predecessor);
                }
                is_void
            }
        }
    }

    /// Waits for the end of all threads; returns the number of those that panicked.
    pub(super) fn join(&mut self) -> usize {
        let workers = self.workers.drain(..).filter_map(|worker| worker.thread);
        let reactors = self.reactors.drain(..).map(|reactor| reactor.thread);
        let ended = workers.chain(reactors).map(JoinHandle::join);
        ended.filter(Result::is_err).count()
    }

    /// Has a new thread wait, and then the worker's present one hand the worker over.
    fn replace_worker(
        &mut self,
        id: usize,
        number: u64,
        handlers: &Arc<Handlers>,
    ) -> io::Result<GivenOrder> {
        let worker = &mut self.workers[id];
        let predecessor = worker.thread.take();
        let predecessor = predecessor.expect("it is there while nobody replaces it");
        let (successor, handed_over) = bounded(1);
        let succession = Succession {
            successor,
            predecessor,
        };
        let order = Arc::new(WorkerOrder::new(number, succession));
        let runner = self.maker.make(id, None, handlers);
        let own_order = Arc::clone(&order);
        let name = CallbackThread::Worker(id).name();
        match spawn(name, move || succeed(&runner, &handed_over, &own_order)) {
            Ok(thread) => worker.thread = Some(thread),
            Err(error) => {
                worker.thread = order.cancel().map(|order| order.predecessor);
                return Err(error);
            }
        }
        // One that has ended carries nothing out, which shows in time.
        drop(worker.orders.send(Arc::clone(&order)));
        self.maker.shared.workers[id].retire(number);
        Ok(GivenOrder::Worker(id, order))
    }
}

/// Waits to be a worker, and is it, once the thread that was the worker has ended.
fn succeed(runner: &Runner, handed_over: &Receiver<HandedOver>, order: &WorkerOrder) {
    // Nobody hands anything over where the order is void.
    let Ok(HandedOver { parts, predecessor }) = handed_over.recv() else {
        return;
    };
    if predecessor.join().is_err() {
        tracing::error!("a worker's thread panicked at its end, when it had a successor");
    }
    work(runner, parts, || {
        order.finish();
        runner.handle.shared().main.wake();
    });
}

pub(super) fn spawn(
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let run = move || {
        hold_as_others_do();
        run();
    };
    std::thread::Builder::new().name(name).spawn(run)
}
