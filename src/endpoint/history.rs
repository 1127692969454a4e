//! Pages of history, for WebSocket and HTTP alike: from memory, or from the disk.

use super::frames;
use super::services::Services;
use super::stored::delivered;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{Actor, Epoch, ErrorCode, History, HistoryRange, HistorySource, Position};
use crate::store::PageRange;

/// Messages in a page of history, where the client doesn't say: a screen or two of a chat.
pub(super) const HISTORY_LIMIT: u64 = 50;

/// Adds a page of a channel to an answer. May wait for the disk.
pub(super) fn page(
    services: &Services,
    json: Json,
    actor: Actor<'_>,
    channel: &str,
    range: HistoryRange,
) -> Result<Json, Refusal> {
    match services
        .chat
        .history(services.now(), actor, channel, range)?
    {
        HistorySource::InMemory(history) => Ok(from_memory(json, &history)),
        HistorySource::OnDisk(channel, posted) => {
            from_disk(services, json, (&channel, posted), range)
        }
    }
}

/// Adds a page that is on disk, up to the position that was delivered: otherwise a client could
/// resume behind a message that it hasn't heard yet.
fn from_disk(
    services: &Services,
    json: Json,
    (channel, delivered_to): (&str, Position),
    range: HistoryRange,
) -> Result<Json, Refusal> {
    let end = delivered_to.offset + 1;
    let is_backwards = range.after.is_none() && range.before.is_some();
    let range = PageRange {
        after: range.after.or((!is_backwards).then_some(0)),
        before: Some(range.before.map_or(end, |before| before.min(end))),
        limit: range.limit,
        bytes_max: services.chat.settings().page_bytes_max(),
    };
    let page = services.reader.page(channel, range).map_err(|error| {
        services.note_unreadable(&error);
        Refusal::new(ErrorCode::Internal, "the history can't be read")
    })?;
    let newest = match page.state {
        Some(state) => Position {
            epoch: state.epoch,
            offset: state.newest.min(delivered_to.offset),
        },
        None => Position {
            epoch: services.chat.epoch_of_new(channel),
            offset: 0,
        },
    };
    let messages = page.messages.iter();
    let messages = messages.map(|message| frames::listed(&delivered(channel, message)));
    Ok(frames::place(json.string("channel", channel), Some(newest))
        .array("messages", messages)
        .flag("more", page.more))
}

fn from_memory(json: Json, history: &History) -> Json {
    let page = &history.page;
    let epoch = page.position.map_or(Epoch::NONE, |position| position.epoch);
    let messages = page.messages.iter().map(|(offset, message)| {
        let offset = *offset;
        frames::listed(&message.delivered(&history.channel, Position { epoch, offset }))
    });
    frames::place(json.string("channel", &history.channel), page.position)
        .array("messages", messages)
        .flag("more", page.more)
}
