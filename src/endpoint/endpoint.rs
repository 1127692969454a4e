//! The door itself: what it knows, and the server's callbacks.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::acks::Acks;
use super::frames;
use super::limits::{LimitSettings, Limits};
use super::link::{Links, Publisher};
use super::login::Waiting;
use super::replay::{self, ReplaySettings, Replays};
use super::serials::Serials;
use super::server_sink::{Reply, ServerSink};
use super::services::Services;
use crate::api::auth::{Authenticator, bearer};
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::base::pressure::Pressure;
use crate::chat::{
    Chat, ChatSettings, Epoch, ErrorCode, Moment, Position, Restored, Rights, StoredIndex,
};
use crate::server::{Frame, Handle, Request, WorkerHandle};
use crate::store::{ChannelState, Condition, Disk, DiskSettings, Reader, StateRecord, Store};

/// Milliseconds between two looks at what is due.
const EXPIRE_EVERY_MS: u64 = 100;

/// The shortest and the longest time after which clients are told to come back from a stop, in
/// milliseconds.
const COME_BACK_MS: std::ops::Range<u64> = 500..3_000;

/// Where gateways open their links.
pub const LINK_PATH: &str = "/link";

/// How long a farewell waits for the answers that come after the disk.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// Bounds and names.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The server's name, as `hello` says it.
    pub node: String,
    /// The largest message, in bytes, as `hello` says it; the server refuses larger ones.
    pub message_size_max: usize,
    /// Seconds of silence until the server pings, as `hello` says it.
    pub ping_s: u64,
    /// Milliseconds that a connection may stay without a login, where tokens are asked for; then
    /// it is closed with 4002. Default 10,000.
    pub login_ms_max: u64,
    /// How much one client may ask for.
    pub limits: LimitSettings,
    /// When a message counts as stored, and what that promises; for the stats.
    pub sync: String,
    /// The queue before the disk.
    pub disk: DiskSettings,
    /// Catching up.
    pub replays: ReplaySettings,
}

/// See the module.
pub struct Endpoint {
    pub(super) services: Arc<Services>,
    pub(super) access: Box<dyn Authenticator>,
    pub(super) settings: EndpointSettings,
    pub(super) waiting: Waiting,
    pub(super) limits: Limits,
    pub(super) acks: Acks,
    pub(super) links: Links,
    serials: Serials,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The rights of everybody in open mode, once for all.
    pub(super) open_rights: Arc<Rights>,
}

impl Endpoint {
    /// A door to a chat that knows what the store does. Starts the disk thread and the one for
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
        // Keyed by the system's randomness: epochs must differ from those before a restart.
        let seed = RandomState::new().build_hasher().finish();
        let shelf = Arc::new(Index(Arc::clone(&reader)));
        let chat = Chat::with_stored_index(chat, seed, shelf, reader.key());
        reader.each(&mut |known| chat.restore(restored(known)));
        let server = Arc::new(OnceLock::<Handle>::new());
        let nudge = Arc::clone(&server);
        let on_low = move || {
            if let Some(server) = nudge.get() {
                server.nudge();
            }
        };
        let (disk, queue) = Disk::new(settings.disk);
        let (replays, ready) = Replays::new(settings.replays);
        let services = Arc::new(Services::new(chat, reader, disk, replays, server));
        let replay_thread = replay::start(Arc::clone(&services), ready)?;
        // Each thread holds the services, which hold the way to it: only `end` ends one.
        let disk_thread = queue
            .start(store, Arc::clone(&services), on_low)
            .inspect_err(|_| services.replays.stop())?;
        let links = Links::new(Box::new(Publisher {
            services: Arc::clone(&services),
            data_size_max: settings.message_size_max,
        }));
        Ok(Self {
            services,
            access,
            limits: Limits::new(settings.limits),
            open_rights: Arc::new(Rights::Open),
            settings,
            waiting: Waiting::default(),
            acks: Acks::default(),
            links,
            serials,
            threads: Mutex::new(vec![disk_thread, replay_thread]),
        })
    }

    /// Ends the threads once everything is on disk that was taken; to be called last.
    pub fn finish(&self) {
        self.acks.store(&self.services);
        self.services.disk.end();
        self.services.replays.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the door panicked");
            }
        }
    }

    /// The queue before the disk: while it is pressed, nothing should be read from clients.
    #[must_use]
    pub fn pressure(&self) -> Arc<Pressure> {
        Arc::clone(self.services.disk.pressure())
    }

    /// The first serial number that connections may have.
    #[must_use]
    pub fn serials_from(&self) -> u64 {
        self.serials.from
    }

    /// Whether messages can be stored.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.services.disk.condition() == Condition::Good
    }

    /// The chat behind it, for metrics.
    #[must_use]
    pub fn chat(&self) -> &Chat {
        &self.services.chat
    }

    /// Begins to look at what is due; to be called once the server runs.
    pub fn start(self: &Arc<Self>, server: &WorkerHandle) {
        self.services.meet(server.handle());
        let door = Arc::clone(self);
        server.tick(EXPIRE_EVERY_MS, move |server| {
            let mut post = door.post(server, Reply::Silent);
            door.services.chat.expire(&mut post, door.now());
            door.expire_logins(server);
            door.limits.expire(door.now().tick.0);
            door.acks.store_if_due(&door.services);
            door.serials
                .renew(&door.services, server.stats().totals.accepted);
        });
    }

    /// Sends what the chat gives out during a callback.
    pub(super) fn post<'a>(&'a self, server: &WorkerHandle, reply: Reply<'a>) -> ServerSink<'a> {
        ServerSink::new(&self.services, Cow::Owned(server.handle()), reply)
    }

    /// A WebSocket is open: `hello`, and a login if its query says so.
    pub fn opened(&self, server: &WorkerHandle, request: &Request) {
        let EndpointSettings {
            node,
            ping_s,
            message_size_max,
            ..
        } = &self.settings;
        let fd = request.fd;
        if request.path() == LINK_PATH {
            return self.links.opened(fd);
        }
        self.services.chat.opened(fd);
        server
            .push(fd, &frames::hello(fd, node, *ping_s, *message_size_max))
            .ok();
        // A login by query answers at once, and `hello` comes first.
        server.flush();
        let key = bearer(request.header("authorization"));
        let key = key.and_then(|key| self.access.api_key(key));
        self.begin_login(server, fd, key, request.query());
    }

    /// A WebSocket sent a message.
    pub fn message(&self, server: &WorkerHandle, frame: Frame<'_>) {
        if self.links.contains(frame.fd) {
            return self.links.message(server, frame);
        }
        match frame.text() {
            Some(text) => self.frame(server, frame.fd, text),
            None => drop(server.disconnect(frame.fd, 1003, "only text frames are taken here")),
        }
    }

    /// A WebSocket has ended.
    pub fn closed(&self, fd: Fd) {
        if self.links.closed(fd) {
            return;
        }
        self.waiting.forget(fd);
        self.limits.forget(fd);
        self.services.chat.closed(self.now(), fd);
        // Last: until the chat has forgotten it, another thread may begin one.
        self.services.replays.forget(fd);
    }

    /// A WebSocket has room for more.
    pub fn buffer_empty(&self, fd: Fd) {
        self.services.replays.next_page(fd);
    }

    /// A WebSocket is about to be closed, since the server stops. What it said before is answered
    /// first.
    pub fn drained(&self, server: &WorkerHandle, fd: Fd) {
        if !self.services.disk.wait_until_done(ANSWERS_WITHIN) {
            tracing::warn!(
                fd = fd.0,
                "the disk takes long; a farewell doesn't wait for it"
            );
        }
        // A gateway comes back when it likes, and loses nothing by it.
        if !self.links.contains(fd) {
            server.push(fd, &frames::drain(come_back_ms(fd))).ok();
        }
    }

    /// Judges the data of a message, from wherever it comes.
    pub(super) fn check_size(&self, data: &str) -> Result<(), Refusal> {
        let (size, size_max) = (data.len(), self.settings.message_size_max);
        if size > size_max {
            let message = format!("data has {size} bytes, but at most {size_max} are taken");
            return Err(Refusal::new(ErrorCode::TooLarge, message));
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Moment {
        self.services.now()
    }
}

/// The index of the store, as the chat asks for it.
struct Index(Arc<dyn Reader>);

impl StoredIndex for Index {
    fn floor(&self, channel: &str) -> Option<u64> {
        self.0.channel(channel).map(|state| state.floor)
    }

    fn epoch(&self, channel: &str) -> Option<Epoch> {
        self.0.channel(channel).map(|state| state.epoch)
    }

    fn forgotten(&self) -> u64 {
        self.0.forgotten()
    }
}

fn restored(known: StateRecord<'_>) -> Restored<'_> {
    match known {
        StateRecord::Channel(name, ChannelState { epoch, newest, .. }) => Restored::Channel(
            name,
            Position {
                epoch,
                offset: newest,
            },
        ),
        StateRecord::Ack {
            channel,
            reader,
            offset,
        } => Restored::Ack {
            channel,
            uid: reader,
            offset,
        },
        StateRecord::Member { room, user } => Restored::Member { room, uid: user },
    }
}

/// Spreads those who were told to leave together.
fn come_back_ms(fd: Fd) -> u64 {
    let scattered = fd.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    COME_BACK_MS.start + scattered % (COME_BACK_MS.end - COME_BACK_MS.start)
}
