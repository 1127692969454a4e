//! Users by HTTP.

use super::HttpApi;
use super::body;
use super::call::ApiCall;
use super::orders::kick_elsewhere;
use super::reply::ApiReply;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::endpoint::nodes::ClusterUser;

/// Users that one question may name: each is a look into another shard.
const USERS_MAX: usize = 100;

impl HttpApi {
    /// `GET /v1/users?uid=a&uid=b`
    pub(super) fn users(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let uids = call.query.texts("uid");
        if uids.is_empty() || uids.len() > USERS_MAX {
            return Err(Refusal::bad_request(format!(
                "uid in the query has to be there 1 to {USERS_MAX} times"
            )));
        }
        let uids: Vec<String> = uids.iter().map(|uid| uid.clone().into_owned()).collect();
        self.ask(move |services| {
            let users = uids.iter().map(|uid| {
                let user = services.user_anywhere(uid)?;
                Ok(view(uid, &user).end())
            });
            let users: Vec<String> = users.collect::<Result<_, Refusal>>()?;
            Ok(Json::object().array("users", users))
        })
    }

    /// `GET /v1/users/{uid}`: a user who was never here is offline.
    pub(super) fn user(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let uid = call.names.uid.clone().into_owned();
        self.ask(move |services| {
            let user = services.user_anywhere(&uid)?;
            let sessions = user.sessions.iter().map(|(fd, session)| {
                let json = Json::object().number("fd", fd.0);
                json.raw("session", session).end()
            });
            let sessions: Vec<String> = sessions.collect();
            let json = view(&uid, &user);
            Ok(match sessions.is_empty() {
                true => json,
                false => json.array("sessions", sessions),
            })
        })
    }

    /// `POST /v1/users/{uid}/kick`
    pub(super) fn kick(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let (uid, body) = (&*call.names.uid, call.body_or_none()?);
        let kicked = self.kick_here(call.server, uid, &body::kick(body)?);
        let count = kicked.len() as u64;
        if self.services.nodes().is_some() {
            let rest = kick_elsewhere(uid.to_owned(), body.to_owned(), count);
            return Ok(ApiReply::AskAfter(kicked, Box::new(rest)));
        }
        let json = Json::object().number("kicked", count);
        Ok(ApiReply::After(kicked, json))
    }
}

fn view(uid: &str, user: &ClusterUser) -> Json {
    Json::object()
        .string("uid", uid)
        .flag("online", !user.connections.is_empty())
        .array("connections", user.connections.iter().map(Fd::to_string))
        .strings("rooms", &user.rooms)
}
