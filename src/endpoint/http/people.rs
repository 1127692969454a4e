//! Rooms, users and connections by HTTP.

use super::Answer;
use super::body;
use super::route::Query;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{ChatError, ErrorCode, MemberView, RoomView};
use crate::endpoint::endpoint::Endpoint;
use crate::endpoint::frames;
use crate::endpoint::login::kick;
use crate::endpoint::server_sink::Reply;
use crate::endpoint::work::StoreTask;
use crate::server::{Responder, WorkerHandle};

/// Entries of a list, where the client doesn't say, and at the most.
const LIST_LIMIT: u64 = 100;
const LIST_LIMIT_MAX: u64 = 1_000;

/// Users that one question may name.
const USERS_MAX: usize = 100;

impl Endpoint {
    /// `GET /v1/rooms`
    pub(super) fn rooms(&self, query: &Query<'_>) -> Result<Json, Refusal> {
        let prefix = query.text("prefix").unwrap_or_default();
        let rooms = self
            .services
            .chat
            .rooms(prefix, query.text("after"), limit(query)?);
        Ok(Json::object().array("rooms", rooms.iter().map(|room| view(room).end())))
    }

    /// `GET /v1/rooms/{room}`
    pub(super) fn room(&self, room: &str) -> Result<Json, Refusal> {
        self.services
            .chat
            .room(room)
            .map(|room| view(&room))
            .ok_or_else(|| no_room(room))
    }

    /// `GET /v1/rooms/{room}/members`
    pub(super) fn members(
        &self,
        _: &WorkerHandle,
        room: &str,
        query: &Query<'_>,
    ) -> Result<Json, Refusal> {
        let members = self
            .services
            .chat
            .members(room, query.text("after"), limit(query)?);
        let members = members.ok_or_else(|| no_room(room))?;
        let member = |member: &MemberView| {
            Json::object()
                .string("uid", member.user.uid())
                .number("connections", member.connections as u64)
                .flag("online", member.connections > 0)
                .end()
        };
        Ok(Json::object().array("members", members.iter().map(member)))
    }

    /// `PUT` and `DELETE /v1/rooms/{room}/members/{uid}`
    pub(super) fn set_member(
        &self,
        (room, uid): (&str, &str),
        lasting: bool,
        responder: &mut Option<Responder>,
    ) -> Result<Answer, Refusal> {
        self.services.chat.check_member(room, uid, lasting)?;
        let task = StoreTask::Member {
            room: room.into(),
            uid: uid.into(),
            lasting,
        };
        Ok(self.later(task, responder))
    }

    /// `GET /v1/users?uid=a&uid=b`
    pub(super) fn users(&self, query: &Query<'_>) -> Result<Json, Refusal> {
        let uids = query.texts("uid");
        if uids.is_empty() || uids.len() > USERS_MAX {
            return Err(Refusal::bad_request(format!(
                "uid in the query has to be there 1 to {USERS_MAX} times"
            )));
        }
        Ok(Json::object().array("users", uids.iter().map(|uid| self.user(uid).end())))
    }

    /// `GET /v1/users/{uid}`: somebody who was never here is offline.
    pub(super) fn user(&self, uid: &str) -> Json {
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
    pub(super) fn kick(
        &self,
        server: &WorkerHandle,
        uid: &str,
        body: &str,
    ) -> Result<Json, Refusal> {
        let body::Kick { code, message } = body::kick(body)?;
        let connections = self
            .services
            .chat
            .user(uid)
            .map(|user| user.connections)
            .unwrap_or_default();
        for fd in &connections {
            let message = message
                .as_deref()
                .unwrap_or("the application asks you to go");
            kick(
                server,
                *fd,
                4004,
                code.as_deref().unwrap_or("kicked"),
                message,
            );
        }
        Ok(Json::object().number("kicked", connections.len() as u64))
    }

    /// `GET /v1/connections/{fd}`
    pub(super) fn connection(&self, server: &WorkerHandle, fd: u64) -> Result<Json, Refusal> {
        let info = server
            .connection_info(Fd(fd))
            .ok_or_else(|| no_connection(fd))?;
        let known = self.services.chat.connection(Fd(fd)).unwrap_or_default();
        Ok(Json::object()
            .number("fd", fd)
            .string("peer", &info.peer.to_string())
            .flag("websocket", info.is_established)
            .string_or_null("uid", known.user.as_ref().map(|user| user.uid()))
            .strings("rooms", &known.rooms))
    }

    /// `DELETE /v1/connections/{fd}`
    pub(super) fn disconnect(&self, server: &WorkerHandle, fd: u64) -> Result<Json, Refusal> {
        if !server.is_established(Fd(fd)) {
            return Err(no_connection(fd));
        }
        kick(
            server,
            Fd(fd),
            4004,
            "kicked",
            "the application asks you to go",
        );
        Ok(Json::object().flag("closed", true))
    }

    /// `PUT /v1/connections/{fd}/user`
    pub(super) fn bind(&self, server: &WorkerHandle, fd: u64, body: &str) -> Result<Json, Refusal> {
        let uid = body::user(body)?;
        self.bind_user(server, Fd(fd), &uid)?;
        Ok(Json::object().number("fd", fd).string("uid", &uid))
    }

    /// `DELETE /v1/connections/{fd}/user`
    pub(super) fn unbind(&self, server: &WorkerHandle, fd: u64) -> Result<Json, Refusal> {
        let mut post = self.post(server, Reply::Silent);
        let user = self.services.chat.logout(&mut post, self.now(), Fd(fd));
        // 401 would mean the caller's own key.
        let user = user.map_err(|error| match error {
            ChatError::NotLoggedIn => {
                Refusal::new(ErrorCode::NotFound, format!("connection {fd} has no user"))
            }
            error => error.into(),
        })?;
        Ok(Json::object().number("fd", fd).string("uid", user.uid()))
    }
}

/// `GET /v1/connections`
pub(super) fn connections(server: &WorkerHandle, query: &Query<'_>) -> Result<Json, Refusal> {
    let after = Fd(query.number("after")?.unwrap_or(0));
    let fds = server.connections(after, limit(query)?);
    Ok(Json::object().array("connections", fds.iter().map(Fd::to_string)))
}

fn limit(query: &Query<'_>) -> Result<usize, Refusal> {
    let limit = query.number("limit")?.unwrap_or(LIST_LIMIT);
    if !(1..=LIST_LIMIT_MAX).contains(&limit) {
        return Err(Refusal::bad_request(format!(
            "limit in the query has to be 1 to {LIST_LIMIT_MAX}"
        )));
    }
    Ok(limit as usize)
}

fn view(room: &RoomView) -> Json {
    frames::place(Json::object().string("room", &room.name), room.position)
        .number("users", room.users as u64)
        .number("connections", room.connections as u64)
        .number("messages", room.messages)
}

fn no_room(room: &str) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no room {room:?}"))
}

fn no_connection(fd: u64) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no connection {fd}"))
}
