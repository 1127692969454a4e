//! What the disk thread does for the door: one record each, and the answer once it is durable.

use std::sync::Arc;

use super::frames;
use super::part::Part;
use super::services::Services;
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::api::reply::ReplySlot;
use crate::base::Fd;
use crate::chat::{ChatError, Epoch, ErrorCode, PendingMessage, Position, Receipt, User};
use crate::server::{Handle, Responder, Response};
use crate::store::{Appended, Channel, DiskJob, MessageBody, MessageRecord, Record, StoreError};

/// A task for the disk thread, and who is answered when it is done.
pub(super) struct StoreJob {
    task: StoreTask,
    reply_to: ReplyTo,
}

/// What is to become durable.
pub(super) enum StoreTask {
    /// A message; what a gateway brought is a part of a numbered one.
    Say(PendingMessage, Option<Part>),
    /// A producer's number, without a message that is stored.
    Settle(Part),
    /// The log of a room begins anew.
    Purge { room: Box<str>, epoch: Epoch },
    /// A channel has neither messages nor members.
    Forget(Arc<str>),
    /// A user has everything up to here.
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

/// A record that changes nothing.
const NOTHING: Record<'static> = Record::Serials { below: 0 };

/// What became of a task.
pub(super) enum Done {
    Said(Receipt),
    /// The log of this room begins here.
    Purged(Box<str>, Position),
    /// Whether the membership is new.
    Added(bool),
    /// Whether there was a membership.
    Removed(bool),
    Noted,
}

/// Who waits for it.
pub(super) enum ReplyTo {
    Nobody,
    /// A WebSocket, with the number of its command.
    Frame(Fd, Option<Box<str>>),
    /// A request that is answered by this alone.
    Request(Responder),
    /// One result of a request that has several.
    Slot(ReplySlot),
    /// Whoever else.
    Call(Box<dyn FnOnce(Result<Done, Refusal>) + Send>),
}

impl StoreJob {
    pub(super) fn new(task: StoreTask, reply_to: ReplyTo) -> Self {
        Self { task, reply_to }
    }

    /// Has the chat do what is durable now.
    fn apply(&self, services: &Services, appended: Appended) -> Result<Done, Refusal> {
        let chat = &services.chat;
        let Some(mut post) = services.sink() else {
            return Ok(Done::Noted);
        };
        match (&self.task, appended) {
            (StoreTask::Say(draft, _), Appended::Message(first, second)) => {
                let said = chat.deliver_stored(&mut post, services.tick(), draft, (first, second));
                Ok(Done::Said(said))
            }
            (StoreTask::Say(draft, _), Appended::Repeat(first)) => {
                Ok(Done::Said(chat.answer_repeat(draft, first)))
            }
            (StoreTask::Purge { room, epoch }, _) => {
                let position = chat.purged(&mut post, room, *epoch);
                Ok(Done::Purged(room.clone(), position))
            }
            (StoreTask::Member { room, uid, lasting }, _) => {
                let now = services.now();
                let changed = match lasting {
                    true => chat.add_member(&mut post, now, room, uid).map(Done::Added),
                    false => chat
                        .remove_member(&mut post, now, room, uid)
                        .map(Done::Removed),
                };
                changed.map_err(|error| {
                    self.take_back_member(services, &error);
                    error.into()
                })
            }
            (StoreTask::Forget(channel), _) => {
                // One in which something was said meanwhile stays.
                if services.reader.channel(channel).is_none() {
                    chat.forget_channel(&mut post, services.now(), channel);
                }
                Ok(Done::Noted)
            }
            (
                StoreTask::Say(..)
                | StoreTask::Settle(_)
                | StoreTask::Ack { .. }
                | StoreTask::Serials(_),
                _,
            ) => Ok(Done::Noted),
        }
    }

    fn part(&self) -> Option<&Part> {
        match &self.task {
            StoreTask::Say(_, part) => part.as_ref(),
            StoreTask::Settle(part) => Some(part),
            _ => None,
        }
    }

    /// The tables of the chat had no room for a membership that is on disk already.
    fn take_back_member(&self, services: &Services, error: &ChatError) {
        if let StoreTask::Member { room, uid, lasting } = &self.task {
            tracing::warn!(%error, "a lasting membership is taken back");
            let task = StoreTask::Member {
                room: room.clone(),
                uid: uid.clone(),
                lasting: !lasting,
            };
            services.disk.submit(Self::new(task, ReplyTo::Nobody));
        }
    }
}

impl DiskJob for StoreJob {
    type Context = Arc<Services>;

    fn size(&self) -> usize {
        let task = match &self.task {
            StoreTask::Say(draft, _) => draft.size(),
            _ => 0,
        };
        size_of::<Self>() + task
    }

    fn record<'a>(&'a self, services: &'a Arc<Services>) -> Record<'a> {
        if self.part().is_some_and(|part| !part.has_turn()) {
            return NOTHING;
        }
        match &self.task {
            StoreTask::Say(draft, part) => {
                let (first, second) = draft.channels();
                let message = draft.message().content();
                let epochs = services.chat.epochs_of(draft);
                let channel = |name, epoch: Epoch| Channel { name, epoch };
                Record::Message(MessageRecord {
                    channel: channel(first, epochs.0),
                    second: second
                        .zip(epochs.1)
                        .map(|(name, epoch)| channel(name, epoch)),
                    body: MessageBody {
                        id: message.id,
                        from: message.from,
                        to: message.to,
                        ts: message.ts,
                        data: message.data,
                    },
                    idempotency_key: draft.idempotency_key(),
                    mark: part.as_ref().map(Part::mark),
                })
            }
            StoreTask::Settle(part) => Record::Mark {
                producer: &part.turn.producer,
                number: part.turn.n,
            },
            StoreTask::Purge { room, epoch } => Record::Purge {
                channel: room,
                epoch: *epoch,
            },
            StoreTask::Forget(channel) => Record::Forget { channel },
            StoreTask::Ack {
                channel,
                user,
                offset,
            } => Record::Ack {
                channel,
                reader: user.uid(),
                offset: *offset,
            },
            StoreTask::Member { room, uid, lasting } => Record::Member {
                room,
                user: uid,
                lasting: *lasting,
            },
            StoreTask::Serials(below) => Record::Serials { below: *below },
        }
    }

    fn refused(&self) {
        if let Some(part) = self.part() {
            part.turn.stretch.break_off();
        }
    }

    fn done(self, services: &Arc<Services>, outcome: Result<Appended, &StoreError>) {
        let done = match (outcome, self.part()) {
            (Ok(_), Some(part)) if part.is_passed_over.get() => Err(Refusal::new(
                ErrorCode::Unavailable,
                "what comes before it was refused",
            )),
            (Ok(appended), _) => self.apply(services, appended),
            (Err(error), _) => {
                // The whole batch may have failed.
                self.refused();
                Err(error.into())
            }
        };
        self.reply_to.answer(services.server(), done);
    }
}

impl ReplyTo {
    fn answer(self, server: Option<&Handle>, done: Result<Done, Refusal>) {
        match self {
            Self::Nobody => {}
            Self::Frame(fd, seq) => {
                let text = match &done {
                    Ok(done) if seq.is_some() => done.fields(frames::ok(seq.as_deref())).end(),
                    Ok(_) => return,
                    Err(refusal) => frames::err(seq.as_deref(), refusal),
                };
                // One that is gone has nobody who waits.
                server.map(|server| server.push(fd, &text));
            }
            Self::Request(responder) => responder.end(match &done {
                Ok(done @ Done::Said(_)) => {
                    let result = done.fields(Json::object()).end();
                    Response::json(Json::object().array("results", [result]).end())
                }
                Ok(done) => Response::json(done.fields(Json::object()).end()),
                Err(refusal) => refusal.response(),
            }),
            Self::Slot(slot) => slot.fill(done.map(|done| done.fields(Json::object()).end())),
            Self::Call(call) => call(done),
        }
    }
}

impl Done {
    /// As it is answered.
    pub(super) fn fields(&self, json: Json) -> Json {
        match self {
            Self::Said(said) => frames::said(json, said),
            Self::Purged(room, position) => {
                frames::place(json.string("channel", room), Some(*position))
            }
            Self::Added(added) => json.flag("added", *added),
            Self::Removed(removed) => json.flag("removed", *removed),
            Self::Noted => json,
        }
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::DiskFull { .. } => Self::new(ErrorCode::DiskFull, error.to_string()),
            StoreError::Full { .. } | StoreError::TooMany { .. } => {
                Self::new(ErrorCode::Unavailable, error.to_string())
            }
            // What the system says is for the log.
            _ => Self::new(
                ErrorCode::Unavailable,
                "the store can't take anything just now",
            ),
        }
    }
}
