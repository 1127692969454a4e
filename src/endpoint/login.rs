//! Logging in: by command or by query, with or without keys; and who is late.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::command::{Login, Resume};
use super::endpoint::Endpoint;
use super::frames;
use super::server_sink::Reply;
use crate::api::auth::TokenRefusal;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{self, Epoch, ErrorCode, Pattern, Position, Rights};
use crate::server::WorkerHandle;

/// Rooms that a query may join.
const ROOMS_A_QUERY_MAX: usize = 100;

/// What the oldest connection of a user with too many is told.
const REPLACED: &str = "this user has too many connections; the oldest goes";

/// Connections that have to be looked at, and those of back ends.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    /// Names of the API keys that connections showed.
    keys: HashMap<Fd, Arc<str>>,
    /// Until when a connection is good without a login or a new token, in Unix milliseconds.
    due_unix_ms: HashMap<Fd, (u64, Due)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Login,
    Token,
}

impl Waiting {
    pub(super) fn forget(&self, fd: Fd) {
        let mut connections = self.lock();
        connections.keys.remove(&fd);
        connections.due_unix_ms.remove(&fd);
    }

    /// The name of the API key that this connection showed.
    pub(super) fn key_of(&self, fd: Fd) -> Option<Arc<str>> {
        self.lock().keys.get(&fd).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Endpoint {
    /// Notes who a new connection is by its handshake, and logs it in if its query says so.
    pub(super) fn begin_login(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        key: Option<Arc<str>>,
        query: Option<&str>,
    ) {
        if let Some(key) = key {
            self.waiting.lock().keys.insert(fd, key);
        } else if !self.access.is_open() {
            let due = self.now().unix_ms + self.settings.login_ms_max;
            self.waiting
                .lock()
                .due_unix_ms
                .insert(fd, (due, Due::Login));
        }
        let login = by_query(query);
        if login.uid.is_none() && login.token.is_none() {
            return;
        }
        if login.rooms.len() > ROOMS_A_QUERY_MAX {
            let message = format!(
                "the query names {} rooms, but at most {ROOMS_A_QUERY_MAX} are taken",
                login.rooms.len()
            );
            server
                .push(fd, &frames::err(None, &Refusal::bad_request(message)))
                .ok();
        } else if let Err(refusal) = self.login(server, fd, &login, Reply::To(None)) {
            server.push(fd, &frames::err(None, &refusal)).ok();
        }
    }

    /// Logs a connection in; the chat answers through its post.
    pub(super) fn login(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        login: &Login<'_>,
        reply: Reply<'_>,
    ) -> Result<(), Refusal> {
        let (uid, rights, expires) = self.who(server, fd, login)?;
        let rooms: Vec<&str> = login.rooms.iter().map(AsRef::as_ref).collect();
        let resume: Vec<_> = login
            .resume
            .iter()
            .map(|(channel, resume)| (&**channel, resume_of(Some(resume))))
            .collect();
        let login = chat::Login {
            fd,
            uid: &uid,
            rights,
            rooms: &rooms,
            resume: &resume,
        };
        let mut post = self.post(server, reply);
        let logged_in = self.services.chat.login(&mut post, self.now(), &login)?;
        if let Some(oldest) = logged_in.replaced {
            kick(server, oldest, 4003, "replaced", REPLACED);
        }
        let mut connections = self.waiting.lock();
        match expires {
            Some(expires) => connections.due_unix_ms.insert(fd, (expires, Due::Token)),
            None => connections.due_unix_ms.remove(&fd),
        };
        Ok(())
    }

    /// Binds a connection to a user for the back end, with the rights of somebody without a token.
    pub(super) fn bind_user(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        uid: &str,
    ) -> Result<(), Refusal> {
        let rights = if self.access.is_open() {
            Arc::clone(&self.open_rights)
        } else {
            Arc::new(Rights::Token {
                rooms: Box::default(),
            })
        };
        let login = chat::Login {
            fd,
            uid,
            rights,
            rooms: &[],
            resume: &[],
        };
        let mut post = self.post(server, Reply::Silent);
        let logged_in = self.services.chat.login(&mut post, self.now(), &login)?;
        if let Some(oldest) = logged_in.replaced {
            kick(server, oldest, 4003, "replaced", REPLACED);
        }
        self.waiting.lock().due_unix_ms.remove(&fd);
        Ok(())
    }

    /// Who it is, what it may do, and until when.
    fn who(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        login: &Login<'_>,
    ) -> Result<(String, Arc<Rights>, Option<u64>), Refusal> {
        let named = || {
            let uid = login.uid.as_deref().map(str::to_owned);
            uid.ok_or_else(|| Refusal::bad_request("uid is missing; it has to be a string"))
        };
        if let Some(name) = self.waiting.key_of(fd) {
            return Ok((named()?, Arc::new(Rights::ApiKey { name }), None));
        }
        if self.access.is_open() {
            return Ok((named()?, Arc::clone(&self.open_rights), None));
        }
        let Some(token) = login.token.as_deref() else {
            return Err(Refusal::new(
                ErrorCode::Unauthorized,
                "token is missing; `tidings token` makes one",
            ));
        };
        match self.access.token(token, self.now().unix_ms) {
            Ok(pass) if login.uid.as_deref().is_none_or(|uid| uid == pass.uid) => {
                let rooms = pass.rooms.iter().map(|room| Pattern::new(room)).collect();
                let rights = Arc::new(Rights::Token { rooms });
                Ok((pass.uid, rights, Some(pass.expires_unix_ms)))
            }
            Ok(_) => Err(Refusal::new(ErrorCode::Forbidden, "uid is not the token's")),
            Err(refusal) => {
                let (code, word, message) = match refusal {
                    TokenRefusal::Bad => (4001, "bad_token", "the token is not one of ours"),
                    TokenRefusal::Expired => (4005, "token_expired", "the token's time is over"),
                };
                kick(server, fd, code, word, message);
                Err(Refusal::new(ErrorCode::Unauthorized, message))
            }
        }
    }

    /// Closes those that didn't log in, or renew their token, in time.
    pub(super) fn expire_logins(&self, server: &WorkerHandle) {
        let now = self.now().unix_ms;
        let mut late = Vec::new();
        self.waiting.lock().due_unix_ms.retain(|fd, (at, due)| {
            let is_late = *at <= now;
            if is_late {
                late.push((*fd, *due));
            }
            !is_late
        });
        for (fd, due) in late {
            match due {
                Due::Login => kick(server, fd, 4002, "no_login", "no login came in time"),
                Due::Token => kick(
                    server,
                    fd,
                    4005,
                    "token_expired",
                    "the token's time is over",
                ),
            }
        }
    }
}

/// Tells a connection why, and closes it.
pub(super) fn kick(server: &WorkerHandle, fd: Fd, code: u16, word: &str, message: &str) {
    if server.push(fd, &frames::kick(word, message)).is_ok() {
        server.disconnect(fd, code, message).ok();
    }
}

pub(super) fn resume_of(resume: Option<&Resume<'_>>) -> chat::Resume {
    match resume {
        None => chat::Resume::Now,
        Some(Resume::Acked) => chat::Resume::Acked,
        Some(Resume::After { epoch, offset }) => chat::Resume::After(Position {
            epoch: Epoch::of(epoch),
            offset: *offset,
        }),
    }
}

/// `?uid=ann&room=lobby&room=tea&token=…`; whatever else stands there is passed over.
fn by_query(query: Option<&str>) -> Login<'_> {
    let mut login = Login::default();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "uid" => login.uid = Some(value),
            "token" => login.token = Some(value),
            "room" => login.rooms.push(value),
            _ => {}
        }
    }
    login.uid = login.uid.filter(|uid: &Cow<'_, str>| !uid.is_empty());
    login
}
