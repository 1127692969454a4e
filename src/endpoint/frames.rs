//! The frames that the server sends on a WebSocket: one JSON object a frame.
//!
//! A message's `data` stands in the frame as it came; it is never taken apart.

use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::base::Fd;
use crate::chat::{Delivered, Notice, Position, Receipt, User, Welcome};
use crate::server::deflated_text::DeflatedText;

/// Bytes of a message's fields beside its data, which most messages don't exceed.
const FIELDS_BYTES: usize = 160;

/// Writes the first frame on every connection.
pub(super) fn hello(fd: Fd, node: &str, ping_s: u64, size_max: usize) -> String {
    Json::frame("hello")
        .number("fd", fd.0)
        .string("node", node)
        .number("ping", ping_s)
        .number("max", size_max as u64)
        .end()
}

/// Writes a notice: a message, a gap, or presence.
pub(super) fn frame(frame: &Notice<'_>) -> String {
    match frame {
        Notice::Message(posted) => message(posted),
        Notice::Gap { channel, position } => place(
            Json::frame("gap").string("channel", channel),
            Some(*position),
        )
        .end(),
        Notice::Joined { room, uid } => Json::frame("joined")
            .string("room", room)
            .string("uid", uid)
            .end(),
        Notice::PresenceOff { room } => presence(room).string("state", "off").end(),
        Notice::PresenceOn {
            room,
            users,
            users_total,
        } => presence(room)
            .string("state", "on")
            .strings("users", users.iter().map(User::uid))
            .number("users_total", *users_total as u64)
            .flag("more", users.len() < *users_total)
            .end(),
        Notice::Left { room, uid } => Json::frame("left")
            .string("room", room)
            .string("uid", uid)
            .end(),
    }
}

/// Whether there is a compressed form of a message's data.
pub(super) fn has_deflated(notice: &Notice<'_>) -> bool {
    matches!(notice, Notice::Message(posted) if posted.deflated.is_some())
}

/// Finds the data in the text of a message of which there is a compressed form.
pub(super) fn deflated<'a>(notice: &Notice<'a>, text: &'a str) -> Option<DeflatedText<'a>> {
    let Notice::Message(Delivered { body, deflated, .. }) = notice else {
        return None;
    };
    let data = (*deflated)?;
    // The data is the last field.
    let end = text.len() - "}".len();
    let data_at = end - body.data.len()..end;
    debug_assert_eq!(&text[data_at.clone()], body.data);
    Some(DeflatedText {
        text,
        data_at,
        data,
    })
}

/// Names the event of a message that is kept, by its text: `offset:epoch:channel`, by which whoever comes
/// back goes on.
pub(super) fn event_name(text: &str) -> Option<String> {
    let text = text.strip_prefix(r#"{"type":"msg","channel":"#)?;
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let channel = values.next()?.ok()?;
    let rest = text[values.byte_offset()..].strip_prefix(r#","epoch":""#)?;
    let (epoch, rest) = rest.split_once('"')?;
    let (offset, _) = rest.strip_prefix(r#","offset":"#)?.split_once(',')?;
    Some(format!("{offset}:{epoch}:{channel}"))
}

fn presence(room: &str) -> Json {
    Json::frame("presence").string("room", room)
}

fn message(posted: &Delivered<'_>) -> String {
    fields(of_size(posted).string("type", "msg"), posted).end()
}

/// Begins an object with room for a message, whose data may be long.
fn of_size(posted: &Delivered<'_>) -> Json {
    Json::of_size(FIELDS_BYTES + posted.body.data.len())
}

/// Writes a message of the past, as history lists it.
pub(super) fn listed(posted: &Delivered<'_>) -> String {
    fields(of_size(posted), posted).end()
}

fn fields(mut json: Json, posted: &Delivered<'_>) -> Json {
    if let Some(channel) = posted.channel {
        json = json.string("channel", channel);
    }
    let body = &posted.body;
    json = place(json, posted.position)
        .string("id", body.id)
        .string_or_null("from", body.from);
    if let Some(to) = body.to {
        json = json.string("to", to);
    }
    json.number("ts", body.ts).raw("data", body.data)
}

/// Adds epoch and offset, where there are any.
pub(super) fn place(json: Json, position: Option<Position>) -> Json {
    match position {
        Some(position) => json
            .plain("epoch", &position.epoch.text())
            .number("offset", position.offset),
        None => json,
    }
}

/// Begins the answer to a command.
pub(super) fn ok(seq: Option<&str>) -> Json {
    Json::frame("ok").raw("seq", seq.unwrap_or("null"))
}

/// Writes the answer to a login or a join.
pub(super) fn welcome(seq: Option<&str>, channels: &[Welcome]) -> String {
    let mut json = Json::object();
    for welcome in channels {
        let mut channel = place(Json::object(), welcome.position);
        channel = channel.flag("recovered", welcome.recovered);
        if let Some(members) = welcome.members {
            channel = channel.number("members", members as u64);
        }
        if welcome.is_quiet {
            channel = channel.string("presence", "off");
        }
        json = json.named(&welcome.channel, &channel.end());
    }
    ok(seq).raw("channels", &json.end()).end()
}

/// Adds the fields of a receipt, for WebSocket and HTTP.
pub(super) fn said(json: Json, said: &Receipt<'_>) -> Json {
    let json = match &said.channel {
        Some(channel) => json.string("channel", channel),
        None => json,
    };
    place(json, said.position)
        .string("id", &said.id)
        .flag("duplicate", said.duplicate)
        .number("receivers", said.receivers as u64)
}

/// Writes the refusal of a command.
pub(super) fn err(seq: Option<&str>, refusal: &Refusal) -> String {
    Json::frame("err")
        .raw("seq", seq.unwrap_or("null"))
        .string("code", refusal.code.name())
        .string("message", &refusal.message)
        .flag("retry", refusal.code.may_retry())
        .end()
}

/// Writes the reason why a connection is about to be closed.
pub(super) fn kick(code: &str, message: &str) -> String {
    Json::frame("kick")
        .string("code", code)
        .string("message", message)
        .end()
}

/// Tells a client that the server stops, and after how many milliseconds to come back.
pub(super) fn drain(after_ms: u64) -> String {
    Json::frame("drain").number("after_ms", after_ms).end()
}
