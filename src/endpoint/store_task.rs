//! The tasks that an endpoint gives to the disk thread, the receivers of their outcomes, and the
//! outcomes. In a file of their own, since [`Services`](super::services::Services) names the jobs,
//! and `store_job` carries them out with the services.

use std::ops::Deref;
use std::sync::Arc;

use super::frames;
use super::link_part::LinkPart;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::ReplySlot;
use crate::base::Fd;
use crate::chat::{Epoch, PendingMessage, Position, Receipt, User};
use crate::server::Responder;
use crate::store::{LoginRecord, OwnedChannel, Record};

/// A task for the disk thread, and the receiver of its outcome.
pub(super) struct StoreJob {
    pub(super) task: StoreTask,
    pub(super) reply_to: ReplyTo,
}

/// A change that is to become durable.
pub(super) enum StoreTask {
    /// Stores a message; one that a gateway brought is a part of a numbered message.
    Say(PendingMessage, Option<LinkPart>),
    /// Stores several messages of one request.
    SayEach(MessageGroup),
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
    /// This node of a cluster hears channels from now on, for a login or without one.
    Attach(Box<AttachOrder>),
    /// This node of a cluster hears a channel no more, which has left the chat's memory.
    Detach(Arc<str>),
}

/// Channels that a node of a cluster is to hear.
pub(super) struct AttachOrder {
    /// The connection that is about to log in, and its user: then it is one record.
    pub(super) login: Option<(Fd, Box<str>)>,
    /// The channels.
    pub(super) channels: Vec<OwnedChannel>,
    /// The user whose acknowledgements in them are asked for.
    pub(super) reader: Option<Box<str>>,
    /// The time of the login, in Unix milliseconds.
    pub(super) now_ms: u64,
    /// Connections that the user may have.
    pub(super) connections_max: usize,
    /// The changes of lasting memberships that had come when the login was asked for.
    pub(super) members_heard: u64,
}

impl AttachOrder {
    /// Makes the record at this place.
    pub(super) fn record(&self, place: usize) -> Record<'_> {
        match &self.login {
            Some((fd, uid)) => Record::Login(LoginRecord {
                fd: *fd,
                uid,
                now_ms: self.now_ms,
                connections_max: self.connections_max,
                channels: &self.channels,
                asks_acks: self.reader.is_some(),
            }),
            None => Record::Attach {
                channel: self.channels[place].as_channel(),
                reader: self.reader.as_deref(),
            },
        }
    }

    /// Counts the records.
    pub(super) fn records(&self) -> usize {
        match self.login {
            Some(_) => 1,
            None => self.channels.len(),
        }
    }

    /// Counts roughly the bytes that the order keeps.
    pub(super) fn size(&self) -> usize {
        let names = self.channels.iter().map(|channel| channel.name.len());
        size_of::<Self>() + names.sum::<usize>() + size_of_val(&*self.channels)
    }
}

/// Messages of one group at the most: the lock of a room's shard may be held for so many, some tens
/// of microseconds.
const GROUP_MESSAGES_MAX: usize = 128;

/// Bytes of one group at the most, but for a message that is larger alone: a commit takes whole
/// groups, and shall not become much larger by the last one.
const GROUP_BYTES_MAX: usize = 256 << 10;

/// Messages of one request that are stored together.
pub(super) struct MessageGroup {
    pub(super) drafts: Vec<PendingMessage>,
    size: usize,
}

impl MessageGroup {
    /// Makes a group of one message, behind which `more` may come.
    pub(super) fn of(draft: PendingMessage, more: usize) -> Self {
        let size = draft.size();
        let mut drafts = Vec::with_capacity((more + 1).min(GROUP_MESSAGES_MAX));
        drafts.push(draft);
        Self { drafts, size }
    }

    /// Adds a message, or gives it back where the group is full.
    pub(super) fn add(&mut self, draft: PendingMessage) -> Result<(), PendingMessage> {
        let size = self.size + draft.size();
        if self.drafts.len() == GROUP_MESSAGES_MAX || size > GROUP_BYTES_MAX {
            return Err(draft);
        }
        self.size = size;
        self.drafts.push(draft);
        Ok(())
    }

    /// Counts roughly the bytes that the messages keep.
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

/// Digits of the number of a command at the most.
pub(super) const SEQ_DIGITS_MAX: usize = 20;

/// The number of a command as the client wrote it, which needs no memory of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeqDigits {
    digits: [u8; SEQ_DIGITS_MAX],
    size: u8,
}

impl SeqDigits {
    /// Copies a number of at most [`SEQ_DIGITS_MAX`] digits; a longer one is cut.
    pub(super) fn of(seq: &str) -> Self {
        let size = seq.len().min(SEQ_DIGITS_MAX);
        let mut digits = [0; SEQ_DIGITS_MAX];
        digits[..size].copy_from_slice(&seq.as_bytes()[..size]);
        let size = size as u8;
        Self { digits, size }
    }
}

impl Deref for SeqDigits {
    type Target = str;

    fn deref(&self) -> &str {
        let digits = std::str::from_utf8(&self.digits[..usize::from(self.size)]);
        digits.expect("the digits are ASCII")
    }
}

/// The receiver of the outcome of a task.
pub(super) enum ReplyTo {
    Nobody,
    /// A WebSocket gets a frame with the number of its command.
    Frame(Fd, Option<SeqDigits>),
    /// The same, ahead of its own copy of a private message.
    FrameFirst(Fd, SeqDigits),
    /// A request whose answer this is.
    Request(Responder),
    /// A request that has several results gets those of a group.
    Slot(ReplySlot),
    /// A function is called with the outcome, on the disk thread.
    Call(Box<dyn FnOnce(Result<Stored, Refusal>) + Send>),
}

/// The outcome of a task that is durable.
pub(super) enum Stored {
    Said(Receipt<'static>),
    /// Each message of a group was said or refused: their results as JSON, with commas between.
    SaidEach(String),
    /// A message was said, and whoever waits has been told already.
    Told,
    /// The log of this channel begins here.
    Purged(Box<str>, Position),
    /// Whether the membership is new.
    Added(bool),
    /// Whether there was a membership.
    Removed(bool),
    /// The node hears the channels of an order. The user's oldest connection anywhere, if it is one too
    /// many.
    Entered(Option<Fd>),
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
            Self::SaidEach(_) | Self::Told | Self::Entered(_) | Self::Silently => json,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_command_is_kept_as_it_was_written() {
        for seq in ["0", "7", "18446744073709551616", "99999999999999999999"] {
            assert_eq!(&*SeqDigits::of(seq), seq);
        }
    }
}
