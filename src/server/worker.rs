//! The loop of a worker thread.

use super::queue::{EventBatch, QueueItem, WorkerInbox};
use super::runner::Runner;
use super::scheduler::{Scheduler, run};

/// Items taken in a row while heavy connections wait for their turn: a round number, which takes
/// well below a millisecond unless one of them is costly.
const ITEMS_A_ROUND_MAX: usize = 64;

/// Runs a worker until its queue says `Stop`.
///
/// The order after each item matters: the commands are flushed first, so that a reactor that is
/// nudged for this batch finds them in its mailbox; the pressure is taken off last.
pub(super) fn work(runner: &Runner, inbox: &WorkerInbox, scheduler: Scheduler) {
    scheduler.start();
    runner.start();
    runner.flush();
    let mut worker = Worker {
        runner,
        inbox,
        scheduler,
    };
    while worker.take_items() {
        worker.scheduler.serve_next(runner);
    }
    worker.scheduler.finish(runner);
    runner.stop();
    runner.flush();
}

struct Worker<'a> {
    runner: &'a Runner,
    inbox: &'a WorkerInbox,
    scheduler: Scheduler,
}

impl Worker<'_> {
    /// Handles the items that have come, or waits for one if there is nothing else to do; `false`
    /// at the end.
    fn take_items(&mut self) -> bool {
        if !self.scheduler.has_next() {
            return match self.inbox.receiver.recv() {
                Ok(item) => self.take(item),
                Err(_) => false,
            };
        }
        for _ in 0..ITEMS_A_ROUND_MAX {
            let Ok(item) = self.inbox.receiver.try_recv() else {
                break;
            };
            if !self.take(item) {
                return false;
            }
        }
        true
    }

    fn take(&mut self, item: QueueItem) -> bool {
        let (items, bytes, reactor) = match item {
            QueueItem::Batch { batch, bytes } => {
                let (items, reactor) = (batch.events.len(), batch.reactor);
                self.run_batch(batch);
                (items, bytes, Some(reactor))
            }
            QueueItem::Job { job, bytes } => {
                self.runner.job(job);
                (1, bytes, None)
            }
            QueueItem::Stop => return false,
        };
        self.runner.flush();
        let shared = self.runner.handle.shared();
        if let Some(reactor) = reactor
            && self.inbox.progress[reactor].step()
        {
            shared.mailboxes[reactor].nudge();
        }
        if self.inbox.pressure.take(items, bytes) {
            shared.nudge_reactors();
        }
        true
    }

    fn run_batch(&mut self, batch: EventBatch) {
        let EventBatch {
            events, payloads, ..
        } = batch;
        let (runner, scheduler) = (self.runner, &mut self.scheduler);
        scheduler.begin_batch();
        scheduler.has_time_passed();
        for event in events {
            let fd = event.fd();
            if !scheduler.admits(fd) {
                scheduler.hold(runner, event.owned(&payloads));
                continue;
            }
            let rest = run(runner, event, 0, &payloads);
            scheduler.handled(runner, fd, rest);
            // A handler may block: the commands of the handlers before it mustn't wait for it.
            if scheduler.has_time_passed() {
                runner.flush();
            }
        }
    }
}
