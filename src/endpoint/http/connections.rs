//! Connections by HTTP.

use super::HttpApi;
use super::body;
use super::call::ApiCall;
use super::query::cut;
use super::reply::ApiReply;
use super::users::KICKED;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::ChatError;

impl HttpApi {
    /// `GET /v1/connections`
    pub(super) fn connections(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let after = Fd(call.query.number("after")?.unwrap_or(0));
        let limit = call.query.list_limit()?;
        let mut fds = call.server.connections(after, limit + 1);
        let more = cut(&mut fds, limit);
        let fds = fds.iter().map(Fd::to_string);
        let json = Json::object().array("connections", fds);
        Ok(json.flag("more", more).into())
    }

    /// `GET /v1/connections/{fd}`
    pub(super) fn connection(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let fd = Fd(call.names.fd);
        let info = call.server.connection_info(fd);
        let info = info.ok_or_else(|| no_connection(fd))?;
        let known = self.services.chat.connection(fd).unwrap_or_default();
        let json = Json::object()
            .number("fd", fd.0)
            .string("peer", &info.peer.to_string())
            .flag("websocket", info.is_established)
            .string_or_null("uid", known.user.as_ref().map(|user| user.uid()))
            .strings("rooms", &known.rooms);
        Ok(json.into())
    }

    /// `DELETE /v1/connections/{fd}`
    pub(super) fn disconnect(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let fd = Fd(call.names.fd);
        if !call.server.is_established(fd) {
            return Err(no_connection(fd));
        }
        (self.sessions).kick(call.server, fd, (4004, "kicked"), KICKED);
        let json = Json::object().flag("closed", true);
        Ok(ApiReply::After(vec![fd], json))
    }

    /// `PUT /v1/connections/{fd}/user`
    pub(super) fn bind(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let (fd, uid) = (Fd(call.names.fd), body::user(call.body()?)?);
        self.sessions.bind(call.server, fd, &uid)?;
        Ok(Json::object().number("fd", fd.0).string("uid", &uid).into())
    }

    /// `DELETE /v1/connections/{fd}/user`
    pub(super) fn unbind(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let fd = Fd(call.names.fd);
        let user = self.sessions.unbind(call.server, fd);
        // 401 would mean the caller's own key.
        let user = user.map_err(|error| match error {
            ChatError::NotLoggedIn => Refusal::not_found(format!("connection {fd} has no user")),
            error => error.into(),
        })?;
        let json = Json::object().number("fd", fd.0);
        let json = json.string("uid", user.uid());
        Ok(ApiReply::After(vec![fd], json))
    }

    /// `GET /v1/connections/{fd}/session`
    pub(super) fn session(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let fd = Fd(call.names.fd);
        let session = self.services.chat.session(fd);
        let session = session.map_err(|error| of_session(fd, error))?;
        Ok(session_json(fd, session.as_deref()).into())
    }

    /// `PUT /v1/connections/{fd}/session`
    pub(super) fn set_session(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let (fd, session) = (Fd(call.names.fd), body::session(call.body()?)?);
        let set = self.services.chat.set_session(fd, session);
        set.map_err(|error| of_session(fd, error))?;
        Ok(session_json(fd, Some(session)).into())
    }
}

fn session_json(fd: Fd, session: Option<&str>) -> Json {
    let json = Json::object().number("fd", fd.0);
    json.raw("session", session.unwrap_or("null"))
}

/// 401 would mean the caller's own key.
fn of_session(fd: Fd, error: ChatError) -> Refusal {
    match error {
        ChatError::NotLoggedIn => Refusal::not_found(format!("connection {fd} has no user")),
        error => error.into(),
    }
}

fn no_connection(fd: Fd) -> Refusal {
    Refusal::not_found(format!("there is no connection {fd}"))
}
