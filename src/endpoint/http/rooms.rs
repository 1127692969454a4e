//! Rooms and their members by HTTP.

use super::HttpApi;
use super::call::ApiCall;
use super::query::cut;
use super::reply::ApiReply;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{MemberView, RoomView};
use crate::endpoint::frames;
use crate::endpoint::store_task::StoreTask;

impl HttpApi {
    /// `GET /v1/rooms`
    pub(super) fn rooms(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let query = &call.query;
        let prefix = query.text("prefix").unwrap_or_default().to_owned();
        let after = query.text("after").map(str::to_owned);
        let limit = query.list_limit()?;
        self.ask(move |services| {
            let mut rooms = services.rooms_anywhere(&prefix, after.as_deref(), limit + 1)?;
            let more = cut(&mut rooms, limit);
            let rooms = rooms.iter().map(|room| view(room).end());
            let json = Json::object().array("rooms", rooms);
            Ok(json.flag("more", more))
        })
    }

    /// `GET /v1/rooms/{room}`
    pub(super) fn room(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let room = call.names.room.clone().into_owned();
        self.ask(move |services| match services.room_anywhere(&room)? {
            Some(room) => Ok(view(&room)),
            None => Err(no_room(&room)),
        })
    }

    /// `GET /v1/rooms/{room}/members`
    pub(super) fn members(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let room = call.names.room.clone().into_owned();
        let after = call.query.text("after").map(str::to_owned);
        let limit = call.query.list_limit()?;
        self.ask(move |services| {
            let members = services.members_anywhere(&room, after.as_deref(), limit + 1)?;
            let mut members = members.ok_or_else(|| no_room(&room))?;
            let more = cut(&mut members, limit);
            Ok(listed(&members).flag("more", more))
        })
    }

    /// `PUT /v1/rooms/{room}/members/{uid}`
    pub(super) fn add_member(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.set_member(call, true)
    }

    /// `DELETE /v1/rooms/{room}/members/{uid}`
    pub(super) fn remove_member(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.set_member(call, false)
    }

    fn set_member(&self, call: &ApiCall<'_>, lasting: bool) -> Result<ApiReply, Refusal> {
        let (room, uid) = (&*call.names.room, &*call.names.uid);
        self.services.chat.check_member(room, uid, lasting)?;
        let task = StoreTask::Member {
            room: room.into(),
            uid: uid.into(),
            lasting,
        };
        Ok(match lasting {
            true => ApiReply::Stored(task),
            false => ApiReply::StoredAfter(task, uid.into()),
        })
    }
}

fn listed(members: &[MemberView]) -> Json {
    let member = |member: &MemberView| {
        Json::object()
            .string("uid", member.user.uid())
            .number("connections", member.connections as u64)
            .flag("online", member.connections > 0)
            .end()
    };
    Json::object().array("members", members.iter().map(member))
}

fn view(room: &RoomView) -> Json {
    frames::place(Json::object().string("room", &room.name), room.position)
        .number("users", room.users as u64)
        .number("connections", room.connections as u64)
        .number("messages", room.messages)
}

fn no_room(room: &str) -> Refusal {
    Refusal::not_found(format!("there is no room {room:?}"))
}
