//! What an endpoint wants to be durable, who is told, and what came of it.

use std::sync::Arc;

use super::frames;
use super::link_part::LinkPart;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::ReplySlot;
use crate::base::Fd;
use crate::chat::{Epoch, PendingMessage, Position, Receipt, User};
use crate::server::Responder;

/// A task for the disk thread, and who is told when it is done.
pub(super) struct StoreJob {
    pub(super) task: StoreTask,
    pub(super) reply_to: ReplyTo,
}

/// A change that is to become durable.
pub(super) enum StoreTask {
    /// A message; one that a gateway brought is a part of a numbered one.
    Say(PendingMessage, Option<LinkPart>),
    /// The number of a gateway's message of which nothing is stored.
    Settle(LinkPart),
    /// The log of a room begins anew.
    Purge { room: Box<str>, epoch: Epoch },
    /// A channel has neither messages nor members.
    Forget(Arc<str>),
    /// The line of a user, which another user opened, is its own user's from now on.
    Claim(Arc<str>),
    /// A user has received everything up to here.
    Ack {
        channel: Arc<str>,
        user: User,
        offset: u64,
    },
    /// A lasting membership begins or ends.
    Member {
        room: Box<str>,
        uid: Box<str>,
        lasting: bool,
    },
    /// Serial numbers of connections below this one may be handed out.
    Serials(u64),
}

/// The receiver of the outcome of a task.
pub(super) enum ReplyTo {
    Nobody,
    /// A WebSocket, with the number of its command.
    Frame(Fd, Option<Box<str>>),
    /// A request whose answer this is.
    Request(Responder),
    /// One result of a request that has several.
    Slot(ReplySlot),
    /// A function.
    Call(Box<dyn FnOnce(Result<Stored, Refusal>) + Send>),
}

/// The outcome of a task that is durable.
pub(super) enum Stored {
    Said(Receipt),
    /// The log of this room begins here.
    Purged(Box<str>, Position),
    /// Whether the membership is new.
    Added(bool),
    /// Whether there was a membership.
    Removed(bool),
    /// Nothing that a client is told.
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
            Self::Purged(room, position) => {
                frames::place(json.string("channel", room), Some(*position))
            }
            Self::Added(added) => json.flag("added", *added),
            Self::Removed(removed) => json.flag("removed", *removed),
            Self::Silently => json,
        }
    }
}
