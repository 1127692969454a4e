//! What is asked of one connection, on the node that it is on: by a request there, or by another node that
//! passes on a request.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::HttpApi;
use super::body;
use super::call::{ApiCall, PathNames};
use super::query::{Query, cut};
use super::reply::ApiReply;
use super::routes::ApiResource;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{ChatError, ErrorCode, NodeAnswer, NodeRequest};
use crate::server::WorkerHandle;

/// Longest wait of another node for the commands of a connection that is closed for it: half of what it
/// has itself.
const COMMANDS_WITHIN: Duration = Duration::from_millis(500);

/// The reason that a connection is told if the back end closes it without giving one.
const KICKED: &str = "the application asks you to go";

/// What is asked of a connection.
#[derive(Debug)]
pub(super) enum ConnectionOrder<'a> {
    /// What is known of it.
    Show,
    /// That it is closed.
    Close,
    /// That it belongs to this user.
    Bind(Cow<'a, str>),
    /// That it has no user.
    Unbind,
    /// Its session data.
    Session,
    /// That it has this session data.
    SetSession(&'a str),
}

/// What came of an order: the answer, which waits for what these connections asked for before.
pub(super) struct OrderDone {
    pub(super) after: Vec<Fd>,
    pub(super) json: Json,
}

impl From<Json> for OrderDone {
    fn from(json: Json) -> Self {
        Self {
            after: Vec::new(),
            json,
        }
    }
}

impl HttpApi {
    /// Carries out an order here, or has it carried out by the node that the connection is on.
    pub(super) fn order(
        &self,
        call: &ApiCall<'_>,
        order: &ConnectionOrder<'_>,
        body: &str,
    ) -> Result<ApiReply, Refusal> {
        let fd = Fd(call.names.fd);
        if self.is_elsewhere(call) {
            return Ok(ApiReply::Elsewhere(fd, self.passed_on(call, body)));
        }
        let done = self.carry_out(call.server, fd, order)?;
        Ok(match done.after.is_empty() {
            true => ApiReply::Json(done.json),
            false => ApiReply::After(done.after, done.json),
        })
    }

    /// Whether the connection may be another node's.
    pub(super) fn is_elsewhere(&self, call: &ApiCall<'_>) -> bool {
        self.services.nodes().is_some() && !call.server.exists(Fd(call.names.fd))
    }

    /// Makes the request by which another node is asked the same.
    pub(super) fn passed_on(&self, call: &ApiCall<'_>, body: &str) -> NodeRequest {
        let request = call.request;
        let target = match request.query() {
            Some(query) => format!("{}?{query}", request.path()),
            None => request.path().to_owned(),
        };
        passed_on(request.method(), target, body)
    }

    pub(super) fn carry_out(
        &self,
        server: &WorkerHandle,
        fd: Fd,
        order: &ConnectionOrder<'_>,
    ) -> Result<OrderDone, Refusal> {
        let chat = &self.services.chat;
        let no_user = |error| match error {
            // 401 would mean the caller's own key.
            ChatError::NotLoggedIn => Refusal::not_found(format!("connection {fd} has no user")),
            error => error.into(),
        };
        match order {
            ConnectionOrder::Show => self.show(server, fd).map(OrderDone::from),
            ConnectionOrder::Close => {
                if !server.is_established(fd) {
                    return Err(no_connection(fd));
                }
                (self.sessions).kick(server, fd, (4004, "kicked"), KICKED);
                Ok(OrderDone {
                    after: vec![fd],
                    json: Json::object().flag("closed", true),
                })
            }
            ConnectionOrder::Bind(uid) => {
                self.sessions.bind(server, fd, uid)?;
                Ok(Json::object().number("fd", fd.0).string("uid", uid).into())
            }
            ConnectionOrder::Unbind => {
                let user = self.sessions.unbind(server, fd).map_err(no_user)?;
                let json = Json::object().number("fd", fd.0);
                Ok(OrderDone {
                    after: vec![fd],
                    json: json.string("uid", user.uid()),
                })
            }
            ConnectionOrder::Session => {
                let session = chat.session(fd).map_err(no_user)?;
                Ok(session_json(fd, session.as_deref()).into())
            }
            ConnectionOrder::SetSession(session) => {
                chat.set_session(fd, session).map_err(no_user)?;
                Ok(session_json(fd, Some(session)).into())
            }
        }
    }

    fn show(&self, server: &WorkerHandle, fd: Fd) -> Result<Json, Refusal> {
        let info = server.connection_info(fd);
        let info = info.ok_or_else(|| no_connection(fd))?;
        let proxy = server.through_proxy(fd).map(|told| told.proxy.to_string());
        let known = self.services.chat.connection(fd).unwrap_or_default();
        Ok(Json::object()
            .number("fd", fd.0)
            .string("peer", &info.peer.to_string())
            .string_or_null("proxy", proxy.as_deref())
            .flag("websocket", info.is_established)
            .string_or_null("uid", known.user.as_ref().map(|user| user.uid()))
            .strings("rooms", &known.rooms))
    }

    /// Lists the connections of this node.
    pub(super) fn listed(&self, server: &WorkerHandle, query: &Query<'_>) -> Result<Json, Refusal> {
        let after = Fd(query.number("after")?.unwrap_or(0));
        let limit = query.list_limit()?;
        let mut fds = server.connections(after, limit + 1);
        let more = cut(&mut fds, limit);
        let fds = fds.iter().map(Fd::to_string);
        let json = Json::object().array("connections", fds);
        Ok(json.flag("more", more))
    }

    /// Closes the connections of a user that are on this node.
    pub(super) fn kick_here(
        &self,
        server: &WorkerHandle,
        uid: &str,
        kick: &body::Kick<'_>,
    ) -> Vec<Fd> {
        let user = self.services.chat.user(uid);
        let connections = user.map(|user| user.connections).unwrap_or_default();
        let code = kick.code.as_deref().unwrap_or("kicked");
        let message = kick.message.as_deref().unwrap_or(KICKED);
        for fd in &connections {
            (self.sessions).kick(server, *fd, (4004, code), message);
        }
        connections
    }

    /// Does what another node passes on. Waits for what the connections asked for before, but not long.
    pub(in crate::endpoint) fn answer_node(
        &self,
        server: &WorkerHandle,
        (method, target): (&str, &str),
        body: &str,
    ) -> NodeAnswer {
        let done = self.passed(server, (method, target), body);
        match done {
            Ok(OrderDone { after, json }) => {
                if !after.is_empty() {
                    let (done, waits) = sync_channel(1);
                    let then = move || _ = done.try_send(());
                    self.sessions.after_commands(&after, then);
                    server.flush();
                    // Late ones are cut short by the kick itself.
                    waits.recv_timeout(COMMANDS_WITHIN).ok();
                }
                NodeAnswer {
                    status: 200,
                    body: json.end().into(),
                }
            }
            Err(refusal) => NodeAnswer {
                status: refusal.status,
                body: refusal.json().end().into(),
            },
        }
    }

    fn passed(
        &self,
        server: &WorkerHandle,
        (method, target): (&str, &str),
        body: &str,
    ) -> Result<OrderDone, Refusal> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let unknown = || Refusal::not_found("this node doesn't know such a request");
        let resource = ApiResource::at(path)?.ok_or_else(unknown)?;
        let (pattern, names) = (resource.path(), &resource.names);
        let PathNames { uid, fd, .. } = names;
        let order = match (method, pattern) {
            ("GET" | "HEAD", "/v1/connections") => {
                let query = Query::of(query, &["limit", "after", "node"])?;
                return self.listed(server, &query).map(OrderDone::from);
            }
            ("POST", "/v1/users/{uid}/kick") => {
                let after = self.kick_here(server, uid, &body::kick(body)?);
                let json = Json::object().number("kicked", after.len() as u64);
                return Ok(OrderDone { after, json });
            }
            ("GET" | "HEAD", "/v1/connections/{fd}") => ConnectionOrder::Show,
            ("DELETE", "/v1/connections/{fd}") => ConnectionOrder::Close,
            ("PUT", "/v1/connections/{fd}/user") => {
                let uid = body::user(body)?;
                if let Some(order) = self.sessions.bind_order(Fd(*fd), &uid)? {
                    let (done, waits) = sync_channel(1);
                    let answer = move |bound| _ = done.try_send(bound);
                    self.sessions.bind_by_log(order, Box::new(answer));
                    let bound = waits.recv_timeout(COMMANDS_WITHIN);
                    let late = Refusal::new(ErrorCode::Unavailable, "the log is slow");
                    return bound.unwrap_or(Err(late)).map(OrderDone::from);
                }
                ConnectionOrder::Bind(uid)
            }
            ("DELETE", "/v1/connections/{fd}/user") => ConnectionOrder::Unbind,
            ("GET" | "HEAD", "/v1/connections/{fd}/session") => ConnectionOrder::Session,
            ("PUT", "/v1/connections/{fd}/session") => {
                ConnectionOrder::SetSession(body::session(body)?)
            }
            _ => return Err(unknown()),
        };
        let done = self.carry_out(server, Fd(*fd), &order);
        done.map_err(|refusal| match self.services.chat.connection(Fd(*fd)) {
            // A connection that has ended meanwhile.
            None if refusal.status == 401 => no_connection(Fd(*fd)),
            _ => refusal,
        })
    }
}

/// Makes the request by which another node is asked what a back end asked here.
pub(super) fn passed_on(method: &str, target: String, body: &str) -> NodeRequest {
    NodeRequest::Http {
        method: method.into(),
        target: target.into(),
        body: body.into(),
        key: Box::default(),
    }
}

/// The path at which a user is kicked.
pub(super) fn kick_path(uid: &str) -> String {
    format!(
        "/v1/users/{}/kick",
        utf8_percent_encode(uid, NON_ALPHANUMERIC)
    )
}

fn session_json(fd: Fd, session: Option<&str>) -> Json {
    let json = Json::object().number("fd", fd.0);
    json.raw("session", session.unwrap_or("null"))
}

/// Says that there is no such connection.
pub(super) fn no_connection(fd: Fd) -> Refusal {
    Refusal::not_found(format!("there is no connection {fd}"))
}

/// The question to all nodes on which a user is, for [`ApiReply::Ask`].
pub(super) fn kick_elsewhere(
    uid: String,
    body: String,
    kicked_here: u64,
) -> impl FnOnce(&Arc<crate::endpoint::services::Services>) -> Result<Json, Refusal> + Send {
    move |services| {
        let mut kicked = kicked_here;
        let request = passed_on("POST", kick_path(&uid), &body);
        for generation in services.nodes_of(&uid)? {
            let answer = services.ask_node(generation, &request)?;
            let value: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
            kicked += value["kicked"].as_u64().unwrap_or(0);
        }
        Ok(Json::object().number("kicked", kicked))
    }
}
