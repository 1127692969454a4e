//! The queue of a worker: the events of the reactors, and the jobs of other threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use super::process::{TaskId, TaskOutcome};
use crate::base::sync::lock;
use crate::base::{Fd, Pressure};
use crate::proto::connection::{CloseReason, HttpRequest};
use crate::proto::http::Head;
use crate::proto::websocket::MessageKind;

/// The events of one turn of one reactor for one worker.
#[derive(Debug)]
pub(super) struct EventBatch {
    pub(super) reactor: usize,
    pub(super) events: Vec<WorkerEvent>,
    /// The payloads of the messages, one after the other.
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

    /// Counts the bytes that the batch keeps in memory, for the queue's pressure.
    fn size(&self) -> usize {
        let large: usize = self.events.iter().map(WorkerEvent::size).sum();
        self.payloads.len() + large
    }
}

/// One event of a connection.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    Opened {
        fd: Fd,
        head: Box<Head>,
    },
    /// A message whose payload stands at `start..end` of the batch's `payloads`.
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
        request: Box<HttpRequest>,
    },
    Closed {
        fd: Fd,
        reason: CloseReason,
    },
    BufferEmpty {
        fd: Fd,
    },
    /// A connection that was to read its answers first has done so.
    TurnComes {
        fd: Fd,
    },
    Farewell {
        fd: Fd,
    },
}

impl WorkerEvent {
    /// Returns the connection of the event.
    pub(super) fn fd(&self) -> Fd {
        match self {
            Self::Opened { fd, .. }
            | Self::Message { fd, .. }
            | Self::Large { fd, .. }
            | Self::Request { fd, .. }
            | Self::Closed { fd, .. }
            | Self::BufferEmpty { fd }
            | Self::TurnComes { fd }
            | Self::Farewell { fd } => *fd,
        }
    }

    /// Makes the event independent of the batch that it came in.
    pub(super) fn owned(self, payloads: &[u8]) -> Self {
        match self {
            Self::Message {
                fd,
                kind,
                start,
                end,
            } => Self::Large {
                fd,
                kind,
                payload: payloads[start as usize..end as usize].to_vec(),
            },
            event => event,
        }
    }

    /// Counts the bytes that the event keeps in memory.
    pub(super) fn size(&self) -> usize {
        let payload = match self {
            Self::Large { payload, .. } => payload.len(),
            Self::Request { request, .. } => {
                size_of::<HttpRequest>() + request.body.len() + request.head.size()
            }
            Self::Opened { head, .. } => size_of::<Head>() + head.size(),
            Self::Message { .. }
            | Self::Closed { .. }
            | Self::BufferEmpty { .. }
            | Self::TurnComes { .. }
            | Self::Farewell { .. } => 0,
        };
        size_of::<Self>() + payload
    }
}

#[derive(Debug)]
pub(super) enum QueueItem {
    Batch { batch: EventBatch, bytes: usize },
    Job(WorkerJob),
    Stop,
}

/// The sending side of a worker's queue. It never refuses an item; while its pressure is high, the
/// reactors stop reading from the connections that feed it.
#[derive(Debug)]
pub(super) struct WorkerQueue {
    sender: Sender<QueueItem>,
    pub(super) pressure: Arc<Pressure>,
    /// The worker's progress with the batches of each reactor.
    pub(super) progress: Arc<[BatchProgress]>,
    /// The connections whose messages wait for their turn.
    pub(super) backlogged: Arc<Backlogged>,
}

/// The connections of a worker whose messages wait for their turn: nothing is read from them.
#[derive(Debug, Default)]
pub(super) struct Backlogged {
    /// The number of these connections: nearly always 0, and asked for at every read.
    count: AtomicUsize,
    fds: Mutex<HashSet<Fd, foldhash::fast::FixedState>>,
}

impl Backlogged {
    pub(super) fn contains(&self, fd: Fd) -> bool {
        self.count.load(SeqCst) > 0 && lock(&self.fds).contains(&fd)
    }

    pub(super) fn insert(&self, fd: Fd) {
        let mut fds = lock(&self.fds);
        fds.insert(fd);
        self.count.store(fds.len(), SeqCst);
    }

    pub(super) fn remove(&self, fd: Fd) {
        let mut fds = lock(&self.fds);
        fds.remove(&fd);
        self.count.store(fds.len(), SeqCst);
    }
}

/// The number of batches of one reactor that a worker has handled.
///
/// `SeqCst` throughout: the reactor writes `awaited` and then reads `handled`, the worker writes
/// `handled` and then reads `awaited`. Under a weaker order each could miss the other's write, and
/// nobody would wake the reactor.
#[derive(Debug, Default)]
pub(super) struct BatchProgress {
    handled: AtomicU64,
    /// Whether the reactor asked about a batch that wasn't handled.
    awaited: AtomicBool,
}

impl BatchProgress {
    /// Whether `batch` is handled; if not, the next [`BatchProgress::step`] returns `true`.
    pub(super) fn has_reached(&self, batch: u64) -> bool {
        if self.handled.load(SeqCst) >= batch {
            return true;
        }
        // Written before the second look, so that a step in between isn't missed.
        self.awaited.store(true, SeqCst);
        self.handled.load(SeqCst) >= batch
    }

    /// Counts one batch more; returns `true` if the reactor waits for the batch and has to be
    /// nudged.
    pub(super) fn step(&self) -> bool {
        self.handled.fetch_add(1, SeqCst);
        self.awaited.load(SeqCst) && self.awaited.swap(false, SeqCst)
    }
}

/// The worker's side of a queue.
#[derive(Debug)]
pub(super) struct WorkerInbox {
    pub(super) receiver: Receiver<QueueItem>,
    pub(super) pressure: Arc<Pressure>,
    pub(super) progress: Arc<[BatchProgress]>,
    /// The connections whose messages wait for their turn.
    pub(super) backlogged: Arc<Backlogged>,
}

pub(super) fn worker_queue(pressure: Pressure, reactors: usize) -> (WorkerQueue, WorkerInbox) {
    let (sender, receiver) = crossbeam_channel::unbounded();
    let pressure = Arc::new(pressure);
    let backlogged = Arc::new(Backlogged::default());
    let progress: Arc<[BatchProgress]> = std::iter::repeat_with(BatchProgress::default)
        .take(reactors)
        .collect();
    (
        WorkerQueue {
            sender,
            pressure: Arc::clone(&pressure),
            progress: Arc::clone(&progress),
            backlogged: Arc::clone(&backlogged),
        },
        WorkerInbox {
            receiver,
            pressure,
            progress,
            backlogged,
        },
    )
}

impl WorkerQueue {
    pub(super) fn submit_batch(&self, batch: EventBatch) {
        let bytes = batch.size();
        self.put(batch.events.len(), bytes, QueueItem::Batch { batch, bytes });
    }

    pub(super) fn submit(&self, job: WorkerJob) {
        self.put(1, 0, QueueItem::Job(job));
    }

    /// Ends the worker, which takes nothing from the queue after this.
    pub(super) fn stop(&self) {
        self.put(1, 0, QueueItem::Stop);
    }

    fn put(&self, items: usize, bytes: usize, item: QueueItem) {
        self.pressure.add(items, bytes);
        // A worker ends only after `Stop`, and no item follows that.
        drop(self.sender.send(item));
    }
}

/// Work that isn't an event of a connection.
#[derive(Debug)]
pub(super) enum WorkerJob {
    Timer(u64),
    TaskFinished { task: TaskId, outcome: TaskOutcome },
    PipeMessage { process: Arc<str>, payload: Bytes },
}
