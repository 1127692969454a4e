//! Replays: a client that comes back gets what it missed from the disk, a page at a time.
//!
//! One thread reads the pages. A connection gets the next one when its outbox has room, so a slow
//! reader keeps nobody waiting and no memory. [`table`] knows whose turn it is, [`page`] makes
//! notices of what was read, [`thread`] reads.

mod handover;
mod page;
mod table;
mod thread;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use crate::base::Fd;
use crate::base::metric::numbers;
use crate::base::rest::{RestOrder, RestPoint};
use crate::base::sync::lock;
use crate::chat::{CatchUp, Missing};
use table::{ClientReplay, ReplayTable};

pub(super) use thread::start;

/// Bounds of replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplaySettings {
    /// Connections that are served at a time; the others wait. Default 256: with a page each, they
    /// take 64 MiB at most.
    pub active_max: usize,
    /// Replays under way or waiting, over all connections; one more closes its connection with
    /// 1013. Default 1,000,000: as many as a reactor has connections.
    pub replays_max: usize,
    /// Bytes of a page. Default 262,144: a quarter of what may wait for one connection.
    pub page_bytes_max: usize,
    /// Bytes waiting for a connection up to which it gets the next page. Default 524,288: half of
    /// what may wait.
    pub outbox_bytes_low: usize,
}

impl Default for ReplaySettings {
    fn default() -> Self {
        Self {
            active_max: 256,
            replays_max: 1_000_000,
            page_bytes_max: 256 * 1024,
            outbox_bytes_low: 512 * 1024,
        }
    }
}

/// What the thread that reads does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReplayTurn {
    /// It reads the next page of a connection.
    Page(Fd),
    /// It looks whether it is to rest.
    Look,
    /// It ends.
    End,
}

/// Replays under way, shared by the callbacks and the thread that reads.
#[derive(Debug)]
pub(super) struct Replays {
    /// What the thread does next.
    ready: Sender<ReplayTurn>,
    rest: RestPoint,
    /// The present [`ReplaySettings::page_bytes_max`] and [`ReplaySettings::outbox_bytes_low`].
    page_bytes_max: AtomicUsize,
    outbox_bytes_low: AtomicUsize,
    table: Mutex<ReplayTable>,
    pages: AtomicU64,
    finished: AtomicU64,
    refused: AtomicU64,
}

/// What the thread that reads has to do, in order.
#[derive(Debug)]
pub(super) struct ReplayTurns(Receiver<ReplayTurn>);

numbers! {
    /// Counters of replays, and the number of those under way.
    pub(super) struct ReplayStats {
        /// Channels of connections that catch up.
        Gauge under_way,
        /// Pages that were read for them.
        Counter pages,
        /// Those that ended.
        Counter finished,
        /// Those that were refused since there were too many.
        Counter refused,
    }
}

impl Replays {
    /// Makes an empty table, and the receiving end for the thread.
    pub(super) fn new(settings: ReplaySettings) -> (Self, ReplayTurns) {
        // Bounded by `active_max`: only connections that are served are in it.
        let (ready, receiver) = crossbeam_channel::unbounded();
        let replays = Self {
            page_bytes_max: AtomicUsize::new(settings.page_bytes_max),
            outbox_bytes_low: AtomicUsize::new(settings.outbox_bytes_low),
            ready,
            rest: RestPoint::default(),
            table: Mutex::new(ReplayTable::new(settings.active_max, settings.replays_max)),
            pages: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        };
        (replays, ReplayTurns(receiver))
    }

    /// Changes the bounds, for the pages from now on.
    pub(super) fn set_settings(&self, settings: ReplaySettings) {
        (self.page_bytes_max).store(settings.page_bytes_max, Relaxed);
        (self.outbox_bytes_low).store(settings.outbox_bytes_low, Relaxed);
        let mut table = lock(&self.table);
        let served = table.set_bounds(settings.active_max, settings.replays_max);
        drop(table);
        for fd in served {
            self.serve(Some(fd));
        }
    }

    /// Begins a replay; one of the same channel that is under way ends. Returns `false` if there
    /// are too many replays.
    pub(super) fn begin(&self, fd: Fd, channel: &Arc<str>, missing: Missing) -> bool {
        let begun = lock(&self.table).begin(fd, channel, missing);
        match begun {
            Ok(next) => {
                self.serve(next);
                true
            }
            Err(table::TooManyReplays) => {
                self.refused.fetch_add(1, Relaxed);
                false
            }
        }
    }

    /// Ends the replay of a channel, if there is one.
    pub(super) fn end(&self, fd: Fd, channel: &str) {
        lock(&self.table).end(fd, channel);
    }

    /// Forgets a connection that has ended.
    pub(super) fn forget(&self, fd: Fd) {
        let next = lock(&self.table).forget(fd);
        self.serve(next);
    }

    /// Notes that the outbox of a connection has room again.
    pub(super) fn next_page(&self, fd: Fd) {
        lock(&self.table).note_ready(fd);
        // The thread ends after all connections.
        self.ready.send(ReplayTurn::Page(fd)).ok();
    }

    /// Has the thread rest behind the page that it reads.
    pub(super) fn rest(&self, order: RestOrder) {
        self.rest.order(order);
        self.ready.send(ReplayTurn::Look).ok();
    }

    /// Has the thread go on.
    pub(super) fn thaw(&self) {
        self.rest.thaw();
    }

    /// Ends the thread.
    pub(super) fn stop(&self) {
        self.ready.send(ReplayTurn::End).ok();
    }

    pub(super) fn stats(&self) -> ReplayStats {
        ReplayStats {
            under_way: lock(&self.table).total() as u64,
            pages: self.pages.load(Relaxed),
            finished: self.finished.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }

    /// Finds what a connection that is served gets next, if anything.
    fn current(&self, fd: Fd) -> Option<ClientReplay> {
        let current = lock(&self.table).current(fd);
        current.map_err(|next| self.serve(next)).ok()
    }

    fn is_current(&self, fd: Fd, id: u64) -> bool {
        lock(&self.table).is_current(fd, id)
    }

    /// Notes the progress of a replay.
    fn advance(&self, fd: Fd, id: u64, caught: CatchUp) {
        if lock(&self.table).advance(fd, id, caught) {
            self.finished.fetch_add(1, Relaxed);
        }
    }

    fn serve(&self, next: Option<Fd>) {
        if let Some(fd) = next {
            self.next_page(fd);
        }
    }
}
