//! The door itself: what it knows, and the server's callbacks.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::access::{Access, bearer};
use super::frames;
use super::limits::{LimitSettings, Limits};
use super::login::Waiting;
use super::poster::{Poster, Reply};
use super::refusal::Refusal;
use crate::chat::{Chat, ChatSettings, ErrorCode, Moment};
use crate::net::Fd;
use crate::proto::Tick;
use crate::server::{Frame, Request, WorkerHandle};

/// Milliseconds between two looks at what is due.
const EXPIRE_EVERY_MS: u64 = 100;

/// The shortest and the longest time after which clients are told to come back from a stop, in
/// milliseconds.
const COME_BACK_MS: std::ops::Range<u64> = 500..3_000;

/// Bounds and names.
#[derive(Debug, Clone)]
pub struct DoorSettings {
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
}

/// See the module.
pub struct Door {
    pub(super) chat: Chat,
    pub(super) access: Box<dyn Access>,
    pub(super) settings: DoorSettings,
    pub(super) waiting: Waiting,
    pub(super) limits: Limits,
    started: Instant,
}

impl Door {
    /// A door to an empty chat.
    #[must_use]
    pub fn new(settings: DoorSettings, chat: ChatSettings, access: Box<dyn Access>) -> Self {
        // Keyed by the system's randomness: epochs must differ from those before a restart.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            chat: Chat::new(chat, seed),
            access,
            limits: Limits::new(settings.limits),
            settings,
            waiting: Waiting::default(),
            started: Instant::now(),
        }
    }

    /// The chat behind it, for metrics.
    #[must_use]
    pub fn chat(&self) -> &Chat {
        &self.chat
    }

    /// Begins to look at what is due; to be called once the server runs.
    pub fn start(self: &Arc<Self>, server: &WorkerHandle) {
        let door = Arc::clone(self);
        server.tick(EXPIRE_EVERY_MS, move |server| {
            let mut post = Poster::new(server.handle(), Reply::Silent);
            door.chat.expire(&mut post, door.now());
            door.expire_logins(server);
            door.limits.expire(door.now().tick.0);
        });
    }

    /// A WebSocket is open: `hello`, and a login if its query says so.
    pub fn opened(&self, server: &WorkerHandle, request: &Request) {
        let DoorSettings {
            node,
            ping_s,
            message_size_max,
            ..
        } = &self.settings;
        let fd = request.fd;
        self.chat.opened(fd);
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
        match frame.text() {
            Some(text) => self.frame(server, frame.fd, text),
            None => drop(server.disconnect(frame.fd, 1003, "only text frames are taken here")),
        }
    }

    /// A WebSocket has ended.
    pub fn closed(&self, fd: Fd) {
        self.waiting.forget(fd);
        self.limits.forget(fd);
        self.chat.closed(self.now(), fd);
    }

    /// A WebSocket is about to be closed, since the server stops.
    pub fn drained(&self, server: &WorkerHandle, fd: Fd) {
        server.push(fd, &frames::drain(come_back_ms(fd))).ok();
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
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Moment {
            tick: Tick(self.started.elapsed().as_millis() as u64),
            unix_ms: unix.as_millis() as u64,
        }
    }
}

/// Spreads those who were told to leave together.
fn come_back_ms(fd: Fd) -> u64 {
    let scattered = fd.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    COME_BACK_MS.start + scattered % (COME_BACK_MS.end - COME_BACK_MS.start)
}
