//! The threads of a server: their shared state is built, they are spawned, and counted out when
//! they end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use mio::{Poll, Waker};

use super::connection_job::ConnectionJob;
use super::deflaters::Deflaters;
use super::delivery::OwnReactor;
use super::error::ServerError;
use super::freeze::{FreezeBoard, FrozenReactor};
use super::handlers::Handlers;
use super::light::LightEvents;
use super::process::Supervisor;
use super::queue::{WorkerInbox, WorkerJob, worker_queue};
use super::runner::RunnerMaker;
use super::scheduler::{Scheduler, TurnBounds};
use super::settings::ServerSettings;
use super::shared::{MainThread, ServerShared};
use super::sinks::{InlineSink, WorkerSink};
use super::succession::WorkerParts;
use super::thread_guard::ThreadGuard;
use super::threads::{CallbackThread, ReactorThread, ServerThreads, WorkerThread, spawn};
use super::turns::WaitingEvent;
use super::upgrade::{Entered, StartGate};
use super::worker::work;
use crate::base::pressure::Pressure;
use crate::base::rest::take_part;
use crate::base::serial_blocks::SerialBlocks;
use crate::handover::SectionWriter;
use crate::net::budget::ByteBudget;
use crate::net::command::CommandBatch;
use crate::net::limits::ReactorLimits;
use crate::net::mailbox::{MailboxReceiver, mailbox};
use crate::net::reactor::{
    self, CommandSender, EventName, EventSink, Gate, Reactor, ReactorHandover, ReactorParts,
    ReactorShared, RunEnd,
};
use crate::net::strangers::Strangers;
use crate::net::{ListenAddress, Listener, TlsCertificates};

/// The parts of one reactor that no other thread uses.
pub(super) struct UnsharedReactor {
    poll: Poll,
    mailbox: MailboxReceiver<CommandBatch>,
    /// Without workers: jobs about its connections.
    jobs: Receiver<ConnectionJob>,
    /// What it goes on with of an image of the program before this one.
    handed: Option<ReactorHandover>,
    /// Without workers: the events that waited there for their connections' turns.
    waiting: Vec<WaitingEvent>,
}

impl Unshared {
    /// Has the reactors go on with those of an image of the program before this one.
    pub(super) fn hand(&mut self, handed: Vec<ReactorHandover>) {
        for handover in handed {
            if let Some(reactor) = self.reactors.get_mut(handover.id()) {
                reactor.handed = Some(handover);
            }
        }
    }
}

/// The parts that each thread takes for itself.
pub(super) struct Unshared {
    pub(super) reactors: Vec<UnsharedReactor>,
    pub(super) inboxes: Vec<WorkerInbox>,
    /// The events that waited for their connections' turns in an image of the program before this one.
    pub(super) waiting: Vec<WaitingEvent>,
}

/// The numbers of threads to start, and the way to the main one.
pub(super) struct Threads {
    pub(super) reactors: usize,
    pub(super) workers: usize,
    /// Parts beside the server that rest in a freeze.
    pub(super) parts: usize,
    pub(super) main: MainThread,
    pub(super) inline_jobs: Sender<WorkerJob>,
    /// Each with whether TLS is spoken there.
    pub(super) listening: Vec<(ListenAddress, bool)>,
}

/// Builds the state that all threads share, and the parts that each takes for itself.
pub(super) fn build_shared(
    threads: Threads,
    settings: &ServerSettings,
    supervisor: &Supervisor,
) -> Result<(Arc<ServerShared>, Unshared), ServerError> {
    let mut mailboxes = Vec::new();
    let mut reactors = Vec::new();
    let mut inline_connection_jobs = Vec::new();
    for _ in 0..threads.reactors {
        let (jobs, taken) = crossbeam_channel::unbounded();
        inline_connection_jobs.push((jobs, taken.clone()));
        let (sender, reactor) = mailbox_of_a_reactor(settings, taken)?;
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
    let main = Arc::clone(&threads.main.waker);
    let (mut plain, mut encrypted) = (Vec::new(), Vec::new());
    for (address, is_tls) in threads.listening {
        let list = if is_tls { &mut encrypted } else { &mut plain };
        list.push(address);
    }
    let shared = Arc::new(ServerShared {
        freeze: FreezeBoard::new(threads.reactors, threads.workers, threads.parts, main),
        mailboxes,
        directories: (0..threads.reactors).map(|_| Arc::default()).collect(),
        counters: (0..threads.reactors).map(|_| Arc::default()).collect(),
        budget: ByteBudget::new(settings.outbox_bytes_total_max),
        unfinished: ByteBudget::new(settings.unfinished_bytes_max),
        strangers: Arc::new(Strangers::new(settings.connections_per_address_max)),
        answers_bytes_max: Arc::new(AtomicUsize::new(settings.answers_bytes_max())),
        deflaters: Deflaters::new(settings),
        postponed: Arc::default(),
        pauses: Arc::default(),
        workers: queues,
        inline_jobs: threads.inline_jobs,
        inline_connection_jobs,
        processes: links.collect(),
        main: threads.main,
        started: Instant::now(),
        addresses: plain.iter().filter_map(ListenAddress::ip).collect(),
        listening: plain,
        listening_tls: encrypted,
    });
    let waiting = Vec::new();
    Ok((
        shared,
        Unshared {
            reactors,
            inboxes,
            waiting,
        },
    ))
}

fn mailbox_of_a_reactor(
    settings: &ServerSettings,
    jobs: Receiver<ConnectionJob>,
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
        jobs,
        handed: None,
        waiting: Vec::new(),
    };
    Ok((sender, reactor))
}

/// Starts the threads of a server.
pub(super) struct Spawner<'a> {
    pub(super) maker: RunnerMaker,
    /// Pressures of the queues that all connections feed: the mailboxes, and those of the server's
    /// user.
    pub(super) pressures: Arc<[Arc<Pressure>]>,
    pub(super) serials_from: u64,
    pub(super) serial_blocks: Option<Arc<SerialBlocks>>,
    pub(super) limits: Arc<ReactorLimits>,
    /// Bytes of messages that wait in one thread for their connections' turns.
    pub(super) waiting_bytes_max: usize,
    pub(super) gate: Arc<Gate>,
    pub(super) event_name: Arc<EventName>,
    pub(super) certificates: Option<Arc<TlsCertificates>>,
    pub(super) jobs: &'a Receiver<WorkerJob>,
    /// The gate at which the threads wait.
    pub(super) start_gate: Arc<StartGate>,
    /// What an image of the program before this one has handed over.
    pub(super) entered: Option<Arc<Entered>>,
}

impl Spawner<'_> {
    /// Starts all workers and reactors.
    pub(super) fn start(
        self,
        unshared: Unshared,
        listeners: Vec<Listener>,
        handlers: &Arc<Handlers>,
    ) -> io::Result<ServerThreads> {
        let Unshared {
            mut reactors,
            inboxes,
            mut waiting,
        } = unshared;
        if inboxes.is_empty() {
            for (id, reactor) in reactors.iter_mut().enumerate() {
                let own = waiting.extract_if(.., |one| one.event.fd().reactor() == id);
                reactor.waiting = own.collect();
            }
        }
        let workers = self.workers(inboxes, waiting, handlers)?;
        let reactors = self.reactors(reactors, listeners, handlers)?;
        Ok(ServerThreads {
            maker: self.maker,
            workers,
            reactors,
        })
    }

    fn workers(
        &self,
        inboxes: Vec<WorkerInbox>,
        mut waiting: Vec<WaitingEvent>,
        handlers: &Arc<Handlers>,
    ) -> io::Result<Vec<WorkerThread>> {
        let (bounds, shared) = (self.turn_bounds(), &self.maker.shared);
        let mut threads = Vec::new();
        let workers = inboxes.len() as u64;
        for (id, inbox) in inboxes.into_iter().enumerate() {
            let runner = self.maker.make(id, None, handlers);
            let (backlogged, postponed) = (&inbox.backlogged, &shared.postponed);
            let (orders, received) = crossbeam_channel::unbounded();
            let mut scheduler = Scheduler::new(
                bounds.clone(),
                Arc::clone(backlogged),
                Arc::clone(postponed),
                Arc::clone(&shared.pauses),
            );
            let is_own = |one: &mut WaitingEvent| one.event.fd().serial() % workers == id as u64;
            scheduler.take_over(waiting.extract_if(.., is_own));
            let parts = WorkerParts {
                scheduler,
                inbox,
                orders: received,
                guard: ThreadGuard::worker(shared),
            };
            let name = CallbackThread::Worker(id).name();
            let thread = self.spawn(name, move || work(&runner, parts, || {}))?;
            threads.push(WorkerThread {
                thread: Some(thread),
                orders,
            });
        }
        Ok(threads)
    }

    fn reactors(
        &self,
        unshared: Vec<UnsharedReactor>,
        listeners: Vec<Listener>,
        handlers: &Arc<Handlers>,
    ) -> io::Result<Vec<ReactorThread>> {
        let mut listeners = Some(listeners);
        let mut threads = Vec::new();
        for (id, unshared) in unshared.into_iter().enumerate() {
            let listeners = listeners.take().unwrap_or_default();
            threads.push(match self.maker.shared.workers.is_empty() {
                true => self.inline_reactor(id, unshared, listeners, handlers),
                false => self.reactor(id, unshared, listeners, handlers),
            }?);
        }
        Ok(threads)
    }

    /// Starts a thread, which waits at the gate.
    fn spawn(
        &self,
        name: String,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let gate = Arc::clone(&self.start_gate);
        spawn(name, move || {
            gate.pass();
            run();
        })
    }

    /// Starts a reactor that runs all callbacks of its connections.
    fn inline_reactor(
        &self,
        id: usize,
        mut unshared: UnsharedReactor,
        listeners: Vec<Listener>,
        handlers: &Arc<Handlers>,
    ) -> io::Result<ReactorThread> {
        let commands = InlineSink::OWN_COMMANDS;
        let runner = (self.maker).make(id, Some(OwnReactor { id, commands }), handlers);
        let jobs = (id == 0).then(|| self.jobs.clone());
        let jobs = (jobs, unshared.jobs.clone());
        let (orders, received) = crossbeam_channel::unbounded();
        let mut sink = InlineSink::new(runner, self.turn_bounds(), jobs, received);
        sink.take_over(std::mem::take(&mut unshared.waiting));
        let make = self.maker_of(id, unshared, listeners, sink);
        let guard = ThreadGuard::reactor(&self.maker.shared, id);
        let name = CallbackThread::Reactor(id).name();
        Ok(ReactorThread {
            thread: spawn(name, move || run_inline(make(), id, guard))?,
            orders: Some(orders),
        })
    }

    /// Starts a reactor that leaves callbacks to the workers, but for those of light events.
    fn reactor(
        &self,
        id: usize,
        unshared: UnsharedReactor,
        listeners: Vec<Listener>,
        handlers: &Arc<Handlers>,
    ) -> io::Result<ReactorThread> {
        let commands = WorkerSink::OWN_COMMANDS;
        let runner = (self.maker).make(id, Some(OwnReactor { id, commands }), handlers);
        let has_light = runner.knows_light_events();
        let (orders, received) = crossbeam_channel::unbounded();
        let answers_bytes_max = Arc::clone(&self.maker.shared.answers_bytes_max);
        let light = has_light.then(|| LightEvents::new(runner, answers_bytes_max, received));
        let shared = Arc::clone(&self.maker.shared);
        let guard = ThreadGuard::reactor(&shared, id);
        let sink = WorkerSink::new(shared, Arc::clone(&self.maker.timers), id, light);
        let make = self.maker_of(id, unshared, listeners, sink);
        let thread = spawn(CallbackThread::Reactor(id).name(), move || {
            let reactor = make();
            reactor.sink().start();
            drop(run(reactor, id, guard));
        })?;
        let orders = has_light.then_some(orders);
        Ok(ReactorThread { thread, orders })
    }

    /// Returns the function that makes a reactor on its own thread, once it may go on.
    fn maker_of<S: EventSink + Send + 'static>(
        &self,
        id: usize,
        mut unshared: UnsharedReactor,
        listeners: Vec<Listener>,
        sink: S,
    ) -> impl FnOnce() -> Reactor<S> + Send + 'static {
        let handed = unshared.handed.take().zip(self.entered.clone());
        let parts = self.parts(id, unshared, listeners, sink);
        let gate = Arc::clone(&self.start_gate);
        move || {
            let reactor = match handed {
                None => Reactor::new(parts),
                Some((handover, entered)) => gate.adopt(|| {
                    Reactor::adopt(parts, handover, |number| {
                        let socket = entered.adopt(number);
                        socket.expect("it was checked before the commit")
                    })
                }),
            };
            gate.pass();
            reactor
        }
    }

    fn turn_bounds(&self) -> TurnBounds {
        TurnBounds {
            answers_bytes_max: Arc::clone(&self.maker.shared.answers_bytes_max),
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
        let shared = &self.maker.shared;
        ReactorParts {
            id,
            poll: unshared.poll,
            mailbox: unshared.mailbox,
            peers: shared.mailboxes.clone(),
            listeners,
            certificates: self.certificates.clone(),
            limits: Arc::clone(&self.limits),
            gate: Arc::clone(&self.gate),
            event_name: Arc::clone(&self.event_name),
            started: shared.started,
            shared: ReactorShared {
                directory: Arc::clone(&shared.directories[id]),
                counters: Arc::clone(&shared.counters[id]),
                budget: Arc::clone(&shared.budget),
                unfinished: Arc::clone(&shared.unfinished),
                strangers: Arc::clone(&shared.strangers),
                pressures: Arc::clone(&self.pressures),
            },
            sink,
            // Blocks alone say where they begin.
            serials_from: match self.serial_blocks {
                Some(_) => 0,
                None => self.serials_from,
            },
            serial_blocks: self.serial_blocks.clone(),
        }
    }
}

/// Runs a reactor and its callbacks on one thread. The reactor that takes jobs doesn't call
/// `on_worker_stop` itself: the main thread does, after it has run the jobs that came too late.
fn run_inline(reactor: Reactor<InlineSink>, id: usize, guard: ThreadGuard) {
    reactor.sink().start();
    if let Some((mut sink, _guard)) = run(reactor, id, guard) {
        sink.finish();
        if !sink.takes_jobs() {
            sink.runner().stop();
            sink.runner().flush();
        }
    }
}

fn run<S: EventSink>(
    mut reactor: Reactor<S>,
    id: usize,
    guard: ThreadGuard,
) -> Option<(S, ThreadGuard)> {
    take_part();
    loop {
        match reactor.run() {
            Ok(RunEnd::Done) => return Some((reactor.into_sink(), guard)),
            Ok(RunEnd::Frozen { number }) => {
                let [mut section, mut waiting] = [SectionWriter::new(), SectionWriter::new()];
                reactor.hand_over(&guard.shared.freeze.frames(), &mut section);
                reactor.sink().hand_over(&mut waiting);
                let frozen = FrozenReactor {
                    section,
                    oldest_reader: reactor.oldest_reader(),
                    tick: reactor.tick(),
                    last_serial: reactor.last_serial(),
                    sockets: reactor.sockets(),
                    listeners: reactor.listeners(),
                    waiting,
                };
                guard.shared.freeze.rest_reactor(id, number, frozen);
            }
            Err(error) => {
                tracing::error!(%error, "a reactor can't go on");
                guard.shared.main.fail("a reactor has died");
                return None;
            }
        }
    }
}
