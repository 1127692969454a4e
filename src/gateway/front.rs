//! The front of a gateway: it takes messages by HTTP, as the callbacks of a server, and owns the
//! gateway's threads.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::Receiver;

use super::answer::refusal;
use super::message::{MessageEncoder, producer};
use super::numbers::Numbers;
use super::outbox::{Outbox, OutboxContext, OutboxJob};
use super::push::PUSH_PROCESS;
use super::relay::{Relay, RelayEvent, RelayHandle, RelayOrder, RelaySettings};
use super::rest::{OutboxRest, RelayRest};
use super::target::Target;
use crate::api::auth::{Authenticator, authorize, bearer};
use crate::api::body::json_body;
use crate::api::metrics::MetricSet;
use crate::api::posting::{Posting, batch, posting};
use crate::api::rate_limits::{Asker, RateLimits};
use crate::api::refusal::{Refusal, method_not_allowed};
use crate::api::reply::{JoinedReply, ReplyShape};
use crate::api::{LimitSettings, RefusalLog, RefusalReason, Refused};
use crate::base::clock::unix_ms;
use crate::base::sync::lock;
use crate::base::vital::spawn_vital;
use crate::base::{AddressBlock, Fd, Metric, Rollout};
use crate::chat::ErrorCode;
use crate::link::LinkSettings;
use crate::server::{Builder, Head, LateHandle, Request, Responder, Response, WorkerHandle};
use crate::store::{Disk, DiskSettings, Store, StoreSettings};

/// Milliseconds between two looks at full buckets.
const EXPIRE_EVERY_MS: u64 = 100;

/// Names and bounds of a gateway.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// The name by which upstreams know this gateway in their logs; a label, no more.
    pub name: String,
    /// The upstreams, each of which gets every message.
    pub upstreams: Vec<Target>,
    /// Bytes of the outbox; a fuller one takes nothing. Default 1 GiB: an hour of a thousand small
    /// messages a second.
    pub outbox_bytes_max: u64,
    /// Largest `data` of a message, in bytes. Default 65,536: the default of a server, which would
    /// refuse a larger one.
    pub data_size_max: usize,
    /// Times and bounds of the links.
    pub link: LinkSettings,
    /// Time that the push process has at a stop to deliver the messages that it holds, in
    /// milliseconds. Default 8,000: less than the 10,000 that a server gives its processes.
    pub drain_ms_max: u64,
    /// Time in which acknowledgements of upstreams gather before they are written down, in
    /// milliseconds. Default 200: five syncs a second, and a crash costs no more than a few
    /// messages that are sent again.
    pub settle_ms: u64,
    /// Level of the log of the push process, in words that the program around the gateway knows:
    /// [`push_with`](super::push_with) hands them out. Default empty: it stays what it is.
    pub push_log_level: String,
    /// Bounds of the queue before the disk.
    pub disk: DiskSettings,
    /// How much one client may ask for; commands are for a server alone. Default no limit.
    pub limits: LimitSettings,
    /// Numbers of the program around the gateway, which its stats and metrics show as well. Default
    /// none.
    pub host_metrics: fn() -> Vec<Metric>,
}

impl GatewaySettings {
    /// Makes the default settings of a gateway with these upstreams.
    #[must_use]
    pub fn new(name: impl Into<String>, upstreams: Vec<Target>) -> Self {
        Self {
            name: name.into(),
            upstreams,
            outbox_bytes_max: 1 << 30,
            data_size_max: 65_536,
            link: LinkSettings::default(),
            drain_ms_max: 8_000,
            settle_ms: 200,
            push_log_level: String::new(),
            disk: DiskSettings::default(),
            limits: LimitSettings::default(),
            host_metrics: Vec::new,
        }
    }
}

fn relay_settings(settings: GatewaySettings, key: [u64; 2]) -> RelaySettings {
    RelaySettings {
        producer: producer(key),
        name: settings.name,
        link: settings.link,
        log_level: settings.push_log_level,
        drain_ms_max: settings.drain_ms_max,
        ack_delay_ms: settings.settle_ms,
        targets: settings.upstreams,
    }
}

/// A gateway, which takes messages by HTTP and has them delivered to its upstreams.
pub struct Gateway {
    outbox: Arc<Outbox>,
    encoder: MessageEncoder,
    access: Box<dyn Authenticator>,
    pub(super) limits: RateLimits,
    started: Instant,
    pub(super) refusals: RefusalLog,
    pub(super) numbers: Arc<Numbers>,
    host_metrics: fn() -> Vec<Metric>,
    relay: RelayHandle,
    /// Known once the server runs.
    server: Arc<LateHandle>,
    threads: Mutex<GatewayThreads>,
}

/// The threads of a gateway.
struct GatewayThreads {
    disk: Option<JoinHandle<()>>,
    /// The parts of the relay's thread, until that starts.
    unstarted: Option<(RelaySettings, Receiver<RelayEvent>)>,
    relay: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Puts other settings into force while the gateway runs, and others of its store, which were made
    /// with [`super::store_settings`]. An upstream whose address, key and settings are equal keeps its link;
    /// one that comes gets what is in the outbox; one that leaves keeps nothing back any more.
    ///
    /// The disk thread and the push process have a part in `rollout` until they have taken theirs.
    pub fn set_settings(&self, settings: GatewaySettings, store: StoreSettings, rollout: &Rollout) {
        self.limits.set(settings.limits);
        self.encoder.set_data_size_max(settings.data_size_max);
        self.outbox.set_max(settings.outbox_bytes_max);
        let part = rollout.part("disk");
        self.outbox.disk.set_settings(settings.disk, store, part);
        let order = RelayOrder {
            settings: relay_settings(settings, self.outbox.reader.key()),
            part: rollout.part("push process"),
        };
        self.relay.send(RelayEvent::Settings(Box::new(order)));
    }

    /// Makes a gateway with this outbox, whose store was made with [`super::store_settings`].
    ///
    /// # Errors
    ///
    /// The system gives no thread.
    pub fn new(
        settings: GatewaySettings,
        store: Box<dyn Store>,
        access: Box<dyn Authenticator>,
    ) -> io::Result<Self> {
        let server = Arc::<LateHandle>::default();
        let (nudge, failing) = (Arc::clone(&server), Arc::clone(&server));
        let on_low = move || {
            if let Some(server) = nudge.get() {
                server.nudge();
            }
        };
        let (disk, queue) = Disk::new(settings.disk);
        let outbox = Outbox::new(disk, store.reader(), settings.outbox_bytes_max);
        let key = outbox.reader.key();
        let upstreams = settings.upstreams.iter().map(|target| {
            let url: Arc<str> = target.url().into();
            let acked = outbox.acked(&url);
            (url, acked)
        });
        let numbers = Arc::new(Numbers::of(upstreams));
        let (data_size_max, limits) = (settings.data_size_max, settings.limits);
        let host_metrics = settings.host_metrics;
        let relay_settings = relay_settings(settings, key);
        let (relay, events) = RelayHandle::new();
        // The thread ends once the outbox is gone, whose way to it is the only one.
        let context = OutboxContext {
            relay: relay.clone(),
            counters: Arc::clone(&numbers.counters),
        };
        let on_death = move || failing.fail("the disk thread has died");
        let disk = queue.start(store, context, on_low, on_death)?;
        Ok(Self {
            outbox: Arc::new(outbox),
            encoder: MessageEncoder::new(key, data_size_max),
            access,
            limits: RateLimits::new(limits),
            started: Instant::now(),
            refusals: RefusalLog::default(),
            numbers,
            host_metrics,
            relay,
            server,
            threads: Mutex::new(GatewayThreads {
                disk: Some(disk),
                unstarted: Some((relay_settings, events)),
                relay: None,
            }),
        })
    }

    /// Has a server read nothing while the queue before the disk is too full, and pass on the
    /// messages of the push process.
    #[must_use]
    pub fn attach(self: &Arc<Self>, builder: Builder) -> Builder {
        let this = Arc::clone(self);
        builder
            .pressure(Arc::clone(self.outbox.disk.pressure()))
            .freezes_with(Arc::new(RelayRest(self.relay.clone())))
            .freezes_with(Arc::new(OutboxRest(Arc::clone(&self.outbox))))
            .on_pipe_message(move |_, _, message| this.relay.send(RelayEvent::PushMessage(message)))
    }

    /// Starts the relay, once the server runs.
    ///
    /// # Errors
    ///
    /// The server has no process of that name, or the system gives no thread.
    pub fn start(self: &Arc<Self>, server: &WorkerHandle) -> io::Result<()> {
        self.server.meet(server.handle());
        let this = Arc::downgrade(self);
        server.tick(EXPIRE_EVERY_MS, move |_| {
            if let Some(this) = this.upgrade() {
                this.limits.expire(this.now_ms());
            }
        });
        let process = server.process(PUSH_PROCESS).cloned();
        let process = process.ok_or_else(|| io::Error::other("there is no push process"))?;
        let mut threads = lock(&self.threads);
        let Some((settings, events)) = threads.unstarted.take() else {
            return Ok(());
        };
        let relay = Relay::new(
            Arc::clone(&self.outbox),
            process,
            settings,
            Arc::clone(&self.numbers),
            (self.relay.clone(), events),
        );
        let server = Arc::clone(&self.server);
        let died = move || server.fail("the relay thread has died");
        threads.relay = Some(spawn_vital("relay", || relay.run(), died)?);
        Ok(())
    }

    /// Whether the gateway takes messages now.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.outbox.refusal().is_none()
    }

    /// Answers a request if its path is one of ours; gives it back otherwise.
    pub fn answer(
        &self,
        server: &WorkerHandle,
        request: Request,
        responder: Responder,
    ) -> Option<(Request, Responder)> {
        let field = request.header("authorization");
        let asked = || self.asked(request.fd, request.header("host"), request.header("origin"));
        match self.admit(request.method(), request.path(), (field, asked)) {
            Ok(Some(key)) => {
                if !key.is_empty() {
                    server.vouch_for(request.fd);
                }
                self.respond(server, &request, &key, responder);
            }
            Ok(None) => return Some((request, responder)),
            Err(answer) => responder.end(answer),
        }
        None
    }

    /// Judges by the head alone a request that brings a body; returns whether the path is one of
    /// ours.
    ///
    /// # Errors
    ///
    /// The answer, which no body could change: no key, or a method that isn't known there.
    pub fn admit_head(&self, head: &Head, fd: Fd) -> Result<bool, Response> {
        let field = head.field_text("authorization");
        let asked = || self.asked(fd, head.host(), head.field_text("origin"));
        let admitted = self.admit(head.method(), head.path(), (field, asked))?;
        Ok(admitted.is_some())
    }

    /// Leaves the trace of a request that was refused before it reached the gateway.
    pub fn note_refused(&self, reason: RefusalReason, head: &Head, fd: Fd) {
        let asked = self.asked(fd, head.host(), head.field_text("origin"));
        self.refusals.note(reason, asked);
    }

    fn asked<'a>(&self, fd: Fd, host: Option<&'a str>, origin: Option<&'a str>) -> Refused<'a> {
        let info = self.server.get().and_then(|one| one.connection_info(fd));
        Refused {
            connection: info.map(|info| (fd.0, info.peer)),
            who: None,
            host,
            origin,
        }
    }

    /// Finds the API key of a request, which has no name where none is asked for; `None` where the
    /// path isn't one of ours.
    fn admit<'a>(
        &self,
        method: &str,
        path: &str,
        (authorization, asked): (Option<&str>, impl FnOnce() -> Refused<'a>),
    ) -> Result<Option<Arc<str>>, Response> {
        let known = match path {
            "/v1/messages" | "/v1/messages/batch" => "POST",
            "/v1/stats" | "/metrics" => "GET",
            _ => return Ok(None),
        };
        if method != known {
            return Err(method_not_allowed(known));
        }
        match authorize(&*self.access, authorization) {
            Ok(key) => Ok(Some(key.unwrap_or_default())),
            Err(refusal) => {
                self.refusals.note(RefusalReason::ApiKey, asked());
                Err(refusal.response())
            }
        }
    }

    /// Milliseconds since the start, by which rates are measured.
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Counts messages with the API key that brings them, or where none is asked for, with the
    /// address.
    ///
    /// # Errors
    ///
    /// Too many came; none must be taken.
    fn admit_messages(&self, request: &Request, key: &str, count: usize) -> Result<(), Refusal> {
        if !self.limits.are_any() {
            return Ok(());
        }
        let asker = match key {
            "" => {
                let nobody = Ipv4Addr::UNSPECIFIED.into();
                let peer = self.asked(request.fd, None, None).connection;
                let address = peer.and_then(|(_, peer)| peer.ip());
                Asker::Address(AddressBlock::of(address.unwrap_or(nobody)))
            }
            key => Asker::Key(key),
        };
        let now_ms = self.now_ms();
        (self.limits.request(now_ms, asker))
            .inspect_err(|_| self.note(RefusalReason::Rate, request))?;
        (self.limits).request_was(now_ms, asker, count.saturating_sub(1));
        Ok(())
    }

    /// Stops the relay, once all that was taken is on disk and all acknowledgements are written
    /// down. Returns the number of messages that are left in the outbox for each upstream.
    #[must_use]
    pub fn finish(&self) -> Vec<(Arc<str>, u64)> {
        let mut threads = lock(&self.threads);
        if let Some(relay) = threads.relay.take() {
            self.relay.send(RelayEvent::Stop);
            // If it panicked, messages may be sent again.
            relay.join().ok();
        }
        self.numbers.left(self.outbox.kept().1)
    }

    /// Lists the numbers of `GET /v1/stats` and `GET /metrics`.
    fn metric_set(&self, server: &WorkerHandle) -> MetricSet {
        let set = (self.host_metrics)()
            .into_iter()
            .fold(MetricSet::default(), MetricSet::single);
        let set = set
            .group("refusals", self.refusals.described_at_gateway())
            .group("limits", self.limits.described());
        self.numbers.add_to(set, server, &self.outbox)
    }

    /// Lets go of the outbox and of its directory, once nobody answers requests any more.
    pub fn close(self) {
        let disk = lock(&self.threads).disk.take();
        drop(self.outbox);
        // One that panicked has stopped the server, which said so.
        disk.map(JoinHandle::join);
    }

    fn respond(&self, server: &WorkerHandle, request: &Request, key: &str, responder: Responder) {
        match request.path() {
            "/v1/stats" => responder.end(self.metric_set(server).stats()),
            "/metrics" => responder.end(self.metric_set(server).exposition("tidings_gateway_")),
            path => {
                let shape = match path {
                    "/v1/messages" => ReplyShape::Single,
                    _ => ReplyShape::Several,
                };
                let body = json_body(request);
                let postings = body.and_then(|body| match shape {
                    ReplyShape::Single => Ok(vec![posting(body)]),
                    ReplyShape::Several => batch(body),
                });
                let admitted = postings.and_then(|postings| {
                    let each = postings.iter().flatten().map(Posting::receivers);
                    let failed = postings.iter().filter(|posting| posting.is_err());
                    let count = each.sum::<usize>() + failed.count();
                    self.admit_messages(request, key, count)?;
                    Ok(postings)
                });
                match admitted {
                    Ok(postings) => self.post(request, shape, postings, responder),
                    Err(refusal) => {
                        if refusal.code != ErrorCode::RateLimited {
                            self.note_wrong(request);
                        }
                        responder.end(refusal.response());
                    }
                }
            }
        }
    }

    /// Leaves the trace of a request or a message that was wrong.
    fn note_wrong(&self, request: &Request) {
        self.note(RefusalReason::BadRequest, request);
    }

    fn note(&self, reason: RefusalReason, request: &Request) {
        let key = bearer(request.header("authorization"));
        let key = key.and_then(|key| self.access.api_key(key));
        let (host, origin) = (request.header("host"), request.header("origin"));
        let asked = self.asked(request.fd, host, origin);
        let who = key.as_deref();
        self.refusals.note(reason, Refused { who, ..asked });
    }

    fn post(
        &self,
        request: &Request,
        shape: ReplyShape,
        postings: Vec<Result<Posting<'_>, Refusal>>,
        responder: Responder,
    ) {
        if let Some(why) = self.outbox.refusal() {
            self.numbers
                .counters
                .refused
                .fetch_add(postings.len() as u64, Relaxed);
            self.note(RefusalReason::Outbox, request);
            return responder.end(refusal(why).response());
        }
        let ts = unix_ms();
        let results = (0..postings.len()).map(|_| None).collect();
        let slots = JoinedReply::start(responder, (shape, 202), results);
        for (slot, posting) in slots.into_iter().zip(postings) {
            match posting.and_then(|posting| self.encoder.encode(&posting)) {
                Ok(message) => {
                    let job = OutboxJob::Append { message, ts, slot };
                    self.outbox.disk.submit(job);
                }
                Err(refusal) => {
                    self.note_wrong(request);
                    slot.fill(Err(refusal));
                }
            }
        }
    }
}
