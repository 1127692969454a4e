//! The front of a gateway: it takes messages by HTTP, as the callbacks of a server, and owns the
//! gateway's threads.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use super::answer::refusal;
use super::message::{MessageEncoder, producer};
use super::numbers::Numbers;
use super::outbox::{Outbox, OutboxContext, OutboxJob};
use super::relay::{Relay, RelayEvent, RelayHandle, RelaySettings};
use super::target::Target;
use crate::api::auth::{Authenticator, authorize};
use crate::api::body::json_body;
use crate::api::metrics::MetricSet;
use crate::api::posting::{Posting, batch, posting};
use crate::api::refusal::{Refusal, method_not_allowed};
use crate::api::reply::{JoinedReply, ReplyShape};
use crate::base::Metric;
use crate::base::clock::unix_ms;
use crate::base::sync::lock;
use crate::link::LinkSettings;
use crate::server::{Builder, Handle, Head, Request, Responder, Response, WorkerHandle};
use crate::store::{Disk, DiskSettings, Store};

/// The name of the push process.
pub const PUSH_PROCESS: &str = "push";

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
    /// Bounds of the queue before the disk.
    pub disk: DiskSettings,
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
            disk: DiskSettings::default(),
            host_metrics: Vec::new,
        }
    }
}

/// A gateway, which takes messages by HTTP and has them delivered to its upstreams.
pub struct Gateway {
    outbox: Arc<Outbox>,
    encoder: MessageEncoder,
    access: Box<dyn Authenticator>,
    numbers: Arc<Numbers>,
    host_metrics: fn() -> Vec<Metric>,
    relay: RelayHandle,
    /// The handle, set once the server runs.
    server: Arc<OnceLock<Handle>>,
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
        let server = Arc::new(OnceLock::<Handle>::new());
        let nudge = Arc::clone(&server);
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
        let relay_settings = RelaySettings {
            producer: producer(key),
            name: settings.name,
            link: settings.link,
            drain_ms_max: settings.drain_ms_max,
            ack_delay_ms: settings.settle_ms,
            targets: settings.upstreams,
        };
        let (relay, events) = RelayHandle::new();
        // The thread ends once the outbox is gone, whose way to it is the only one.
        let context = OutboxContext {
            relay: relay.clone(),
            counters: Arc::clone(&numbers.counters),
        };
        let disk = queue.start(store, context, on_low)?;
        Ok(Self {
            outbox: Arc::new(outbox),
            encoder: MessageEncoder::new(key, settings.data_size_max),
            access,
            numbers,
            host_metrics: settings.host_metrics,
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
            .on_pipe_message(move |_, _, message| this.relay.send(RelayEvent::PushMessage(message)))
    }

    /// Starts the relay, once the server runs.
    ///
    /// # Errors
    ///
    /// The server has no process of that name, or the system gives no thread.
    pub fn start(&self, server: &WorkerHandle) -> io::Result<()> {
        // Only set here, and only once.
        self.server.get_or_init(|| server.handle());
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
        let thread = std::thread::Builder::new().name("relay".into());
        threads.relay = Some(thread.spawn(|| relay.run())?);
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
        match self.admit(request.method(), request.path(), field) {
            Ok(true) => self.respond(server, &request, responder),
            Ok(false) => return Some((request, responder)),
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
    pub fn admit_head(&self, head: &Head) -> Result<bool, Response> {
        self.admit(head.method(), head.path(), head.field_text("authorization"))
    }

    fn admit(
        &self,
        method: &str,
        path: &str,
        authorization: Option<&str>,
    ) -> Result<bool, Response> {
        let known = match path {
            "/v1/messages" | "/v1/messages/batch" => "POST",
            "/v1/stats" | "/metrics" => "GET",
            _ => return Ok(false),
        };
        if method != known {
            return Err(method_not_allowed(known));
        }
        authorize(&*self.access, authorization).map_err(|refusal| refusal.response())?;
        Ok(true)
    }

    /// Stops the relay, once all that was taken is on disk and all acknowledgements are written
    /// down. Returns the number of messages that are left in the outbox for each upstream.
    #[must_use]
    pub fn finish(&self) -> Vec<(Arc<str>, u64)> {
        let mut threads = lock(&self.threads);
        if let Some(relay) = threads.relay.take() {
            self.relay.send(RelayEvent::Stop);
            if relay.join().is_err() {
                tracing::error!("the relay has panicked; messages may be sent again");
            }
        }
        self.numbers.left(self.outbox.kept().1)
    }

    /// Lists the numbers of `GET /v1/stats` and `GET /metrics`.
    fn metric_set(&self, server: &WorkerHandle) -> MetricSet {
        let set = (self.host_metrics)()
            .into_iter()
            .fold(MetricSet::default(), MetricSet::single);
        self.numbers.add_to(set, server, &self.outbox)
    }

    /// Lets go of the outbox and of its directory, once nobody answers requests any more.
    pub fn close(self) {
        let disk = lock(&self.threads).disk.take();
        drop(self.outbox);
        if disk.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the disk thread has panicked");
        }
    }

    fn respond(&self, server: &WorkerHandle, request: &Request, responder: Responder) {
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
                match postings {
                    Ok(postings) => self.post(shape, postings, responder),
                    Err(refusal) => responder.end(refusal.response()),
                }
            }
        }
    }

    fn post(
        &self,
        shape: ReplyShape,
        postings: Vec<Result<Posting<'_>, Refusal>>,
        responder: Responder,
    ) {
        if let Some(why) = self.outbox.refusal() {
            self.numbers
                .counters
                .refused
                .fetch_add(postings.len() as u64, Relaxed);
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
                Err(refusal) => slot.fill(Err(refusal)),
            }
        }
    }
}
