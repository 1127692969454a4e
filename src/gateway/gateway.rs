//! The gateway itself: what it knows, and the server's callbacks.

use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;

use super::answer::refusal;
use super::feeder::{self, Feeder, Feeding, News, Task, Told};
use super::numbers::Numbers;
use super::outbox::{Outbox, OutboxContext, OutboxJob, unix_ms};
use super::posted::{Scribe, producer};
use super::target::Target;
use crate::api::auth::{Authenticator, authorize};
use crate::api::body::json_body;
use crate::api::posting::{Posting, batch, posting};
use crate::api::refusal::{Refusal, method_not_allowed};
use crate::api::reply::{JoinedReply, ReplyShape};
use crate::link::LinkSettings;
use crate::server::{Builder, Handle, Request, Responder, WorkerHandle};
use crate::store::{Disk, DiskSettings, Store};

/// The name of the push process.
pub const PUSH_PROCESS: &str = "push";

/// Names and bounds.
#[derive(Debug, Clone)]
pub struct GatewaySettings {
    /// What this gateway calls itself to its upstreams; a label, no more.
    pub name: String,
    /// Where messages go; each upstream gets every one.
    pub upstreams: Vec<Target>,
    /// Bytes of the outbox; above it nothing is taken. Default 1 GiB.
    pub outbox_bytes_max: u64,
    /// Largest `data` of a message, in bytes. Default 65,536.
    pub data_size_max: usize,
    /// Of the links.
    pub link: LinkSettings,
    /// Time that the push process has at a stop to bring away what it holds, in milliseconds; less
    /// than its server gives it. Default 8,000.
    pub drain_ms_max: u64,
    /// Time in which what upstreams have settled gathers before it is written down, in
    /// milliseconds: what a crash takes back is only sent again. Default 200.
    pub settle_ms: u64,
    /// The queue before the disk.
    pub disk: DiskSettings,
}

impl GatewaySettings {
    /// The defaults, with these upstreams.
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
        }
    }
}

/// An outbox behind an HTTP API, and what brings it away.
pub struct Gateway {
    outbox: Arc<Outbox>,
    scribe: Scribe,
    access: Box<dyn Authenticator>,
    numbers: Arc<Numbers>,
    told: Told,
    /// Set once the server runs.
    server: Arc<OnceLock<Handle>>,
    state: Mutex<State>,
}

/// The threads, and what becomes one.
struct State {
    disk: Option<JoinHandle<()>>,
    to_start: Option<(Task, Receiver<News>)>,
    feeder: Option<JoinHandle<()>>,
}

impl Gateway {
    /// A gateway with this outbox; its store was made with [`super::store_settings`].
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
            let settled = outbox.settled(&url);
            (url, settled)
        });
        let numbers = Arc::new(Numbers::of(upstreams));
        let task = Task {
            producer: producer(key),
            name: settings.name,
            link: settings.link,
            drain_ms_max: settings.drain_ms_max,
            settle_ms: settings.settle_ms,
            targets: settings.upstreams,
        };
        let (told, news) = feeder::channel();
        // The thread ends once the outbox is gone, whose way to it is the only one.
        let context = OutboxContext {
            feeder: told.clone(),
            numbers: Arc::clone(&numbers),
        };
        let disk = queue.start(store, context, on_low)?;
        Ok(Self {
            outbox: Arc::new(outbox),
            scribe: Scribe::new(key, settings.data_size_max),
            access,
            numbers,
            told,
            server,
            state: Mutex::new(State {
                disk: Some(disk),
                to_start: Some((task, news)),
                feeder: None,
            }),
        })
    }

    /// Has a server read nothing while the queue before the disk is pressed, and pass on what the
    /// push process says.
    #[must_use]
    pub fn attach(self: &Arc<Self>, builder: Builder) -> Builder {
        let this = Arc::clone(self);
        builder
            .pressure(Arc::clone(self.outbox.disk.pressure()))
            .on_pipe_message(move |_, _, message| this.told.said(message))
    }

    /// Begins to feed the push process; to be called once the server runs.
    ///
    /// # Errors
    ///
    /// The server has no process of that name, or the system gives no thread.
    pub fn start(&self, server: &WorkerHandle) -> io::Result<()> {
        // Only set here, and only once.
        self.server.get_or_init(|| server.handle());
        let process = server.process(PUSH_PROCESS).cloned();
        let process = process.ok_or_else(|| io::Error::other("there is no push process"))?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((task, news)) = state.to_start.take() else {
            return Ok(());
        };
        let feeding = Feeding {
            outbox: Arc::clone(&self.outbox),
            process,
            task,
            numbers: Arc::clone(&self.numbers),
        };
        let feeder = Feeder::new(feeding, self.told.clone(), news);
        let thread = std::thread::Builder::new().name("feeder".into());
        state.feeder = Some(thread.spawn(|| feeder.run())?);
        Ok(())
    }

    /// Whether it takes messages now.
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
        let method = match request.path() {
            "/v1/messages" | "/v1/messages/batch" => "POST",
            "/v1/stats" | "/metrics" => "GET",
            _ => return Some((request, responder)),
        };
        if request.method() != method {
            responder.end(method_not_allowed(method));
            return None;
        }
        match authorize(&*self.access, &request) {
            Ok(_) => self.respond(server, &request, responder),
            Err(refusal) => responder.end(refusal.response()),
        }
        None
    }

    /// Waits until what was taken is on disk and what is settled written down; then nothing of it
    /// runs any more. What is left for each upstream is given back: it is on disk.
    #[must_use]
    pub fn finish(&self) -> Vec<(Arc<str>, u64)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feeder) = state.feeder.take() {
            self.told.stop();
            if feeder.join().is_err() {
                tracing::error!("the feeder has panicked; messages may be sent again");
            }
        }
        self.numbers.left(self.outbox.kept().1)
    }

    /// Lets go of the outbox, once nobody answers requests any more: its directory is free then.
    pub fn close(self) {
        let State { disk, .. } = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        drop(self.outbox);
        if disk.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the disk thread has panicked");
        }
    }

    fn respond(&self, server: &WorkerHandle, request: &Request, responder: Responder) {
        match request.path() {
            "/v1/stats" => responder.end(self.numbers.stats(server, &self.outbox)),
            "/metrics" => responder.end(self.numbers.metrics(server, &self.outbox)),
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
                .refused
                .fetch_add(postings.len() as u64, Relaxed);
            return responder.end(refusal(why).response());
        }
        let ts = unix_ms();
        let results = (0..postings.len()).map(|_| None).collect();
        let slots = JoinedReply::start(responder, (shape, 202), results);
        for (slot, posting) in slots.into_iter().zip(postings) {
            match posting.and_then(|posting| self.scribe.write(&posting)) {
                Ok(posted) => {
                    let job = OutboxJob::Post { posted, ts, slot };
                    self.outbox.disk.submit(job);
                }
                Err(refusal) => slot.fill(Err(refusal)),
            }
        }
    }
}
