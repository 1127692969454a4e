//! The state that all threads of a server share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mio::Waker;

use super::connection_job::{ConnectionJob, UserFunction, take_functions};
use super::deflaters::Deflaters;
use super::freeze::{FreezeBoard, FreezeErrand, FreezeError};
use super::main_times::MainTimes;
use super::pauses::Pauses;
use super::process::ProcessLink;
use super::queue::{Postponed, WorkerInbox, WorkerJob, WorkerQueue};
use super::renewal::{Renewal, RenewalDesk};
use super::settings::ServerSettings;
use super::upgrade::UpgradeDesk;
use crate::base::sync::lock;
use crate::base::{Fd, Rollout};
use crate::net::ListenAddress;
use crate::net::budget::ByteBudget;
use crate::net::command::{Command, CommandBatch, ReactorOrder};
use crate::net::counters::Counters;
use crate::net::directory::Directory;
use crate::net::reactor::CommandSender;
use crate::net::strangers::Strangers;

/// The shared state of one server; every [`Handle`](super::Handle) holds a reference to it.
#[derive(Debug)]
pub(super) struct ServerShared {
    pub(super) mailboxes: Vec<CommandSender>,
    pub(super) directories: Vec<Arc<Directory>>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) budget: Arc<ByteBudget>,
    pub(super) unfinished: Arc<ByteBudget>,
    pub(super) strangers: Arc<Strangers>,
    /// Bytes of its own answers that a connection gets in a turn.
    pub(super) answers_bytes_max: Arc<AtomicUsize>,
    /// The compressors.
    pub(super) deflaters: Deflaters,
    /// What waits for its connections' turns.
    pub(super) postponed: Arc<Postponed>,
    /// Whom the server's user has paused.
    pub(super) pauses: Arc<Pauses>,
    /// The queues of the workers; none where the handlers run on the reactors.
    pub(super) workers: Vec<WorkerQueue>,
    /// Jobs that reactor 0 runs where there are no workers.
    pub(super) inline_jobs: Sender<WorkerJob>,
    /// The same of single connections, for each reactor, with the way to take them back.
    pub(super) inline_connection_jobs: Vec<(Sender<ConnectionJob>, Receiver<ConnectionJob>)>,
    pub(super) processes: HashMap<Arc<str>, ProcessLink>,
    pub(super) main: MainThread,
    pub(super) freeze: FreezeBoard,
    pub(super) started: Instant,
    /// All that the server listens on without TLS, with the ports that were chosen for port 0.
    pub(super) listening: Vec<ListenAddress>,
    /// The same with TLS.
    pub(super) listening_tls: Vec<ListenAddress>,
    /// The addresses of the network among those without.
    pub(super) addresses: Vec<SocketAddr>,
}

impl ServerShared {
    /// Sends commands to a reactor. One that has ended has no connections, so they are dropped.
    pub(super) fn send(&self, reactor: usize, batch: CommandBatch) {
        if self.freeze.is_muted() {
            return tracing::warn!("what on_freeze sends is dropped: nothing can be sent any more");
        }
        if let Some(mailbox) = self.mailboxes.get(reactor) {
            let bytes = batch.size();
            drop(mailbox.send(batch, bytes));
        }
    }

    /// Puts other bounds and times into force; the part of each reactor ends once its connections go
    /// by them.
    pub(super) fn set_settings(&self, settings: &ServerSettings, rollout: &Rollout) {
        self.budget.set_max(settings.outbox_bytes_total_max);
        self.unfinished.set_max(settings.unfinished_bytes_max);
        self.strangers.set_max(settings.connections_per_address_max);
        self.main.times.set(settings);
        self.deflaters.set(settings);
        let answers_bytes_max = settings.answers_bytes_max();
        (self.answers_bytes_max).store(answers_bytes_max, Ordering::Relaxed);
        let limits = Arc::new(settings.reactor.clone());
        for reactor in 0..self.mailboxes.len() {
            let order = ReactorOrder {
                limits: Arc::clone(&limits),
                part: rollout.part(format!("reactor-{reactor}")),
            };
            self.send(
                reactor,
                CommandBatch::of(Command::Settings(Box::new(order))),
            );
        }
    }

    pub(super) fn directory_of(&self, fd: Fd) -> Option<&Directory> {
        self.directories.get(fd.reactor()).map(Arc::as_ref)
    }

    /// Gives a job to one of the workers; the same number always leads to the same worker.
    pub(super) fn submit(&self, number: u64, job: WorkerJob) {
        if self.workers.is_empty() {
            // The send can't fail while the main thread lives, which owns a receiver too.
            drop(self.inline_jobs.send(job));
            self.mailboxes[0].nudge();
        } else {
            self.workers[number as usize % self.workers.len()].submit(job);
        }
    }

    /// Gives a job about a connection to the thread that runs its callbacks. One that has ended has no
    /// connection left, so the job is dropped.
    pub(super) fn submit_for(&self, fd: Fd, job: ConnectionJob) {
        let workers = self.workers.len() as u64;
        if workers > 0 {
            self.workers[(fd.serial() % workers) as usize].submit_for(job);
        } else if let Some((jobs, _)) = self.inline_connection_jobs.get(fd.reactor()) {
            drop(jobs.send(job));
            self.mailboxes[fd.reactor()].nudge();
        }
    }

    /// Takes the functions that wait for threads that are at rest.
    pub(super) fn take_late_functions(&self) -> Vec<(Fd, UserFunction)> {
        let of_workers = self.workers.iter().flat_map(WorkerQueue::take_functions);
        let of_reactors = (self.inline_connection_jobs.iter())
            .flat_map(|(jobs, taken)| take_functions((jobs, taken), ConnectionJob::into_function));
        of_workers.chain(of_reactors).collect()
    }

    /// Counts out what was taken from an inbox: its events, its bytes, and the reactor of a batch. To
    /// be called once the commands of these events are sent, so that a reactor finds them.
    pub(super) fn count_out(
        &self,
        inbox: &WorkerInbox,
        (items, bytes, reactor): (usize, usize, Option<usize>),
    ) {
        if let Some(reactor) = reactor
            && inbox.progress[reactor].step()
        {
            self.mailboxes[reactor].nudge();
        }
        if inbox.pressure.take(items, bytes) {
            self.nudge_reactors();
        }
    }

    /// Makes every reactor look again at the connections that it held back.
    pub(super) fn nudge_reactors(&self) {
        for mailbox in &self.mailboxes {
            mailbox.nudge();
        }
    }
}

/// Where an errand waits that needs a freeze.
#[derive(Debug, Default)]
enum FreezeDesk {
    #[default]
    Free,
    Waiting(FreezeErrand),
    /// The server has ended.
    Closed,
}

/// The way from the other threads to the main one.
#[derive(Debug)]
pub(super) struct MainThread {
    pub(super) waker: Arc<Waker>,
    stop_asked: AtomicBool,
    /// Whether the stop shall end at once, as at a second signal; false again once that is begun.
    force_asked: AtomicBool,
    /// What has ended that the server can't do without; the first of several.
    failure: OnceLock<Box<str>>,
    freeze: Mutex<FreezeDesk>,
    /// The times that the main thread goes by.
    pub(super) times: MainTimes,
    /// Reactors that haven't ended; `workers` counts the same of the workers.
    pub(super) reactors: AtomicUsize,
    pub(super) workers: AtomicUsize,
    /// The renewals that were asked for.
    pub(super) renewals: RenewalDesk,
    /// The upgrades that were asked for.
    pub(super) upgrades: UpgradeDesk,
}

impl MainThread {
    pub(super) fn new(
        waker: Arc<Waker>,
        (reactors, workers): (usize, usize),
        settings: &ServerSettings,
    ) -> Self {
        Self {
            waker,
            stop_asked: AtomicBool::new(false),
            force_asked: AtomicBool::new(false),
            failure: OnceLock::new(),
            freeze: Mutex::default(),
            times: MainTimes::of(settings),
            reactors: AtomicUsize::new(reactors),
            workers: AtomicUsize::new(workers),
            renewals: RenewalDesk::default(),
            upgrades: UpgradeDesk::default(),
        }
    }

    /// Asks for a renewal of the workers and the processes.
    pub(super) fn ask_to_renew(&self) -> Renewal {
        let renewal = self.renewals.ask();
        self.wake();
        renewal
    }

    /// Asks for an upgrade of the program.
    pub(super) fn ask_to_upgrade(&self) {
        self.upgrades.ask();
        self.wake();
    }

    pub(super) fn ask_to_stop(&self) {
        self.stop_asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Ends at once what [`Self::ask_to_stop`] would end in order.
    pub(super) fn ask_to_force(&self) {
        self.stop_asked.store(true, Ordering::Release);
        self.force_asked.store(true, Ordering::Release);
        self.wake();
    }

    /// Has all brought to a stand for an errand.
    pub(super) fn ask_to_freeze(&self, errand: FreezeErrand) {
        let refused = {
            let mut desk = lock(&self.freeze);
            match *desk {
                FreezeDesk::Free => {
                    *desk = FreezeDesk::Waiting(errand);
                    None
                }
                FreezeDesk::Waiting(_) => Some((errand, FreezeError::Busy)),
                FreezeDesk::Closed => Some((errand, FreezeError::Stops)),
            }
        };
        match refused {
            Some((errand, error)) => errand.refuse(error),
            None => self.wake(),
        }
    }

    /// Takes the errand that waits.
    pub(super) fn takes_freeze(&self) -> Option<FreezeErrand> {
        let mut desk = lock(&self.freeze);
        match std::mem::take(&mut *desk) {
            FreezeDesk::Waiting(errand) => Some(errand),
            other => {
                *desk = other;
                None
            }
        }
    }

    /// Takes no errand any more.
    pub(super) fn close_freezes(&self) {
        let waiting = std::mem::replace(&mut *lock(&self.freeze), FreezeDesk::Closed);
        if let FreezeDesk::Waiting(errand) = waiting {
            errand.refuse(FreezeError::Stops);
        }
    }

    pub(super) fn takes_force(&self) -> bool {
        self.force_asked.swap(false, Ordering::AcqRel)
    }

    /// Stops in order what can't go on, and remembers why it stopped.
    pub(super) fn fail(&self, reason: &str) {
        // Whoever reads the log finds it so.
        self.failure.get_or_init(|| reason.into());
        tracing::error!(reason, "the server can't go on");
        self.ask_to_stop();
    }

    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.get().map(Box::as_ref)
    }

    pub(super) fn is_asked_to_stop(&self) -> bool {
        self.stop_asked.load(Ordering::Acquire)
    }

    pub(super) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the main thread can't be woken");
        }
    }
}
