//! A message and its place in one channel.

use std::sync::Arc;

use super::call::{Call, Scope};
use super::log::MessageLog;
use super::message::KeptMessage;
use super::notice::{Delivered, Notice};
use crate::base::{Fd, MessageBody, Position};

/// A message on its way into a channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Placement<'a> {
    /// The message is delivered and not kept. The listed connections don't get it.
    Unkept(MessageBody<&'a str>, &'a [Fd]),
    /// The message is appended to a log in memory.
    Memory(&'a Arc<KeptMessage>),
    /// The message is appended at the place that it has on disk.
    Stored(Position, &'a Arc<KeptMessage>),
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
        let (body, except) = match *self {
            Self::Unkept(body, except) => (body, except),
            Self::Memory(message) | Self::Stored(_, message) => (message.body(), &[][..]),
        };
        let message = Delivered {
            channel: Some(channel),
            position,
            body,
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
