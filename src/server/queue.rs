//! The queue of a worker: the events of the reactors, and the jobs of other threads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};

use super::connection_job::{ConnectionJob, UserFunction, take_functions};
use super::process::{TaskId, TaskOutcome};
use crate::base::sync::lock;
use crate::base::{Fd, Pressure, Watermarks};
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
    /// A function that was given while earlier events of the connection waited for its turn.
    Call {
        fd: Fd,
        function: UserFunction,
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
            | Self::Farewell { fd }
            | Self::Call { fd, .. } => *fd,
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
            | Self::Farewell { .. }
            | Self::Call { .. } => 0,
        };
        size_of::<Self>() + payload
    }
}

#[derive(Debug)]
pub(super) enum QueueItem {
    Batch {
        batch: EventBatch,
        bytes: usize,
    },
    Job {
        job: WorkerJob,
        bytes: usize,
    },
    Connection(ConnectionJob),
    /// The worker has an order with this number.
    Retire(u64),
    /// The worker rests for the freeze of this number.
    Rest {
        number: u64,
    },
    Stop,
}

/// The sending side of a worker's queue. It never refuses an item; while its pressure is high, the
/// reactors stop reading from the connections that feed it.
#[derive(Debug)]
pub(super) struct WorkerQueue {
    sender: Sender<QueueItem>,
    /// The worker's side, for the time in which it rests.
    receiver: Receiver<QueueItem>,
    pub(super) pressure: Arc<Pressure>,
    /// The worker's progress with the batches of each reactor.
    pub(super) progress: Arc<[BatchProgress]>,
    /// The connections whose messages wait for their turn.
    pub(super) backlogged: Arc<Backlogged>,
}

/// The connections of a thread whose messages wait for their turn: nothing is read from them.
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

    pub(super) fn clear(&self) {
        let mut fds = lock(&self.fds);
        fds.clear();
        self.count.store(0, SeqCst);
    }
}

/// The events of all connections that wait for their turns: how much there is, for the statistics.
/// What each thread may keep of it is bounded by `TurnBounds`.
#[derive(Debug)]
pub(super) struct Postponed {
    level: Pressure,
    refused: AtomicU64,
}

impl Default for Postponed {
    fn default() -> Self {
        let unbounded = usize::MAX;
        Self {
            level: Pressure::new(Watermarks {
                items_high: unbounded,
                items_low: unbounded,
                bytes_high: unbounded,
                bytes_low: unbounded,
            }),
            refused: AtomicU64::new(0),
        }
    }
}

impl Postponed {
    pub(super) fn add(&self, bytes: usize) {
        self.level.add(1, bytes);
    }

    pub(super) fn take(&self, bytes: usize) {
        let wakes = self.level.take(1, bytes);
        debug_assert!(!wakes, "it never is high");
    }

    /// Counts a connection that was closed since most of it was its own.
    pub(super) fn note_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// The events, and their bytes.
    pub(super) fn level(&self) -> &Pressure {
        &self.level
    }

    /// Connections that were closed since most of it was their own.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
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
    /// Whether `batch` is handled.
    pub(super) fn is_past(&self, batch: u64) -> bool {
        self.handled.load(SeqCst) >= batch
    }

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
            receiver: receiver.clone(),
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
        let bytes = job.size();
        self.put(1, bytes, QueueItem::Job { job, bytes });
    }

    /// Gives the worker of a connection a job about it.
    pub(super) fn submit_for(&self, job: ConnectionJob) {
        self.put(1, size_of::<ConnectionJob>(), QueueItem::Connection(job));
    }

    /// Takes the functions out that have come for a worker while it rests.
    pub(super) fn take_functions(&self) -> Vec<(Fd, UserFunction)> {
        let functions = take_functions((&self.sender, &self.receiver), |item| match item {
            QueueItem::Connection(job) => job.into_function().map_err(QueueItem::Connection),
            other => Err(other),
        });
        let bytes = functions.len() * size_of::<ConnectionJob>();
        // The reactors look again anyway when they go on.
        let _ = self.pressure.take(functions.len(), bytes);
        functions
    }

    /// Has the worker rest once it has handled what is in the queue.
    pub(super) fn rest(&self, number: u64) {
        self.put(1, 0, QueueItem::Rest { number });
    }

    /// Ends the worker, which takes nothing from the queue after this.
    pub(super) fn stop(&self) {
        self.put(1, 0, QueueItem::Stop);
    }

    /// Has the worker look at its order with this number, once it has come so far.
    pub(super) fn retire(&self, order: u64) {
        self.put(1, 0, QueueItem::Retire(order));
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

impl WorkerJob {
    /// Bytes that it keeps in memory.
    fn size(&self) -> usize {
        let payload = match self {
            Self::Timer(_) => 0,
            Self::TaskFinished { outcome, .. } => match outcome {
                TaskOutcome::Done(result) => result.len(),
                TaskOutcome::Failed(reason) => reason.len(),
            },
            Self::PipeMessage { payload, .. } => payload.len(),
        };
        size_of::<Self>() + payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::connection::HttpRequest;
    use crate::proto::http::{HttpLimits, parse};

    fn head(fields: usize) -> Head {
        let head = format!(
            "GET /tea HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
            "x".repeat(fields)
        );
        let parsed = parse(head.as_bytes(), &mut 0, &HttpLimits::default());
        parsed.unwrap().unwrap().0
    }

    fn request(fields: usize, body: usize) -> WorkerEvent {
        let request = Box::new(HttpRequest {
            serial: 0,
            head: head(fields),
            body: Bytes::from(vec![0; body]),
        });
        WorkerEvent::Request { fd: Fd(1), request }
    }

    /// Bytes that an event adds to those of an empty batch.
    fn counted(event: WorkerEvent, payloads: &[u8]) -> usize {
        let batch = EventBatch {
            events: vec![event],
            payloads: payloads.to_vec(),
            ..EventBatch::of(0)
        };
        batch.size() - EventBatch::of(0).size()
    }

    #[test]
    fn an_event_counts_with_all_that_it_brings() {
        const SIZE: usize = 5_000;
        let (fd, kind) = (Fd(1), MessageKind::Binary);
        let own = size_of::<WorkerEvent>();
        let small = WorkerEvent::Message {
            fd,
            kind,
            start: 0,
            end: SIZE as u32,
        };
        assert_eq!(counted(small, &[0; SIZE]), own + SIZE);
        let payload = vec![0; SIZE];
        let large = WorkerEvent::Large { fd, kind, payload };
        assert_eq!(counted(large, &[]), own + SIZE);
        let plain = counted(request(0, 0), &[]);
        assert!(plain > own + size_of::<HttpRequest>());
        assert_eq!(counted(request(0, SIZE), &[]), plain + SIZE, "its body");
        assert_eq!(counted(request(SIZE, 0), &[]), plain + SIZE, "its head");
        let opened = |fields| {
            let head = Box::new(head(fields));
            counted(WorkerEvent::Opened { fd, head }, &[])
        };
        assert_eq!(opened(SIZE), opened(0) + SIZE);
        assert_eq!(counted(WorkerEvent::BufferEmpty { fd }, &[]), own);
    }

    #[test]
    fn a_job_counts_with_what_a_process_said() {
        let marks = Watermarks {
            items_high: 10,
            items_low: 0,
            bytes_high: 1 << 20,
            bytes_low: 0,
        };
        let (queue, _inbox) = worker_queue(Pressure::new(marks), 1);
        let counted = |job| {
            let before = queue.pressure.bytes();
            queue.submit(job);
            queue.pressure.bytes() - before
        };
        let payload = Bytes::from_static(&[0; 5_000]);
        let task = TaskId(1);
        let outcome = TaskOutcome::Done(payload.clone());
        let process = "p".into();
        for (job, size) in [
            (WorkerJob::Timer(1), 0),
            (WorkerJob::TaskFinished { task, outcome }, 5_000),
            (WorkerJob::PipeMessage { process, payload }, 5_000),
        ] {
            assert_eq!(counted(job), size_of::<WorkerJob>() + size);
        }
    }

    #[test]
    fn the_queue_counts_a_batch_until_it_is_taken() {
        let marks = Watermarks {
            items_high: 10,
            items_low: 0,
            bytes_high: 10_000,
            bytes_low: 0,
        };
        let (queue, inbox) = worker_queue(Pressure::new(marks), 1);
        queue.submit_batch(EventBatch {
            events: vec![request(0, 20_000)],
            ..EventBatch::of(0)
        });
        assert!(queue.pressure.is_high() && queue.pressure.bytes() > 20_000);
        let Ok(QueueItem::Batch { bytes, .. }) = inbox.receiver.try_recv() else {
            panic!("a batch was submitted");
        };
        assert!(inbox.pressure.take(1, bytes));
        assert_eq!(queue.pressure.bytes(), 0);
    }
}
