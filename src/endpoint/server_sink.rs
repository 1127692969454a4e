//! The chat's sink: sends what the chat gives out, in the order in which the chat does.

use std::borrow::Cow;
use std::sync::Arc;

use super::frames;
use super::services::Services;
use super::store_task::{ReplyTo, StoreTask};
use crate::base::{DeflatedData, Epoch, Fd, Position};
use crate::chat::{ChannelKind, Delivered, Missing, Notice, Receipt, Sink, Welcome};
use crate::server::deflated_text::put_text;
use crate::server::{Handle, Message, WorkerHandle};

/// The way in which a login or a join is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confirmation<'a> {
    /// The confirmation has the number of the command, or `null`.
    With(Option<&'a str>),
    /// There is no confirmation, since the command had no number.
    Silent,
}

impl<'a> Confirmation<'a> {
    /// Decides by the number of a command: one without a number is answered only when it fails.
    pub(super) fn of(seq: Option<&'a str>) -> Self {
        if seq.is_some() {
            Self::With(seq)
        } else {
            Self::Silent
        }
    }
}

/// Puts commands into the mailboxes **at once**: commands that gather until a batch is done would
/// undo the order in which the chat's locks were taken.
pub(super) struct ServerSink<'a> {
    services: &'a Services,
    /// The handle, borrowed where each message needs one: clones would make the threads fight for
    /// its reference count.
    handle: Cow<'a, Handle>,
    confirmation: Confirmation<'a>,
    /// Who is answered ahead of its own copy of a private message, under which number.
    answered_first: Option<(Fd, &'a str)>,
}

impl<'a> ServerSink<'a> {
    /// Makes the sink of a callback.
    pub(super) fn of_worker(
        services: &'a Services,
        server: &WorkerHandle,
        confirmation: Confirmation<'a>,
    ) -> Self {
        Self {
            services,
            handle: Cow::Owned(server.handle()),
            confirmation,
            answered_first: None,
        }
    }

    /// Makes the sink of any other thread; `None` before the server runs.
    pub(super) fn anywhere(services: &'a Services) -> Option<Self> {
        Some(Self {
            services,
            handle: Cow::Borrowed(services.server()?),
            confirmation: Confirmation::Silent,
            answered_first: None,
        })
    }

    /// Has a connection answered ahead of its own copy of a private message.
    pub(super) fn answer_first(&mut self, fd: Fd, seq: &'a str) {
        self.answered_first = Some((fd, seq));
    }

    /// Whether nobody was to be answered first, or wasn't.
    pub(super) fn has_still_to_answer(&self, was_to_be_first: bool) -> bool {
        !was_to_be_first || self.answered_first.is_some()
    }

    /// Has [`Replays::next_page`](super::replays::Replays::next_page) called once a connection has
    /// room.
    pub(super) fn await_buffer(&self, fd: Fd, bytes_max: usize) {
        self.handle.await_buffer(fd, bytes_max);
    }

    /// Sends a message of a channel of which a slow reader gets only the newest, behind a gap up to
    /// this position.
    fn publish_latest(
        &self,
        topic: &Arc<str>,
        text: &str,
        behind: Option<Position>,
        delay_ms: Option<u16>,
    ) {
        let gap = behind.map(|position| {
            let channel = topic;
            frames::frame(&Notice::Gap { channel, position })
        });
        let gap = gap.as_ref().map(Message::from);
        let handle = &self.handle;
        handle.publish_latest(Arc::clone(topic), text, gap, delay_ms.unwrap_or(0));
    }

    /// Sends what every reader of a channel gets, however slow it is.
    fn publish_whole(&self, topic: &Arc<str>, frame: &Notice<'_>, gather_ms: Option<u16>) {
        let (handle, text) = (&self.handle, frames::frame(frame));
        match gather_ms {
            None => match frames::deflated(frame, &text) {
                None => handle.publish_plain(topic, Message::text(&text)),
                Some(deflated) => handle.publish_deflated(topic, &deflated),
            },
            Some(delay_ms) => handle.publish_gathered(Arc::clone(topic), &text, delay_ms),
        }
    }

    /// Closes a connection.
    pub(super) fn close(&self, fd: Fd, code: u16, reason: &str) {
        self.handle.disconnect(fd, code, reason).ok();
    }
}

impl Sink for ServerSink<'_> {
    fn deflate(&mut self, data: &str) -> Option<DeflatedData> {
        self.handle.deflate(data)
    }

    fn publish(&mut self, topic: &Arc<str>, frame: &Notice<'_>) {
        let way = self.services.chat.settings().way_of(topic);
        if !way.is_latest {
            return self.publish_whole(topic, frame, way.gather_ms);
        }
        let text = frames::frame(frame);
        match frame {
            // A gap says what all messages before it said.
            Notice::Gap { .. } => self.publish_latest(topic, &text, None, way.gather_ms),
            _ => self.handle.publish_fence(Arc::clone(topic), &text),
        }
    }

    fn publish_message(&mut self, topic: &Arc<str>, message: Delivered<'_>, newest: Position) {
        let (settings, position) = (self.services.chat.settings(), message.position);
        let way = settings.way_of(topic);
        let frame = Notice::Message(message);
        if !way.is_latest {
            return self.publish_whole(topic, &frame, way.gather_ms);
        }
        let before = |position: Position| Position {
            offset: position.offset - 1,
            ..position
        };
        let has_offsets = || settings.kind_of(topic) != ChannelKind::None;
        let behind = position.map(before);
        let behind = behind.or_else(|| has_offsets().then_some(newest));
        self.publish_latest(topic, &frames::frame(&frame), behind, way.gather_ms);
    }

    fn push(&mut self, fd: Fd, frame: &Notice<'_>) -> bool {
        let text = frames::frame(frame);
        self.handle.push_plain(fd, Message::text(&text)).is_ok()
    }

    fn said(&mut self, receipt: &Receipt<'_>) {
        if let Some((fd, seq)) = self.answered_first.take() {
            let text = frames::said(frames::ok(Some(seq)), receipt).end();
            self.handle.push_plain(fd, Message::text(&text)).ok();
        }
    }

    fn welcome(&mut self, fd: Fd, channels: &[Welcome]) {
        if let Confirmation::With(seq) = self.confirmation {
            // If the connection has gone meanwhile, its `on_close` will tell the chat.
            let text = frames::welcome(seq, channels);
            self.handle.push_plain(fd, Message::text(&text)).ok();
        }
    }

    fn subscribe(&mut self, fd: Fd, topic: &Arc<str>, first: &[Notice<'_>]) {
        let deflates = first.iter().any(frames::has_deflated) && self.handle.deflates(fd);
        let mut all = Vec::new();
        for notice in first {
            let text = frames::frame(notice);
            match frames::deflated(notice, &text).filter(|_| deflates) {
                None => put_text(&mut all, &text),
                Some(deflated) => all.extend(deflated.frame()),
            }
        }
        self.handle
            .subscribe_after_frames(fd, Arc::clone(topic), all);
    }

    fn replay(&mut self, fd: Fd, topic: &Arc<str>, missing: Missing) {
        if !self.services.replays.begin(fd, topic, missing) {
            self.close(fd, 1013, "too many are catching up; come back later");
        }
    }

    fn forget(&mut self, topic: &Arc<str>) {
        let task = match self.services.chat.is_in_cluster() {
            false => StoreTask::Forget(Arc::clone(topic)),
            true => StoreTask::Detach(Arc::clone(topic)),
        };
        self.services.store(task, ReplyTo::Nobody);
    }

    fn claim(&mut self, topic: &Arc<str>) {
        let task = StoreTask::Claim(Arc::clone(topic));
        self.services.store(task, ReplyTo::Nobody);
    }

    fn drop_channel(&mut self, topic: &Arc<str>, epoch: Epoch) {
        let channel = Box::from(&**topic);
        let purge = StoreTask::Purge { channel, epoch };
        self.services.store(purge, ReplyTo::Nobody);
        self.forget(topic);
    }

    fn unsubscribe(&mut self, fd: Fd, topic: &Arc<str>) {
        self.services.replays.end(fd, topic);
        self.handle.unsubscribe(fd, Arc::clone(topic));
    }
}
