//! The disk thread's side of a task: its record, and what follows once that is durable.

use std::sync::Arc;

use super::frames;
use super::link_part::LinkPart;
use super::server_sink::ServerSink;
use super::services::Services;
use super::store_task::{ReplyTo, StoreJob, StoreTask, Stored};
use crate::api::json::Json;
use crate::api::refusal::Refusal;
use crate::chat::{ChatError, ErrorCode};
use crate::server::{Handle, Response};
use crate::store::{Appended, Channel, DiskJob, MessageRecord, Record, StoreError};

/// A record that changes nothing.
const NOTHING: Record<'static> = Record::Serials { below: 0 };

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
        if self.link_part().is_some_and(|part| !part.may_be_written()) {
            return NOTHING;
        }
        match &self.task {
            StoreTask::Say(draft, part) => {
                let (first, second) = draft.channels();
                let epochs = services.chat.epochs_of(draft);
                let channel = |name, epoch| Channel { name, epoch };
                Record::Message(MessageRecord {
                    channel: channel(first, epochs.0),
                    second: second
                        .zip(epochs.1)
                        .map(|(name, epoch)| channel(name, epoch)),
                    body: draft.message().body(),
                    idempotency_key: draft.idempotency_key(),
                    opens: draft.is_opened(),
                    mark: part.as_ref().map(LinkPart::mark),
                })
            }
            StoreTask::Settle(part) => {
                let (producer, number) = part.mark();
                Record::Mark { producer, number }
            }
            StoreTask::Purge { channel, epoch } => Record::Purge {
                channel,
                epoch: *epoch,
            },
            StoreTask::Forget(channel) => Record::Forget { channel },
            StoreTask::Claim(channel) => Record::Claim { channel },
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
            StoreTask::Nothing => NOTHING,
        }
    }

    fn refused(&self) {
        if let Some(part) = self.link_part() {
            part.break_off();
        }
    }

    fn done(self, services: &Arc<Services>, outcome: Result<Appended, &StoreError>) {
        let stored = match (outcome, self.link_part()) {
            (Ok(_), Some(part)) if part.was_passed_over() => Err(Refusal::new(
                ErrorCode::Unavailable,
                "what comes before it was refused",
            )),
            (Ok(appended), _) => apply(services, &self, appended),
            (Err(error), _) => {
                // The whole batch may have failed.
                self.refused();
                Err(error.into())
            }
        };
        self.reply_to.tell(services.server(), stored);
    }
}

/// Has the chat do what is durable now.
fn apply(services: &Services, job: &StoreJob, appended: Appended) -> Result<Stored, Refusal> {
    let (chat, task) = (&services.chat, &job.task);
    let Some(mut sink) = ServerSink::anywhere(services) else {
        return Ok(Stored::Silently);
    };
    match (task, appended) {
        (StoreTask::Say(draft, _), Appended::Message(first, second)) => {
            let first_told = match &job.reply_to {
                ReplyTo::FrameFirst(fd, seq) => Some((*fd, &**seq)),
                _ => None,
            };
            if let Some((fd, seq)) = first_told {
                sink.answer_first(fd, seq);
            }
            let receipt = chat.deliver_stored(&mut sink, services.tick(), draft, (first, second));
            Ok(match sink.has_still_to_answer(first_told.is_some()) {
                true => Stored::Said(receipt),
                false => Stored::Told,
            })
        }
        (StoreTask::Say(draft, _), Appended::Repeat(first)) => {
            Ok(Stored::Said(chat.answer_repeat(draft, first)))
        }
        (StoreTask::Purge { channel, epoch }, _) => {
            let position = chat.purged(&mut sink, channel, *epoch);
            Ok(Stored::Purged(channel.clone(), position))
        }
        (StoreTask::Member { room, uid, lasting }, _) => {
            let now = services.now();
            let changed = match lasting {
                true => chat
                    .add_member(&mut sink, now, room, uid)
                    .map(Stored::Added),
                false => {
                    let removed = chat.remove_member(&mut sink, now, room, uid);
                    removed.map(Stored::Removed)
                }
            };
            changed.map_err(|error| {
                take_back_member(services, (&**room, &**uid, *lasting), &error);
                error.into()
            })
        }
        (StoreTask::Forget(channel), _) => {
            // A channel in which something was said meanwhile stays.
            if services.reader.channel(channel).is_none() {
                chat.forget_channel(&mut sink, services.now(), channel);
            }
            Ok(Stored::Silently)
        }
        (
            StoreTask::Say(..)
            | StoreTask::Settle(_)
            | StoreTask::Ack { .. }
            | StoreTask::Claim(_)
            | StoreTask::Serials(_)
            | StoreTask::Nothing,
            _,
        ) => Ok(Stored::Silently),
    }
}

/// Undoes on disk a change of membership for which the tables of the chat had no room.
fn take_back_member(
    services: &Services,
    (room, uid, lasting): (&str, &str, bool),
    error: &ChatError,
) {
    tracing::warn!(%error, "a lasting membership is taken back");
    let task = StoreTask::Member {
        room: room.into(),
        uid: uid.into(),
        lasting: !lasting,
    };
    services.store(task, ReplyTo::Nobody);
}

impl ReplyTo {
    /// Tells the outcome of a task.
    pub(super) fn tell(self, server: Option<&Handle>, stored: Result<Stored, Refusal>) {
        match self {
            Self::Nobody => {}
            Self::FrameFirst(fd, seq) => {
                if !matches!(stored, Ok(Stored::Told)) {
                    Self::Frame(fd, Some(seq)).tell(server, stored);
                }
            }
            Self::Frame(fd, seq) => {
                let text = match &stored {
                    Ok(stored) if seq.is_some() => stored.fields(frames::ok(seq.as_deref())).end(),
                    Ok(_) => return,
                    Err(refusal) => frames::err(seq.as_deref(), refusal),
                };
                // A client that is gone waits for nothing.
                server.map(|server| server.push(fd, &text));
            }
            Self::Request(responder) => responder.end(match &stored {
                Ok(said @ Stored::Said(_)) => {
                    let result = said.fields(Json::object()).end();
                    Response::json(Json::object().array("results", [result]).end())
                }
                Ok(stored) => Response::json(stored.fields(Json::object()).end()),
                Err(refusal) => refusal.response(),
            }),
            Self::Slot(slot) => {
                slot.fill(stored.map(|stored| stored.fields(Json::object()).end()));
            }
            Self::Call(call) => call(stored),
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
