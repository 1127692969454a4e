//! Pages of history, for WebSocket and HTTP alike: from memory, or from the disk.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::asker::Asker;
use super::frames;
use super::services::Services;
use super::stored::delivered;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{
    Actor, ChannelKind, ChatError, Epoch, ErrorCode, History, HistoryRange, HistorySource, Position,
};
use crate::store::{LogPage, PageRange, StoreError};

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

/// Milliseconds in which a message that is in the log is posted here, as a rule: some syncs of the engine.
const POSTED_WITHIN_MS: u32 = 250;

/// A question for a page of a channel that the log of a cluster keeps.
pub(super) struct HistoryQuestion {
    channel: Box<str>,
    range: HistoryRange,
    /// Whether this node hears the channel already.
    is_here: bool,
}

impl HistoryQuestion {
    /// Judges a question on a node of a cluster.
    pub(super) fn judge(
        services: &Services,
        actor: Actor<'_>,
        channel: &str,
        range: HistoryRange,
    ) -> Result<Self, Refusal> {
        let source = services.chat.history(services.now(), actor, channel, range);
        let is_here = match source {
            Ok(_) => true,
            Err(ChatError::NotAttached(_)) => false,
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            channel: channel.into(),
            range,
            is_here,
        })
    }

    /// Answers on the thread for look-ups. A channel that this node doesn't hear is attached first: so nobody
    /// is shown what this node hasn't been told of.
    pub(super) fn ask(self, services: &Arc<Services>, asker: Asker) {
        let Self {
            channel,
            range,
            is_here,
        } = self;
        if is_here {
            return read(services, channel, range, asker);
        }
        let reading = Arc::clone(services);
        let names = [channel.clone()];
        services.attach(&names, None, move |attached| match attached {
            Ok(()) => read(&reading, channel, range, asker),
            Err(refusal) => asker.tell(reading.server(), Err(refusal)),
        });
    }
}

/// Has a page read of a channel that this node hears.
fn read(services: &Arc<Services>, channel: Box<str>, range: HistoryRange, asker: Asker) {
    services.look_up(asker, move |services, json| {
        let chat = &services.chat;
        if chat.kind_of_shared(&channel) == ChannelKind::None {
            let actor = Actor::Key("");
            return page(services, json, actor, &channel, range);
        }
        let Some(posted) = newest_posted(services, &channel)? else {
            let message = "the channel is on its way to this node; try again";
            return Err(Refusal::new(ErrorCode::Unavailable, message));
        };
        from_disk(services, json, (&channel, posted), range)
    });
}

/// The position up to which a channel was posted here, once that is as far as its log was when this was
/// asked: whoever was answered finds there what was said.
fn newest_posted(services: &Services, channel: &str) -> Result<Option<Position>, Refusal> {
    let Some(posted) = services.chat.posted(channel) else {
        return Ok(None);
    };
    let behind = PageRange {
        after: Some(posted.offset),
        before: None,
        limit: 1,
        bytes_max: 1,
    };
    let page = read_page(services, channel, behind)?;
    if let Some(state) = page.state {
        wait_until_posted(services, channel, state.newest);
    }
    Ok(services.chat.posted(channel))
}

/// Waits until a channel was posted up to this offset, but not for long: the bus may be cut.
pub(super) fn wait_until_posted(services: &Services, channel: &str, offset: u64) {
    for _ in 0..POSTED_WITHIN_MS {
        let posted = services.chat.posted(channel);
        if posted.is_none_or(|posted| posted.offset >= offset) {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn read_page(services: &Services, channel: &str, range: PageRange) -> Result<LogPage, Refusal> {
    let page = services.reader.page(channel, range);
    page.map_err(|error| match error {
        StoreError::Away(_) => Refusal::from(&error),
        _ => {
            services.note_unreadable(&error);
            Refusal::new(ErrorCode::Internal, "the history can't be read")
        }
    })
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
    let page = read_page(services, channel, range)?;
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
