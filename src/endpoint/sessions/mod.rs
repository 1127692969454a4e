//! Sessions: what an endpoint keeps for each connection beside the chat.
//!
//! That is the key that a connection showed, the time by which it has to log in, how much it may
//! still ask for, and what it acknowledged. [`login`](self) has the ways to log in.
//!
//! | file | methods of [`Sessions`] |
//! |---|---|
//! | `mod.rs` | `closed`, `tick`, `finish`, `key_of`, `authorize`, `admit_command`, `admit_request`, `charge`, `acknowledge` |
//! | `login.rs` | `begin`, `login`, `bind`, `unbind`, `expire_logins` |

mod acks;
mod deadlines;
mod limits;
mod login;
mod rate;

use std::sync::Arc;

use super::frames;
use super::kick::kick;
use super::services::Services;
use crate::api::auth::{Authenticator, authorize};
use crate::api::refusal::Refusal;
use crate::base::{Fd, Metric};
use crate::chat::{Actor, Rights};
use crate::server::WorkerHandle;
use acks::Acks;
use deadlines::LoginDeadlines;
use limits::{LimitVerdict, RateLimits};

pub use limits::LimitSettings;
pub use rate::{Bucket, Rate};

/// What a client is told that goes on after many `rate_limited`.
const FAR_OVER: &str = "far more commands came than are taken; come back slowly";

/// The state of all connections of an endpoint that isn't the chat's.
pub(super) struct Sessions {
    services: Arc<Services>,
    access: Box<dyn Authenticator>,
    login_ms_max: u64,
    deadlines: LoginDeadlines,
    limits: RateLimits,
    acks: Acks,
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
            open_rights: Arc::new(Rights::Open),
        }
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

    /// The name of the API key that a connection showed, where keys are asked for.
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

    /// Finds the name of the API key that an `Authorization` field shows; `None` in open mode.
    pub(super) fn authorize(&self, field: Option<&str>) -> Result<Option<Arc<str>>, Refusal> {
        authorize(&*self.access, field)
    }

    /// Whether a connection may give one more command now; tells the client if it may not.
    pub(super) fn admit_command(&self, server: &WorkerHandle, fd: Fd, seq: Option<&str>) -> bool {
        if !self.limits.are_any() {
            return true;
        }
        let now_ms = self.services.tick().0;
        let verdict = match self.key_of(fd) {
            Some(key) => match self.limits.request(now_ms, &key) {
                Ok(()) => LimitVerdict::Within,
                Err(refusal) => LimitVerdict::Over(refusal),
            },
            None => self.limits.command(now_ms, fd),
        };
        match verdict {
            LimitVerdict::Within => return true,
            LimitVerdict::Over(refusal) => drop(server.push(fd, &frames::err(seq, &refusal))),
            LimitVerdict::FarOver => kick(server, fd, 4009, "rate_limited", FAR_OVER),
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
        self.limits.request(self.services.tick().0, key)
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
