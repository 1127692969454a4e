//! Sessions: the state of each connection that an endpoint keeps beside the chat.
//!
//! That is the key that a connection showed, the time by which it has to log in, how much it may
//! still ask for, and what it acknowledged. [`login`](self) has the ways to log in.
//!
//! | file | methods of [`Sessions`] |
//! |---|---|
//! | `mod.rs` | `set_limits`, `start`, `begin_command`, `kick`, `after_commands`, `is_kicked`, `forget_kick`, `closed`, `tick`, `finish`, `key_of`, `is_unknown`, `authorize`, `admit_command`, `is_stranger`, `admit_request`, `charge`, `acknowledge`, `refuse_binary` |
//! | `bind.rs` | `bind_order`, `bind_by_log` |
//! | `login.rs` | `begin`, `login`, `pass_of`, `bind`, `unbind`, `withdraw`, `close_withdrawn`, `expire_logins` |

mod acks;
mod bind;
mod deadlines;
mod handover;
mod kicked;
mod login;
mod query_login;
mod running;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::frames;
use super::kick::kick;
use super::services::Services;
use super::store_task::{ReplyTo, StoreTask};
use crate::api::LimitSettings;
use crate::api::auth::{Authenticator, authorize};
use crate::api::rate_limits::{Asker, LimitVerdict, RateLimits};
use crate::api::refusal::Refusal;
use crate::api::{RefusalLog, RefusalReason, Refused};
use crate::base::{AddressBlock, Fd, Metric};
use crate::chat::{Actor, ChatError, ErrorCode, Rights, User};
use crate::server::{Handle, WorkerHandle};
pub(super) use handover::TakenSessions;
pub(super) use login::LoginWay;
pub(super) use login::REPLACED;
pub use query_login::EVENTS_PATH;

use acks::Acks;
use deadlines::LoginDeadlines;
use kicked::KickedConnections;
use running::{RunningCommands, RunningGuard};

/// The reason that a client is told which goes on after many `rate_limited`.
const FAR_OVER: &str = "far more commands came than are taken; come back slowly";

/// The reason that a client is told which sends a binary message.
const BINARY: &str = "send text frames: a binary one is not taken here";

/// The state of all connections of an endpoint that isn't the chat's.
pub(super) struct Sessions {
    services: Arc<Services>,
    access: Box<dyn Authenticator>,
    login_ms_max: AtomicU64,
    deadlines: LoginDeadlines,
    limits: RateLimits,
    acks: Acks,
    pub(super) refusals: Arc<RefusalLog>,
    kicked: KickedConnections,
    running: RunningCommands,
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
            login_ms_max: AtomicU64::new(login_ms_max),
            deadlines: LoginDeadlines::default(),
            limits: RateLimits::new(limits),
            acks: Acks::default(),
            refusals: Arc::default(),
            kicked: KickedConnections::default(),
            running: RunningCommands::default(),
            open_rights: Arc::new(Rights::Open),
        }
    }

    /// Changes the rates that one client may reach, and the time for a login of a new connection.
    pub(super) fn set_limits(&self, limits: LimitSettings, login_ms_max: u64) {
        self.limits.set(limits);
        self.login_ms_max.store(login_ms_max, Relaxed);
    }

    /// Begins to note what the threads of a server carry out.
    pub(super) fn start(&self, server: &Handle) {
        self.running.start(server);
    }

    /// Notes that this thread carries out what a connection has sent, until the guard is dropped.
    pub(super) fn begin_command(&self, server: &WorkerHandle, fd: Fd) -> RunningGuard<'_> {
        self.running.begin(server, fd)
    }

    /// Calls `then` once everything is done, and on disk, that these connections have asked for and
    /// that was let through: the answer to a request that takes their right to ask for more. While the log of a
    /// cluster is out of reach, nobody waits for what was given to it: that may be settled long afterwards.
    pub(super) fn after_commands(&self, fds: &[Fd], then: impl FnOnce() + Send + 'static) {
        let services = Arc::clone(&self.services);
        self.running.after(self.services.server(), fds, move || {
            let nodes = services.nodes();
            if nodes.is_some_and(|nodes| !nodes.health().is_log_reached) {
                return then();
            }
            // Whatever becomes of what was said before, it isn't said later.
            let call = ReplyTo::Call(Box::new(move |_| then()));
            services.store(StoreTask::Nothing, call);
        });
    }

    /// Tells a client why it is closed, and closes its connection. Nothing that comes from the
    /// connection is taken from then on, whatever is on its way; only a command that is being
    /// carried out on another thread goes on to its end, see [`Sessions::after_commands`].
    pub(super) fn kick(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        (code, word): (u16, &str),
        message: &str,
    ) {
        self.kicked.insert(fd);
        // The chat forgets a connection before the kick of it is forgotten; one that neither the chat
        // nor the server knows has ended already. One that only the server knows is about to begin.
        if self.services.chat.connection(fd).is_none() && !server.is_established(fd) {
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
    }

    /// Does what is due: closes late connections, drops full buckets, stores acknowledgements; whether
    /// there is more of it.
    pub(super) fn tick(&self, server: &WorkerHandle) -> bool {
        let has_more_late = self.expire_logins(server);
        self.close_withdrawn(server);
        if let Some(nodes) = self.services.nodes() {
            self.limits.share_among(nodes.alive());
        }
        self.limits.expire(self.services.tick().0);
        self.acks.store_if_due(&self.services) || has_more_late
    }

    /// Gives the disk what was acknowledged and isn't stored yet; to be called before the disk ends, or
    /// rests.
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

    /// Whether keys are asked for, and these credentials are none of the API keys.
    pub(super) fn is_unknown(&self, credentials: &str) -> bool {
        !self.access.is_open() && self.access.api_key(credentials).is_none()
    }

    /// Finds the name of the API key that an `Authorization` field shows; `None` in open mode. A
    /// refusal is counted and logged with what `asked` gives.
    pub(super) fn authorize<'a>(
        &self,
        field: Option<&str>,
        asked: impl FnOnce() -> Refused<'a>,
    ) -> Result<Option<Arc<str>>, Refusal> {
        authorize(&*self.access, field)
            .inspect_err(|_| self.refusals.note(RefusalReason::ApiKey, asked()))
    }

    /// The name of an API key, where keys are asked for.
    pub(super) fn name_of_key(&self, key: &str) -> Option<Arc<str>> {
        self.access.api_key(key)
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

    /// Leaves the trace of a command that was refused, where the fault is the client's.
    pub(super) fn note_refused(&self, fd: Fd, code: ErrorCode) {
        if let Some(reason) = RefusalReason::of(code) {
            let view = self.services.chat.connection(fd);
            let user = view.and_then(|view| view.user);
            let key = self.key_of(fd);
            let who = user.as_ref().map(|user| user.uid()).or(key.as_deref());
            self.refusals.note(reason, self.refused(fd, who));
        }
    }

    /// Leaves the trace of a request that was wrong.
    pub(super) fn note_wrong(&self, code: ErrorCode, asked: Refused<'_>) {
        if let Some(reason @ RefusalReason::BadRequest) = RefusalReason::of(code) {
            self.refusals.note(reason, asked);
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
        if self.is_kicked(fd) {
            return false;
        }
        let now_ms = self.services.tick().0;
        let key = self.key_of(fd);
        let user = self.services.chat.user_of(fd);
        let verdict = match (&key, &user) {
            (Some(key), _) => match self.limits.request(now_ms, Asker::Key(key)) {
                Ok(()) => LimitVerdict::Within,
                Err(refusal) => LimitVerdict::Over(refusal),
            },
            (None, Some(user)) => self.limits.command(now_ms, Asker::User(user.uid())),
            (None, None) => self.limits.command(now_ms, self.address_of(fd)),
        };
        let who = key.as_deref().or(user.as_ref().map(User::uid));
        match self.judged(server, fd, who, verdict) {
            Ok(()) => return true,
            Err(Some(refusal)) => drop(server.push(fd, &frames::err(seq, &refusal))),
            Err(None) => {}
        }
        false
    }

    /// Whether a connection has shown neither a login nor an API key. Its login counts with its user
    /// once that is known, and not with its address: many users share one behind a proxy.
    pub(super) fn is_stranger(&self, fd: Fd) -> bool {
        self.key_of(fd).is_none() && !self.services.chat.is_logged_in(fd)
    }

    /// Counts a login on a new connection.
    ///
    /// # Errors
    ///
    /// The user logs in too often.
    fn count_login(&self, server: &WorkerHandle, fd: Fd, uid: &str) -> Result<(), Refusal> {
        if !self.limits.are_any() || !self.is_stranger(fd) {
            return Ok(());
        }
        let now_ms = self.services.tick().0;
        let verdict = self.limits.command(now_ms, Asker::Login(uid));
        let judged = self.judged(server, fd, Some(uid), verdict);
        judged.map_err(|refusal| {
            let closing = || Refusal::new(ErrorCode::RateLimited, FAR_OVER);
            refusal.unwrap_or_else(closing)
        })
    }

    /// Counts a login that failed with the address of its connection, and closes the connection if
    /// far too many came from there.
    fn count_failed_login(&self, server: &WorkerHandle, fd: Fd) {
        if self.limits.are_any() && !self.is_kicked(fd) && self.is_stranger(fd) {
            let verdict = self
                .limits
                .command(self.services.tick().0, self.address_of(fd));
            self.judged(server, fd, None, verdict).ok();
        }
    }

    /// Leaves the trace of a command too many, and closes its connection after far too many; then
    /// there is no refusal.
    fn judged(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        who: Option<&str>,
        verdict: LimitVerdict,
    ) -> Result<(), Option<Refusal>> {
        let refusal = match verdict {
            LimitVerdict::Within => return Ok(()),
            LimitVerdict::Over(refusal) => Some(refusal),
            LimitVerdict::FarOver => None,
        };
        self.refusals
            .note(RefusalReason::Rate, self.refused(fd, who));
        if refusal.is_none() {
            self.kick(server, fd, (4009, "rate_limited"), FAR_OVER);
        }
        Err(refusal)
    }

    /// Whoever has shown neither a token nor a key, by the address of the connection; all peers of Unix
    /// sockets are one.
    fn address_of(&self, fd: Fd) -> Asker<'static> {
        let peer = self.refused(fd, None).connection;
        let peer = peer.and_then(|(_, peer)| peer.ip());
        let nobody = Ipv4Addr::UNSPECIFIED.into();
        Asker::Address(AddressBlock::of(peer.unwrap_or(nobody)))
    }

    /// Whose requests by HTTP are counted together: those of a key, or where none is asked for,
    /// of an address.
    fn asker_of<'a>(&self, fd: Fd, key: &'a str) -> Asker<'a> {
        match key {
            "" => self.address_of(fd),
            key => Asker::Key(key),
        }
    }

    /// Counts a request by HTTP. One of a user counts with the commands of that user.
    ///
    /// # Errors
    ///
    /// The back end or the user asks too often; the request must not be carried out.
    pub(super) fn admit_request(&self, fd: Fd, actor: Actor<'_>) -> Result<(), Refusal> {
        if !self.limits.are_any() {
            return Ok(());
        }
        let now_ms = self.services.tick().0;
        let (who, admitted) = match actor {
            Actor::User(user) => (user.uid, self.limits.user_request(now_ms, user.uid)),
            Actor::Key(key) => (key, self.limits.request(now_ms, self.asker_of(fd, key))),
            Actor::Connection(_) => return Ok(()),
        };
        admitted.inspect_err(|_| {
            self.refusals
                .note(RefusalReason::Rate, self.refused(fd, Some(who)));
        })
    }

    /// Counts a request, which was counted as one, as `count`.
    pub(super) fn charge(&self, fd: Fd, actor: Actor<'_>, count: usize) {
        if !self.limits.are_any() {
            return;
        }
        let (now_ms, more) = (self.services.tick().0, count.saturating_sub(1));
        match actor {
            Actor::User(user) => self.limits.user_request_was(now_ms, user.uid, more),
            Actor::Key(key) => {
                let asker = self.asker_of(fd, key);
                self.limits.request_was(now_ms, asker, more);
            }
            Actor::Connection(_) => {}
        }
    }

    /// Notes that the user of a connection has received everything of a channel up to `offset`.
    pub(super) fn acknowledge(&self, fd: Fd, channel: &str, offset: u64) -> Result<(), ChatError> {
        if let Some(user) = self.services.chat.ack(fd, channel, offset)? {
            self.acks.note(&self.services, channel, user, offset);
        }
        Ok(())
    }

    /// Describes how many were refused for asking too often.
    pub(super) fn limit_metrics(&self) -> [Metric; 5] {
        self.limits.described()
    }
}
