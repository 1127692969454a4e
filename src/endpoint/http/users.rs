//! Users by HTTP.

use super::HttpApi;
use super::body;
use super::call::ApiCall;
use super::reply::ApiReply;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;

/// Users that one question may name: each is a look into another shard.
const USERS_MAX: usize = 100;

/// The reason that a connection is told if the back end closes it without giving one.
pub(super) const KICKED: &str = "the application asks you to go";

impl HttpApi {
    /// `GET /v1/users?uid=a&uid=b`
    pub(super) fn users(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let uids = call.query.texts("uid");
        if uids.is_empty() || uids.len() > USERS_MAX {
            return Err(Refusal::bad_request(format!(
                "uid in the query has to be there 1 to {USERS_MAX} times"
            )));
        }
        let users = uids.iter().map(|uid| self.view_user(uid).end());
        Ok(Json::object().array("users", users).into())
    }

    /// `GET /v1/users/{uid}`: a user who was never here is offline.
    pub(super) fn user(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let chat = &self.services.chat;
        let user = chat.user(&call.names.uid);
        let connections = user.map(|user| user.connections).unwrap_or_default();
        let sessions = connections.into_iter().filter_map(|fd| {
            let session = chat.session(fd).ok().flatten()?;
            let json = Json::object().number("fd", fd.0);
            Some(json.raw("session", &session).end())
        });
        let sessions: Vec<String> = sessions.collect();
        let json = self.view_user(&call.names.uid);
        Ok(match sessions.is_empty() {
            true => json,
            false => json.array("sessions", sessions),
        }
        .into())
    }

    fn view_user(&self, uid: &str) -> Json {
        let json = Json::object().string("uid", uid);
        match self.services.chat.user(uid) {
            Some(user) => json
                .flag("online", !user.connections.is_empty())
                .array("connections", user.connections.iter().map(Fd::to_string))
                .strings("rooms", &user.rooms),
            None => json
                .flag("online", false)
                .array::<&str>("connections", [])
                .strings::<&str>("rooms", []),
        }
    }

    /// `POST /v1/users/{uid}/kick`
    pub(super) fn kick(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let body::Kick { code, message } = body::kick(call.body_or_none()?)?;
        let user = self.services.chat.user(&call.names.uid);
        let connections = user.map(|user| user.connections).unwrap_or_default();
        let code = code.as_deref().unwrap_or("kicked");
        let message = message.as_deref().unwrap_or(KICKED);
        for fd in &connections {
            (self.sessions).kick(call.server, *fd, (4004, code), message);
        }
        let kicked = connections.len() as u64;
        let json = Json::object().number("kicked", kicked);
        Ok(ApiReply::After(connections, json))
    }
}
