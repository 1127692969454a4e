//! The threads of a server, and what they share: put together, started, counted out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mio::{Poll, Waker};

use super::builder::ServerError;
use super::owners::{Inline, ToWorkers};
use super::process::Supervisor;
use super::runner::{Job, Runner};
use super::settings::ServerSettings;
use super::shared::{MainThread, Shared};
use super::timers::Timers;
use super::worker::{WorkerInbox, work, worker_queue};
use crate::base::pressure::Pressure;
use crate::net::Listener;
use crate::net::budget::OutboxBudget;
use crate::net::command::{Command, CommandBatch};
use crate::net::mailbox::{Receiver as MailboxReceiver, mailbox};
use crate::net::reactor::{self, Gate, Owner, Reactor, ReactorLimits, ReactorParts};

/// What belongs to one reactor and isn't shared.
pub(super) struct ReactorPiece {
    poll: Poll,
    mailbox: MailboxReceiver<CommandBatch>,
}

/// What the threads take with them.
pub(super) struct Pieces {
    pub(super) reactors: Vec<ReactorPiece>,
    pub(super) inboxes: Vec<WorkerInbox>,
}

pub(super) fn share(
    reactors: usize,
    workers: usize,
    settings: &ServerSettings,
    supervisor: &Supervisor,
    main: MainThread,
    inline_jobs: Sender<Job>,
    addresses: Vec<SocketAddr>,
) -> Result<(Arc<Shared>, Pieces), ServerError> {
    let system = ServerError::system;
    let mut mailboxes = Vec::new();
    let mut reactor_pieces = Vec::new();
    for _ in 0..reactors {
        let poll = Poll::new().map_err(system("make a poll"))?;
        let waker = Waker::new(poll.registry(), reactor::WAKER).map_err(system("make a waker"))?;
        let pressure = Arc::new(Pressure::new(settings.mailbox));
        let wake = move || {
            if let Err(error) = waker.wake() {
                tracing::error!(%error, "a reactor can't be woken");
            }
        };
        let (sender, receiver) = mailbox(Some(pressure), wake);
        mailboxes.push(sender);
        reactor_pieces.push(ReactorPiece {
            poll,
            mailbox: receiver,
        });
    }
    let (queues, inboxes) = (0..workers)
        .map(|_| worker_queue(Pressure::new(settings.worker_queue), reactors))
        .unzip();
    let links = supervisor.stats().into_iter().filter_map(|stats| {
        let link = supervisor.link(&stats.name)?;
        Some((stats.name, link))
    });
    let shared = Arc::new(Shared {
        mailboxes,
        directories: (0..reactors).map(|_| Arc::default()).collect(),
        counters: (0..reactors).map(|_| Arc::default()).collect(),
        budget: OutboxBudget::new(settings.outbox_bytes_total_max),
        workers: queues,
        inline_jobs,
        timers: Timers::default(),
        processes: links.collect(),
        main,
        started: Instant::now(),
        addresses,
    });
    Ok((
        shared,
        Pieces {
            reactors: reactor_pieces,
            inboxes,
        },
    ))
}

/// Starts the threads.
pub(super) struct Start<'a> {
    pub(super) shared: &'a Arc<Shared>,
    /// What is fed by all connections: the mailboxes, and the queues of the server's user.
    pub(super) pressures: Arc<[Arc<Pressure>]>,
    pub(super) serials_from: u64,
    pub(super) limits: Arc<ReactorLimits>,
    pub(super) gate: Arc<Gate>,
    pub(super) jobs: &'a Receiver<Job>,
}

impl Start<'_> {
    pub(super) fn workers(
        &self,
        inboxes: Vec<WorkerInbox>,
        runner: impl Fn(usize, Option<usize>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut threads = Vec::new();
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let (runner, ended) = (runner(id, None), Ended::worker(self.shared));
            threads.push(spawn(format!("worker-{id}"), move || {
                let _ended = ended;
                work(&runner, &inbox);
            })?);
        }
        Ok(threads)
    }

    pub(super) fn reactors(
        &self,
        pieces: Vec<ReactorPiece>,
        listeners: Vec<Listener>,
        runner: impl Fn(usize, Option<usize>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut listeners = Some(listeners);
        let mut threads = Vec::new();
        for (id, piece) in pieces.into_iter().enumerate() {
            let listeners = listeners.take().unwrap_or_default();
            let ended = Ended::reactor(self.shared, id);
            let name = format!("reactor-{id}");
            threads.push(if self.shared.workers.is_empty() {
                let jobs = (id == 0).then(|| self.jobs.clone());
                let owner = Inline::new(runner(id, Some(id)), jobs);
                let reactor = Reactor::new(self.parts(id, piece, listeners, owner));
                spawn(name, move || run_inline(reactor, ended))?
            } else {
                let owner = ToWorkers::new(Arc::clone(self.shared), id);
                let reactor = Reactor::new(self.parts(id, piece, listeners, owner));
                spawn(name, move || drop(run(reactor, ended)))?
            });
        }
        Ok(threads)
    }

    fn parts<O>(
        &self,
        id: usize,
        piece: ReactorPiece,
        listeners: Vec<Listener>,
        owner: O,
    ) -> ReactorParts<O> {
        ReactorParts {
            id,
            poll: piece.poll,
            mailbox: piece.mailbox,
            peers: self.shared.mailboxes.clone(),
            listeners,
            limits: Arc::clone(&self.limits),
            gate: Arc::clone(&self.gate),
            started: self.shared.started,
            shared: reactor::Shared {
                directory: Arc::clone(&self.shared.directories[id]),
                counters: Arc::clone(&self.shared.counters[id]),
                budget: Arc::clone(&self.shared.budget),
                pressures: Arc::clone(&self.pressures),
            },
            owner,
            serials_from: self.serials_from,
        }
    }
}

/// For the one that takes jobs the main thread runs what still comes, and tells its end then.
fn run_inline(reactor: Reactor<Inline>, ended: Ended) {
    reactor.owner().runner().start();
    if let Some((owner, _ended)) = run(reactor, ended)
        && !owner.takes_jobs()
    {
        owner.runner().stop();
        owner.runner().flush();
    }
}

fn run<O: Owner>(reactor: Reactor<O>, ended: Ended) -> Option<(O, Ended)> {
    match reactor.run() {
        Ok(owner) => Some((owner, ended)),
        Err(error) => {
            tracing::error!(%error, "a reactor can't go on");
            ended.shared.main.ask_to_stop();
            None
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(run)
}

/// Counts a thread out when it ends, however it does.
struct Ended {
    shared: Arc<Shared>,
    kind: ThreadKind,
}

enum ThreadKind {
    Reactor(usize),
    Worker,
}

impl Ended {
    fn reactor(shared: &Arc<Shared>, id: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Reactor(id),
        }
    }

    fn worker(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Worker,
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let main = &self.shared.main;
        match self.kind {
            ThreadKind::Reactor(id) => {
                main.reactors.fetch_sub(1, Ordering::AcqRel);
                if id != 0 {
                    self.shared.send(0, CommandBatch::of(Command::PeerEnded));
                }
            }
            ThreadKind::Worker => {
                main.workers.fetch_sub(1, Ordering::AcqRel);
            }
        }
        if std::thread::panicking() {
            tracing::error!("a thread of the server panicked");
            main.ask_to_stop();
        } else {
            main.wake();
        }
    }
}
