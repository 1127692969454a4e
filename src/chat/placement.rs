//! A message and its place in one channel.

use std::sync::Arc;

use super::call::{Call, Scope};
use super::error::ChatError;
use super::log::MessageLog;
use super::message::KeptMessage;
use super::notice::{Delivered, Notice};
use super::receipt::Receipt;
use crate::base::{DeflatedData, Fd, MessageBody, Position};

/// A message on its way into a channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placement<'a> {
    /// The message is delivered and not kept. The listed connections don't get it.
    Unkept(UnkeptMessage<'a>, &'a [Fd]),
    /// The message is appended to a log in memory.
    Memory(&'a Arc<KeptMessage>),
    /// The message is appended at the place that it has on disk.
    Stored(Position, &'a Arc<KeptMessage>),
}

/// A message that is delivered and not kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnkeptMessage<'a> {
    pub(super) body: MessageBody<&'a str>,
    /// The compressed form of its data.
    pub(super) deflated: Option<&'a DeflatedData>,
}

impl<'a> UnkeptMessage<'a> {
    pub(super) fn of(message: &'a KeptMessage) -> Self {
        Self {
            body: message.body(),
            deflated: message.deflated.as_ref(),
        }
    }
}

impl Placement<'_> {
    /// Appends the message to the log of its channel, if it is kept.
    pub(super) fn append_to(&self, log: &mut MessageLog, scope: Scope<'_>) -> Option<Position> {
        match *self {
            Self::Unkept(..) => None,
            Self::Memory(message) => Some(log.append(scope, Arc::clone(message))),
            Self::Stored(position, message) => {
                log.append_stored(scope, position, Arc::clone(message));
                Some(position)
            }
        }
    }

    /// Sends the message to the `subscribed` connections of a channel whose log ends at `newest`; `fds`
    /// are asked for only if some are left out. Gives the number of receivers.
    pub(super) fn deliver(
        &self,
        call: &mut Call<'_>,
        channel: &Arc<str>,
        (position, newest): (Option<Position>, Position),
        subscribed: usize,
        fds: impl Iterator<Item = Fd>,
    ) -> usize {
        let (UnkeptMessage { body, deflated }, except) = match *self {
            Self::Unkept(message, except) => (message, except),
            Self::Memory(message) | Self::Stored(_, message) => {
                (UnkeptMessage::of(message), &[][..])
            }
        };
        let message = Delivered {
            channel: Some(channel),
            position,
            body,
            deflated,
        };
        if except.is_empty() {
            if subscribed > 0 {
                call.sink.publish_message(channel, message, newest);
            }
            return subscribed;
        }
        let notice = Notice::Message(message);
        fds.filter(|fd| !except.contains(fd) && call.sink.push(*fd, &notice))
            .count()
    }
}

/// Sends a message to one connection.
pub(super) fn push(
    call: &mut Call<'_>,
    fd: Fd,
    body: &MessageBody<&str>,
) -> Result<Receipt<'static>, ChatError> {
    let notice = Notice::Message(Delivered {
        channel: None,
        position: None,
        body: *body,
        deflated: None,
    });
    match call.sink.push(fd, &notice) {
        true => Ok(Receipt::new(None, body.id.to_owned(), None, 1)),
        false => Err(ChatError::NoConnection(fd)),
    }
}
