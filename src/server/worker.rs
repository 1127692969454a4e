//! The loop of a worker thread.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::caretaker::{part_with, take_care};
use super::connection_job::ConnectionJob;
use super::queue::{QueueItem, WorkerEvent, WorkerInbox};
use super::runner::Runner;
use super::scheduler::{Scheduler, run};
use super::succession::{Succession, WorkerOrder, WorkerParts};
use crate::base::rest::take_part;
use crate::base::vital::may_die_here;
use crate::handover::SectionWriter;

/// Items taken in a row while heavy connections wait for their turn: a round number, which takes
/// well below a millisecond unless one of them is costly.
const ITEMS_A_ROUND_MAX: usize = 64;

/// How a thread ends to be a worker: as the worker ends, or with a successor.
type WorkerEnd = Option<Succession>;

/// Runs a worker until its queue says `Stop`, or until it has a successor; `begun` is called behind
/// `on_worker_start`.
///
/// A panic, which none of a callback is, ends the worker and the server. What the worker leaves
/// behind has a caretaker until then.
pub(super) fn work(runner: &Runner, parts: WorkerParts, begun: impl FnOnce()) {
    let WorkerParts {
        inbox,
        scheduler,
        orders,
        guard,
    } = parts;
    take_part();
    scheduler.start();
    let mut worker = Worker {
        runner,
        inbox: &inbox,
        orders: &orders,
        scheduler,
        events: Vec::new().into_iter(),
        taken: (0, 0, None),
    };
    let served = catch_unwind(AssertUnwindSafe(|| worker.serve(begun)));
    let succession = served.unwrap_or_else(|_| {
        runner.handle.fail("a worker has died");
        worker.leave_behind();
        take_care(runner, &inbox);
        None
    });
    let scheduler = worker.scheduler;
    runner.stop();
    runner.flush();
    if let Some(succession) = succession {
        succession.hand_over(WorkerParts {
            inbox,
            scheduler,
            orders,
            guard,
        });
    }
}

struct Worker<'a> {
    runner: &'a Runner,
    inbox: &'a WorkerInbox,
    orders: &'a Receiver<Arc<WorkerOrder>>,
    scheduler: Scheduler,
    /// What is left of the batch in hand.
    events: std::vec::IntoIter<WorkerEvent>,
    /// The item in hand: its events, its bytes, the reactor of a batch.
    taken: (usize, usize, Option<usize>),
}

impl Worker<'_> {
    fn serve(&mut self, begun: impl FnOnce()) -> WorkerEnd {
        self.runner.start();
        self.runner.flush();
        begun();
        loop {
            match self.take_items() {
                ControlFlow::Continue(()) => self.scheduler.serve_next(self.runner),
                // What waits for its turn goes to the successor.
                ControlFlow::Break(Some(succession)) => return Some(succession),
                ControlFlow::Break(None) => {
                    self.scheduler.finish(self.runner);
                    return None;
                }
            }
        }
    }

    /// Ends what a worker that has died had in hand.
    fn leave_behind(&mut self) {
        let runner = self.runner;
        self.scheduler.give_away(|event| part_with(runner, event));
        for event in self.events.by_ref() {
            part_with(runner, event);
        }
        runner.flush();
        let shared = runner.handle.shared();
        shared.count_out(self.inbox, self.taken);
        shared.nudge_reactors();
    }

    /// Handles the items that have come, or waits for one if there is nothing else to do.
    fn take_items(&mut self) -> ControlFlow<WorkerEnd> {
        if !self.scheduler.has_next() {
            return match self.inbox.receiver.recv() {
                Ok(item) => self.take(item),
                Err(_) => ControlFlow::Break(None),
            };
        }
        for _ in 0..ITEMS_A_ROUND_MAX {
            let Ok(item) = self.inbox.receiver.try_recv() else {
                break;
            };
            self.take(item)?;
        }
        ControlFlow::Continue(())
    }

    /// Handles an item. The order afterwards matters: the commands are flushed first, so that a
    /// reactor that is nudged for this batch finds them in its mailbox; the pressure is taken off
    /// last.
    fn take(&mut self, item: QueueItem) -> ControlFlow<WorkerEnd> {
        let mut succession = None;
        match item {
            QueueItem::Batch { batch, bytes } => {
                self.taken = (batch.events.len(), bytes, Some(batch.reactor));
                self.events = batch.events.into_iter();
                may_die_here();
                self.run_batch(&batch.payloads);
            }
            QueueItem::Job { job, bytes } => {
                self.taken = (1, bytes, None);
                self.runner.job(job);
            }
            QueueItem::Connection(job) => {
                self.taken = (1, size_of::<ConnectionJob>(), None);
                self.scheduler.take_job(self.runner, job);
            }
            QueueItem::Retire(number) => {
                self.taken = (1, 0, None);
                succession = self.succession(number);
            }
            QueueItem::Rest { number } => {
                self.rest(number);
                return ControlFlow::Continue(());
            }
            QueueItem::Stop => return ControlFlow::Break(None),
        }
        self.runner.flush();
        let taken = std::mem::take(&mut self.taken);
        self.runner.handle.shared().count_out(self.inbox, taken);
        match succession {
            Some(succession) => ControlFlow::Break(Some(succession)),
            None => ControlFlow::Continue(()),
        }
    }

    /// Takes the order of this number; `None` if it is void, since it came too late.
    fn succession(&self, number: u64) -> Option<Succession> {
        let order = (self.orders.try_iter()).find(|order| order.number() == number)?;
        order.take()
    }

    /// Rests with all commands sent. The events that wait for their connections' turns go on waiting.
    fn rest(&mut self, number: u64) {
        self.scheduler.call_all(self.runner);
        let shared = self.runner.handle.shared();
        self.runner.flush();
        shared.count_out(self.inbox, (1, 0, None));
        let mut waiting = SectionWriter::new();
        self.scheduler.hand_over(&mut waiting);
        shared.freeze.rest_worker(self.runner.id(), number, waiting);
    }

    fn run_batch(&mut self, payloads: &[u8]) {
        let (runner, scheduler) = (self.runner, &mut self.scheduler);
        scheduler.begin_batch();
        scheduler.has_time_passed();
        for event in self.events.by_ref() {
            let fd = event.fd();
            if !scheduler.admits(fd) {
                scheduler.hold(runner, event.owned(payloads));
                continue;
            }
            let rest = run(runner, event, 0, payloads);
            scheduler.handled(runner, fd, rest);
            // A handler may block: the commands of the handlers before it mustn't wait for it.
            if scheduler.has_time_passed() {
                runner.flush();
            }
        }
    }
}
