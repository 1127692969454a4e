//! Pages of history, for WebSocket and HTTP alike: from memory, or from the disk.

use super::endpoint::Endpoint;
use super::frames;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{
    self, Actor, Delivered, Epoch, ErrorCode, HistorySource, MessageContent, Position,
};
use crate::store;

/// Messages in a page of history, where the client doesn't say.
pub(super) const HISTORY_LIMIT: u64 = 50;

impl Endpoint {
    /// Adds a page of a channel to an answer. May wait for the disk.
    pub(super) fn page(
        &self,
        json: Json,
        actor: Actor<'_>,
        channel: &str,
        range: chat::HistoryRange,
    ) -> Result<Json, Refusal> {
        let chat = &self.services.chat;
        let (channel, posted) = match chat.history(self.now(), actor, channel, range)? {
            HistorySource::InMemory(history) => return Ok(from_memory(json, &history)),
            HistorySource::OnDisk(channel, posted) => (channel, posted),
        };
        // Who resumes behind what it has read here must not be ahead of what is posted.
        let end = posted.offset + 1;
        let is_backwards = range.after.is_none() && range.before.is_some();
        let range = store::PageRange {
            after: range.after.or((!is_backwards).then_some(0)),
            before: Some(range.before.map_or(end, |before| before.min(end))),
            limit: range.limit,
            bytes_max: chat.settings().page_bytes_max,
        };
        let page = self
            .services
            .reader
            .page(&channel, range)
            .map_err(|error| {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "a page of history can't be read");
                Refusal::new(ErrorCode::Internal, "the history can't be read")
            })?;
        let newest = match page.state {
            Some(state) => Position {
                epoch: state.epoch,
                offset: state.newest.min(posted.offset),
            },
            None => Position {
                epoch: chat.epoch_of_new(&channel),
                offset: 0,
            },
        };
        let messages = page.messages.iter().map(|message| {
            frames::listed(&Delivered {
                channel: Some(&channel),
                position: Some(message.position),
                content: MessageContent {
                    id: &message.body.id,
                    from: message.body.from.as_deref(),
                    to: message.body.to.as_deref(),
                    ts: message.body.ts,
                    data: &message.body.data,
                },
            })
        });
        Ok(
            frames::place(json.string("channel", &channel), Some(newest))
                .array("messages", messages)
                .flag("more", page.more),
        )
    }
}

fn from_memory(json: Json, history: &chat::History) -> Json {
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
