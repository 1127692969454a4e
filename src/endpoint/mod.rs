//! The endpoint, with which clients speak: the native protocol on a WebSocket, the HTTP API, links
//! of gateways.
//!
//! An [`Endpoint`] stands between a [`crate::server::Server`] and a [`crate::chat::Chat`]. It is split
//! by who calls:
//!
//! | part | called for |
//! |---|---|
//! | `sessions` | each connection: its login, its limits, its acknowledgements |
//! | `native` | each frame of a client |
//! | `http` | each request of a back end |
//! | `links` | each frame of a gateway |
//! | `store_job` | each batch, on the disk thread |
//! | `replays` | each page that a returning client misses, on a thread of its own |
//! | `lookups` | each question to the cluster, on a thread of its own |
//! | `hearing` | whatever the other nodes of a cluster send |
//!
//! `services` is what they share. The `data` of a message passes as it came.

mod answers;
mod asker;
mod attaching;
mod bindings;
mod draining;
mod far_sink;
mod first_answers;
mod frames;
mod handover;
mod hearing;
mod history;
mod holding;
mod holds;
mod host;
mod http;
mod kick;
mod link_part;
mod links;
mod lookups;
mod native;
mod nodes;
mod replays;
mod rest;
mod serials;
mod server_sink;
mod services;
mod sessions;
mod store_job;
mod store_task;
mod stored;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::api::RefusalLog;
use crate::api::auth::{Authenticator, WithdrawnKeys};
use crate::base::clock::random;
use crate::base::sync::lock;
use crate::base::{Fd, Metric, Rollout, Tick};
use crate::chat::{CatchUpOrders, Chat, ChatSettings, Nodes};
use crate::server::{Builder, Frame, Head, MessageKind, Request, Response, WorkerHandle};
use crate::store::{Condition, Disk, DiskQueue, DiskSettings, Store, StoreSettings};
use answers::DiskContext;
use bindings::BindingFeed;
use draining::Departures;
use holds::Holds;
use http::HttpApi;
use links::ChatPublisher;
use lookups::{LookupTurns, Lookups};
use native::NativeProtocol;
use replays::{ReplayTurns, Replays};
use rest::{DiskRest, LookupRest, ReplayRest};
use serials::Serials;
use server_sink::{Confirmation, ServerSink};
use services::{EndpointWords, Services};
use sessions::Sessions;
use store_task::StoreJob;

pub use crate::api::{Bucket, LimitSettings, Rate};
pub use bindings::BindingSettings;
pub use handover::{ENDPOINT_FORMAT, TakeOverError};
pub use host::EndpointHost;
pub use http::MetricGroup;
pub use links::{LinkNumbers, LinkPublisher, Links, OnComplete, OnMark};
pub use native::COMMANDS_A_FRAME_MAX;
pub use replays::ReplaySettings;
pub use sessions::EVENTS_PATH;

/// The path at which gateways open their links.
pub const LINK_PATH: &str = "/link";

/// Milliseconds between two looks at what is due: presence and deadlines are late by that at most
/// unless thousands come due together, and a look at empty queues costs a microsecond.
const EXPIRE_EVERY_MS: u64 = 100;

/// Milliseconds until the next part of what was too much for one: a part takes about a millisecond of a
/// thread on which others wait, so nine tenths of its time are theirs.
const EXPIRE_AGAIN_MS: u64 = 10;

/// The shortest and the longest time after which clients are told to come back from a stop, in
/// milliseconds: a restart takes half a second, and the returns spread over 2.5 s.
const COME_BACK_MS: std::ops::Range<u64> = 500..3_000;

/// Longest wait of a farewell for the answers that come after the disk: many slow syncs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Bounds and names of an endpoint.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The server's name, as `hello` says it.
    pub node: String,
    /// The largest message, in bytes, as `hello` says it; larger ones are refused.
    pub message_size_max: usize,
    /// Seconds of silence until the server pings, as `hello` says it.
    pub ping_s: u64,
    /// Milliseconds that a connection may stay without a login, where tokens are asked for; then
    /// it is closed with 4002. Default 10,000.
    pub login_ms_max: u64,
    /// The rates that one client may reach.
    pub limits: LimitSettings,
    /// The moment from which a message counts as stored, in words, for the stats.
    pub sync: String,
    /// Numbers of the program around the endpoint, which its stats and metrics show as well.
    pub host_metrics: fn() -> Vec<Metric>,
    /// The queue before the disk.
    pub disk: DiskSettings,
    /// Bounds of the replays by which clients catch up.
    pub replays: ReplaySettings,
    /// Questions that may wait for the engine of a cluster, at the most; one more is refused as
    /// `unavailable`. Default 1,000.
    pub lookups_max: usize,
    /// Logins and joins that wait for the log of a cluster, at the most; of one more its connection is
    /// closed with 1013. Default 10,000.
    pub held_logins_max: usize,
    /// Where it is written who is where, if that is written; as at the start.
    pub bindings: Option<BindingSettings>,
    /// Where a node of a cluster writes it besides, for other programs; as at the start.
    pub tables: Option<BindingSettings>,
}

impl EndpointSettings {
    fn words(&self) -> EndpointWords {
        EndpointWords {
            node: self.node.clone(),
            ping_s: self.ping_s,
            message_size_max: self.message_size_max,
            sync: self.sync.clone(),
        }
    }
}

/// A chat with everything that clients need to reach it; [`Endpoint::attach`] gives it a server.
pub struct Endpoint {
    services: Arc<Services>,
    sessions: Arc<Sessions>,
    native: NativeProtocol,
    http: HttpApi,
    links: Arc<Links>,
    serials: Serials,
    /// The number of this start, where it was handed over or is written to a store.
    generation: Option<u64>,
    /// Whether the next part of what is due comes soon.
    expires_again: AtomicBool,
    departures: Departures,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Endpoint {
    /// Makes a chat that knows what the store does, and starts the disk thread and the one for
    /// replays.
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn new(
        settings: EndpointSettings,
        chat: ChatSettings,
        access: Box<dyn Authenticator>,
        mut store: Box<dyn Store>,
    ) -> io::Result<Self> {
        let reader = store.reader();
        let serials = Serials::reserve(&mut *store);
        let index = Arc::new(stored::ReaderIndex(Arc::clone(&reader)));
        // Random, since epochs must differ from those before a restart.
        let keys = (reader.shared_keys()).unwrap_or_else(|| reader.key().into());
        let chat = Chat::with_stored_index(chat, random(), index, keys);
        reader.each(&mut |known| stored::bring_in(&chat, known));
        let parked = ParkedEndpoint::new(settings, access, store, chat, (serials, Tick(0), None));
        let endpoint = parked.start_threads()?;
        endpoint.services.begin();
        Ok(endpoint)
    }

    /// Connects a server with the endpoint: reading pauses while too much waits for the disk,
    /// connections get numbers that were never used, and all callbacks lead here; what is light may
    /// be handled on a reactor. Requests and WebSockets beside the endpoint go to `host`.
    #[must_use]
    pub fn attach(self: &Arc<Self>, builder: Builder, host: Arc<impl EndpointHost>) -> Builder {
        let both = || (Arc::clone(self), Arc::clone(&host));
        let (start, open, message, light, close, drain, request) =
            (both(), both(), both(), both(), both(), both(), both());
        let (endpoint, light_requests) = (Arc::clone(self), Arc::clone(self));
        let builder = match &self.services.cluster {
            Some(_) => builder.freezes_with(Arc::new(LookupRest(Arc::clone(&self.services)))),
            None => builder,
        };
        builder
            .pressure(Arc::clone(self.services.disk.pressure()))
            .freezes_with(Arc::new(ReplayRest(Arc::clone(&self.services))))
            .freezes_with(Arc::new(DiskRest {
                services: Arc::clone(&self.services),
                sessions: Arc::clone(&self.sessions),
            }))
            .serials_from(self.serials.from)
            .event_name(frames::event_name)
            .on_start(move |server| {
                start.0.start(server);
                start.1.started(server);
            })
            .on_open(move |server, request| match open.1.takes(request) {
                true => {}
                false => {
                    let admits_link = || open.1.admits_link(request);
                    open.0.opened(server, request, admits_link);
                }
            })
            .on_message(move |server, frame| match message.1.is_own(frame.fd) {
                true => message.1.receive(server, frame),
                false => message.0.receive(server, frame),
            })
            .light(
                move |frame| match light.1.is_own(frame.fd) {
                    true => light.1.is_light(frame),
                    false => frame.kind == MessageKind::Text && native::is_light(frame.data),
                },
                move |head, body| light_requests.http.is_light(head, body),
            )
            .on_close(move |_, fd, _| match close.1.is_own(fd) {
                true => close.1.closed(fd),
                false => close.0.closed(fd),
            })
            .on_drain(move |server, fd| {
                if !drain.1.is_own(fd) {
                    drain.0.drained(server, fd);
                }
            })
            .on_buffer_empty(move |_, fd| endpoint.services.replays.next_page(fd))
            .on_request(move |server, asked, responder| {
                if let Some((asked, responder)) = request.0.http.answer(server, asked, responder) {
                    request.1.answer(asked, responder);
                }
            })
    }

    /// Ends the threads once everything is on disk that was taken; to be called last.
    pub fn finish(&self) {
        self.services.begin();
        self.sessions.finish();
        self.services.disk.end();
        self.services.replays.stop();
        if let Some(cluster) = &self.services.cluster {
            cluster.lookups.stop();
        }
        for feed in self.services.feeds() {
            feed.queue.end();
        }
        for thread in lock(&self.threads).drain(..) {
            // One that panicked has stopped the server, which said so.
            thread.join().ok();
        }
    }

    /// Judges by the head alone a request that brings a body; returns whether the path is the
    /// API's.
    ///
    /// # Errors
    ///
    /// The answer, which no body could change: no key, a method that isn't known there, a bad name.
    pub fn admit_head(&self, head: &Head, fd: Fd) -> Result<bool, Response> {
        self.http.admit_head(head, fd)
    }

    /// Puts other bounds into force while the endpoint runs: those of `settings`, but for the marks of
    /// the disk's queue, and those of the chat, but for the kinds of its channels.
    pub fn set_settings(&self, settings: &EndpointSettings, chat: &ChatSettings) {
        self.sessions
            .set_limits(settings.limits, settings.login_ms_max);
        self.services.replays.set_settings(settings.replays);
        self.services.set_words(settings.words());
        self.services.chat.set_settings(chat);
    }

    /// Puts other settings of the store into force; the disk thread has a part in `rollout` until it
    /// has taken them.
    pub fn set_store_settings(&self, disk: DiskSettings, store: StoreSettings, rollout: &Rollout) {
        let part = rollout.part("disk");
        self.services.disk.set_settings(disk, store, part);
    }

    /// Has keys replaced by `replace`, and closes the connections that were let in by those that are
    /// withdrawn, 500 a second: with 4001 where an API key did so, with 4005 where a token did. Links of
    /// gateways are closed at once, with 4001.
    pub fn withdraw(&self, keys: &WithdrawnKeys, replace: impl FnOnce()) {
        self.sessions.withdraw(keys, replace);
        if keys.link_key
            && let Some(server) = self.services.server()
        {
            self.links.close_all(server);
        }
    }

    /// Stops the server, since a thread beside it has died that it can't do without.
    pub fn fail(&self, reason: &'static str) {
        self.services.fail(reason);
    }

    /// Shows groups of numbers of the program around the endpoint in its stats and metrics, too; to be called
    /// once.
    pub fn show_groups(&self, groups: Vec<MetricGroup>) {
        self.http.show_groups(groups);
    }

    /// Says who reads from the log of the cluster what a channel of this node is missing; to be called once,
    /// before anything is heard.
    pub fn set_catch_up(&self, orders: Arc<dyn CatchUpOrders>) {
        if let Some(cluster) = &self.services.cluster {
            cluster.catch_up.set(orders).ok();
        }
    }

    /// Says who the other nodes of the cluster are; to be called once, before anybody connects.
    pub fn set_nodes(&self, nodes: Arc<dyn Nodes>) {
        if let Some(cluster) = &self.services.cluster {
            cluster.nodes.set(nodes).ok();
        }
    }

    /// Says what sends the clients of this node away, within so many milliseconds, when that is asked for by
    /// HTTP on any node; to be called once.
    pub fn set_drain(&self, drain: impl Fn(u64) + Send + Sync + 'static) {
        if let Some(cluster) = &self.services.cluster {
            cluster.drain.set(Box::new(drain)).ok();
        }
    }

    /// Whether messages can be stored.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.services.disk.condition() == Condition::Good
    }

    /// Returns the counters and the log of refusals, for requests that are refused before they
    /// reach the endpoint.
    #[must_use]
    pub fn refusals(&self) -> &RefusalLog {
        &self.sessions.refusals
    }

    /// Begins to look at what is due, once the server runs.
    fn start(self: &Arc<Self>, server: &WorkerHandle) {
        self.services.meet(server.handle());
        self.sessions.start(&server.handle());
        self.services.begin();
        let this = Arc::clone(self);
        server.tick(EXPIRE_EVERY_MS, move |server| {
            this.do_what_is_due(server);
            this.serials
                .renew(&this.services, server.stats().totals.accepted);
        });
    }

    /// Does a part of what is due, and the next part soon.
    fn do_what_is_due(self: &Arc<Self>, server: &WorkerHandle) {
        let services = &self.services;
        let mut sink = ServerSink::of_worker(services, server, Confirmation::Silent);
        let mut has_more = services.chat.expire(&mut sink, services.now());
        has_more |= self.sessions.tick(server);
        if has_more && !self.expires_again.swap(true, Relaxed) {
            let this = Arc::clone(self);
            server.after(EXPIRE_AGAIN_MS, move |server| {
                this.expires_again.store(false, Relaxed);
                this.do_what_is_due(server);
            });
        }
    }

    /// Greets a WebSocket that is open, and logs it in if its query says so.
    fn opened(&self, server: &WorkerHandle, request: &Request, admits_link: impl FnOnce() -> bool) {
        let fd = request.fd;
        if request.path() == LINK_PATH {
            // The gate has let it in, so it has shown its key.
            server.vouch_for(fd);
            self.links.opened(fd);
            // Now that it is entered: the key may have been withdrawn meanwhile, and all links closed.
            if !admits_link() {
                self.links.close(&server.handle(), fd);
            }
            return;
        }
        let _running = self.sessions.begin_command(server, fd);
        self.services.chat.opened(fd);
        if self.sessions.is_kicked(fd) {
            return;
        }
        let hello = {
            let words = self.services.words.load();
            frames::hello(fd, &words.node, words.ping_s, words.message_size_max)
        };
        server.push(fd, &hello).ok();
        // A login by query answers at once, and `hello` comes first.
        server.flush();
        self.sessions.begin(server, request);
    }

    fn receive(&self, server: &WorkerHandle, frame: Frame<'_>) {
        if self.links.contains(frame.fd) {
            return self.links.message(server, frame);
        }
        let _running = self.sessions.begin_command(server, frame.fd);
        if self.sessions.is_kicked(frame.fd) {
            return;
        }
        match frame.text() {
            Some(text) => self.native.receive(server, frame.fd, text, frame.parts),
            None => self.sessions.refuse_binary(server, frame.fd),
        }
    }

    fn closed(&self, fd: Fd) {
        if self.links.closed(fd) {
            return;
        }
        self.sessions.closed(fd);
        self.services.chat.closed(self.services.now(), fd);
        self.services.forget_hold(fd);
        self.sessions.forget_kick(fd);
        // Last: until the chat has forgotten the connection, another thread may begin a replay.
        self.services.replays.forget(fd);
    }

    /// Says farewell to a WebSocket that is about to be closed, since the server stops. What the
    /// client said before is answered first.
    fn drained(&self, server: &WorkerHandle, fd: Fd) {
        if !self.services.disk.wait_until_done(ANSWERS_WITHIN) && server.failure().is_none() {
            tracing::warn!(
                fd = fd.0,
                "the disk is slow; a farewell doesn't wait for it"
            );
        }
        // A gateway comes back when it likes, and loses nothing by it.
        if !self.links.contains(fd) {
            server.push(fd, &frames::drain(come_back_ms(fd))).ok();
        }
    }
}

/// An endpoint whose threads don't run yet, and what they will own.
struct ParkedEndpoint {
    endpoint: Endpoint,
    store: Box<dyn Store>,
    queue: DiskQueue<StoreJob>,
    ready: ReplayTurns,
    lookups: Option<LookupTurns>,
}

impl ParkedEndpoint {
    /// Makes an endpoint of a chat; its clock will go on from this tick.
    fn new(
        settings: EndpointSettings,
        access: Box<dyn Authenticator>,
        store: Box<dyn Store>,
        mut chat: Chat,
        (serials, clock_from, generation): (Serials, Tick, Option<u64>),
    ) -> Self {
        let feed = |to: &BindingSettings| Arc::new(BindingFeed::new(to, generation));
        let (bindings, tables) = (
            settings.bindings.as_ref().map(feed),
            settings.tables.as_ref().map(feed),
        );
        let generation = bindings.as_ref().map(|own| own.generation()).or(generation);
        for feed in [&bindings, &tables].into_iter().flatten() {
            chat.feed(Arc::clone(&feed.queue));
        }
        let (disk, queue) = Disk::new(settings.disk);
        let (replays, ready) = Replays::new(settings.replays);
        let told = (settings.words(), clock_from);
        let in_cluster = chat.is_in_cluster();
        let (lookups, turns) = in_cluster
            .then(|| Lookups::new(settings.lookups_max))
            .unzip();
        let threads = (disk, replays, (bindings, tables));
        let cluster = lookups.map(|lookups| (lookups, Holds::new(settings.held_logins_max)));
        let services = Services::new(chat, store.reader(), threads, cluster, told);
        let services = Arc::new(services);
        let sessions = Sessions::new(
            Arc::clone(&services),
            access,
            settings.login_ms_max,
            settings.limits,
        );
        let sessions = Arc::new(sessions);
        let publisher = ChatPublisher::new(Arc::clone(&services));
        let links = Arc::new(Links::new(Box::new(publisher)));
        let endpoint = Endpoint {
            native: NativeProtocol::new(Arc::clone(&services), Arc::clone(&sessions)),
            http: HttpApi::new(
                Arc::clone(&services),
                Arc::clone(&sessions),
                Arc::clone(&links),
                settings.host_metrics,
            ),
            services,
            sessions,
            links,
            serials,
            generation,
            expires_again: AtomicBool::new(false),
            departures: Departures::default(),
            threads: Mutex::default(),
        };
        Self {
            endpoint,
            store,
            queue,
            ready,
            lookups: turns,
        }
    }

    /// Starts the threads, which wait until the endpoint begins.
    fn start_threads(self) -> io::Result<Endpoint> {
        let Self {
            endpoint,
            store,
            queue,
            ready,
            lookups,
        } = self;
        let services = &endpoint.services;
        // Each thread holds the services, which hold the way to it: only `finish` ends one.
        let replays = replays::start(Arc::clone(services), ready)?;
        let disk = queue.start(
            store,
            DiskContext::new(Arc::clone(services)),
            nudge(services),
            {
                let services = Arc::clone(services);
                move || services.fail("the disk thread has died")
            },
        );
        let disk = disk.inspect_err(|_| {
            services.replays.stop();
            services.begin();
        })?;
        lock(&endpoint.threads).extend([replays, disk]);
        if let Some(turns) = lookups {
            let thread = asker::start(Arc::clone(services), turns);
            let thread = thread.inspect_err(|_| endpoint.finish())?;
            lock(&endpoint.threads).push(thread);
        }
        for feed in services.feeds() {
            let bindings = bindings::start(Arc::clone(services), Arc::clone(feed));
            let bindings = bindings.inspect_err(|_| endpoint.finish())?;
            lock(&endpoint.threads).push(bindings);
        }
        Ok(endpoint)
    }
}

/// Wakes the server once its connections may be read from again.
fn nudge(services: &Arc<Services>) -> impl Fn() + Send + 'static {
    let services = Arc::clone(services);
    move || {
        if let Some(server) = services.server() {
            server.nudge();
        }
    }
}

/// Spreads the return of clients that were told to leave together.
fn come_back_ms(fd: Fd) -> u64 {
    let scattered = fd.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    COME_BACK_MS.start + scattered % (COME_BACK_MS.end - COME_BACK_MS.start)
}
