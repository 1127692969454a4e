//! The tasks that an endpoint gives to the disk thread, the receivers of their outcomes, and the
//! outcomes. In a file of their own, since [`Services`](super::services::Services) names the jobs,
//! and `store_job` carries them out with the services.

use std::sync::Arc;

use super::frames;
use super::link_part::LinkPart;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::ReplySlot;
use crate::base::Fd;
use crate::chat::{Epoch, PendingMessage, Position, Receipt, User};
use crate::server::Responder;

/// A task for the disk thread, and the receiver of its outcome.
pub(super) struct StoreJob {
    pub(super) task: StoreTask,
    pub(super) reply_to: ReplyTo,
}

/// A change that is to become durable.
pub(super) enum StoreTask {
    /// Stores a message; one that a gateway brought is a part of a numbered message.
    Say(PendingMessage, Option<LinkPart>),
    /// Settles the number of a gateway's message of which nothing is stored.
    Settle(LinkPart),
    /// The log of a room or of a private line begins anew.
    Purge { channel: Box<str>, epoch: Epoch },
    /// A channel has neither messages nor members.
    Forget(Arc<str>),
    /// The line of a user, which another user opened, is its own user's from now on.
    Claim(Arc<str>),
    /// Notes that a user has received everything up to an offset.
    Ack {
        channel: Arc<str>,
        user: User,
        offset: u64,
    },
    /// Begins or ends a lasting membership.
    Member {
        room: Box<str>,
        uid: Box<str>,
        lasting: bool,
    },
    /// No change: whoever waits for what comes before it is told.
    Nothing,
    /// Serial numbers of connections below this one may be handed out.
    Serials(u64),
}

/// The receiver of the outcome of a task.
pub(super) enum ReplyTo {
    Nobody,
    /// A WebSocket gets a frame with the number of its command.
    Frame(Fd, Option<Box<str>>),
    /// The same, ahead of its own copy of a private message.
    FrameFirst(Fd, Box<str>),
    /// A request whose answer this is.
    Request(Responder),
    /// A request that has several results gets one of them.
    Slot(ReplySlot),
    /// A function is called with the outcome, on the disk thread.
    Call(Box<dyn FnOnce(Result<Stored, Refusal>) + Send>),
}

/// The outcome of a task that is durable.
pub(super) enum Stored {
    Said(Receipt),
    /// A message was said, and whoever waits has been told already.
    Told,
    /// The log of this channel begins here.
    Purged(Box<str>, Position),
    /// Whether the membership is new.
    Added(bool),
    /// Whether there was a membership.
    Removed(bool),
    /// No client is told anything.
    Silently,
}

impl StoreJob {
    /// The part of a gateway's message that the task settles, if it does.
    pub(super) fn link_part(&self) -> Option<&LinkPart> {
        match &self.task {
            StoreTask::Say(_, part) => part.as_ref(),
            StoreTask::Settle(part) => Some(part),
            _ => None,
        }
    }
}

impl Stored {
    /// Adds the fields that tell a client.
    pub(super) fn fields(&self, json: Json) -> Json {
        match self {
            Self::Said(receipt) => frames::said(json, receipt),
            Self::Purged(channel, position) => {
                frames::place(json.string("channel", channel), Some(*position))
            }
            Self::Added(added) => json.flag("added", *added),
            Self::Removed(removed) => json.flag("removed", *removed),
            Self::Told | Self::Silently => json,
        }
    }
}
