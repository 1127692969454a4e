//! The results of posted messages, as a gateway answers them.

use super::outbox::OutboxRefusal;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::ReplyResult;
use crate::chat::ErrorCode;

/// Makes the result of a message that was given to the disk; `taken` says whether the message was a
/// repeat.
pub(super) fn result(id: &str, taken: Result<bool, OutboxRefusal>) -> ReplyResult {
    let is_repeat = taken.map_err(refusal)?;
    let queued = Json::object().string("id", id).flag("queued", true);
    Ok(match is_repeat {
        true => queued.flag("duplicate", true).end(),
        false => queued.end(),
    })
}

/// Translates the refusal for the client.
pub(super) fn refusal(why: OutboxRefusal) -> Refusal {
    match why {
        OutboxRefusal::Full => Refusal::new(
            ErrorCode::Unavailable,
            "the outbox is full; it empties once the upstreams are reached",
        ),
        OutboxRefusal::DiskFull => {
            Refusal::new(ErrorCode::DiskFull, "the gateway's disk is as good as full")
        }
        OutboxRefusal::Failed => Refusal::new(
            ErrorCode::Unavailable,
            "the outbox can't be written just now",
        ),
    }
}
