//! Logging in: by command or by query, with a token, with a key, or by the back end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Sessions;
use super::deadlines::{DeadlineFor, KeyKind, LATE_A_LOOK_MAX};
use super::query_login::{NO_LOGIN_IN_QUERY, QueryLogin};
use crate::api::auth::{Pass, TokenRefusal, WithdrawnKeys, bearer};
use crate::api::refusal::Refusal;
use crate::api::{RefusalReason, Refused};
use crate::base::Fd;
use crate::chat::{self, ChatError, ErrorCode, LoggedIn, Pattern, Resume, Rights, User};
use crate::endpoint::attaching::EnterOrder;
use crate::endpoint::frames;
use crate::endpoint::holding::{ComesAgain, HeldCommand};
use crate::endpoint::holds::{Granted, Unanswered};
use crate::endpoint::native::command::{LoginFields, resume_of};
use crate::endpoint::server_sink::{Confirmation, ServerSink};
use crate::server::{Request, WorkerHandle};

/// The reason that the oldest connection of a user with too many is told.
pub(in crate::endpoint) const REPLACED: &str =
    "this user has too many connections; the oldest goes";

/// What a connection is told for which there is no place to wait.
const NO_PLACE: &str = "too many logins wait for the cluster";

/// How a login comes: the first time, or once more with the log's word.
pub(in crate::endpoint) struct LoginWay {
    pub(in crate::endpoint) granted: Option<Granted>,
    pub(in crate::endpoint) comes_again: ComesAgain,
}

/// The user who logs in, the rights, and the Unix millisecond at which the rights end, if they do.
struct LoginIdentity {
    uid: String,
    rights: Arc<Rights>,
    expires_unix_ms: Option<u64>,
    /// The number of the token's key.
    key: u64,
}

impl Sessions {
    /// Begins the session of a new connection: notes its key or its deadline, and logs it in if the
    /// query of its handshake says so.
    pub(in crate::endpoint) fn begin(self: &Arc<Self>, server: &WorkerHandle, request: &Request) {
        let fd = request.fd;
        let changes = self.access.changes();
        let key = bearer(request.header("authorization"));
        match key.map(|key| self.access.api_key(key)) {
            Some(Some(name)) => {
                self.deadlines.note_key(fd, name);
                server.vouch_for(fd);
                let is_valid = || key.is_some_and(|key| self.access.api_key(key).is_some());
                self.look_once_more(fd, KeyKind::Api, changes, is_valid);
            }
            Some(None) if !self.access.is_open() => {
                let asked = Refused {
                    host: request.header("host"),
                    origin: request.header("origin"),
                    ..self.refused(fd, None)
                };
                self.refusals.note(RefusalReason::ApiKey, asked);
                self.deadlines.note_unknown_key(fd);
                self.expect_login(fd);
            }
            _ => self.expect_login(fd),
        }
        let by = QueryLogin::of(request);
        self.login_by_query(server, fd, &by, None);
    }

    /// Logs a connection in if the query of its handshake says so.
    fn login_by_query(
        self: &Arc<Self>,
        server: &WorkerHandle,
        fd: Fd,
        by: &QueryLogin,
        granted: Option<Granted>,
    ) {
        let logged_in = match by.fields() {
            Ok(login) if login.uid.is_none() && login.token.is_none() => match by.is_stream {
                true => Err(Refusal::bad_request(NO_LOGIN_IN_QUERY).into()),
                false => return,
            },
            Ok(login) => {
                let comes_again = self.comes_again(fd, by);
                let way = LoginWay {
                    granted,
                    comes_again,
                };
                self.login(server, fd, &login, Confirmation::With(None), way)
            }
            Err(refusal) => {
                self.note_refused(fd, refusal.code);
                Err(refusal.into())
            }
        };
        if let Err(Unanswered::Refused(refusal)) = logged_in {
            self.refuse_query(server, fd, by, &refusal);
        }
    }

    /// Says why a query doesn't log in; closes a stream, which can't log in later.
    fn refuse_query(&self, server: &WorkerHandle, fd: Fd, by: &QueryLogin, refusal: &Refusal) {
        server.push(fd, &frames::err(None, refusal)).ok();
        if by.is_stream && !self.is_kicked(fd) {
            self.kick(server, fd, (4002, "no_login"), &refusal.message);
        }
    }

    /// Has a login by query come once more, as long as nobody has sent its connection away.
    fn comes_again(self: &Arc<Self>, fd: Fd, by: &QueryLogin) -> ComesAgain {
        if self.services.cluster.is_none() {
            return ComesAgain::WithMessage;
        }
        let (sessions, by) = (Arc::clone(self), by.clone());
        ComesAgain::By(Box::new(move |server| {
            let _running = sessions.begin_command(server, fd);
            if sessions.is_kicked(fd) {
                return;
            }
            let word = sessions.services.holds().and_then(|holds| holds.take(fd));
            match word {
                Some(Ok(granted)) => {
                    sessions.login_by_query(server, fd, &by, Some(granted));
                }
                Some(Err(refusal)) => sessions.refuse_query(server, fd, &by, &refusal),
                None => {}
            }
        }))
    }

    /// Logs a connection in; the chat confirms it through the sink.
    pub(in crate::endpoint) fn login(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        login: &LoginFields<'_>,
        confirmation: Confirmation<'_>,
        way: LoginWay,
    ) -> Result<(), Unanswered> {
        let told = way.granted.as_ref().and_then(|granted| granted.uid.clone());
        let logged_in = self.log_in(server, fd, login, confirmation, way);
        if let Err(Unanswered::Refused(_)) = logged_in {
            self.services.undo_login(fd, told.as_deref());
        }
        logged_in
    }

    fn log_in(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        login: &LoginFields<'_>,
        confirmation: Confirmation<'_>,
        mut way: LoginWay,
    ) -> Result<(), Unanswered> {
        let changes = self.access.changes();
        let identity = self.identify(server, fd, login);
        let identity = identity.inspect_err(|_| self.count_failed_login(server, fd))?;
        if way.granted.is_none() {
            self.count_login(server, fd, &identity.uid)?;
        }
        let token = login.token.as_deref();
        let rooms: Vec<&str> = login.rooms.iter().map(AsRef::as_ref).collect();
        let resume: Vec<_> = login
            .resume
            .iter()
            .map(|(channel, resume)| (&**channel, resume_of(Some(resume))))
            .collect();
        let login = chat::Login {
            fd,
            uid: &identity.uid,
            rights: identity.rights,
            rooms: &rooms,
            resume: &resume,
        };
        let mut sink = ServerSink::of_worker(&self.services, server, confirmation);
        let chat = &self.services.chat;
        let missing = match (&self.services.cluster, &way.granted) {
            (Some(_), None) => chat.login_channels(&login),
            _ => Ok(None),
        };
        let logged_in = match missing {
            Ok(None) => chat.login(&mut sink, self.services.now(), &login),
            Ok(Some(channels)) => return self.hold(server, &login, way, channels),
            Err(error) => Err(error),
        };
        if let Err(ChatError::NotAttached(names)) = logged_in {
            // A room that left this node just now, or a lasting one.
            let mut channels = names.into_vec();
            channels.push(format!("@{}", login.uid).into());
            return self.hold(server, &login, way, channels);
        }
        if let Err(error) = &logged_in
            && let Some(reason) = RefusalReason::of(error.code())
        {
            self.refusals
                .note(reason, self.refused(fd, Some(&identity.uid)));
        }
        let logged_in = logged_in?;
        let oldest = way.granted.take().and_then(|granted| granted.replaced);
        if let Some(oldest) = oldest.filter(|oldest| logged_in.replaced != Some(*oldest)) {
            self.replace(server, oldest);
        }
        self.make_way(server, logged_in);
        match identity.expires_unix_ms {
            Some(expires) => {
                self.deadlines
                    .set(fd, expires, DeadlineFor::Token(identity.key));
                server.vouch_for(fd);
                let is_valid = || {
                    let now_unix_ms = self.services.now().unix_ms;
                    token.is_some_and(|token| self.access.token(token, now_unix_ms).is_ok())
                };
                self.look_once_more(fd, KeyKind::Token, changes, is_valid);
            }
            None => self.deadlines.clear(fd),
        }
        Ok(())
    }

    /// Holds a connection until the log of the cluster knows its login.
    fn hold(
        &self,
        server: &WorkerHandle,
        login: &chat::Login<'_>,
        way: LoginWay,
        channels: Vec<Box<str>>,
    ) -> Result<(), Unanswered> {
        let fd = login.fd;
        let asks_acks = |(_, resume): &(&str, Resume)| *resume == Resume::Acked;
        let order = EnterOrder {
            fd,
            uid: login.uid.into(),
            channels,
            asks_acks: login.resume.iter().any(asks_acks),
        };
        let command = HeldCommand {
            server,
            fd,
            before: way.granted.as_ref(),
            comes_again: way.comes_again,
        };
        let held = self.services.hold_login(command, order);
        if let Err(Unanswered::Refused(_)) = &held
            && !self.services.chat.is_logged_in(fd)
        {
            self.kick(server, fd, (1013, "unavailable"), NO_PLACE);
        }
        held
    }

    /// Closes the oldest connection of a user, wherever it is.
    pub(super) fn replace(&self, server: &WorkerHandle, oldest: Fd) {
        if server.exists(oldest) {
            return self.kick(server, oldest, (4003, "replaced"), REPLACED);
        }
        self.services.close_elsewhere(oldest, (4003, "replaced"));
    }

    /// Looks at the key of a connection that is entered now once more, if keys were changed after
    /// `changes` was read: their sweep may not have found it.
    fn look_once_more(&self, fd: Fd, kind: KeyKind, changes: u64, is_valid: impl FnOnce() -> bool) {
        if self.access.changes() != changes && !is_valid() {
            self.deadlines.note_withdrawn(fd, kind);
        }
    }

    /// Has keys replaced. The connections that were let in by those that are withdrawn are closed
    /// afterwards, 500 a second: with 4001 where an API key did so, which has no successor; with 4005
    /// where a token did, so that a client comes back with a new one.
    pub(in crate::endpoint) fn withdraw(&self, keys: &WithdrawnKeys, replace: impl FnOnce()) {
        self.deadlines.withdraw(keys, replace);
    }

    /// Closes some connections whose key was withdrawn.
    pub(super) fn close_withdrawn(&self, server: &WorkerHandle) {
        for (fd, kind) in self.deadlines.take_withdrawn(self.services.now().unix_ms) {
            match kind {
                KeyKind::Api => self.kick(server, fd, (4001, "bad_token"), KEY_WITHDRAWN),
                KeyKind::Token => self.kick(server, fd, (4005, "token_expired"), KEY_WITHDRAWN),
            }
        }
    }

    /// Sets the time by which a connection has to log in, where keys are asked for.
    fn expect_login(&self, fd: Fd) {
        if !self.access.is_open() {
            let due = self.services.now().unix_ms + self.login_ms_max.load(Relaxed);
            self.deadlines.set(fd, due, DeadlineFor::Login);
        }
    }

    /// Binds a connection to a user for the back end, with the rights of a user without a token.
    /// A connection that belongs to this user already keeps what its login gave it.
    pub(in crate::endpoint) fn bind(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        uid: &str,
    ) -> Result<(), Refusal> {
        let login = chat::Login {
            fd,
            uid,
            rights: self.bound_rights(),
            rooms: &[],
            resume: &[],
        };
        let mut sink = ServerSink::of_worker(&self.services, server, Confirmation::Silent);
        let chat = &self.services.chat;
        if let Some(logged_in) = chat.login_once(&mut sink, self.services.now(), &login)? {
            self.make_way(server, logged_in);
            // A token that came at the same moment has an end, which stays.
            self.deadlines.clear_login(fd);
        }
        Ok(())
    }

    /// The rights of a user whom the back end binds.
    pub(super) fn bound_rights(&self) -> Arc<Rights> {
        if self.access.is_open() {
            return Arc::clone(&self.open_rights);
        }
        Arc::new(Rights::Token {
            rooms: Box::default(),
        })
    }

    /// Takes the user from a connection, which has to log in anew within the time of a new one.
    pub(in crate::endpoint) fn unbind(
        &self,
        server: &WorkerHandle,
        fd: Fd,
    ) -> Result<User, ChatError> {
        let mut sink = ServerSink::of_worker(&self.services, server, Confirmation::Silent);
        let chat = &self.services.chat;
        let user = chat.logout(&mut sink, self.services.now(), fd)?;
        if self.deadlines.key_of(fd).is_none() {
            self.expect_login(fd);
        }
        Ok(user)
    }

    /// Closes the connection that had to go for a login.
    fn make_way(&self, server: &WorkerHandle, logged_in: LoggedIn) {
        if let Some(oldest) = logged_in.replaced {
            self.replace(server, oldest);
        }
    }

    /// Finds out who logs in, with which rights; closes a connection that shows a wrong token.
    fn identify(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        login: &LoginFields<'_>,
    ) -> Result<LoginIdentity, Refusal> {
        let named = |rights| match login.uid.as_deref() {
            Some(uid) => Ok(LoginIdentity {
                uid: uid.to_owned(),
                rights,
                expires_unix_ms: None,
                key: 0,
            }),
            None => Err(Refusal::bad_request(
                "uid is missing; it has to be a string",
            )),
        };
        if let Some(name) = self.deadlines.key_of(fd) {
            return named(Arc::new(Rights::ApiKey { name }));
        }
        if self.access.is_open() {
            return named(Arc::clone(&self.open_rights));
        }
        let Some(token) = login.token.as_deref() else {
            if self.deadlines.has_unknown_key(fd) {
                return Err(Refusal::new(ErrorCode::Unauthorized, UNKNOWN_KEY));
            }
            let refused = self.refused(fd, login.uid.as_deref());
            self.refusals.note(RefusalReason::TokenMissing, refused);
            return Err(Refusal::new(
                ErrorCode::Unauthorized,
                "token is missing; `tidings token` makes one",
            ));
        };
        match self.access.token(token, self.services.now().unix_ms) {
            Ok(pass) if login.uid.as_deref().is_none_or(|uid| uid == pass.uid) => {
                let rooms = pass.rooms.iter().map(|room| Pattern::new(room)).collect();
                Ok(LoginIdentity {
                    uid: pass.uid,
                    rights: Arc::new(Rights::Token { rooms }),
                    expires_unix_ms: Some(pass.expires_unix_ms),
                    key: pass.key,
                })
            }
            Ok(pass) => {
                let asked = login.uid.as_deref().unwrap_or_default();
                let refused = self.refused(fd, Some(asked));
                self.refusals.note(RefusalReason::Uid, refused);
                let message = format!("uid is {asked:?}, but the token is for {:?}", pass.uid);
                Err(Refusal::new(ErrorCode::Forbidden, message))
            }
            Err(refusal) => {
                let told = TokenTold::of(refusal);
                let refused = self.refused(fd, login.uid.as_deref());
                self.refusals.note(told.reason, refused);
                self.kick(server, fd, told.close, told.message);
                Err(Refusal::new(ErrorCode::Unauthorized, told.message))
            }
        }
    }

    /// Checks the token of a request by HTTP. A refusal leaves the trace `asked`.
    ///
    /// # Errors
    ///
    /// The token is none of ours, or its time is over.
    pub(in crate::endpoint) fn pass_of<'a>(
        &self,
        token: &str,
        asked: impl FnOnce() -> Refused<'a>,
    ) -> Result<Pass, Refusal> {
        let pass = self.access.token(token, self.services.now().unix_ms);
        pass.map_err(|refusal| {
            let told = TokenTold::of(refusal);
            self.refusals.note(told.reason, asked());
            Refusal::new(ErrorCode::Unauthorized, told.message)
        })
    }

    /// Closes connections that neither logged in nor renewed their token in time; whether there may be
    /// more of them.
    pub(super) fn expire_logins(&self, server: &WorkerHandle) -> bool {
        let late = self.deadlines.take_late(self.services.now().unix_ms);
        let has_more = late.len() == LATE_A_LOOK_MAX;
        for (fd, what) in late {
            match what {
                DeadlineFor::Login => {
                    let refused = self.refused(fd, None);
                    self.refusals.note(RefusalReason::NoLogin, refused);
                    self.kick(server, fd, (4002, "no_login"), "no login came in time");
                }
                DeadlineFor::Token(_) => self.kick(server, fd, (4005, "token_expired"), EXPIRED),
            }
        }
        has_more
    }
}

/// The reason that a client is told whose token has ended.
const EXPIRED: &str = "the token's time is over";

/// The reason that a client is told whose key isn't valid any more.
const KEY_WITHDRAWN: &str = "the key was withdrawn";

/// What a client is told that showed a wrong API key and no token.
const UNKNOWN_KEY: &str = "Authorization holds no API key of ours, and token is missing";

/// What is told of a token that is refused.
struct TokenTold {
    /// Close code and word, where a WebSocket showed the token.
    close: (u16, &'static str),
    message: &'static str,
    reason: RefusalReason,
}

impl TokenTold {
    fn of(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Bad => Self {
                close: (4001, "bad_token"),
                message: "the token is not one of ours",
                reason: RefusalReason::Token,
            },
            TokenRefusal::Expired => Self {
                close: (4005, "token_expired"),
                message: EXPIRED,
                reason: RefusalReason::TokenExpired,
            },
        }
    }
}
