//! Sessions: the state of each connection that an endpoint keeps beside the chat.
//!
//! That is the key that a connection showed, the time by which it has to log in, how much it may
//! still ask for, and what it acknowledged. [`login`](self) has the ways to log in.
//!
//! | file | methods of [`Sessions`] |
//! |---|---|
//! | `mod.rs` | `kick`, `is_kicked`, `forget_kick`, `closed`, `tick`, `finish`, `key_of`, `authorize`, `admit_command`, `admit_request`, `charge`, `acknowledge`, `refuse_binary` |
//! | `login.rs` | `begin`, `login`, `bind`, `unbind`, `expire_logins` |

mod acks;
mod deadlines;
mod kicked;
mod limits;
mod login;
mod rate;

use std::sync::Arc;

use super::frames;
use super::kick::kick;
use super::services::Services;
use crate::api::auth::{Authenticator, authorize};
use crate::api::refusal::Refusal;
use crate::api::{RefusalLog, RefusalReason, Refused};
use crate::base::{Fd, Metric};
use crate::chat::{Actor, Rights};
use crate::server::WorkerHandle;
use acks::Acks;
use deadlines::LoginDeadlines;
use kicked::KickedConnections;
use limits::{LimitVerdict, RateLimits};

pub use limits::LimitSettings;
pub use rate::{Bucket, Rate};

/// The reason that a client is told which goes on after many `rate_limited`.
const FAR_OVER: &str = "far more commands came than are taken; come back slowly";

/// The reason that a client is told which sends a binary message.
const BINARY: &str = "send text frames: a binary one is not taken here";

/// The state of all connections of an endpoint that isn't the chat's.
pub(super) struct Sessions {
    services: Arc<Services>,
    access: Box<dyn Authenticator>,
    login_ms_max: u64,
    deadlines: LoginDeadlines,
    limits: RateLimits,
    acks: Acks,
    pub(super) refusals: Arc<RefusalLog>,
    kicked: KickedConnections,
    /// The rights of everybody in open mode, kept once.
    open_rights: Arc<Rights>,
}

impl Sessions {
    pub(super) fn new(
        services: Arc<Services>,
        access: Box<dyn Authenticator>,
        login_ms_max: u64,
        limits: LimitSettings,
    ) -> Self {
        Self {
            services,
            access,
            login_ms_max,
            deadlines: LoginDeadlines::default(),
            limits: RateLimits::new(limits),
            acks: Acks::default(),
            refusals: Arc::default(),
            kicked: KickedConnections::default(),
            open_rights: Arc::new(Rights::Open),
        }
    }

    /// Tells a client why it is closed, and closes its connection. Nothing that comes from the
    /// connection is taken from then on, whatever is on its way.
    pub(super) fn kick(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        (code, word): (u16, &str),
        message: &str,
    ) {
        self.kicked.insert(fd);
        // The chat forgets a connection before the kick of it is forgotten; one that it doesn't
        // know has ended already.
        if self.services.chat.connection(fd).is_none() {
            self.kicked.remove(fd);
        }
        kick(server, fd, code, word, message);
    }

    /// Whether a connection is being closed by a kick.
    pub(super) fn is_kicked(&self, fd: Fd) -> bool {
        self.kicked.contains(fd)
    }

    /// Forgets the kick of a connection, which the chat has forgotten before.
    pub(super) fn forget_kick(&self, fd: Fd) {
        self.kicked.remove(fd);
    }

    /// Forgets a connection that has ended.
    pub(super) fn closed(&self, fd: Fd) {
        self.deadlines.forget(fd);
        self.limits.forget(fd);
    }

    /// Does what is due: closes late connections, drops full buckets, stores acknowledgements.
    pub(super) fn tick(&self, server: &WorkerHandle) {
        self.expire_logins(server);
        self.limits.expire(self.services.tick().0);
        self.acks.store_if_due(&self.services);
    }

    /// Gives the disk what was acknowledged and isn't stored yet; to be called before the disk ends.
    pub(super) fn finish(&self) {
        self.acks.store(&self.services);
    }

    /// Returns the name of the API key that a connection showed, where keys are asked for.
    pub(super) fn key_of(&self, fd: Fd) -> Option<Arc<str>> {
        match self.access.is_open() {
            true => None,
            false => self.deadlines.key_of(fd),
        }
    }

    /// Runs something in the name of a connection: as its user once it has logged in; before that
    /// only a back end that showed its key may ask for anything.
    pub(super) fn as_actor<T>(
        &self,
        fd: Fd,
        run: impl FnOnce(Actor<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        match self.key_of(fd) {
            Some(key) if !self.services.chat.is_logged_in(fd) => run(Actor::Key(&key)),
            _ => run(Actor::Connection(fd)),
        }
    }

    /// Finds the name of the API key that an `Authorization` field shows; `None` in open mode. A
    /// refusal is counted and logged with `asked`.
    pub(super) fn authorize(
        &self,
        field: Option<&str>,
        asked: Refused<'_>,
    ) -> Result<Option<Arc<str>>, Refusal> {
        authorize(&*self.access, field)
            .inspect_err(|_| self.refusals.note(RefusalReason::ApiKey, asked))
    }

    /// Describes a connection for the log of refusals.
    pub(super) fn refused<'a>(&self, fd: Fd, who: Option<&'a str>) -> Refused<'a> {
        let info = self.services.server();
        let info = info.and_then(|server| server.connection_info(fd));
        Refused {
            connection: info.map(|info| (fd.0, info.peer)),
            who,
            ..Refused::default()
        }
    }

    /// Closes a connection that sent a binary message.
    pub(super) fn refuse_binary(&self, server: &WorkerHandle, fd: Fd) {
        let refused = self.refused(fd, None);
        self.refusals.note(RefusalReason::Binary, refused);
        server.disconnect(fd, 1003, BINARY).ok();
    }

    /// Whether a connection may give one more command now; tells the client if it may not.
    pub(super) fn admit_command(&self, server: &WorkerHandle, fd: Fd, seq: Option<&str>) -> bool {
        if !self.limits.are_any() {
            return true;
        }
        let now_ms = self.services.tick().0;
        let key = self.key_of(fd);
        let verdict = match &key {
            Some(key) => match self.limits.request(now_ms, key) {
                Ok(()) => LimitVerdict::Within,
                Err(refusal) => LimitVerdict::Over(refusal),
            },
            None => self.limits.command(now_ms, fd),
        };
        if matches!(verdict, LimitVerdict::Over(_) | LimitVerdict::FarOver) {
            let refused = self.refused(fd, key.as_deref());
            self.refusals.note(RefusalReason::Rate, refused);
        }
        match verdict {
            LimitVerdict::Within => return true,
            LimitVerdict::Over(refusal) => drop(server.push(fd, &frames::err(seq, &refusal))),
            LimitVerdict::FarOver => self.kick(server, fd, (4009, "rate_limited"), FAR_OVER),
            LimitVerdict::Closing => {}
        }
        false
    }

    /// Counts a request of an API key.
    ///
    /// # Errors
    ///
    /// The key asks too often; the request must not be carried out.
    pub(super) fn admit_request(&self, key: &str) -> Result<(), Refusal> {
        let admitted = self.limits.request(self.services.tick().0, key);
        admitted.inspect_err(|_| {
            let refused = Refused {
                who: Some(key),
                ..Refused::default()
            };
            self.refusals.note(RefusalReason::Rate, refused);
        })
    }

    /// Counts a request, which was counted as one, as `count`.
    pub(super) fn charge(&self, key: &str, count: usize) {
        let more = count.saturating_sub(1);
        self.limits.request_was(self.services.tick().0, key, more);
    }

    /// Notes that the user of a connection has received everything of a channel up to `offset`.
    pub(super) fn acknowledge(&self, fd: Fd, channel: &str, offset: u64) -> Result<(), Refusal> {
        if let Some(user) = self.services.chat.ack(fd, channel, offset)? {
            self.acks.note(&self.services, channel, user, offset);
        }
        Ok(())
    }

    /// Describes how many were refused for asking too often.
    pub(super) fn limit_metrics(&self) -> [Metric; 3] {
        self.limits.described()
    }
}
