//! The loop of a worker thread.

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::message::Frame;
use super::queue::{EventBatch, QueueItem, WorkerEvent, WorkerInbox};
use super::runner::Runner;

/// Runs a worker until its queue says `Stop`.
///
/// The order after each item matters: the commands are flushed first, so that a reactor that is
/// nudged for this batch finds them in its mailbox; the pressure is taken off last.
pub(super) fn work(runner: &Runner, inbox: &WorkerInbox) {
    runner.start();
    runner.flush();
    while let Ok(item) = inbox.receiver.recv() {
        let (items, bytes, reactor) = match item {
            QueueItem::Batch { batch, bytes } => {
                let (items, reactor) = (batch.events.len(), batch.reactor);
                run_batch(runner, batch);
                (items, bytes, Some(reactor))
            }
            QueueItem::Job(job) => {
                runner.job(job);
                (1, 0, None)
            }
            QueueItem::Stop => break,
        };
        runner.flush();
        if let Some(reactor) = reactor
            && inbox.progress[reactor].step()
        {
            runner.handle.shared().mailboxes[reactor].nudge();
        }
        if inbox.pressure.take(items, bytes) {
            runner.handle.shared().nudge_reactors();
        }
    }
    runner.stop();
    runner.flush();
}

fn run_batch(runner: &Runner, batch: EventBatch) {
    let EventBatch {
        events, payloads, ..
    } = batch;
    let mut flushed_at = coarse_now();
    for event in events {
        match event {
            WorkerEvent::Message {
                fd,
                kind,
                start,
                end,
            } => {
                let data = &payloads[start as usize..end as usize];
                runner.message(Frame { fd, kind, data });
            }
            WorkerEvent::Large { fd, kind, payload } => {
                runner.message(Frame {
                    fd,
                    kind,
                    data: &payload,
                });
            }
            WorkerEvent::Opened { fd, head } => runner.opened(fd, *head),
            WorkerEvent::Request { fd, request } => runner.request(fd, *request),
            WorkerEvent::Closed { fd, reason } => runner.closed(fd, &reason),
            WorkerEvent::BufferEmpty { fd } => runner.buffer_empty(fd),
            WorkerEvent::Farewell { fd } => runner.farewell(fd),
        }
        // A handler may block: the commands of the handlers before it mustn't wait for it.
        let now = coarse_now();
        if now != flushed_at {
            flushed_at = now;
            runner.flush();
        }
    }
}

/// Reads a clock that costs next to nothing and moves every few milliseconds.
fn coarse_now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}
