//! Worker threads: their queues, what stands in them, their loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crossbeam_channel::{Receiver, Sender};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::message::Frame;
use super::runner::{Job, Runner};
use crate::base::Fd;
use crate::base::pressure::Pressure;
use crate::proto::connection::{CloseReason, Request};
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;

/// What the workers do for one turn of one reactor.
#[derive(Debug)]
pub(super) struct EventBatch {
    reactor: usize,
    pub(super) events: Vec<Event>,
    /// The payloads of the messages, one behind the other.
    pub(super) payloads: Vec<u8>,
}

impl EventBatch {
    pub(super) fn of(reactor: usize) -> Self {
        Self {
            reactor,
            events: Vec::new(),
            payloads: Vec::new(),
        }
    }

    /// Bytes that it keeps in memory, for the marks of the queue.
    fn size(&self) -> usize {
        let large: usize = self.events.iter().map(Event::size).sum();
        self.payloads.len() + large
    }
}

/// One thing that happened on a connection.
#[derive(Debug)]
pub(super) enum Event {
    Opened {
        fd: Fd,
        head: Box<Head>,
    },
    /// The payload stands at `start..end` in the batch.
    Message {
        fd: Fd,
        kind: MessageKind,
        start: u32,
        end: u32,
    },
    /// A message too large to be copied.
    Large {
        fd: Fd,
        kind: MessageKind,
        payload: Vec<u8>,
    },
    Request {
        fd: Fd,
        request: Box<Request>,
    },
    Closed {
        fd: Fd,
        reason: CloseReason,
    },
    BufferEmpty {
        fd: Fd,
    },
    Farewell {
        fd: Fd,
    },
}

impl Event {
    fn size(&self) -> usize {
        let payload = match self {
            Self::Large { payload, .. } => payload.len(),
            Self::Request { request, .. } => request.body.len(),
            _ => 0,
        };
        size_of::<Self>() + payload
    }
}

#[derive(Debug)]
enum Item {
    Batch { batch: EventBatch, bytes: usize },
    Job(Job),
    Stop,
}

/// Where the reactors put what a worker has to do. It always takes; above its marks the reactors
/// stop reading from the connections that feed it.
#[derive(Debug)]
pub(super) struct WorkerQueue {
    sender: Sender<Item>,
    pub(super) pressure: Arc<Pressure>,
    /// How far the worker is with the batches of each reactor.
    pub(super) progress: Arc<[Progress]>,
}

/// How many batches of one reactor a worker has handled.
#[derive(Debug, Default)]
pub(super) struct Progress {
    handled: AtomicU64,
    /// The reactor asked about a batch that wasn't handled.
    awaited: AtomicBool,
}

impl Progress {
    /// Whether `batch` is handled; if not, the next [`Progress::step`] says that it was asked for.
    pub(super) fn has_reached(&self, batch: u64) -> bool {
        if self.handled.load(SeqCst) >= batch {
            return true;
        }
        // Said first and looked at again, so that a step in between isn't missed.
        self.awaited.store(true, SeqCst);
        self.handled.load(SeqCst) >= batch
    }

    /// Counts one more; whether the reactor has to be nudged.
    fn step(&self) -> bool {
        self.handled.fetch_add(1, SeqCst);
        self.awaited.load(SeqCst) && self.awaited.swap(false, SeqCst)
    }
}

/// The worker's side of a queue.
#[derive(Debug)]
pub(super) struct WorkerInbox {
    receiver: Receiver<Item>,
    pressure: Arc<Pressure>,
    progress: Arc<[Progress]>,
}

pub(super) fn worker_queue(pressure: Pressure, reactors: usize) -> (WorkerQueue, WorkerInbox) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let pressure = Arc::new(pressure);
    let progress: Arc<[Progress]> = std::iter::repeat_with(Progress::default)
        .take(reactors)
        .collect();
    (
        WorkerQueue {
            sender,
            pressure: Arc::clone(&pressure),
            progress: Arc::clone(&progress),
        },
        WorkerInbox {
            receiver,
            pressure,
            progress,
        },
    )
}

impl WorkerQueue {
    pub(super) fn give_batch(&self, batch: EventBatch) {
        let bytes = batch.size();
        self.put(batch.events.len(), bytes, Item::Batch { batch, bytes });
    }

    pub(super) fn give(&self, job: Job) {
        self.put(1, 0, Item::Job(job));
    }

    /// The last thing that the worker gets.
    pub(super) fn stop(&self) {
        self.put(1, 0, Item::Stop);
    }

    fn put(&self, items: usize, bytes: usize, item: Item) {
        self.pressure.add(items, bytes);
        // A worker ends only after `Stop`, and nothing is given to it later.
        drop(self.sender.send(item));
    }
}

/// The loop of a worker thread.
pub(super) fn work(runner: &Runner, inbox: &WorkerInbox) {
    runner.start();
    runner.flush();
    while let Ok(item) = inbox.receiver.recv() {
        let (items, bytes, reactor) = match item {
            Item::Batch { batch, bytes } => {
                let (items, reactor) = (batch.events.len(), batch.reactor);
                run_batch(runner, batch);
                (items, bytes, Some(reactor))
            }
            Item::Job(job) => {
                runner.job(job);
                (1, 0, None)
            }
            Item::Stop => break,
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
            Event::Message {
                fd,
                kind,
                start,
                end,
            } => {
                let data = &payloads[start as usize..end as usize];
                runner.message(Frame { fd, kind, data });
            }
            Event::Large { fd, kind, payload } => {
                runner.message(Frame {
                    fd,
                    kind,
                    data: &payload,
                });
            }
            Event::Opened { fd, head } => runner.opened(fd, *head),
            Event::Request { fd, request } => runner.request(fd, *request),
            Event::Closed { fd, reason } => runner.closed(fd, &reason),
            Event::BufferEmpty { fd } => runner.buffer_empty(fd),
            Event::Farewell { fd } => runner.farewell(fd),
        }
        // A handler may block: what the ones before it said must not wait for it.
        let now = coarse_now();
        if now != flushed_at {
            flushed_at = now;
            runner.flush();
        }
    }
}

/// A clock that costs next to nothing and moves every few milliseconds.
fn coarse_now() -> Timespec {
    clock_gettime(ClockId::MonotonicCoarse)
}
