//! The threads of a server: their shared state is built, they are spawned, and counted out when
//! they end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mio::{Poll, Waker};

use super::delivery::OwnReactor;
use super::error::ServerError;
use super::handle::TimerCallback;
use super::light::LightEvents;
use super::process::Supervisor;
use super::queue::{WorkerInbox, WorkerJob, worker_queue};
use super::runner::Runner;
use super::scheduler::{Scheduler, TurnBounds};
use super::settings::ServerSettings;
use super::shared::{MainThread, ServerShared};
use super::sinks::{InlineSink, WorkerSink};
use super::timers::Timers;
use super::worker::work;
use crate::base::pressure::Pressure;
use crate::net::Listener;
use crate::net::budget::ByteBudget;
use crate::net::command::{Command, CommandBatch};
use crate::net::mailbox::{MailboxReceiver, mailbox};
use crate::net::reactor::{
    self, CommandSender, EventSink, Gate, Reactor, ReactorLimits, ReactorParts, ReactorShared,
};
use crate::net::strangers::Strangers;

/// The parts of one reactor that no other thread uses.
pub(super) struct UnsharedReactor {
    poll: Poll,
    mailbox: MailboxReceiver<CommandBatch>,
}

/// The parts that each thread takes for itself.
pub(super) struct Unshared {
    pub(super) reactors: Vec<UnsharedReactor>,
    pub(super) inboxes: Vec<WorkerInbox>,
}

/// The numbers of threads to start, and the way to the main one.
pub(super) struct Threads {
    pub(super) reactors: usize,
    pub(super) workers: usize,
    pub(super) main: MainThread,
    pub(super) inline_jobs: Sender<WorkerJob>,
    pub(super) addresses: Vec<SocketAddr>,
}

/// Builds the state that all threads share, and the parts that each takes for itself.
pub(super) fn build_shared(
    threads: Threads,
    settings: &ServerSettings,
    supervisor: &Supervisor,
) -> Result<(Arc<ServerShared>, Unshared), ServerError> {
    let mut mailboxes = Vec::new();
    let mut reactors = Vec::new();
    for _ in 0..threads.reactors {
        let (sender, reactor) = mailbox_of_a_reactor(settings)?;
        mailboxes.push(sender);
        reactors.push(reactor);
    }
    let (queues, inboxes) = (0..threads.workers)
        .map(|_| worker_queue(Pressure::new(settings.worker_queue), threads.reactors))
        .unzip();
    let links = supervisor.stats().into_iter().filter_map(|stats| {
        let link = supervisor.link(&stats.name)?;
        Some((stats.name, link))
    });
    let shared = Arc::new(ServerShared {
        mailboxes,
        directories: (0..threads.reactors).map(|_| Arc::default()).collect(),
        counters: (0..threads.reactors).map(|_| Arc::default()).collect(),
        budget: ByteBudget::new(settings.outbox_bytes_total_max),
        unfinished: ByteBudget::new(settings.unfinished_bytes_max),
        strangers: Arc::new(Strangers::new(settings.connections_per_address_max)),
        answers_bytes_max: Arc::new(AtomicUsize::new(settings.answers_bytes_max())),
        postponed: Arc::default(),
        workers: queues,
        inline_jobs: threads.inline_jobs,
        processes: links.collect(),
        main: threads.main,
        started: Instant::now(),
        addresses: threads.addresses,
    });
    Ok((shared, Unshared { reactors, inboxes }))
}

fn mailbox_of_a_reactor(
    settings: &ServerSettings,
) -> Result<(CommandSender, UnsharedReactor), ServerError> {
    let system = ServerError::system;
    let poll = Poll::new().map_err(system("make a poll"))?;
    let waker = Waker::new(poll.registry(), reactor::WAKER).map_err(system("make a waker"))?;
    let wake = move || {
        if let Err(error) = waker.wake() {
            tracing::error!(%error, "a reactor can't be woken");
        }
    };
    let pressure = Arc::new(Pressure::new(settings.mailbox));
    let (sender, receiver) = mailbox(Some(pressure), wake);
    let reactor = UnsharedReactor {
        poll,
        mailbox: receiver,
    };
    Ok((sender, reactor))
}

/// Starts the threads of a server.
pub(super) struct Spawner<'a> {
    pub(super) shared: &'a Arc<ServerShared>,
    pub(super) timers: &'a Arc<Timers<TimerCallback>>,
    /// Pressures of the queues that all connections feed: the mailboxes, and those of the server's
    /// user.
    pub(super) pressures: Arc<[Arc<Pressure>]>,
    pub(super) serials_from: u64,
    pub(super) limits: Arc<ReactorLimits>,
    /// Bytes of messages that wait in one thread for their connections' turns.
    pub(super) waiting_bytes_max: usize,
    pub(super) gate: Arc<Gate>,
    pub(super) jobs: &'a Receiver<WorkerJob>,
}

impl Spawner<'_> {
    /// Starts all workers and reactors.
    pub(super) fn start(
        &self,
        unshared: Unshared,
        listeners: Vec<Listener>,
        runner: impl Fn(usize, Option<OwnReactor>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut threads = self.workers(unshared.inboxes, &runner)?;
        threads.extend(self.reactors(unshared.reactors, listeners, runner)?);
        Ok(threads)
    }

    fn workers(
        &self,
        inboxes: Vec<WorkerInbox>,
        runner: impl Fn(usize, Option<OwnReactor>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let bounds = self.turn_bounds();
        let mut threads = Vec::new();
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let (runner, guard) = (runner(id, None), ThreadGuard::worker(self.shared));
            let (backlogged, postponed) = (&inbox.backlogged, &self.shared.postponed);
            let bounds = bounds.clone();
            let scheduler = Scheduler::new(bounds, Arc::clone(backlogged), Arc::clone(postponed));
            threads.push(spawn(format!("worker-{id}"), move || {
                let _guard = guard;
                work(&runner, &inbox, scheduler);
            })?);
        }
        Ok(threads)
    }

    fn reactors(
        &self,
        unshared: Vec<UnsharedReactor>,
        listeners: Vec<Listener>,
        runner: impl Fn(usize, Option<OwnReactor>) -> Runner,
    ) -> io::Result<Vec<JoinHandle<()>>> {
        let mut listeners = Some(listeners);
        let mut threads = Vec::new();
        for (id, unshared) in unshared.into_iter().enumerate() {
            let listeners = listeners.take().unwrap_or_default();
            let guard = ThreadGuard::reactor(self.shared, id);
            let name = format!("reactor-{id}");
            let runner = |commands| runner(id, Some(OwnReactor { id, commands }));
            threads.push(if self.shared.workers.is_empty() {
                let jobs = (id == 0).then(|| self.jobs.clone());
                let runner = runner(InlineSink::OWN_COMMANDS);
                let sink = InlineSink::new(runner, self.turn_bounds(), jobs);
                let reactor = Reactor::new(self.parts(id, unshared, listeners, sink));
                spawn(name, move || run_inline(reactor, guard))?
            } else {
                let runner = runner(WorkerSink::OWN_COMMANDS);
                let light = runner
                    .knows_light_events()
                    .then(|| LightEvents::new(runner, Arc::clone(&self.shared.answers_bytes_max)));
                let (shared, timers) = (Arc::clone(self.shared), Arc::clone(self.timers));
                let sink = WorkerSink::new(shared, timers, id, light);
                let reactor = Reactor::new(self.parts(id, unshared, listeners, sink));
                spawn(name, move || {
                    reactor.sink().start();
                    drop(run(reactor, guard));
                })?
            });
        }
        Ok(threads)
    }

    fn turn_bounds(&self) -> TurnBounds {
        TurnBounds {
            answers_bytes_max: Arc::clone(&self.shared.answers_bytes_max),
            waiting_bytes_max: self.waiting_bytes_max,
        }
    }

    fn parts<S>(
        &self,
        id: usize,
        unshared: UnsharedReactor,
        listeners: Vec<Listener>,
        sink: S,
    ) -> ReactorParts<S> {
        ReactorParts {
            id,
            poll: unshared.poll,
            mailbox: unshared.mailbox,
            peers: self.shared.mailboxes.clone(),
            listeners,
            limits: Arc::clone(&self.limits),
            gate: Arc::clone(&self.gate),
            started: self.shared.started,
            shared: ReactorShared {
                directory: Arc::clone(&self.shared.directories[id]),
                counters: Arc::clone(&self.shared.counters[id]),
                budget: Arc::clone(&self.shared.budget),
                unfinished: Arc::clone(&self.shared.unfinished),
                strangers: Arc::clone(&self.shared.strangers),
                pressures: Arc::clone(&self.pressures),
            },
            sink,
            serials_from: self.serials_from,
        }
    }
}

/// Runs a reactor and its callbacks on one thread. The reactor that takes jobs doesn't call
/// `on_worker_stop` itself: the main thread does, after it has run the jobs that came too late.
fn run_inline(reactor: Reactor<InlineSink>, guard: ThreadGuard) {
    reactor.sink().start();
    if let Some((mut sink, _guard)) = run(reactor, guard) {
        sink.finish();
        if !sink.takes_jobs() {
            sink.runner().stop();
            sink.runner().flush();
        }
    }
}

fn run<S: EventSink>(reactor: Reactor<S>, guard: ThreadGuard) -> Option<(S, ThreadGuard)> {
    match reactor.run() {
        Ok(sink) => Some((sink, guard)),
        Err(error) => {
            tracing::error!(%error, "a reactor can't go on");
            guard.shared.main.fail("a reactor has died");
            None
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(run)
}

/// Counts a thread out when it ends, even by a panic.
struct ThreadGuard {
    shared: Arc<ServerShared>,
    kind: ThreadKind,
}

enum ThreadKind {
    Reactor(usize),
    Worker,
}

impl ThreadGuard {
    fn reactor(shared: &Arc<ServerShared>, id: usize) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Reactor(id),
        }
    }

    fn worker(shared: &Arc<ServerShared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            kind: ThreadKind::Worker,
        }
    }
}

impl Drop for ThreadGuard {
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
            main.fail("a thread of the server has died");
        } else {
            main.wake();
        }
    }
}
