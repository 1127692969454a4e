//! The services that all threads of an endpoint share: the chat, the clock, the way to the server,
//! the way to the disk.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use arc_swap::ArcSwap;

use super::bindings::BindingFeed;
use super::first_answers::FirstAnswers;
use super::holds::Holds;
use super::lookups::Lookups;
use super::replays::Replays;
use super::store_task::{ReplyTo, StoreJob, StoreTask};
use crate::api::refusal::Refusal;
use crate::base::clock::unix_ms;
use crate::base::line_budget::LineBudget;
use crate::base::sync::lock;
use crate::base::{Tick, TickClock};
use crate::chat::{CatchUpOrders, Chat, ErrorCode, Moment, Nodes, PendingMessage};
use crate::server::{Handle, LateHandle};
use crate::store::{Disk, Reader, StoreError};

/// What clients and back ends are told of an endpoint.
#[derive(Debug)]
pub(super) struct EndpointWords {
    /// The server's name.
    pub(super) node: String,
    /// Seconds of silence until the server pings.
    pub(super) ping_s: u64,
    /// The largest message, in bytes.
    pub(super) message_size_max: usize,
    /// The moment from which a message counts as stored.
    pub(super) sync: String,
}

/// The way to the store of the bindings, and to the tables that are written besides, if there are any.
type BindingFeeds = (Option<Arc<BindingFeed>>, Option<Arc<BindingFeed>>);

/// What a node of a cluster has beside.
pub(super) struct ClusterServices {
    pub(super) lookups: Lookups,
    pub(super) holds: Holds,
    pub(super) first_answers: FirstAnswers,
    /// Who reads what a channel is missing; known before the bus is heard.
    pub(super) catch_up: OnceLock<Arc<dyn CatchUpOrders>>,
    /// The other nodes; known before anybody connects.
    pub(super) nodes: OnceLock<Arc<dyn Nodes>>,
    /// What sends the clients of this node away, within so many milliseconds.
    pub(super) drain: OnceLock<Box<dyn Fn(u64) + Send + Sync>>,
}

/// The services that callbacks, the disk thread and the replay thread use.
pub(super) struct Services {
    pub(super) chat: Chat,
    pub(super) reader: Arc<dyn Reader>,
    pub(super) disk: Disk<StoreJob>,
    pub(super) replays: Replays,
    /// What a node of a cluster has beside.
    pub(super) cluster: Option<ClusterServices>,
    /// The way to the store of the bindings, if they are written to one.
    pub(super) bindings: Option<Arc<BindingFeed>>,
    /// The way to the tables that a node of a cluster writes besides.
    pub(super) tables: Option<Arc<BindingFeed>>,
    data_size_max: AtomicUsize,
    /// What is told of the endpoint.
    pub(super) words: ArcSwap<EndpointWords>,
    /// The lines of the log for pages that can't be read.
    unreadable: Mutex<LineBudget>,
    /// Stands until the endpoint begins.
    pub(super) clock: TickClock,
    begun: OnceLock<()>,
    /// Known once the server runs, before anybody connects.
    server: LateHandle,
}

impl Services {
    pub(super) fn new(
        chat: Chat,
        reader: Arc<dyn Reader>,
        (disk, replays, (bindings, tables)): (Disk<StoreJob>, Replays, BindingFeeds),
        cluster: Option<(Lookups, Holds)>,
        (words, clock_from): (EndpointWords, Tick),
    ) -> Self {
        Self {
            chat,
            reader,
            disk,
            replays,
            cluster: cluster.map(|(lookups, holds)| ClusterServices {
                lookups,
                holds,
                first_answers: FirstAnswers::default(),
                catch_up: OnceLock::new(),
                nodes: OnceLock::new(),
                drain: OnceLock::new(),
            }),
            bindings,
            tables,
            data_size_max: AtomicUsize::new(words.message_size_max),
            words: ArcSwap::from_pointee(words),
            unreadable: Mutex::default(),
            clock: TickClock::standing_at(clock_from),
            begun: OnceLock::new(),
            server: LateHandle::default(),
        }
    }

    /// Logs that a page of history can't be read, if a line is left: whoever asked for the page can ask
    /// for it again and again.
    pub(super) fn note_unreadable(&self, error: &StoreError) {
        if let Some(left_out) = lock(&self.unreadable).take(Instant::now()) {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, left_out, "a page of history can't be read");
        }
    }

    /// Changes what is told of the endpoint, and the size of messages with it.
    pub(super) fn set_words(&self, words: EndpointWords) {
        self.data_size_max.store(words.message_size_max, Relaxed);
        self.words.store(Arc::new(words));
    }

    /// The ways to all stores of the bindings.
    pub(super) fn feeds(&self) -> impl Iterator<Item = &Arc<BindingFeed>> {
        [&self.bindings, &self.tables].into_iter().flatten()
    }

    /// The other nodes, where the server is one of a cluster.
    pub(super) fn nodes(&self) -> Option<&Arc<dyn Nodes>> {
        self.cluster.as_ref()?.nodes.get()
    }

    /// Notes the server that runs.
    pub(super) fn meet(&self, server: Handle) {
        self.server.meet(server);
    }

    /// Stops the server, since a thread has died that it can't do without.
    pub(super) fn fail(&self, reason: &'static str) {
        self.server.fail(reason);
    }

    pub(super) fn server(&self) -> Option<&Handle> {
        self.server.get()
    }

    pub(super) fn now(&self) -> Moment {
        Moment {
            tick: self.tick(),
            unix_ms: unix_ms(),
        }
    }

    /// Reads the half of [`Services::now`] that stored messages need.
    pub(super) fn tick(&self) -> Tick {
        self.clock.now()
    }

    /// Has the clock go on, and the threads of the endpoint begin.
    pub(super) fn begin(&self) {
        self.clock.go_on();
        self.begun.get_or_init(|| ());
    }

    /// Waits until the endpoint begins.
    pub(super) fn wait_for_begin(&self) {
        self.begun.wait();
    }

    /// Has the sender's own copy of a message wait for the answer, on a node of a cluster.
    pub(super) fn expect_first_answer(&self, draft: &PendingMessage) {
        if let (Some(cluster), (_, Some(line))) = (&self.cluster, draft.channels()) {
            cluster.first_answers.expect(line, draft.message().id());
        }
    }

    /// Has what a channel of this node is missing read and posted.
    pub(super) fn catch_up(&self, channel: &str) {
        let cluster = self.cluster.as_ref();
        if let Some(orders) = cluster.and_then(|cluster| cluster.catch_up.get()) {
            orders.catch_up(channel);
        }
    }

    /// Has the disk thread carry out a task, and tell the outcome to `reply_to`.
    pub(super) fn store(&self, task: StoreTask, reply_to: ReplyTo) {
        self.disk.submit(StoreJob { task, reply_to });
    }

    /// Checks the size of a message's data, whichever way the message came.
    ///
    /// # Errors
    ///
    /// The data is larger than messages may be.
    pub(super) fn check_size(&self, data: &str) -> Result<(), Refusal> {
        let (size, size_max) = (data.len(), self.data_size_max.load(Relaxed));
        if size > size_max {
            let message = format!("data has {size} bytes, but at most {size_max} are taken");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }
}
